"""The numbers of a report: for every lattice its tensor, moduli, bounds, symmetry, and how stiffness scales.

All in units of the solid's Young's modulus E_s; a lattice whose stiffness is singular has NaN where a modulus does not
exist (its Voigt averages and the stiffness c(n) do).

Density scaling: every lattice is solved again with its radii scaled to 1, 1/2, 1/4, ... of its density, and a straight
line is fitted to ln M = ln a + n ln rho for Hill's E and G and Reuss' K (the bulk modulus). n = 1 tells of struts that
stretch, n = 2 of struts that bend.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials import elasticity
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.homogenization import LARGEST_DIRECT, homogenize
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.view.directions import is_stiff

FACTORS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Densities of the scaling fit, as multiples of each lattice's own."""

SYMMETRIC = 0.01
"""A tensor counts as being of a class when its relative distance to it is below this."""

DIRECTIONS = {"100": (1, 0, 0), "010": (0, 1, 0), "001": (0, 0, 1), "110": (1, 1, 0), "111": (1, 1, 1)}

_ROUNDING = 1e-10  # an index of anisotropy below this is zero but for rounding
_CHUNK = 256
_FEW = 64

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything computed for n lattices.

    Args:
        stiffness: (n, 6, 6) Kelvin-Mandel, in units of E_s.
        columns: name to (n,) float64; NaN where a quantity does not exist.
        symmetry: (n,) name of the most symmetric class within 1 %.
        extreme_directions: (n, 2, 3) unit vectors of the least and the greatest Young's modulus.
        scaling: (n, factors, 3) E, K and G at `FACTORS` times the density of each lattice.
        dangling: for each lattice the mask of struts that end freely.
    """

    stiffness: Tensor
    columns: dict[str, np.ndarray]
    symmetry: list[str]
    extreme_directions: np.ndarray
    scaling: np.ndarray
    dangling: list[np.ndarray]


def analyse(
    records: Sequence[LatticeRecord], *, poisson_ratio: float = 0.3, progress: Progress | None = None
) -> Analysis:
    """Solve what has no tensor yet, and derive all numbers; `progress` is called with (lattices done, lattices in all).

    Raises:
        InputError: no records, or a Poisson's ratio that no solid has.
    """
    if not records:
        raise InputError("records: the list is empty; give at least one lattice")
    parts = []
    for start in range(0, len(records), _CHUNK):
        part = records[start : start + _CHUNK]
        parts.append(_analyse_part(part, poisson_ratio, starts=16 if len(records) <= _FEW else 4))
        if progress is not None:
            progress(start + len(part), len(records))
    return Analysis(
        torch.cat([part.stiffness for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        [name for part in parts for name in part.symmetry],
        np.concatenate([part.extreme_directions for part in parts]),
        np.concatenate([part.scaling for part in parts]),
        [mask for part in parts for mask in part.dangling],
    )


def _analyse_part(records: Sequence[LatticeRecord], poisson_ratio: float, *, starts: int) -> Analysis:
    lattices = [_plain(record.lattice) for record in records]
    batch = LatticeBatch.from_lattices(lattices)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # mechanisms are a column of the report
        solved = homogenize(batch, poisson_ratio=poisson_ratio)
        scaling = _sweep(batch, solved.stiffness, poisson_ratio)
    given = [record.stiffness for record in records]
    own = solved.stiffness.detach()
    stiffness = torch.stack(
        [row if known is None else known.detach().cpu().double() for row, known in zip(own, given, strict=True)]
    )
    stiffness = (stiffness + stiffness.mT) / 2
    difference = torch.linalg.matrix_norm(own - stiffness) / torch.linalg.matrix_norm(stiffness)
    published = torch.tensor([known is not None for known in given])
    density = np.array([record.density for record in records])
    symmetry, symmetry_columns = _symmetry_columns(stiffness, starts)
    directional, extreme_directions = _directional_columns(stiffness, starts)
    columns = {
        "density": density,
        "nodes": np.array([lattice.num_nodes for lattice in lattices], dtype=float),
        "struts": np.array([lattice.num_edges for lattice in lattices], dtype=float),
        "connectivity": np.array([lattice.connectivity for lattice in lattices]),
        "mechanisms": solved.mechanisms.double().numpy(),
        "dangling": np.array([float(mask.sum()) for mask in _split(solved.dangling, batch)]),
        "difference": torch.where(published, difference, torch.nan).numpy(),
        "slenderness": np.array([float((lattice.radius / lattice.edge_lengths).max()) for lattice in lattices]),
        **_average_columns(stiffness),
        **directional,
        **symmetry_columns,
        **_bound_columns(density, poisson_ratio),
        **_fit_columns(density, scaling),
    }
    return Analysis(stiffness, columns, symmetry, extreme_directions, scaling, _split(solved.dangling, batch))


def _plain(lattice: StrutLattice) -> StrutLattice:
    """The lattice in float64 on the CPU without gradients, as it is where it is that already."""
    numbers = (lattice.cell, lattice.positions, lattice.radius)
    if any(x.requires_grad or x.dtype != torch.float64 or x.device.type != "cpu" for x in numbers):
        return lattice.detach().to(dtype=torch.float64, device="cpu")
    return lattice


def _split(dangling: Tensor, batch: LatticeBatch) -> list[np.ndarray]:
    return np.split(dangling.numpy(), batch.edge_start[1:-1].numpy())


def _average_columns(stiffness: Tensor) -> dict[str, np.ndarray]:
    """K, G, E, nu by Voigt, Reuss and Hill, and anisotropy; Voigt's alone where the stiffness is singular."""
    stiff = is_stiff(stiffness)
    columns: dict[str, np.ndarray] = {}
    for name, average, rows in (
        ("voigt", elasticity.voigt_average, torch.ones_like(stiff)),
        ("reuss", elasticity.reuss_average, stiff),
        ("hill", elasticity.hill_average, stiff),
    ):
        moduli = average(stiffness[rows])
        for quantity in ("bulk", "shear", "young", "poisson"):
            columns[f"{quantity}_{name}"] = _scatter(rows, getattr(moduli, quantity))
    for name, index in (
        ("universal", elasticity.universal_anisotropy),
        ("log_euclidean", elasticity.log_euclidean_anisotropy),
    ):
        value = index(stiffness[stiff])
        columns[name] = _scatter(stiff, torch.where(value.abs() < _ROUNDING, 0.0, value))
    return columns


def _directional_columns(stiffness: Tensor, starts: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """E along crystal directions, and the global extrema of E, nu and G."""
    stiff = is_stiff(stiffness)
    part = stiffness[stiff]
    columns = {}
    for name, direction in DIRECTIONS.items():
        vector = torch.tensor(direction, dtype=torch.float64)
        columns[f"young_{name}"] = _scatter(stiff, elasticity.young_modulus(part, vector))
    directions = np.full((len(stiffness), 2, 3), np.nan)
    quantities: dict[str, elasticity.Quantity] = {
        "young": "young_modulus",
        "shear": "shear_modulus",
        "poisson": "poisson_ratio",
    }
    for name, quantity in quantities.items():
        found = elasticity.extrema(part, quantity, starts=starts) if len(part) else None
        empty = part.new_zeros(0)
        columns[f"{name}_min"] = _scatter(stiff, found.minimum if found else empty)
        columns[f"{name}_max"] = _scatter(stiff, found.maximum if found else empty)
        if found is not None and name == "young":
            both = torch.stack([found.minimum_direction, found.maximum_direction], dim=1)
            largest = both.gather(-1, both.abs().argmax(dim=-1, keepdim=True))
            directions[stiff.numpy()] = (both * largest.sign()).numpy()  # of n and -n the one that points forward
    return columns, directions


def _symmetry_columns(stiffness: Tensor, starts: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """The most symmetric class within 1 %; distances to all in the best orientation, and Zener's ratio if cubic."""
    columns = {}
    names = [""] * len(stiffness)
    constants = elasticity.INDEPENDENT_CONSTANTS
    for symmetry in sorted(elasticity.SYMMETRIES, key=lambda name: constants[name]):
        closest = elasticity.closest_symmetry(stiffness, symmetry, starts=starts)
        distance = closest.distance.numpy()
        columns[f"distance_{symmetry}"] = distance
        names = [name or (symmetry if near < SYMMETRIC else "") for name, near in zip(names, distance, strict=True)]
        if symmetry == "cubic":
            from polyad.tensors.notation import rotate_mandel

            turned = rotate_mandel(closest.projection, closest.axes.mT)
            shear = turned[:, 3, 3]
            difference = turned[:, 0, 0] - turned[:, 0, 1]
            exists = (closest.distance < SYMMETRIC) & (difference > 1e-12 * turned[:, 0, 0])
            columns["zener"] = torch.where(exists, shear / difference, torch.nan).numpy()
    return names, columns


def _bound_columns(density: np.ndarray, poisson_ratio: float) -> dict[str, np.ndarray]:
    """Upper Hashin-Shtrikman bounds of an isotropic porous solid, and Voigt's; NaN for a density above one."""
    upper = hashin_shtrikman(density, poisson_ratio)
    bulk, shear = solid_moduli(poisson_ratio)
    return {
        "bulk_bound": upper["bulk"],
        "shear_bound": upper["shear"],
        "young_bound": upper["young"],
        "bulk_voigt_bound": density * bulk,
        "shear_voigt_bound": density * shear,
        "young_voigt_bound": density.copy(),
    }


def solid_moduli(poisson_ratio: float) -> tuple[float, float]:
    """Bulk and shear modulus of the solid for E_s = 1.

    Raises:
        InputError: `poisson_ratio` outside (-1, 0.5).
    """
    if not -1 < poisson_ratio < 0.5:
        raise InputError(
            f"poisson_ratio: is {poisson_ratio!r}; that of a solid lies between -1 and 0.5, metals have about 0.3"
        )
    return 1 / (3 * (1 - 2 * poisson_ratio)), 1 / (2 * (1 + poisson_ratio))


def hashin_shtrikman(density: np.ndarray, poisson_ratio: float) -> dict[str, np.ndarray]:
    """Upper bounds on K, G and E of an isotropic porous solid, in units of E_s."""
    bulk, shear = (torch.tensor(modulus, dtype=torch.float64) for modulus in solid_moduli(poisson_ratio))
    inside = torch.tensor(np.clip(density, 0, 1))
    upper = elasticity.porous_bounds(elasticity.IsotropicModuli(bulk, shear), inside).upper
    outside = np.asarray(density) > 1
    moduli = {"bulk": upper.bulk, "shear": upper.shear, "young": upper.young}
    return {name: np.where(outside, np.nan, value.numpy()) for name, value in moduli.items()}


def _sweep(batch: LatticeBatch, stiffness: Tensor, poisson_ratio: float) -> np.ndarray:
    """(lattices, factors, 3) E, K and G at lower densities; NaN for singular tensors and cells too large to repeat."""
    values = np.full((len(batch), len(FACTORS), 3), np.nan)
    if int(batch.node_start.diff().max()) > LARGEST_DIRECT:
        return values
    for number, factor in enumerate(FACTORS):
        thinner = batch.replace(radius=batch.radius * math.sqrt(factor))
        tensor = stiffness if factor == 1 else homogenize(thinner, poisson_ratio=poisson_ratio).stiffness
        stiff = is_stiff(tensor)
        moduli = elasticity.hill_average(tensor[stiff]), elasticity.reuss_average(tensor[stiff])
        columns = (moduli[0].young, moduli[1].bulk, moduli[0].shear)
        values[stiff.numpy(), number] = torch.stack(columns, dim=-1).numpy()
    return values


def _fit_columns(density: np.ndarray, scaling: np.ndarray) -> dict[str, np.ndarray]:
    """Exponent and prefactor of each modulus by least squares on logarithms; NaN where a point is missing."""
    columns = {}
    logarithm = np.log(np.array(FACTORS))
    centred = logarithm - logarithm.mean()
    for number, name in enumerate(("young", "bulk", "shear")):
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.log(scaling[:, :, number])
        exponent = values @ centred / (centred @ centred)
        middle = np.log(density) + logarithm.mean()
        columns[f"exponent_{name}"] = exponent
        columns[f"prefactor_{name}"] = np.exp(values.mean(axis=1) - exponent * middle)
    return columns


def _scatter(rows: Tensor, values: Any) -> np.ndarray:
    """`values` at the rows of the mask, NaN elsewhere."""
    whole = np.full(len(rows), np.nan)
    whole[rows.numpy()] = values.numpy()
    return whole

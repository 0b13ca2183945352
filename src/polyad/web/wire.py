"""Lattices and tensors as JSON values between page and server: read with limits, written without loss."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.lattice import StrutLattice
from polyad.materials.lattice.view.directions import is_stiff

FIELDS = ("cell", "positions", "edge_index", "edge_shift", "radius")
MAXIMUM_NODES, MAXIMUM_STRUTS = 1500, 6000
"""Largest lattice that a request may hold."""


@final
class NotFoundError(InputError):
    """A name that nothing has (or has any more)."""


def read_lattice(row: Any) -> StrutLattice:
    """A lattice of the JSON object that `write_lattice` makes.

    Raises:
        InputError: a field is missing, too long or malformed; no lattice.
    """
    if not isinstance(row, dict):
        raise InputError("lattice: must be an object")
    for name in FIELDS:
        if name not in row:
            raise InputError(f"lattice: lacks {name!r}; it needs {', '.join(FIELDS)}")
    for name, most in (("positions", MAXIMUM_NODES), ("edge_shift", MAXIMUM_STRUTS), ("radius", MAXIMUM_STRUTS)):
        if isinstance(row[name], list) and len(row[name]) > most:
            raise InputError(f"lattice: {name} has {len(row[name])} entries; at most {most} are taken")
    try:
        return StrutLattice(*(row[name] for name in FIELDS))
    except InputError:
        raise
    except (ValueError, TypeError, RuntimeError, OverflowError, IndexError) as error:
        raise InputError(f"lattice: cannot be read ({type(error).__name__})") from error


def write_lattice(lattice: StrutLattice) -> dict[str, Any]:
    """The five fields as lists; every number reads back bit by bit."""
    return {name: getattr(lattice, name).tolist() for name in FIELDS}


def finite(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return float(value) if math.isfinite(value) else None


def moduli(stiffness: Float[Tensor, "6 6"]) -> dict[str, float | None]:
    """Hill's E, K, G and nu, universal anisotropy, and E along three directions; None where one does not exist."""
    names = ("young", "bulk", "shear", "poisson", "anisotropy", "young_100", "young_110", "young_111")
    if not bool(is_stiff(stiffness)):
        return dict.fromkeys(names)
    hill = elasticity.hill_average(stiffness)
    directions = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.float64)
    along = elasticity.young_modulus(stiffness, directions / directions.norm(dim=1, keepdim=True))
    universal = float(elasticity.universal_anisotropy(stiffness))
    # zero but for rounding
    values = [hill.young, hill.bulk, hill.shear, hill.poisson, 0.0 if abs(universal) < 1e-10 else universal, *along]
    return {name: finite(float(value)) for name, value in zip(names, values, strict=True)}


def plain(value: Any) -> Any:
    """A nested value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return finite(value) if isinstance(value, float) else value

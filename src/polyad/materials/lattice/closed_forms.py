"""Cells whose stiffness is known exactly or to many digits, beside what the solver finds: the proof on one page.

For slender cells the values follow from the struts alone (E = 1, beams of circular section):

    simple cubic      S_11 = 3 / rho, S_12 = 0, S_44 = 3 pi / rho^2 (Kelvin-Mandel, Euler-Bernoulli)
    octet, bcc        one node a cell, so only its rotation theta is free, and cubic symmetry makes it zero:
                      W(eps) = 1/(2V) sum { E A L (n.eps n)^2 + 12 (E I / L) |(1 - n n) eps n - theta x n|^2 }
    diamond, Kelvin   K = rho / 9; E_100 from an independent solver

Of the one-node cells: with I = A r^2 / 4 and A L = rho V / m for m equal struts,

    C_11 / rho = <n_x^4> + (3 r^2 / L^2) <n_x^2 (1 - n_x^2)>,
    C_12 / rho = (1 - 3 r^2 / L^2) <n_x^2 n_y^2>,
    C_44 / rho = 2 <n_y^2 n_z^2> + (3 r^2 / L^2) <(n_y^2 + n_z^2)/2 - 2 n_y^2 n_z^2>     (Kelvin-Mandel)

with averages over the struts. Source: catalogue values recomputed with an independent solver, and the formulas above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.materials import elasticity
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.homogenization import effective_stiffness
from polyad.materials.lattice.nets.named import named_cell


@final
@dataclass(frozen=True)
class KnownValue:
    """One known number beside the one computed.

    Args:
        cell: name of the cell.
        density: relative density.
        beams: "Euler-Bernoulli" or "Timoshenko".
        quantity: what is compared.
        exact: the known value.
        computed: Polyad's.
        tolerance: digits of the known value: 1e-9 for a formula, half a unit of the last digit where printed.
        basis: "formula" or "printed".
    """

    cell: str
    density: float
    beams: str
    quantity: str
    exact: float
    computed: float
    tolerance: float
    basis: str

    @property
    def error(self) -> float:
        """Relative error; absolute where the exact value is zero."""
        return abs(self.computed - self.exact) / (abs(self.exact) or 1.0)

    @property
    def holds(self) -> bool:
        """Whether the two agree to all digits that are known."""
        return self.error <= self.tolerance


def known_values() -> list[KnownValue]:
    """Solve all cells whose values are known and put both numbers side by side."""
    rows = []
    for cell, density, shear, entries in _known():
        lattice = named_cell(cell, density=density)
        stiffness = effective_stiffness(lattice, shear=shear)
        for quantity, exact, digit in entries:
            known = exact(lattice) if callable(exact) else exact
            # agreement to all printed digits: half a unit of the last one
            tolerance = 1e-9 if digit is None else 0.5 * digit / abs(known)
            rows.append(
                KnownValue(
                    cell=cell,
                    density=density,
                    beams="Timoshenko" if shear else "Euler-Bernoulli",
                    quantity=quantity,
                    exact=known,
                    computed=float(_QUANTITIES[quantity](stiffness, density)),
                    tolerance=tolerance,
                    basis="formula" if digit is None else "printed",
                )
            )
    return rows


Exact = float | Callable[[StrutLattice], float]


def _known() -> list[tuple[str, float, bool, list[tuple[str, Exact, float | None]]]]:
    """(cell, density, shear, [(quantity, exact value, unit of its last printed digit or None for a formula)])."""
    one_node: list[tuple[str, Exact, float | None]] = [
        ("C11 / rho", lambda lattice: _one_node(lattice)[0], None),
        ("C12 / rho", lambda lattice: _one_node(lattice)[1], None),
        ("C44 / rho", lambda lattice: _one_node(lattice)[2], None),
    ]

    def printed(*values: float) -> list[tuple[str, Exact, float | None]]:
        names = ("C11 / rho", "C12 / rho", "C44 / rho")
        return [(name, value, 1e-10) for name, value in zip(names, values, strict=True)]

    return [
        ("simple_cubic", 0.003, False, [("S11", 1000.0, None), ("S12", 0.0, None)]),
        ("simple_cubic", 0.01, False, [("S44", 3 * math.pi / 0.01**2, None)]),
        ("octet", 0.01, False, one_node + printed(0.1668542326, 0.0832395504, 0.1668542326)),
        ("bcc", 0.01, False, one_node + printed(0.1115195029, 0.1109069152, 0.2224264181)),
        ("diamond", 0.001, False, [("K / rho", 1 / 9, None), ("E100 / rho^2", 0.3674176, 1e-7)]),
        ("kelvin", 0.001, False, [("K / rho", 1 / 9, None), ("E100 / rho^2", 0.5996710, 1e-7)]),
        (
            "bcc_sc",
            0.05,
            True,
            [("E100", 0.00664543, 1e-8), ("nu100", 0.300637, 1e-6), ("G", 0.00390098, 1e-8)],
        ),
    ]


def _one_node(lattice: StrutLattice) -> tuple[float, float, float]:
    """C11, C12 and C44 over rho of a cubic cell with one node and equal struts, by the formulas above."""
    length = lattice.edge_lengths
    n2 = (lattice.edge_vectors / length[:, None]) ** 2
    bending = 3 * float(lattice.radius[0] / length[0]) ** 2
    fourth, mixed = float((n2[:, 0] ** 2).mean()), float((n2[:, 0] * n2[:, 1]).mean())
    square = float(n2[:, 0].mean())
    return (
        fourth + bending * (square - fourth),
        (1 - bending) * mixed,
        2 * mixed + bending * (square - 2 * mixed),
    )


def _compliance(row: int, column: int) -> Callable[[Float[Tensor, "6 6"], float], Tensor]:
    return lambda stiffness, density: torch.linalg.inv(stiffness)[row, column]


def _stiffness_by_density(row: int, column: int) -> Callable[[Float[Tensor, "6 6"], float], Tensor]:
    return lambda stiffness, density: stiffness[row, column] / density


def _young(stiffness: Tensor) -> Tensor:
    return elasticity.young_modulus(stiffness, torch.tensor([1.0, 0.0, 0.0], dtype=stiffness.dtype))


_QUANTITIES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "S11": _compliance(0, 0),
    "S12": _compliance(0, 1),
    "S44": _compliance(3, 3),
    "C11 / rho": _stiffness_by_density(0, 0),
    "C12 / rho": _stiffness_by_density(0, 1),
    "C44 / rho": _stiffness_by_density(3, 3),
    "K / rho": lambda stiffness, density: elasticity.reuss_average(stiffness).bulk / density,
    "E100 / rho^2": lambda stiffness, density: _young(stiffness) / density**2,
    "E100": lambda stiffness, density: _young(stiffness),
    "nu100": lambda stiffness, density: -torch.linalg.inv(stiffness)[0, 1] * _young(stiffness),
    "G": lambda stiffness, density: stiffness[3, 3] / 2,
}

"""Members of the kinds in `polyad.protocols`, with what their contract test needs to call them.

A function that a card names under `contracts` has an entry here; the layout test says so when one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from polyad.materials import lattice
from polyad.materials.lattice import LatticeBatch, StrutLattice
from polyad.tensors import chebyshev


@final
@dataclass(frozen=True)
class SolverMember:
    """A solver and problems for it.

    Args:
        name: dotted name as cards have it: import name of the module and name in its api.
        solve: the function itself.
        problem: makes a well-posed problem of this dtype, the same at every call.
        refused: solve something ill-posed; each must raise InputError.
        float32_tolerance: allowed difference of float32 from float64, relative to the largest number.
    """

    name: str
    solve: Callable[[Any], Any]
    problem: Callable[[torch.dtype], Any]
    refused: Sequence[Callable[[], Any]]
    float32_tolerance: float = 1e-4


@final
@dataclass(frozen=True)
class GeneratorMember:
    """A generator and requests for it.

    Args:
        name: dotted name as cards have it: import name of the module and name in its api.
        draw: draws with a seed from an input that `source` makes.
        source: makes the input, the same at every call.
        refused: ask for something impossible; each must raise InputError.
    """

    name: str
    draw: Callable[[Any, int], Any]
    source: Callable[[], Any]
    refused: Sequence[Callable[[], Any]]


def kelvin_like(dtype: torch.dtype) -> StrutLattice:
    """A small cell without symmetry: three nodes, eight struts of unequal radii."""
    return StrutLattice(
        cell=torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.1, 0.05], [0.02, 0.0, 0.9]], dtype=dtype),
        positions=torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.45, 0.4], [0.2, 0.6, 0.7]], dtype=dtype),
        edge_index=torch.tensor([[0, 0, 0, 1, 1, 2, 0, 1], [0, 0, 0, 0, 0, 0, 1, 2]]),
        edge_shift=torch.tensor(
            [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
        ),
        radius=torch.linspace(0.02, 0.05, 8, dtype=dtype),
    )


def batch_of_two(dtype: torch.dtype) -> LatticeBatch:
    return LatticeBatch.from_lattices([kelvin_like(dtype), kelvin_like(dtype).tile((2, 1, 1))])


_BAD_LATTICE_CALLS = [
    lambda: lattice.homogenize(kelvin_like(torch.float64), young_modulus=-1.0),
    lambda: lattice.homogenize(kelvin_like(torch.float64), young_modulus=float("nan")),
    lambda: lattice.homogenize(kelvin_like(torch.float64), poisson_ratio=0.7),
    lambda: lattice.homogenize(kelvin_like(torch.float64), method="magic"),
]

SOLVERS = [
    SolverMember(
        "polyad.materials.lattice.homogenize",
        lattice.homogenize,
        kelvin_like,
        _BAD_LATTICE_CALLS,
        float32_tolerance=1e-3,
    ),
    SolverMember(
        "polyad.materials.lattice.effective_stiffness",
        lattice.effective_stiffness,
        batch_of_two,
        [lambda: lattice.effective_stiffness(batch_of_two(torch.float64), poisson_ratio=-1.5)],
        float32_tolerance=1e-3,
    ),
]

GENERATORS = [
    GeneratorMember(
        "polyad.materials.lattice.StrutLattice.perturb",
        lambda cell, seed: cell.perturb(0.02, seed=seed),
        lambda: kelvin_like(torch.float64),
        [lambda: kelvin_like(torch.float64).perturb(float("nan"), seed=0)],
    ),
    GeneratorMember(
        "polyad.tensors.chebyshev.random_cluster",
        lambda count, seed: chebyshev.random_cluster(count, separation=0.2, seed=seed),
        lambda: 30,
        [
            lambda: chebyshev.random_cluster(0, seed=0),
            lambda: chebyshev.random_cluster(5, half_width=float("nan"), seed=0),
            lambda: chebyshev.random_cluster(5, separation=float("nan"), seed=0),
        ],
    ),
    GeneratorMember(
        "polyad.tensors.chebyshev.lattice_with_vacancies",
        lambda cells, seed: chebyshev.lattice_with_vacancies(cells, vacancies=0.2, seed=seed),
        lambda: 4,
        [
            lambda: chebyshev.lattice_with_vacancies(4, vacancies=float("nan"), seed=0),
            lambda: chebyshev.lattice_with_vacancies(4, half_width=-1.0, seed=0),
        ],
    ),
]

"""Scattered values at continuous indices for claims: a smooth surface, a made field of a city's air, files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.claims.data import find_data
from polyad.tensors.formats import EntryFit
from polyad.tensors.functional import FunctionalPosterior, read_entries


@final
@dataclass(frozen=True, eq=False)
class Scattered:
    """Values to learn from and values held back; indices scaled to [0, 1] in every mode.

    Args:
        name: what it is.
        indices: (N, K).
        values: (N,).
        test_indices: (M, K).
        test_values: (M,).
        grids: on which discretised decompositions are tried.
        shaped_grids: more of them, shaped after the problem.
        unit: of the values.
    """

    name: str
    indices: Tensor
    values: Tensor
    test_indices: Tensor
    test_values: Tensor
    grids: tuple[tuple[int, ...], ...]
    shaped_grids: tuple[tuple[int, ...], ...] = ()
    unit: str = "standard deviations"


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """One problem: errors on what was held back, the fits behind them, and the share that 90 % intervals cover."""

    problem: Scattered
    fit: FunctionalPosterior
    baseline_fit: EntryFit
    baseline_grid: tuple[int, ...]
    ours: float
    baseline: float
    covered: float


def latent_functions(points: Tensor) -> tuple[Tensor, Tensor]:
    """Two functions of each coordinate, (n, 2) and (n, 2)."""
    first, second = points[:, 0], points[:, 1]
    left = (torch.exp(-2 * first) * torch.sin(1.5 * math.pi * first), torch.cos(2 * math.pi * first))
    right = (torch.sin(2 * math.pi * second).square() * torch.cos(2 * math.pi * second), second.square() - 0.4)
    return torch.stack(left, 1), torch.stack(right, 1)


def surface(points: Tensor) -> Tensor:
    """A smooth function of rank 2 on the unit square; its standard deviation is about 0.29."""
    left, right = latent_functions(points)
    return left[:, 0] * right[:, 0] * 2 + left[:, 1] * right[:, 1]


def surface_problem(seed: int, *, count: int = 200, noise: float = 0.05) -> Scattered:
    """`count` noisy values of the surface at random points; a fine grid of it without noise to compare with."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    values = surface(points) + noise * torch.randn(count, dtype=torch.float64, generator=generator)
    line = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    grid = torch.cartesian_prod(line, line)
    return Scattered(
        "surface", points, values, grid, surface(grid), ((6, 6), (8, 8), (10, 10), (14, 14), (20, 20), (50, 50))
    )


def air_problem(*, count: int = 8000, held_back: int = 2000, seed: int = 0) -> Scattered:
    """A made field: positions along a line, six pollutants, a year in steps of six hours.

    The sum of four products of a smooth function of the position, a weight of the pollutant and a course in time:
    season, week, and two that wander with a memory of nine days; and noise of 0.3 standard deviations of the field.
    """
    generator = torch.Generator().manual_seed(seed)
    total, steps = count + held_back, 1460

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    place = torch.rand(total, dtype=torch.float64, generator=generator)
    pollutant = torch.randint(0, 6, (total,), generator=generator)
    moment = torch.randint(0, steps, (total,), generator=generator)
    spatial = torch.stack(
        [1 + 0 * place, torch.exp(-(((place - 0.3) / 0.15) ** 2)), torch.sin(5 * place), place.square()], 1
    )
    memory = math.exp(-365 / 9 / steps)
    walk = normal(2)
    course = [walk]
    for _ in range(steps - 1):
        walk = memory * walk + math.sqrt(1 - memory**2) * normal(2)
        course.append(walk)
    wander = torch.stack(course)[moment]
    moment = (moment.double() + 0.5) / steps
    season = torch.cos(2 * math.pi * moment)
    week = torch.sin(2 * math.pi * 52 * moment)
    temporal = torch.stack([season, wander[:, 0], week, wander[:, 1]], 1)
    values = (spatial * temporal * normal(6, 4)[pollutant]).sum(1)
    values = (values - values.mean()) / values.std() + 0.3 * normal(total)
    indices = torch.stack([place, pollutant.double() / 5, moment], 1)
    return Scattered(
        "made air",
        indices[:count],
        values[:count],
        indices[count:],
        values[count:],
        ((10, 6, 52), (20, 6, 150), (20, 6, 365)),
        ((6, 6, 730), (10, 6, 1460)),
    )


def filed_problem(
    name: str,
    stem: str,
    sizes: tuple[int, ...],
    grids: tuple[tuple[int, ...], ...],
    shaped_grids: tuple[tuple[int, ...], ...],
    *,
    unit: str = "standard deviations",
    most: int | None = None,
) -> Scattered | None:
    """Real entries where the data folder has `tensors/<stem>_train` and `_test` (.npz); None elsewhere.

    Indices are those of the finest grid, 0..size-1. Of more than `most` training entries a random part is used.
    """
    places = [find_data(f"tensors/{stem}_{part}.npz") for part in ("train", "test")]
    if places[0] is None or places[1] is None:
        return None
    train, test = read_entries(places[0]), read_entries(places[1])
    scale = torch.tensor(sizes, dtype=torch.float64) - 1
    rows = torch.arange(len(train.values))
    if most is not None and len(rows) > most:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]
    return Scattered(
        name,
        train.indices[rows] / scale,
        train.values[rows],
        test.indices / scale,
        test.values,
        grids,
        shaped_grids,
        unit,
    )


def cells_of(indices: Tensor, grid: Sequence[int]) -> Tensor:
    """Cell of every index tuple on an even grid of [0, 1]^K."""
    sizes = torch.tensor(grid)
    return torch.minimum((indices * sizes).long(), sizes - 1)

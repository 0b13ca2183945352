"""Rivals of the functional Tucker claim: Tucker and CP on grids, and one Gaussian process on both coordinates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.claims.tensors._continuous_problems import Scattered, cells_of
from polyad.linalg.matern import Matern
from polyad.tensors.formats import EntryFit, cp_from_entries, tucker_from_entries


def root_mean_square(prediction: Tensor, truth: Tensor) -> float:
    """Of the difference."""
    return float((prediction - truth).square().mean().sqrt())


@final
@dataclass(frozen=True)
class GridSetting:
    """A decomposition on a grid: which, and its ridge and start."""

    cp: bool
    grid: tuple[int, ...]
    rank: int
    ridge: float
    seed: int = 0

    def fit(self, problem: Scattered) -> EntryFit:
        """On the values to learn from, less their mean."""
        places, values = cells_of(problem.indices, self.grid), problem.values - problem.values.mean()
        if self.cp:
            return cp_from_entries(
                places, values, self.grid, self.rank, ridge=self.ridge, sweeps=50, tolerance=1e-4, seed=self.seed
            )
        ranks = [min(self.rank, size) for size in self.grid]
        return tucker_from_entries(
            places, values, self.grid, ranks, ridge=self.ridge, sweeps=50, tolerance=1e-4, seed=self.seed
        )

    def error(self, problem: Scattered, fit: EntryFit) -> float:
        """On the values held back."""
        predicted = fit.value.entries(cells_of(problem.test_indices, self.grid)) + problem.values.mean()
        return root_mean_square(predicted, problem.test_values)


def best_on_grid(problem: Scattered, settings: Iterable[GridSetting]) -> tuple[float, GridSetting, EntryFit]:
    """Lowest error on the values held back."""
    tried = ((setting, setting.fit(problem)) for setting in settings)
    return min(((s.error(problem, fit), s, fit) for s, fit in tried), key=lambda outcome: outcome[0])


def plain_process(problem: Scattered) -> Tensor:
    """Mean of one Gaussian process on both coordinates, a product of Matern kernels of the highest evidence."""
    logarithms = torch.tensor([0.3, 0.3, 1.0, 0.1], dtype=torch.float64).log().requires_grad_()
    identity, values = torch.eye(len(problem.values), dtype=torch.float64), problem.values

    def covariance(first: Tensor, second: Tensor) -> Tensor:
        result = logarithms[2].exp()
        for mode in range(2):
            prior = Matern("matern52", logarithms[mode].exp(), torch.ones((), dtype=torch.float64))
            result = result * prior.covariance(first[:, None, mode] - second[:, mode])
        return result

    def root() -> Tensor:
        total = covariance(problem.indices, problem.indices)
        return torch.linalg.cholesky(total + (logarithms[3].exp().square() + 1e-8) * identity)

    def loss() -> Tensor:
        optimizer.zero_grad()
        factor = root()
        whitened = torch.linalg.solve_triangular(factor, values[:, None], upper=False)
        value = whitened.square().sum() / 2 + factor.diagonal().log().sum()
        value.backward()
        return value

    optimizer = torch.optim.LBFGS([logarithms], max_iter=60, line_search_fn="strong_wolfe")
    optimizer.step(loss)
    with torch.no_grad():
        weights = torch.cholesky_solve(values[:, None], root())[:, 0]
        return covariance(problem.test_indices, problem.indices) @ weights

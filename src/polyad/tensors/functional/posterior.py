"""What a fit gives: the latent functions, the core and the noise, and predictions at any index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.state_space import SmoothedChain
from polyad.tensors.formats.row_products import RowProducts


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """Mean and variance at every query, in the unit of the values."""

    mean: Tensor
    variance: Tensor

    def interval(self, level: float = 0.9) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """Ends of the central Gaussian interval that holds this share of the probability."""
        if not 0 < level < 1:
            raise InputError(f"level: {level} was given; it must lie between 0 and 1")
        width = math.sqrt(2) * torch.erfinv(torch.as_tensor(level, dtype=torch.float64)).item() * self.variance.sqrt()
        return self.mean - width, self.mean + width


@final
@dataclass(frozen=True, eq=False)
class FunctionalPosterior:
    """The approximate posterior q(u^1) .. q(u^K) q(w) q(tau) of a functional Tucker or CP model.

    Args:
        functions: per mode the latent functions (R_k of them), smoothed; `functions[k].values_at(indices)`.
        core: mean of the core, (R_1, .., R_K), or (R,) where it is superdiagonal.
        core_covariance: of vec(core), row by row.
        noise_shape: of the Gamma posterior of the noise precision of the scaled values.
        noise_rate: the same, per unit of tau.
        offset: was subtracted from the values before the fit.
        scale: divided them after that.
        evidence: lower bound on the logarithm of the probability of the scaled values, after every round.
        changes: relative change of the fitted values in every round, divided by 1 - damping.
        stopped_by: "tolerance", "rounds" or "seconds".
        seconds: wall time.
        products: how the core meets the functions.
    """

    functions: tuple[SmoothedChain, ...]
    core: Tensor
    core_covariance: Tensor
    noise_shape: float
    noise_rate: float
    offset: float
    scale: float
    evidence: tuple[float, ...]
    changes: tuple[float, ...]
    stopped_by: str
    seconds: float
    products: RowProducts

    @property
    def noise(self) -> float:
        """Standard deviation of the noise, 1 / sqrt(E[tau]), in the unit of the values."""
        return self.scale * math.sqrt(self.noise_rate / self.noise_shape)

    def predict(self, indices: Float[Tensor, "M K"], *, noise: bool = True) -> Prediction:
        """Mean and variance of new values at continuous indices, seen or unseen.

        Args:
            indices: one row a query, one column a mode.
            noise: the variance is that of a measured value; without it, that of the noiseless field.

        Raises:
            InputError: another number of modes, or indices that are not finite.
        """
        if indices.ndim != 2 or indices.shape[1] != len(self.functions):
            raise InputError(
                f"indices: shape {tuple(indices.shape)} was given, (queries, {len(self.functions)}) is needed"
            )
        indices = indices.to(self.core)
        means, seconds, places = [], [], []
        for mode, chain in enumerate(self.functions):
            unique, place = indices[:, mode].unique(return_inverse=True)
            mean, covariance = chain.values_at(unique)
            means.append(mean)
            seconds.append(second_moments(mean, covariance))
            places.append(place)
        vector = self.core.flatten()
        paired = self.products.pair(self.core_covariance + torch.outer(vector, vector), [m.shape[1] for m in means])
        results = []
        for rows in torch.arange(len(indices), device=indices.device).split(
            self.products.chunk([second.shape[1] for second in seconds])
        ):
            mean = self.products.contract(self.core, gather(means, places, rows))
            square = self.products.contract(paired, gather(seconds, places, rows))
            results.append(torch.stack([mean, (square - mean.square()).clamp_min(0)]))
        mean, variance = torch.cat(results, 1) if results else indices.new_zeros(2, 0)
        if noise:
            variance = variance + self.noise_rate / max(self.noise_shape - 1, 0.5)
        return Prediction(self.offset + self.scale * mean, self.scale**2 * variance)


def second_moments(means: Tensor, covariances: Tensor) -> Tensor:
    """E[u u^T] flattened, (T, R^2)."""
    return (covariances + means[..., :, None] * means[..., None, :]).flatten(-2)


def gather(tables: Sequence[Tensor], places: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """For these entries the row of every mode's table."""
    return [table[place[rows]] for table, place in zip(tables, places, strict=True)]

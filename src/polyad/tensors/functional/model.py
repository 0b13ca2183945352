"""The two models, functional Tucker and functional CP: settings first, then `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.matern import Matern
from polyad.tensors.formats.row_products import CPRows, RowProducts, TuckerRows
from polyad.tensors.functional.posterior import FunctionalPosterior
from polyad.tensors.functional.propagation import Problem, propagate

LARGEST_CORE = 4096
"""Most numbers of a core; its covariance is dense."""


@final
@dataclass(frozen=True)
class Inference:
    """How the posterior is found.

    Args:
        rounds: largest number of rounds.
        damping: weight of the old message in every update of a mode, 0 <= damping < 1; 0 raises the evidence bound in
            every round.
        core_damping: the same for the core.
        tolerance: stop when a round changes the fitted values by less, relative to the values and undamped.
        seconds: stop after this wall time.
        starts: random starts; the one with the best evidence after `scouting` rounds goes on.
        scouting: rounds of every start.
        standardise: subtract the mean of the values and divide by their standard deviation before the fit.
        noise_prior: shape and rate of the Gamma prior of the noise precision of the scaled values.
    """

    rounds: int = 200
    damping: float = 0.0
    core_damping: float = 0.0
    tolerance: float = 1e-4
    seconds: float | None = None
    starts: int = 3
    scouting: int = 15
    standardise: bool = True
    noise_prior: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("rounds", "starts", "scouting"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} was given; at least 1 is needed")
        for name in ("damping", "core_damping"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} was given; it must be at least 0 and below 1")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds: {self.seconds} was given; give a positive time, or None for no limit")
        if not self.tolerance >= 0:
            raise InputError(f"tolerance: {self.tolerance} was given; it must not be negative")
        if not all(number > 0 for number in self.noise_prior):
            raise InputError(f"noise_prior: {self.noise_prior} was given; shape and rate must be positive")


@final
@dataclass(frozen=True, eq=False)
class FunctionalBayesianTucker:
    """Tucker decomposition whose factors are functions of continuous indices (FunBaT).

    Args:
        ranks: R_k, number of latent functions of every mode.
        kernel: Matern kernel of all modes, or one a mode.
        lengthscales: in the unit of the indices, one for all modes or one a mode. A mode of unordered categories:
            number them and take a lengthscale far below 1.
        variances: of the functions, one for all modes or one a mode.
        core: held fixed where given, (R_1, .., R_K); otherwise inferred with prior N(0, I).
    """

    ranks: Sequence[int]
    kernel: str | Sequence[str] = "matern32"
    lengthscales: float | Sequence[float] = 0.3
    variances: float | Sequence[float] = 1.0
    core: Tensor | None = None

    def fit(
        self,
        indices: Float[Tensor, "N K"],
        values: Float[Tensor, " N"],
        *,
        inference: Inference | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> FunctionalPosterior:
        """Posterior given scattered values; several values at one index tuple are fine.

        Args:
            indices: a row for every value, a column for every mode.
            values: finite.
            inference: rounds, damping, stop, starts; the defaults where None.
            seed: of the random starts.
            progress: called with rounds done and the most there can be.

        Raises:
            InputError: shapes that do not match, NaN or infinity, ranks or settings out of range, a core whose
                covariance would not fit.
        """
        if prod(self.ranks) > LARGEST_CORE:
            raise InputError(
                f"ranks: {tuple(self.ranks)} make a core of {prod(self.ranks)} numbers, at most {LARGEST_CORE}; lower "
                "them or take FunctionalBayesianCP"
            )
        return _fit(
            _Setting(tuple(self.ranks), tuple(self.ranks), self.kernel, self.lengthscales, self.variances, self.core),
            TuckerRows(),
            indices,
            values,
            inference or Inference(),
            seed,
            progress,
        )


@final
@dataclass(frozen=True, eq=False)
class FunctionalBayesianCP:
    """CP decomposition whose factors are functions: the same model with a superdiagonal core of `rank` weights.

    Arguments as in `FunctionalBayesianTucker`; `core` is (rank,).
    """

    rank: int
    kernel: str | Sequence[str] = "matern32"
    lengthscales: float | Sequence[float] = 0.3
    variances: float | Sequence[float] = 1.0
    core: Tensor | None = None

    def fit(
        self,
        indices: Float[Tensor, "N K"],
        values: Float[Tensor, " N"],
        *,
        inference: Inference | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> FunctionalPosterior:
        """See `FunctionalBayesianTucker.fit`."""
        ranks = (self.rank,) * (indices.shape[1] if indices.ndim == 2 else 1)
        return _fit(
            _Setting(ranks, (self.rank,), self.kernel, self.lengthscales, self.variances, self.core),
            CPRows(),
            indices,
            values,
            inference or Inference(),
            seed,
            progress,
        )


@final
@dataclass(frozen=True, eq=False)
class _Setting:
    ranks: tuple[int, ...]
    core_shape: tuple[int, ...]
    kernel: str | Sequence[str]
    lengthscales: float | Sequence[float]
    variances: float | Sequence[float]
    core: Tensor | None

    def priors(self, like: Tensor) -> tuple[Matern, ...]:
        """One Matern prior a mode, of R_k functions."""
        order = len(self.ranks)
        kernels = [self.kernel] * order if isinstance(self.kernel, str) else list(self.kernel)
        lengthscales, variances = (_spread(given, order) for given in (self.lengthscales, self.variances))
        for name, given in (("kernel", kernels), ("lengthscales", lengthscales), ("variances", variances)):
            if len(given) != order:
                raise InputError(f"{name}: {len(given)} were given for {order} modes; give one, or one a mode")
        return tuple(
            Matern(kernel, like.new_full((rank,), lengthscale), like.new_full((rank,), variance))
            for rank, kernel, lengthscale, variance in zip(self.ranks, kernels, lengthscales, variances, strict=True)
        )


def _spread(given: float | Sequence[float], order: int) -> list[float]:
    return [float(given)] * order if isinstance(given, (int, float)) else [float(number) for number in given]


def _fit(
    setting: _Setting,
    products: RowProducts,
    indices: Tensor,
    values: Tensor,
    inference: Inference,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> FunctionalPosterior:
    begun = time.perf_counter()
    _check(setting, indices, values)
    indices, values = indices.detach(), values.detach()
    offset, scale = 0.0, 1.0
    if inference.standardise:
        offset = float(values.mean())
        scale = float((values - offset).square().mean().sqrt())
        if not scale > 0:
            raise InputError("values: all are equal; there is nothing to fit (or fit them with standardise=False)")
    scaled = (values - offset) / scale
    if not bool(torch.any(scaled != 0)):
        raise InputError("values: all are zero; there is nothing to fit")
    pairs = [indices[:, mode].unique(return_inverse=True) for mode in range(indices.shape[1])]
    with torch.no_grad():
        problem = Problem(
            tuple(unique for unique, _ in pairs),
            tuple(place for _, place in pairs),
            scaled,
            setting.priors(scaled),
            products,
            setting.core_shape,
            None if setting.core is None else setting.core.detach().to(scaled),
            inference.noise_prior,
        )
        run = propagate(
            problem,
            rounds=inference.rounds,
            damping=inference.damping,
            core_damping=inference.core_damping,
            tolerance=inference.tolerance,
            seconds=inference.seconds,
            starts=inference.starts,
            scouting=inference.scouting,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
        )
    state = run.state
    return FunctionalPosterior(
        tuple(chain for chain in state.functions if chain is not None),
        state.core,
        state.core_covariance,
        state.shape,
        state.rate,
        offset,
        scale,
        run.evidence,
        run.changes,
        run.stopped_by,
        time.perf_counter() - begun,
        products,
    )


def _check(setting: _Setting, indices: Tensor, values: Tensor) -> None:
    if indices.ndim != 2 or values.ndim != 1 or len(indices) != len(values) or len(values) == 0:
        raise InputError(
            f"indices, values: shapes {tuple(indices.shape)}, {tuple(values.shape)} were given; (N, K) and (N,) are "
            "needed, with at least one value"
        )
    if not indices.is_floating_point() or indices.dtype != values.dtype:
        raise InputError(
            f"indices, values: {indices.dtype} and {values.dtype} were given; one floating-point type is needed"
        )
    if not bool(torch.isfinite(indices).all() & torch.isfinite(values).all()):
        raise InputError("indices, values: NaN or infinity; leave out what was not observed")
    if len(setting.ranks) != indices.shape[1]:
        raise InputError(f"ranks: {len(setting.ranks)} were given for {indices.shape[1]} columns of indices")
    if min(setting.ranks) < 1:
        raise InputError(f"ranks: {setting.ranks} were given; each must be at least 1")
    if setting.core is not None and tuple(setting.core.shape) != setting.core_shape:
        raise InputError(f"core: shape {tuple(setting.core.shape)} was given, {setting.core_shape} is needed")

"""Gaussian processes on the line in linear time: Kalman filter, smoother and Markov bridge, all in parallel over time.

At sorted indices t_1 < .. < t_T the states of Matern processes (`matern`) are a Markov chain,

    x_1 ~ N(0, P),   x_{k+1} = A_k x_k + N(0, Q_k),   u_k = H x_k the values of the R functions,

so Gaussian regression costs O(T), not O(T^3). The functions of one chain are independent a priori and may be observed
together: at each index a Gaussian factor exp(eta^T u - u^T Lambda u / 2), given as natural mean eta and precision
Lambda. A missing observation is Lambda = 0 and eta = 0, and a singular Lambda is as good as any; `pseudo_observations`
makes the factors of means and covariances.

Filter and smoother are prefix sums of associative products: T steps take about 2 log2 T batched operations in place
of T small ones. Leading dimensions batch on top, everything is differentiable and stays on its device.

Between two neighbours with smoothed means m1, m2 and joint covariance S the state is a Markov bridge,

    B2 = Q1 A2^T (A2 Q1 A2^T + Q2)^{-1},   B1 = (I - B2 A2) A1,   V = (I - B2 A2) Q1,
    mean B1 m1 + B2 m2,   covariance V + [B1 B2] S [B1 B2]^T,   S_12 = G1 S_2 with G1 the gain of the left neighbour,

which equals the precision form V = (Q1^{-1} + A2^T Q2^{-1} A2)^{-1} and needs no inverse of a Q. Outside the indices A
and Q extrapolate, to the left with the signs of odd derivatives turned, because the processes are reversible.

Sources: H. E. Rauch, F. Tung, C. T. Striebel, AIAA J. 3 (1965) 1445 (smoother); S. Sarkka and A. F. Garcia-Fernandez,
IEEE Trans. Autom. Control 66 (2021) 299 (prefix sums).

When not to use it: on inputs of more than one dimension, or for a handful of points, where the dense formula is
simpler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg._chain_products import filter_chain, smooth_chain
from polyad.linalg.matern import Matern


@final
@dataclass(frozen=True, eq=False)
class SmoothedChain:
    """The posterior of the states at all indices, given all observations.

    Args:
        prior: the processes, `lengthscale` (*batch, R).
        indices: (T,), increasing.
        means: (*batch, T, n) of the states, n = R * prior.order, function by function, value before derivatives.
        covariances: (*batch, T, n, n).
        gains: (*batch, T - 1, n, n), G_k: Cov(x_k, x_{k+1}) = G_k Cov(x_{k+1}).
        log_evidence: (*batch,), logarithm of the integral of prior times all factors.
    """

    prior: Matern
    indices: Tensor
    means: Tensor
    covariances: Tensor
    gains: Tensor
    log_evidence: Tensor

    def values(self) -> tuple[Float[Tensor, "*batch T R"], Float[Tensor, "*batch T R R"]]:
        """Means and covariances of the functions' values at the indices."""
        return _values(self.means, self.covariances, self.prior.order)

    def values_at(
        self, queries: Float[Tensor, " M"]
    ) -> tuple[Float[Tensor, "*batch M R"], Float[Tensor, "*batch M R R"]]:
        """Means and covariances of the functions' values at any indices, in any order."""
        return _values(*self.states_at(queries), self.prior.order)

    def states_at(
        self, queries: Float[Tensor, " M"]
    ) -> tuple[Float[Tensor, "*batch M n"], Float[Tensor, "*batch M n n"]]:
        """Means and covariances of the states at any indices: the bridge between neighbours, extrapolation outside.

        Raises:
            InputError: a query that is not finite.
        """
        if not bool(torch.isfinite(queries).all()):
            raise InputError("queries: NaN or infinity; give finite indices")
        right = torch.searchsorted(self.indices.detach().contiguous(), queries.detach().contiguous(), right=True)
        before, after = right == 0, right == len(self.indices)
        inside = ~(before | after)
        parts = (
            (inside, self._between(queries[inside], right[inside])),
            (before, self._outside(queries[before], 0)),
            (after, self._outside(queries[after], -1)),
        )
        order = torch.cat([chosen.nonzero()[:, 0] for chosen, _ in parts]).argsort()
        means = torch.cat([mean for _, (mean, _) in parts], -2)[..., order, :]
        return means, torch.cat([covariance for _, (_, covariance) in parts], -3)[..., order, :, :]

    def _between(self, queries: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        left = right - 1
        first, noise_first = chain_transitions(self.prior, queries - self.indices[left])
        second, noise_second = chain_transitions(self.prior, self.indices[right] - queries)
        total = second @ noise_first @ second.mT + noise_second
        to_right = torch.linalg.solve(total, second @ noise_first).mT
        kept = torch.eye(total.shape[-1], dtype=total.dtype, device=total.device) - to_right @ second
        to_left = kept @ first
        covariance_right = self.covariances[..., right, :, :]
        cross = to_left @ self.gains[..., left, :, :] @ covariance_right @ to_right.mT
        covariance = (
            kept @ noise_first @ kept.mT
            + to_right @ (noise_second + covariance_right) @ to_right.mT
            + to_left @ self.covariances[..., left, :, :] @ to_left.mT
            + (cross + cross.mT)
        )
        mean = to_left @ self.means[..., left, :, None] + to_right @ self.means[..., right, :, None]
        return mean[..., 0], covariance

    def _outside(self, queries: Tensor, end: int) -> tuple[Tensor, Tensor]:
        growth, noise = chain_transitions(self.prior, (queries - self.indices[end]).abs())
        if end == 0:
            sign = 1 - 2 * (torch.arange(growth.shape[-1], device=growth.device) % self.prior.order % 2)
            growth, noise = (matrix * (sign[:, None] * sign) for matrix in (growth, noise))
        mean = growth @ self.means[..., end, :][..., None, :, None]
        return mean[..., 0], growth @ self.covariances[..., end, :, :][..., None, :, :] @ growth.mT + noise


def smooth(
    prior: Matern,
    indices: Float[Tensor, " T"],
    natural_means: Float[Tensor, "*batch T R"],
    precisions: Float[Tensor, "*batch T R R"],
    *,
    chain: tuple[Tensor, Tensor, Tensor] | None = None,
) -> SmoothedChain:
    """Condition the processes on Gaussian factors of their values at increasing indices.

    Args:
        prior: `lengthscale` of shape (*batch, R): R functions that are observed together, a batch of independent sets.
        indices: strictly increasing, any spacing, shared by the batch.
        natural_means: eta, precision times observed mean.
        precisions: Lambda, symmetric positive semidefinite; zero where nothing was observed.
        chain: `prior_chain(prior, indices)`, where many sets of factors are smoothed with one prior.

    Raises:
        InputError: indices that do not increase, shapes that do not match the prior, NaN, or a chain whose predicted
            covariance is singular in this precision (indices far too close for the lengthscale).
    """
    wanted = (*prior.lengthscale.shape[:-1], len(indices), *prior.lengthscale.shape[-1:])
    if prior.lengthscale.ndim == 0 or natural_means.shape != wanted or precisions.shape != (*wanted, wanted[-1]):
        raise InputError(
            f"natural_means, precisions: shapes {tuple(natural_means.shape)}, {tuple(precisions.shape)} were given "
            f"beside a prior of shape {tuple(prior.lengthscale.shape)} and {len(indices)} indices; "
            "(*batch, T, R) and (*batch, T, R, R) are needed for a prior of shape (*batch, R)"
        )
    if not bool(torch.isfinite(natural_means).all() & torch.isfinite(precisions).all()):
        raise InputError("natural_means, precisions: NaN or infinity; a missing observation has precision zero")
    start, growth, noise = prior_chain(prior, indices) if chain is None else chain
    means, covariances, log_evidence = filter_chain(start, growth, noise, natural_means, precisions, prior.order)
    return SmoothedChain(prior, indices, *smooth_chain(means, covariances, growth, noise), log_evidence)


def prior_chain(
    prior: Matern, indices: Float[Tensor, " T"]
) -> tuple[Float[Tensor, "*batch 1 n n"], Float[Tensor, "*batch S n n"], Float[Tensor, "*batch S n n"]]:
    """P, and A and Q between neighbouring indices, of the R functions of every set stacked block by block.

    Raises:
        InputError: indices that do not increase strictly.
    """
    _check_indices(indices)
    start = _block_diagonal(prior.stationary_covariance()[..., None, :, :])
    return (start, *chain_transitions(prior, indices.diff()))


def pseudo_observations(
    means: Float[Tensor, "*batch T R"],
    covariances: Float[Tensor, "*batch T R R"],
    *,
    observed: Bool[Tensor, "*batch T"] | None = None,
) -> tuple[Float[Tensor, "*batch T R"], Float[Tensor, "*batch T R R"]]:
    """Natural means and precisions of Gaussian observations; where `observed` is False nothing is read, both are zero.

    Raises:
        InputError: NaN in an observation, or a covariance that is not positive definite.
    """
    if observed is not None:
        identity = torch.eye(means.shape[-1], dtype=means.dtype, device=means.device)
        means = torch.where(observed[..., None], means, 0)
        covariances = torch.where(observed[..., None, None], covariances, identity)
    if not bool(torch.isfinite(means).all() & torch.isfinite(covariances).all()):
        raise InputError("means, covariances: NaN or infinity; mark missing ones with observed=False")
    root, failed = torch.linalg.cholesky_ex(covariances)
    if bool(failed.any()):
        raise InputError("covariances: one is not positive definite; give the covariance of the observation's error")
    precisions = torch.cholesky_inverse(root)
    natural = (precisions @ means[..., None])[..., 0]
    if observed is not None:
        precisions = torch.where(observed[..., None, None], precisions, 0)
    return natural, precisions


def chain_transitions(
    prior: Matern, steps: Float[Tensor, " M"]
) -> tuple[Float[Tensor, "*batch M n n"], Float[Tensor, "*batch M n n"]]:
    """A and Q over these steps of the R functions of every set, stacked block by block."""
    growth, noise = prior.transition(steps)
    return _block_diagonal(growth), _block_diagonal(noise)


def _block_diagonal(blocks: Tensor) -> Tensor:
    """(*batch, R, M, d, d) to (*batch, M, R d, R d)."""
    *batch, count, points, size, _ = blocks.shape
    result = blocks.new_zeros(*batch, points, count, size, count, size)
    result.diagonal(dim1=-4, dim2=-2).copy_(blocks.movedim(-4, -1))
    return result.reshape(*batch, points, count * size, count * size)


def _values(means: Tensor, covariances: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return means[..., ::step], covariances[..., ::step, ::step]


def _check_indices(indices: Tensor) -> None:
    if len(indices) == 0 or not bool(torch.isfinite(indices).all()):
        raise InputError("indices: at least one is needed and all must be finite")
    if not bool((indices.diff() > 0).all()):
        raise InputError("indices: they must increase strictly; sort them and merge the observations at equal ones")

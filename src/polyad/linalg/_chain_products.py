"""Kalman filter and smoother of a Gauss-Markov chain as prefix sums; see `state_space`.

Every matrix is (*batch, T, n, n) and every vector a matrix of one column, so that time is always dimension -3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyad.errors import InputError

Elements = tuple[Tensor, ...]


def prefix_products(combine: Callable[[Elements, Elements], Elements], elements: Elements) -> Elements:
    """All products e_1 * .. * e_k of an associative `combine(earlier, later)`, by pairs: log2 T levels."""
    length = elements[0].shape[-3]
    if length == 1:
        return elements
    firsts = tuple(element[..., 0 : length - 1 : 2, :, :] for element in elements)
    seconds = tuple(element[..., 1::2, :, :] for element in elements)
    odd = prefix_products(combine, combine(firsts, seconds))
    later = tuple(element[..., 2::2, :, :] for element in elements)
    even = combine(tuple(element[..., : (length - 1) // 2, :, :] for element in odd), later) if length > 2 else later
    results = []
    for element, at_odd, at_even in zip(elements, odd, even, strict=True):
        result = torch.empty_like(element)
        result[..., 0:1, :, :] = element[..., 0:1, :, :]
        result[..., 1::2, :, :] = at_odd
        result[..., 2::2, :, :] = at_even
        results.append(result)
    return tuple(results)


def filter_chain(
    start: Tensor, growth: Tensor, noise: Tensor, natural_means: Tensor, precisions: Tensor, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Filtered means (*batch, T, n, 1), covariances, and the logarithm of the evidence (*batch,).

    `start` is P (*batch, 1, n, n); values are every `stride`-th component of a state.
    """
    eta, information = _on_states(natural_means, precisions, stride)
    moves = torch.cat([torch.zeros_like(start), growth], -3)
    spreads = torch.cat([start, noise], -3)
    size = start.shape[-1]
    solved = torch.linalg.solve(
        _identity(start) + spreads @ information, torch.cat([moves, spreads, spreads @ eta], -1)
    )
    kept, covariance, mean = solved.tensor_split((size, 2 * size), -1)
    elements = (
        kept,
        mean,
        _symmetric(covariance),
        moves.mT @ (eta - information @ mean),
        _symmetric(moves.mT @ information @ kept),
    )
    _, means, covariances, _, _ = prefix_products(_combine_filter, elements)
    return (
        means,
        covariances,
        _log_evidence(start, growth, noise, means, covariances, natural_means, precisions, stride),
    )


def smooth_chain(means: Tensor, covariances: Tensor, growth: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Smoothed means (*batch, T, n), covariances and the gains (*batch, T - 1, n, n)."""
    before, spread = means[..., :-1, :, :], covariances[..., :-1, :, :]
    predicted = growth @ spread @ growth.mT + noise
    root, failed = torch.linalg.cholesky_ex(predicted)
    if bool(failed.any()):
        raise InputError(
            "indices: a predicted covariance is singular in this precision; merge indices that are far closer than the "
            "lengthscale, or lower the precision of the observations"
        )
    gains = torch.cholesky_solve(growth @ spread, root).mT
    left = _identity(growth) - gains @ growth
    remaining = left @ spread @ left.mT + gains @ noise @ gains.mT
    elements = (
        torch.cat([gains, torch.zeros_like(covariances[..., -1:, :, :])], -3),
        torch.cat([left @ before, means[..., -1:, :, :]], -3),
        torch.cat([_symmetric(remaining), covariances[..., -1:, :, :]], -3),
    )
    backwards = prefix_products(_combine_smoother, tuple(element.flip(-3) for element in elements))
    _, smoothed, covariance = (element.flip(-3) for element in backwards)
    return smoothed[..., 0], covariance, gains


def _combine_filter(earlier: Elements, later: Elements) -> Elements:
    """Transition A, mean b, covariance C of the last state given the first; information (eta, J) on the first."""
    move, mean, spread, eta, information = earlier
    move_next, mean_next, spread_next, eta_next, information_next = later
    size = move.shape[-1]
    solved = torch.linalg.solve(
        _identity(move) + spread @ information_next, torch.cat([move, spread, mean + spread @ eta_next], -1)
    )
    kept, narrowed, shifted = solved.tensor_split((size, 2 * size), -1)
    return (
        move_next @ kept,
        move_next @ shifted + mean_next,
        _symmetric(move_next @ narrowed @ move_next.mT) + spread_next,
        move.mT @ (eta_next - information_next @ shifted) + eta,
        _symmetric(move.mT @ information_next @ kept) + information,
    )


def _combine_smoother(later: Elements, earlier: Elements) -> Elements:
    """x_earlier = gain x_last + mean + N(0, spread); the prefix runs backwards, so `later` was reached first."""
    gain, mean, spread = earlier
    gain_next, mean_next, spread_next = later
    return gain @ gain_next, gain @ mean_next + mean, _symmetric(gain @ spread_next @ gain.mT) + spread


def _log_evidence(
    start: Tensor,
    growth: Tensor,
    noise: Tensor,
    means: Tensor,
    covariances: Tensor,
    natural_means: Tensor,
    precisions: Tensor,
    stride: int,
) -> Tensor:
    """Sum over k of log int N(u; m, S) exp(eta^T u - u^T L u / 2) du, with v the filtered value:

    -1/2 log det(I + L S) + (eta^T v + m^T eta - m^T L v) / 2.
    """
    predicted_mean = torch.cat([torch.zeros_like(means[..., :1, :, :]), growth @ means[..., :-1, :, :]], -3)
    predicted = torch.cat([start, growth @ covariances[..., :-1, :, :] @ growth.mT + noise], -3)
    value, filtered = predicted_mean[..., ::stride, 0], means[..., ::stride, 0]
    weighted = (precisions @ filtered[..., None])[..., 0]
    linear = (natural_means * (filtered + value) - value * weighted).sum((-2, -1)) / 2
    spread = precisions @ predicted[..., ::stride, ::stride]
    return linear - torch.linalg.slogdet(_identity(spread) + spread).logabsdet.sum(-1) / 2


def _on_states(natural_means: Tensor, precisions: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """H^T eta and H^T Lambda H."""
    size = natural_means.shape[-1] * stride
    eta = natural_means.new_zeros(*natural_means.shape[:-1], size)
    information = natural_means.new_zeros(*natural_means.shape[:-1], size, size)
    eta[..., ::stride] = natural_means
    information[..., ::stride, ::stride] = precisions
    return eta[..., None], information


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2

"""Estimators of x, y, z from T: best rank-one approximation, leading vectors of unfoldings, and the oracle.

The best rank-one approximation is a maximum of <T, x (x) y (x) z> over unit vectors; alternating maximisation (the
higher-order power method) reaches a local one, which depends on the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class RankOne:
    """Unit vectors, the value <T, x (x) y (x) z> and the number of sweeps (of the start that won)."""

    x: Float[Tensor, "*batch n1"]
    y: Float[Tensor, "*batch n2"]
    z: Float[Tensor, "*batch n3"]
    value: Float[Tensor, "*batch"]
    sweeps: int


def unfolding_direction(tensor: Float[Tensor, "*batch n1 n2 n3"], mode: int) -> Float[Tensor, "*batch n"]:
    """Leading left singular vector of the unfolding along `mode`, 1, 2 or 3: an estimate of x, y or z."""
    if mode not in (1, 2, 3):
        raise InputError(f"mode: {mode}; take 1, 2 or 3")
    matrix = tensor.movedim(mode - 4, -3).flatten(-2)
    return torch.linalg.eigh(matrix @ matrix.mT).eigenvectors[..., -1]


def oracle_direction(
    tensor: Float[Tensor, "*batch n1 n2 n3"], view: Float[Tensor, "*batch n3"]
) -> Float[Tensor, "*batch n2"]:
    """Estimate of y by who knows the views' weights: leading right singular vector of the weighted mean."""
    return _leading_pair(_weighted_mean(tensor, view))[1]


def best_rank_one(
    tensor: Float[Tensor, "*batch n1 n2 n3"],
    *,
    random_starts: int = 0,
    start: tuple[Tensor, Tensor, Tensor] | None = None,
    sweeps: int = 1000,
    tolerance: float = 1e-10,
    seed: int = 0,
) -> RankOne:
    """The best rank-one approximation, as far as the higher-order power method finds it from several starts.

    Args:
        tensor: T.
        random_starts: starts besides the two spectral ones, from the leading vectors of unfoldings 2 and 3.
        start: x, y, z, the only start if given.
        sweeps: at most so many rounds over the three vectors.
        tolerance: stop when a round raises the value by less than this times itself.
        seed: of the random starts.

    Raises:
        InputError: numbers that are not finite, a negative count.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("tensor: holds NaN or infinite numbers")
    if random_starts < 0 or sweeps < 1:
        raise InputError(f"random_starts, sweeps: {random_starts}, {sweeps}; at least 0 and 1")
    starts = [start] if start is not None else [_from_second(tensor), _from_third(tensor)]
    generator = torch.Generator(device=tensor.device).manual_seed(seed)
    for _ in range(random_starts):
        y = torch.randn(*tensor.shape[:-3], tensor.shape[-2], dtype=tensor.dtype, generator=generator)
        starts.append(_completed(tensor, torch.nn.functional.normalize(y.to(tensor.device), dim=-1)))
    found = [_power(tensor, one, sweeps, tolerance) for one in starts]
    values = torch.stack([one.value for one in found])
    winner = values.argmax(0)
    x, y, z = (
        torch.stack([getattr(one, name) for one in found]).take_along_dim(winner[None, ..., None], 0)[0]
        for name in ("x", "y", "z")
    )
    return RankOne(x, y, z, values.amax(0), found[int(winner.flatten()[0])].sweeps)


def _power(tensor: Tensor, start: tuple[Tensor, Tensor, Tensor], sweeps: int, tolerance: float) -> RankOne:
    x, y, z = start
    value, done = torch.full(tensor.shape[:-3], -torch.inf, dtype=tensor.dtype, device=tensor.device), 0
    for _ in range(sweeps):
        matrix = _weighted_mean(tensor, z)
        x = torch.nn.functional.normalize((matrix @ y[..., None]).squeeze(-1), dim=-1)
        y = torch.nn.functional.normalize((matrix.mT @ x[..., None]).squeeze(-1), dim=-1)
        raw = _along_views(tensor, x, y)
        last, value = value, torch.linalg.vector_norm(raw, dim=-1)
        z = torch.nn.functional.normalize(raw, dim=-1)
        done += 1
        if bool((value - last <= tolerance * value).all()):
            break
    return RankOne(x, y, z, value, done)


def _weighted_mean(tensor: Tensor, z: Tensor) -> Tensor:
    """T contracted with z: (..., n1, n2)."""
    return (tensor @ z[..., None, :, None]).squeeze(-1)


def _along_views(tensor: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """T contracted with x and y."""
    slices = (x[..., None, :] @ tensor.flatten(-2)).squeeze(-2).unflatten(-1, tensor.shape[-2:])
    return (y[..., None, :] @ slices).squeeze(-2)


def _from_second(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _completed(tensor, unfolding_direction(tensor, 2))


def _completed(tensor: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best x and z for this y."""
    matrix = (y[..., None, None, :] @ tensor).squeeze(-2)
    x, z = _leading_pair(matrix)
    return x, y, z


def _from_third(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = unfolding_direction(tensor, 3)
    x, y = _leading_pair(_weighted_mean(tensor, z))
    return x, y, z


def _leading_pair(matrix: Tensor) -> tuple[Tensor, Tensor]:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left[..., :, 0], right[..., 0, :]

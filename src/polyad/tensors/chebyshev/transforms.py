"""Chebyshev series of one variable: from samples to coefficients, values, derivatives and integrals.

On [-1, 1], with T_k(cos a) = cos(k a), samples at m points become the m coefficients of their interpolant,
p(x) = sum_k c_k T_k(x), by a discrete cosine transform:

    nodes     x_i = cos(pi (i + 1/2) / m)     c_k = (2/m) sum_i f_i cos(pi k (i + 1/2) / m)       row 0 halved
    extrema   x_i = cos(pi i / (m - 1))       c_k = (2/(m-1)) sum_i f_i cos(pi k i / (m - 1))     first and last row and
                                                                                                sample halved

Every operation here is linear and comes as a matrix, so that it acts on one mode of a tensor as it does on a vector.
Matrices are built in float64 with angles reduced as integers, and cast.

Source: L. N. Trefethen, *Approximation Theory and Approximation Practice*, SIAM 2013, chapters 2 to 4 and 19.

When not to use it: for series of many thousand terms; a fast transform beats the matrix there.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from polyad.errors import InputError

Kind = Literal["nodes", "extrema"]
Interval = tuple[float, float]
UNIT: Interval = (-1.0, 1.0)


def chebyshev_points(
    count: int,
    *,
    kind: Kind = "nodes",
    interval: Interval = UNIT,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, " count"]:
    """The zeros (`nodes`) or extrema with end points (`extrema`) of Chebyshev polynomials, in descending order."""
    denominator = _denominator(count, kind)
    lower, upper = check_interval(interval)
    odd = count - 1 - 2 * torch.arange(count, dtype=torch.float64)
    points = torch.sin(math.pi * odd / (2 * denominator))  # the cosine, exactly symmetric about zero
    mapped = (lower + upper) / 2 + (upper - lower) / 2 * points
    return mapped.clamp(lower, upper).to(dtype=dtype, device=device)


def transform_matrix(
    count: int, *, kind: Kind = "nodes", dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Inexact[Tensor, "count count"]:
    """D with coefficients = D @ samples: the discrete cosine transform of type 2 (`nodes`) or 1 (`extrema`)."""
    denominator = _denominator(count, kind)
    rows, columns = torch.arange(count)[:, None], torch.arange(count)
    if kind == "nodes":
        matrix = 2 / count * _cosine(rows * (2 * columns + 1), 2 * count)
    else:
        matrix = 2 / denominator * _cosine(rows * columns, denominator)
        matrix[:, 0] /= 2
        matrix[:, -1] /= 2
        matrix[-1] /= 2
    matrix[0] /= 2
    return matrix.to(dtype=dtype, device=device)


def chebyshev_coefficients(
    samples: Inexact[Tensor, "..."], *, dim: int = -1, kind: Kind = "nodes"
) -> Inexact[Tensor, "..."]:
    """Coefficients of the interpolant through samples at `chebyshev_points` along one dimension."""
    matrix = transform_matrix(samples.shape[dim], kind=kind, dtype=samples.dtype, device=samples.device)
    return torch.tensordot(samples, matrix, dims=([dim], [1])).movedim(-1, dim)


def chebyshev_basis(
    points: Float[Tensor, "..."], count: int, *, interval: Interval = UNIT
) -> Float[Tensor, "... count"]:
    """T_0 .. T_{count-1} at points of the interval, by the three-term recurrence; differentiable up to the ends.

    Raises:
        InputError: a point outside the interval by more than rounding, or NaN.
    """
    lower, upper = check_interval(interval)
    slack = 8 * torch.finfo(points.dtype).eps * max(abs(lower), abs(upper))
    if not bool(((points >= lower - slack) & (points <= upper + slack)).all()):
        raise InputError(f"points: some lie outside [{lower:g}, {upper:g}] or are NaN; a series holds on its box only")
    x = (2 * points - (lower + upper)) / (upper - lower)
    values = [torch.ones_like(x), x]
    while len(values) < count:
        values.append(2 * x * values[-1] - values[-2])
    return torch.stack(values[:count], dim=-1)


def evaluate_series(
    coefficients: Inexact[Tensor, "... count"], points: Float[Tensor, " points"], *, interval: Interval = UNIT
) -> Inexact[Tensor, "... points"]:
    """Values of each series at the points."""
    basis = chebyshev_basis(points, coefficients.shape[-1], interval=interval)
    return coefficients @ basis.mT.to(coefficients.dtype)


def derivative_matrix(
    count: int,
    *,
    interval: Interval = UNIT,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Inexact[Tensor, "fewer count"]:
    """From `count` coefficients to the count - 1 (or one) of the derivative: c'_i = 2 sum_{j > i, j - i odd} j c_j."""
    lower, upper = check_interval(interval)
    rows, columns = torch.arange(max(count - 1, 1))[:, None], torch.arange(count)
    reached = (columns > rows) & ((columns - rows) % 2 == 1)
    matrix = torch.where(reached, 2.0 * columns.double(), 0.0)
    matrix[0] /= 2
    return (matrix * (2 / (upper - lower))).to(dtype=dtype, device=device)


def antiderivative_matrix(
    count: int,
    *,
    interval: Interval = UNIT,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Inexact[Tensor, "more count"]:
    """From `count` coefficients to the count + 1 of the integral from the lower end to x."""
    lower, upper = check_interval(interval)
    matrix = torch.zeros(count + 1, count, dtype=torch.float64)
    for k in range(count):
        matrix[k + 1, k] = 1.0 if k == 0 else 1 / (2 * (k + 1))
        if k > 1:
            matrix[k - 1, k] = -1 / (2 * (k - 1))
    signs = 1.0 - 2.0 * (torch.arange(1, count + 1) % 2)
    matrix[0] = -(signs.double() @ matrix[1:])
    return (matrix * ((upper - lower) / 2)).to(dtype=dtype, device=device)


def integral_weights(
    count: int,
    *,
    interval: Interval = UNIT,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Inexact[Tensor, " count"]:
    """Integrals of T_0 .. T_{count-1} over the interval: (upper - lower) / (1 - k^2) for even k, else zero."""
    lower, upper = check_interval(interval)
    k = torch.arange(count, dtype=torch.float64)
    weights = torch.where(k % 2 == 0, (upper - lower) / (1 - k * k), 0.0)
    return weights.to(dtype=dtype, device=device)


def multiply_columns(
    one: Inexact[Tensor, "rows left"], two: Inexact[Tensor, "others right"]
) -> Inexact[Tensor, "sum left right"]:
    """Series of all products of a column of one with a column of the other, rows + others - 1 coefficients each."""
    count = one.shape[0] + two.shape[0] - 1
    points = chebyshev_points(count, dtype=one.real.dtype, device=one.device)
    basis = chebyshev_basis(points, max(one.shape[0], two.shape[0])).to(one.dtype)
    values = (basis[:, : one.shape[0]] @ one)[:, :, None] * (basis[:, : two.shape[0]] @ two)[:, None, :]
    return chebyshev_coefficients(values, dim=0)


def check_interval(interval: Interval) -> Interval:
    """Two finite ends, the lower one first."""
    lower, upper = (float(end) for end in interval)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise InputError(f"interval: ({lower:g}, {upper:g}) was given; two finite numbers are needed, the lower first")
    return lower, upper


def _denominator(count: int, kind: Kind) -> int:
    if kind not in ("nodes", "extrema"):
        raise InputError(f"kind: {kind!r} was given, allowed are 'nodes' and 'extrema'")
    if count < (1 if kind == "nodes" else 2):
        raise InputError(f"count: {count} {kind} were asked for; at least {1 if kind == 'nodes' else 2} are needed")
    return count if kind == "nodes" else count - 1


def _cosine(numerators: Tensor, denominator: int) -> Tensor:
    """cos(pi numerator / denominator), the angle reduced exactly."""
    return torch.cos(math.pi * (numerators % (2 * denominator)).double() / denominator)

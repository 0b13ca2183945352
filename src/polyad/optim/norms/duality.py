"""Norms, their dual norms, and the unit step on which a gradient acts most: dualmap(G) = argmax_{|T| = 1} <G, T>.

    kind        norm of W (m rows, n columns)       dual norm of G          dual map of G
    inf         max |W_ij|                          sum |G_ij|              sign(G)
    l2          (sum W_ij^2)^(1/2), also `fro`      itself                  G / |G|
    rms         the same / sqrt(m n)                sqrt(m n) |G|           sqrt(m n) G / |G|
    row         l2 -> linf: longest row             sum of row lengths      every row made a unit vector
    col         l1 -> l2: longest column            sum of column lengths   every column made a unit vector
    l1_rms      col / sqrt(m)                       sqrt(m) that of col     sqrt(m) that of col
    spectral    largest singular value              nuclear norm            U V^T
    rms_rms     sqrt(n / m) spectral                sqrt(m / n) nuclear     sqrt(m / n) U V^T
    nuclear     sum of singular values              spectral norm           u_1 v_1^T
    schatten-p  (sum s^p)^(1/p)                     schatten-q              U (s / |s|_q)^(q - 1) V^T, 1/p + 1/q = 1

A scaled norm c |W| has the dual |G|_dual / c and the dual map dualmap(G) / c. Matrices are operators y = W x: a table
of embeddings, (number, width), holds W^T.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.matrix_roots import polar_factor

POLAR = ("svd", "cubic", "quintic")
"""Ways to U V^T: singular values, or Newton-Schulz (`polyad.linalg.matrix_roots`)."""


def norm(weight: Float[Tensor, "*batch m n"], kind: str) -> Float[Tensor, "*batch"]:
    """Norm of every matrix of a batch.

    Args:
        weight: W.
        kind: one of `NORMS`, or 'schatten-p' with a number p > 1, such as 'schatten-3'.

    Raises:
        InputError: an unknown kind, a matrix without entries, or entries that are not finite.
    """
    scale, base = _find(kind, weight)
    return scale * base.size(weight)


def dual_norm(gradient: Float[Tensor, "*batch m n"], kind: str) -> Float[Tensor, "*batch"]:
    """max <G, T> over all T whose norm is 1.

    Args:
        gradient: G.
        kind: of the norm, not of its dual, as in `norm`.

    Raises:
        InputError: as `norm`.
    """
    scale, base = _find(kind, gradient)
    return base.dual_size(gradient) / scale


def dual_map(
    gradient: Float[Tensor, "*batch m n"], kind: str, *, polar: str = "svd", steps: int | None = None
) -> Float[Tensor, "*batch m n"]:
    """The T of norm 1 on which the gradient acts most, <G, T> = dual_norm(G); zero for zero.

    Args:
        gradient: G.
        kind: of the norm, as in `norm`.
        polar: how U V^T of `spectral` and `rms_rms` is found, one of `POLAR`.
        steps: of Newton-Schulz; 18 for the cubic, 5 for the quintic.

    Raises:
        InputError: as `norm`, or an unknown `polar`.
    """
    scale, base = _find(kind, gradient)
    if base is _BASES["spectral"]:
        return polar_factor(gradient, method=polar, steps=steps) / scale
    return base.maximizer(gradient) / scale


def check_kind(kind: str) -> None:
    """Refuse a norm that is not known.

    Raises:
        InputError: it is not.
    """
    if kind not in NORMS and _exponent(kind) is None:
        raise InputError(f"norm: {kind!r} is unknown; choose one of {', '.join(NORMS)}, schatten-P with a number P > 1")


class _Base(NamedTuple):
    """A norm, its dual, and its dual map."""

    size: Callable[[Tensor], Tensor]
    dual_size: Callable[[Tensor], Tensor]
    maximizer: Callable[[Tensor], Tensor]


def _length(x: Tensor, *dims: int) -> Tensor:
    return torch.linalg.vector_norm(x, dim=dims)


def _unit(x: Tensor, *dims: int) -> Tensor:
    """x / |x| over dims, zero for zero; divided by the largest entry first, whose square may vanish or overflow."""
    largest = x.abs().amax(dims, keepdim=True)
    x = x / torch.where(largest > 0, largest, 1.0)
    length = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


def _schatten(p: float) -> _Base:
    q = p / (p - 1)

    def maximizer(gradient: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(gradient, full_matrices=False)
        values = values / torch.where(values[..., :1] > 0, values[..., :1], 1.0)
        size = torch.linalg.vector_norm(values, q, dim=-1, keepdim=True)
        return (left * (values / torch.where(size > 0, size, 1.0))[..., None, :] ** (q - 1)) @ right

    def size(matrix: Tensor, power: float) -> Tensor:
        values = torch.linalg.svdvals(matrix)
        largest = values[..., 0]
        return largest * torch.linalg.vector_norm(values / torch.where(largest > 0, largest, 1.0)[..., None], power, -1)

    return _Base(lambda w: size(w, p), lambda g: size(g, q), maximizer)


def _first_triplet(gradient: Tensor) -> Tensor:
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    return torch.where(values[..., :1, None] > 0, left[..., :, :1] * right[..., :1, :], 0.0)


_EUCLID = _Base(lambda w: _length(w, -2, -1), lambda g: _length(g, -2, -1), lambda g: _unit(g, -2, -1))

_BASES = {
    "inf": _Base(lambda w: w.abs().amax((-2, -1)), lambda g: g.abs().sum((-2, -1)), torch.sign),
    "l2": _EUCLID,
    "fro": _EUCLID,
    "row": _Base(lambda w: _length(w, -1).amax(-1), lambda g: _length(g, -1).sum(-1), lambda g: _unit(g, -1)),
    "col": _Base(lambda w: _length(w, -2).amax(-1), lambda g: _length(g, -2).sum(-1), lambda g: _unit(g, -2)),
    "spectral": _Base(
        lambda w: torch.linalg.svdvals(w)[..., 0], lambda g: torch.linalg.svdvals(g).sum(-1), polar_factor
    ),
    "nuclear": _Base(
        lambda w: torch.linalg.svdvals(w).sum(-1), lambda g: torch.linalg.svdvals(g)[..., 0], _first_triplet
    ),
}

_SCALED: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "rms": ("l2", lambda m, n: 1 / math.sqrt(m * n)),
    "l1_rms": ("col", lambda m, n: 1 / math.sqrt(m)),
    "rms_rms": ("spectral", lambda m, n: math.sqrt(n / m)),
}

NORMS = (*_BASES, *_SCALED)
"""Names of the norms; beside them 'schatten-P' for any P > 1."""


def _find(kind: str, matrix: Tensor) -> tuple[float, _Base]:
    """Scale and base of a norm for matrices of this shape."""
    check_kind(kind)
    m, n = matrix.shape[-2:]
    if m == 0 or n == 0:
        raise InputError(f"norm {kind}: a matrix of shape {(m, n)} has no entries, and so no unit step; leave it out")
    if not bool(matrix.isfinite().all()):
        raise InputError(f"norm {kind}: entries are not finite; lower the learning rate or look at the loss")
    if kind in _SCALED:
        base, scale = _SCALED[kind]
        return scale(m, n), _BASES[base]
    return 1.0, _BASES[kind] if kind in _BASES else _schatten(_exponent(kind) or 2.0)


def _exponent(kind: str) -> float | None:
    """P of 'schatten-P' with 1 < P < infinity; None for anything else."""
    name, _, number = kind.partition("-")
    try:
        p = float(number)
    except ValueError:
        return None
    return p if name == "schatten" and 1 < p < math.inf else None

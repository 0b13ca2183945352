"""How much a CP tensor reacts to noise in its factors, which of its terms cancel, and the scaling that reacts least.

Independent noise of variance s^2 on every entry of every factor changes x = sum_r w_r a^1_r o .. o a^d_r by

    E |dx|^2 = s^2 ss + O(s^4),      ss = sum_n I_n sum_r |w_r|^2 prod_{m != n} |a^m_r|^2        (sensitivity)

with I_n the size of mode n. Degenerate tensors, whose large terms nearly cancel, have a huge ss and a huge intensity
sum_r |w_r|^2 prod_m |a^m_r|^2 beside |x|^2. The tensor leaves the scaling of each term's columns free; ss is least for
|a^n_r|^2 proportional to I_n, where every mode contributes the same to it:

    min ss = d (prod_n I_n)^{1/d} sum_r |term r|^{2 (d - 1) / d}

Sources: A.-H. Phan et al., ECCV 2020, arXiv:2008.05441; P. Tichavsky, A.-H. Phan, A. Cichocki, ICASSP 2019,
3592 (sensitivity of a CP model); W. P. Krijnen, T. K. Dijkstra, A. Stegeman, Psychometrika 73 (2008) 431 (degeneracy).

When not to use it: as an error bound for large noise; it is the first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import final

import torch
from jaxtyping import Float, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP


def cp_sensitivity(value: CP) -> Float[Tensor, "..."]:
    """ss: expected squared change of the tensor per unit variance of noise on all factors, weights held."""
    return mode_sensitivities(value).sum(-1)


def mode_sensitivities(value: CP) -> Float[Tensor, "... order"]:
    """The share of ss that comes from noise on each factor; `balance` makes them equal."""
    squares = column_squares(value.factors)
    strength = value.weights.abs().square()
    shares = [(size * strength * others(squares, n)).sum(-1) for n, size in enumerate(value.shape)]
    return torch.stack(shares, dim=-1)


def cp_intensity(value: CP) -> Float[Tensor, "..."]:
    """Sum of the squared norms of the rank-one terms; |x|^2 where they are orthogonal."""
    return term_norms(value).square().sum(-1)


def term_norms(value: CP) -> Float[Tensor, "... rank"]:
    """Frobenius norm of each rank-one term."""
    return value.weights.abs() * others(column_squares(value.factors)).sqrt()


def balance(value: CP) -> CP:
    """The same tensor with weights one and its columns scaled so that ss is least; zero terms become zero columns."""
    lengths = [square.sqrt() for square in column_squares(value.factors)]
    strength = value.weights.abs() * others(lengths)
    mean = prod(size ** (0.5 / value.order) for size in value.shape)
    each = strength ** (1 / value.order) / mean
    phase = value.weights / torch.where(value.weights.abs() > 0, value.weights.abs(), 1)
    factors = []
    for n, (factor, length) in enumerate(zip(value.factors, lengths, strict=True)):
        scale = each * value.shape[n] ** 0.5 / torch.where(length > 0, length, 1)
        factors.append(factor * (scale * phase if n == 0 else scale)[..., None, :])
    return CP(torch.ones_like(value.weights), tuple(factors))


@final
@dataclass(frozen=True, eq=False)
class Degeneracy:
    """Which terms of a CP tensor work against each other.

    Attributes:
        term_norms: (..., R), Frobenius norm of each rank-one term.
        cosines: (..., R, R), real part of the cosine of the angle between two terms; zero where a term is zero.
        cancellation: (...), intensity over |x|^2: 1 for orthogonal terms, large where they cancel, infinite where
            they cancel to zero.
    """

    term_norms: Float[Tensor, "... rank"]
    cosines: Float[Tensor, "... rank rank"]
    cancellation: Float[Tensor, "..."]

    @property
    def worst_cosine(self) -> Float[Tensor, "..."]:
        """The smallest cosine between two terms; near -1 in a degenerate tensor."""
        return self.cosines.flatten(-2).amin(-1)

    def pairs(self, *, below: float = -0.9) -> list[tuple[int, int]]:
        """Pairs of terms with a cosine below this, the worst first (a tensor without batch dimensions)."""
        if self.cosines.ndim != 2:
            raise InputError(f"pairs: the tensors have batch shape {tuple(self.cosines.shape[:-2])}; ask one by one")
        found = (torch.triu(self.cosines, 1) < below).nonzero().tolist()
        return sorted(((i, j) for i, j in found), key=lambda pair: float(self.cosines[pair]))


def diagnose_degeneracy(value: CP) -> Degeneracy:
    """Norms of the terms, the angles between them, and how far they cancel."""
    norms = term_norms(value)
    outer = value.weights.conj()[..., :, None] * value.weights[..., None, :]
    gram = reduce(torch.mul, [factor.mH @ factor for factor in value.factors]) * outer
    inverse = torch.where(norms > 0, 1 / torch.where(norms > 0, norms, 1), 0)
    gram = gram * inverse[..., :, None] * inverse[..., None, :]
    intensity, square = norms.square().sum(-1), value.norm().square()
    cancellation = torch.where(intensity > 0, intensity / square, 1)
    return Degeneracy(norms, gram.real if gram.is_complex() else gram, cancellation)


# ---------------------------------------------------------------- shared with the corrections


def column_squares(factors: Sequence[Num[Tensor, "... _ rank"]]) -> list[Float[Tensor, "... rank"]]:
    """Squared column norms of every factor."""
    return [torch.linalg.vector_norm(factor, dim=-2).square() for factor in factors]


def others(squares: Sequence[Float[Tensor, "... rank"]], *skipped: int) -> Float[Tensor, "... rank"]:
    """The product over all modes but these."""
    kept = [square for m, square in enumerate(squares) if m not in skipped]
    return prod(kept, start=torch.ones_like(squares[0]))

"""One factor of a CP tensor, the others held: all compromises between the error and the sensitivity, from one Gram.

With the others held, ss = sum_r v_r |a_r|^2 + const for the factor A of mode n, with v_r = sum_{m != n} I_m
prod_{k != n, m} |a^k_r|^2, and the error is |T_(n) - A Z^T|, Z the Khatri-Rao matrix of the others (row-major
unfoldings, the last mode's index fastest). In A' = A diag(v)^{1/2}, Z' = Z diag(v)^{-1/2} both constrained problems

    min |A'|^2  s.t.  |T_(n) - A' Z'^T| <= delta          and          min |T_(n) - A' Z'^T|  s.t.  |A'|^2 <= budget

lie on one path, A'(mu) = M (G + mu I)^{-1} with M = T_(n) conj(Z'), G = Z'^T conj(Z') = Q diag(lam) Q^H, mu >= 0:

    |residual|^2 = least + sum_j e_j (mu / (lam_j + mu))^2,     |A'|^2 = sum_j e_j lam_j / (lam_j + mu)^2

e_j = |M q_j|^2 / lam_j the energy of T in direction j and `least` the squared residual of least squares. Both are
monotone in mu, so that a scalar root finds the solution. The form of the residual that sums what is missing does not
cancel where the error is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Num
from scipy.optimize import brentq
from torch import Tensor

from polyad.tensors.formats import CP, khatri_rao
from polyad.tensors.stable_cp.sensitivity import column_squares, others

_CANCELS = 1e10  # in rounding units: below this share of |T|^2 a residual is formed entry by entry


@final
@dataclass(frozen=True, eq=False)
class FactorPath:
    """The factors A(mu) of one mode.

    Attributes:
        projected: (I_n, kept), M q_j.
        values: (kept,), lam_j > 0.
        vectors: (R, kept), q_j.
        scale: (R,), v_r^{-1/2}, zero where v_r is zero.
        energies: (kept,), e_j as NumPy float64.
        least: squared residual of least squares, mu = 0.
        total: |T|^2.
        fixed: the part of ss that this factor does not change.
    """

    projected: Num[Tensor, "size kept"]
    values: Float[Tensor, " kept"]
    vectors: Num[Tensor, "rank kept"]
    scale: Float[Tensor, " rank"]
    energies: np.ndarray
    least: float
    total: float
    fixed: float

    def factor(self, mu: float) -> Num[Tensor, "size rank"]:
        """A(mu); zero for an infinite mu."""
        return (self.projected / (self.values + mu)) @ self.vectors.mH * self.scale

    def with_error(self, delta: float) -> Num[Tensor, "size rank"] | None:
        """The factor of least ss with |T_(n) - A Z^T| <= delta; None where least squares itself misses delta."""
        excess = delta**2 - self.least
        if excess < 0:
            return None
        if delta**2 >= self.total or excess >= self.energies.sum():
            return self.factor(math.inf)
        values = self._host_values()
        bracket = _bracket(values, math.sqrt(excess / self.energies.sum()))
        return self.factor(_root(lambda mu: float((self.energies * (mu / (values + mu)) ** 2).sum()) - excess, bracket))

    def with_sensitivity(self, bound: float) -> Num[Tensor, "size rank"] | None:
        """The factor of least error with ss <= bound; None where the other factors alone exceed the bound."""
        budget = bound - self.fixed
        if budget < 0:
            return None
        values = self._host_values()
        if float((self.energies / values).sum()) <= budget:
            return self.factor(0.0)
        if budget == 0:
            return self.factor(math.inf)
        # |A'|^2 <= sum_j e_j lam_j / mu^2, and >= the same with lam_max + mu
        high = math.sqrt(float((self.energies * values).sum()) / budget)
        low = max(high - values.max(), high * 1e-30)
        return self.factor(
            _root(lambda mu: budget - float((self.energies * values / (values + mu) ** 2).sum()), (low, high))
        )

    def _host_values(self) -> np.ndarray:
        return self.values.double().cpu().numpy()


def factor_path(tensor: Num[Tensor, "..."], factors: Sequence[Num[Tensor, "_ rank"]], mode: int) -> FactorPath:
    """The path of one mode's factor; the factor itself is not read.

    Args:
        tensor: T, dense.
        factors: of all modes, weights inside.
        mode: the factor to vary.
    """
    squares = column_squares(factors)
    importance = sum(size * others(squares, mode, m) for m, size in enumerate(tensor.shape) if m != mode)
    assert isinstance(importance, Tensor)
    scale = torch.where(importance > 0, importance, 1).rsqrt() * (importance > 0)
    product = contract_others(tensor, factors, mode) * scale
    gram = reduce(torch.mul, (f.mT @ f.conj() for m, f in enumerate(factors) if m != mode))
    values, vectors = torch.linalg.eigh(gram * scale[:, None] * scale)
    kept = values > values[-1].clamp_min(0) * torch.finfo(values.dtype).eps * values.numel()
    values, vectors = values[kept], vectors[:, kept]
    projected = product @ vectors
    energies = torch.linalg.vector_norm(projected, dim=0).double().square() / values.double()
    total = float(torch.linalg.vector_norm(tensor).double().square())
    least = total - float(energies.sum())
    if least < _CANCELS * torch.finfo(values.dtype).eps * total:
        trial = list(factors)
        trial[mode] = (projected / values) @ vectors.mH * scale
        least = residual_norm(tensor, trial) ** 2
    fixed = float((tensor.shape[mode] * others(squares, mode)).sum())
    return FactorPath(projected, values, vectors, scale, energies.cpu().numpy(), least, total, fixed)


def contract_others(
    tensor: Num[Tensor, "..."], factors: Sequence[Num[Tensor, "_ rank"]], mode: int
) -> Num[Tensor, "size rank"]:
    """T_(mode) conj(KR): the tensor against all factors but one, without a copy of it."""
    size, rank = factors[mode].shape
    before, after = factors[:mode], factors[mode + 1 :]
    right = khatri_rao(after).conj() if after else tensor.new_ones(1, rank)
    left = khatri_rao(before).conj() if before else tensor.new_ones(1, rank)
    if right.shape[0] <= left.shape[0]:
        partial = tensor.reshape(left.shape[0], -1).mT @ left
        return (partial.reshape(size, right.shape[0], rank) * right).sum(1)
    partial = tensor.reshape(-1, right.shape[0]) @ right
    return (partial.reshape(left.shape[0], size, rank) * left[:, None, :]).sum(0)


def residual_norm(tensor: Num[Tensor, "..."], factors: Sequence[Num[Tensor, "_ rank"]]) -> float:
    """|T - [[factors]]|, entry by entry."""
    model = CP(torch.ones_like(factors[0][0]), tuple(factors)).to_dense()
    return float(torch.linalg.vector_norm(tensor - model))


def _bracket(values: np.ndarray, share: float) -> tuple[float, float]:
    """mu with all lam at the smallest and at the largest value: below and above the root."""
    odds = share / (1 - share) if share < 1 else math.inf
    return float(values.min() * odds), float(min(values.max() * odds, 1e300))


def _root(function: Callable[[float], float], bracket: tuple[float, float]) -> float:
    """The root of an increasing function of mu, searched in log mu; the end of the bracket that rounding makes it."""
    low, high = bracket
    if not (0 < low < high) or function(low) >= 0:
        return max(low, 0.0)
    if function(high) <= 0:
        return high
    found = brentq(lambda t: function(math.exp(t)), math.log(low), math.log(high), xtol=1e-15, rtol=1e-14)
    return math.exp(found)

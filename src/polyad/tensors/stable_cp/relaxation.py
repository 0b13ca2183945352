"""A way out of degenerate starts: fits with a price on sensitivity that falls until the error is small enough.

Where terms are a thousand times as large as the tensor, no factor can move far without breaking an error bound, and an
alternation within the bound stands still. The penalised problem

    min |T - x|^2 + mu ss(x)

has no such bound. Its steps are points A(mu) of the same path (`factor_path`); from mu = |T|^2 / ss of a tensor of R
equal orthogonal terms, which shrinks any start to harmless terms, mu is halved until |T - x| <= delta.
"""

from __future__ import annotations

import math
import time

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats import CP
from polyad.tensors.stable_cp.factor_path import factor_path, residual_norm
from polyad.tensors.stable_cp.sensitivity import balance, cp_sensitivity

_SWEEPS = 5  # at every price
_FACTOR = 0.5
_NEGLIGIBLE = 1e-6  # share of the penalty in the objective below which a lower price changes nothing


def relax(tensor: Num[Tensor, "..."], value: CP, delta: float, *, deadline: float | None = None) -> CP | None:
    """A CP tensor with |T - x| <= delta, found by penalised fits; None where their price became nothing before.

    Args:
        tensor: T, dense.
        value: where to begin; its scale does not matter.
        delta: largest error, absolute.
        deadline: give up at this reading of `time.perf_counter`.
    """
    order, rank = tensor.ndim, value.ranks[0]
    square = float(torch.linalg.vector_norm(tensor)) ** 2
    equal_terms = order * math.prod(tensor.shape) ** (1 / order) * rank * (square / rank) ** ((order - 1) / order)
    price, value = square / equal_terms, balance(value)
    while True:
        for _ in range(_SWEEPS):
            factors = list(value.factors)
            for mode in range(order):
                factors[mode] = factor_path(tensor, factors, mode).factor(price)
            value = balance(CP(value.weights, tuple(factors)))
            error = residual_norm(tensor, value.factors)
            if error <= delta:
                return value
        is_late = deadline is not None and time.perf_counter() > deadline
        if is_late or price * float(cp_sensitivity(value)) <= _NEGLIGIBLE * error**2:
            return None
        price *= _FACTOR

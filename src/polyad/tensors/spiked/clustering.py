"""Accuracies of multi-view clustering into two classes, their thresholds, and the phase diagram.

An estimate of y with squared alignment zeta behaves as labels seen through Gaussian noise: the share of right signs is
Phi(sqrt(zeta / (1 - zeta))). The oracle, who knows the weights h of the views, meets a spiked matrix of noise
sigma^2 = |h|^2 + (p + n) / (p + n + m): with r = |mu|^2 |h|^2 / sigma^2 it reaches

    zeta_o = 1 - (1 / r) (c_n / (1 - c_m)) (r + c_p / (1 - c_m)) / (r + c_n / (1 - c_m))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.spiked.model import NestedMatrixTensor, check_shares
from polyad.tensors.spiked.rank_one import rank_one_limit
from polyad.tensors.spiked.unfolding import algorithmic_threshold, second_unfolding_limit


@final
@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Thresholds over beta_M at fixed shares.

    Attributes:
        beta_matrix: beta_M.
        unfolding: the rho above which the second unfolding sees y (the algorithmic threshold); infinite left of
            `vertical`.
        tensor: the beta_T above which the best rank-one approximation does (the information side); infinite where none
            up to the largest one looked at does.
        vertical: (c1 c2)^(1/4) / (1 - c3)^(1/2), the beta_M below which M itself hides y from the unfolding.
    """

    beta_matrix: Float[Tensor, " points"]
    unfolding: Float[Tensor, " points"]
    tensor: Float[Tensor, " points"]
    vertical: float


def clustering_accuracy(
    estimate: Float[Tensor, "*batch n"], labels: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """Share of right signs, for the better of the two ways to name the classes: never below 1/2."""
    right = (torch.sign(estimate) == labels).to(estimate.dtype).mean(-1)
    wrong = (torch.sign(-estimate) == labels).to(estimate.dtype).mean(-1)
    return torch.maximum(right, wrong)


def predicted_accuracy(model: NestedMatrixTensor, *, method: Literal["tensor", "unfolding", "oracle"]) -> float:
    """Accuracy in the limit: 1/2 below the method's threshold."""
    if method == "tensor":
        limit = rank_one_limit(model.shares, beta_matrix=model.beta_matrix, beta_tensor=model.beta_tensor)
        zeta = limit.alignments[1] ** 2
    elif method == "unfolding":
        zeta = second_unfolding_limit(model.shares, beta_matrix=model.beta_matrix, rho=model.rho).alignment
    elif method == "oracle":
        zeta = oracle_alignment(model)
    else:
        raise InputError(f"method: {method!r}; take 'tensor', 'unfolding' or 'oracle'")
    return 0.5 * math.erfc(-math.sqrt(zeta / (1 - zeta) / 2)) if zeta < 1 else 1.0


def oracle_alignment(model: NestedMatrixTensor) -> float:
    """Squared alignment with y of the weighted mean over views, for who knows the weights."""
    c_p, c_n, c_m = model.shares
    r = model.beta_matrix**2 * model.beta_tensor**2 / (model.beta_tensor**2 + c_p + c_n)
    if r == 0:
        return 0.0
    p, n = c_p / (1 - c_m), c_n / (1 - c_m)
    return max(0.0, 1 - n * (r + p) / (r * (r + n)))


def unfolding_threshold(n: tuple[int, int, int], *, beta_tensor: float) -> float:
    """The smallest beta_M = |mu| that the second unfolding sees at this beta_T = |h|."""

    def sees(beta_matrix: float) -> bool:
        model = NestedMatrixTensor(n, beta_matrix, beta_tensor)
        return model.rho > algorithmic_threshold(model.shares, beta_matrix=beta_matrix)

    return _smallest(sees, tolerance=1e-10)


def tensor_threshold(n: tuple[int, int, int], *, beta_tensor: float) -> float:
    """The smallest beta_M = |mu| that the best rank-one approximation sees at this beta_T = |h|."""
    shares = NestedMatrixTensor(n, 0.0, beta_tensor).shares
    return _smallest(
        lambda beta: rank_one_limit(shares, beta_matrix=beta, beta_tensor=beta_tensor).value is not None,
        tolerance=1e-4,
    )


def phase_diagram(
    c: tuple[float, float, float], *, beta_matrix: Float[Tensor, " points"], tolerance: float = 1e-3
) -> PhaseDiagram:
    """Both thresholds over beta_M, for shares c_l = n_l / n_T.

    Args:
        c: shares, which add up to one.
        beta_matrix: positive strengths beta_M.
        tolerance: of the tensor's threshold in beta_T.
    """
    check_shares(c)
    if not bool((beta_matrix > 0).all()):
        raise InputError("beta_matrix: must be positive")

    def tensor(beta: float) -> float:
        return _smallest(
            lambda t: rank_one_limit(c, beta_matrix=beta, beta_tensor=t).value is not None, tolerance=tolerance
        )

    unfolding = [algorithmic_threshold(c, beta_matrix=float(beta)) for beta in beta_matrix]
    information = [tensor(float(beta)) for beta in beta_matrix]
    vertical = (c[0] * c[1]) ** 0.25 / math.sqrt(1 - c[2])
    return PhaseDiagram(beta_matrix, beta_matrix.new_tensor(unfolding), beta_matrix.new_tensor(information), vertical)


def _smallest(sees: Callable[[float], bool], *, tolerance: float, largest: float = 64.0) -> float:
    """Bisection for the smallest strength that is seen; infinite where the largest is not."""
    low, high = 0.0, 1.0
    while not sees(high):
        low, high = high, 2 * high
        if high > largest:
            return math.inf
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (low, middle) if sees(middle) else (middle, high)
    return high

"""The nested matrix-tensor model: parameters and draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class NestedSample:
    """One draw: the tensor T, the matrix M inside it, and the unit vectors x, y, z."""

    tensor: Float[Tensor, "n1 n2 n3"]
    matrix: Float[Tensor, "n1 n2"]
    x: Float[Tensor, " n1"]
    y: Float[Tensor, " n2"]
    z: Float[Tensor, " n3"]


@final
@dataclass(frozen=True)
class NestedMatrixTensor:
    """M = beta_matrix x y^T + Z / sqrt(n1 + n2), T = beta_tensor M (x) z + W / sqrt(n1 + n2 + n3).

    For multi-view clustering n = (p, n, m): dimension, observations, views; x and beta_matrix are direction and norm of
    the mean mu, z and beta_tensor those of the weights h of the views, and y = labels / sqrt(n).

    Args:
        n: (n1, n2, n3).
        beta_matrix: beta_M = |mu|, not negative.
        beta_tensor: beta_T = |h|, not negative.

    Raises:
        InputError: sizes below 2, strengths that are negative or not finite.
    """

    n: tuple[int, int, int]
    beta_matrix: float
    beta_tensor: float

    def __post_init__(self) -> None:
        if len(self.n) != 3 or min(self.n) < 2:
            raise InputError(f"n: {self.n}; needs three sizes of at least 2")
        check_strengths(self.beta_matrix, self.beta_tensor)

    @classmethod
    def from_rho(cls, n: tuple[int, int, int], *, beta_matrix: float, rho: float) -> NestedMatrixTensor:
        """With beta_T^2 = rho sqrt(n1 n2 n3) / n_T, the scale on which the second unfolding sees the signal."""
        if not rho >= 0:
            raise InputError(f"rho: {rho}; must not be negative")
        return cls(n, beta_matrix, math.sqrt(rho * math.sqrt(math.prod(n)) / sum(n)))

    @property
    def shares(self) -> tuple[float, float, float]:
        """c_l = n_l / n_T."""
        total = sum(self.n)
        return (self.n[0] / total, self.n[1] / total, self.n[2] / total)

    @property
    def rho(self) -> float:
        """beta_T^2 n_T / sqrt(n1 n2 n3)."""
        return self.beta_tensor**2 * sum(self.n) / math.sqrt(math.prod(self.n))

    def draw(
        self, *, seed: int, labels: Float[Tensor, " n2"] | None = None, dtype: torch.dtype = torch.float64
    ) -> NestedSample:
        """One sample with uniform x and z, and y uniform or `labels` / sqrt(n2) with labels of +-1.

        Raises:
            InputError: labels that are not n2 numbers of +-1.
        """
        generator = torch.Generator().manual_seed(seed)
        n1, n2, n3 = self.n
        x, y, z = (_unit(torch.randn(size, dtype=dtype, generator=generator)) for size in self.n)
        if labels is not None:
            if labels.shape != (n2,) or not bool((labels.abs() == 1).all()):
                raise InputError(f"labels: need {n2} numbers, each +1 or -1")
            y = labels.to(dtype) / math.sqrt(n2)
        noise = torch.randn(n1, n2, dtype=dtype, generator=generator)
        matrix = self.beta_matrix * torch.outer(x, y) + noise / math.sqrt(n1 + n2)
        tensor = torch.randn(n1, n2, n3, dtype=dtype, generator=generator).div_(math.sqrt(n1 + n2 + n3))
        tensor.addcmul_(matrix[..., None], z, value=self.beta_tensor)
        return NestedSample(tensor, matrix, x, y, z)


def check_strengths(*strengths: float) -> None:
    """Refuse negative and infinite signal strengths."""
    if not all(math.isfinite(strength) and strength >= 0 for strength in strengths):
        raise InputError(f"beta_matrix, beta_tensor: {strengths}; must be finite and not negative")


def check_shares(c: tuple[float, float, float]) -> None:
    """Refuse shares that are not positive or do not add up to one."""
    if len(c) != 3 or not min(c) > 0 or abs(sum(c) - 1) > 1e-9:
        raise InputError(f"c: {c}; needs three positive shares n_l / n_T, which add up to one")


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector)

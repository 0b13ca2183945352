"""The correction itself: C_solid = B exp(S) B with B = C_beam^(1/2), S a symmetric tensor that turns with the lattice.

    S = sqrt(density) sum_k c_k T_k,     c = W u + perceptron(u),     u = standardised invariants, 1

with the tensors T_k and invariants of `features`. The coefficients are invariant and the tensors covariant, so C_solid
turns with the lattice; exp(S) is positive definite, so C_solid is; and S vanishes with the density, so thin struts are
left as the exact theory has them.

*When not to use it*: outside the densities it has seen, or for lattices whose struts cross without a node: the body is
joined there and the beams are not.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.materials.lattice.solids.correction.features import INVARIANTS, TENSORS


@final
class CorrectionNetwork(nn.Module):
    """Coefficients of the tensors from the invariants.

    Args:
        width: of the hidden layer; 0 leaves the linear part alone.
        seed: of the weights.

    Raises:
        InputError: a negative width.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int = 16, *, seed: int = 0) -> None:
        super().__init__()
        if width < 0:
            raise InputError(f"width: must be 0 or more, got {width}")
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("mean", torch.zeros(INVARIANTS))
        self.register_buffer("spread", torch.ones(INVARIANTS))
        self.linear = nn.Parameter(torch.zeros(TENSORS, INVARIANTS + 1))
        self.inner = nn.Parameter(torch.randn(width, INVARIANTS + 1, generator=generator) / (INVARIANTS + 1) ** 0.5)
        self.outer = nn.Parameter(torch.zeros(TENSORS, width))

    def standardise(self, invariants: Float[Tensor, "batch invariants"]) -> None:
        """Take mean and spread of the inputs from some data."""
        self.mean.copy_(invariants.mean(0))
        self.spread.copy_(invariants.std(0).clamp_min(1e-6))

    def forward(
        self,
        size: Float[Tensor, " batch"],
        invariants: Float[Tensor, "batch invariants"],
        tensors: Float[Tensor, "batch tensors 6 6"],
    ) -> Float[Tensor, "batch 6 6"]:
        """S of every lattice."""
        # beyond three spreads nothing was seen: coefficients stay what they are there
        seen = ((invariants - self.mean) / self.spread).clamp(-3, 3)
        inputs = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        coefficients = inputs @ self.linear.mT + torch.tanh(inputs @ self.inner.mT) @ self.outer.mT
        return torch.einsum("b, bk, bkij -> bij", size, coefficients, tensors)


def corrected_stiffness(
    exponent: Float[Tensor, "batch 6 6"], root: Float[Tensor, "batch 6 6"]
) -> Float[Tensor, "batch 6 6"]:
    """B exp(S) B, exactly symmetric."""
    result = root @ torch.linalg.matrix_exp(exponent) @ root
    return (result + result.mT) / 2


def logarithmic_distance(
    stiffness: Float[Tensor, "batch 6 6"], other: Float[Tensor, "batch 6 6"]
) -> Float[Tensor, " batch"]:
    """Least q with exp(-q) A <= B <= exp(q) A: then every modulus of B is that of A within a factor exp(q).

    Young's modulus along any direction, shear moduli, the bulk modulus and the averages of Voigt and Reuss are monotone
    in the tensor; Poisson's ratio is not.
    """
    factor = torch.linalg.cholesky(stiffness)
    half = torch.linalg.solve_triangular(factor, other, upper=False)
    values = torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, half.mT, upper=False))
    return values.log().abs().amax(-1)

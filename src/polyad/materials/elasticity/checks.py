"""What counts as a stiffness: a finite, symmetric Kelvin-Mandel matrix; positive definite where its inverse is used."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def check_stiffness(stiffness: Float[Tensor, "*batch 6 6"], *, positive: bool = False, name: str = "stiffness") -> None:
    """Raise InputError unless every matrix is finite and symmetric and, with `positive`, positive definite.

    Symmetry is asked to 1e-8 of the largest entry in float64, to 1e-4 in single precision.
    """
    matrix = stiffness.detach()
    if not bool(torch.isfinite(matrix).all()):
        broken = int((~torch.isfinite(matrix)).flatten(-2).any(-1).sum())
        raise InputError(f"{name}: {broken} of its matrices hold NaN or infinity; give finite numbers")
    tolerance = 1e-8 if matrix.dtype == torch.float64 else 1e-4
    largest = matrix.abs().amax(dim=(-2, -1))
    error = (matrix - matrix.mT).abs().amax(dim=(-2, -1))
    if bool((error > tolerance * largest).any()):
        ratio = (error / largest.clamp_min(torch.finfo(matrix.dtype).tiny)).max().item()
        raise InputError(
            f"{name}: not symmetric, max |C - C^T| / max |C| is {ratio:.3g}, allowed is {tolerance:g}; "
            "give (C + C^T) / 2 if the difference is noise"
        )
    if positive:
        values = torch.linalg.eigvalsh(matrix)
        floor = torch.finfo(matrix.dtype).eps * 6 * values[..., -1].abs()
        if not bool((values[..., 0] > floor).all()):
            raise InputError(
                f"{name}: not positive definite, smallest eigenvalue is {values.min().item():.6g}; "
                "its inverse is needed here, so brace mechanisms or leave such tensors out (`stability` finds them)"
            )


def compliance_of(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 6 6"]:
    """Kelvin-Mandel compliance, the symmetric inverse of a positive definite stiffness (InputError otherwise)."""
    check_stiffness(stiffness, positive=True)
    return torch.cholesky_inverse(torch.linalg.cholesky(stiffness))

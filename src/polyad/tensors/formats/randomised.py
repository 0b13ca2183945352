"""Dominant subspaces from random sketches: the cheap way where the rank is far below the matrix' size.

A sketch Q of the range of M comes from products with Gaussian vectors and two power iterations; with |M|^2 and
|Q^H M|^2 at hand the loss is known, so a tolerance is certified: the sketch doubles until it holds.

Source: N. Halko, P.-G. Martinsson, J. A. Tropp, SIAM Review 53 (2011) 217 (algorithms 4.4 and 5.1).

When not to use it: for tolerances below about 1e-7 (the loss is a difference of squares), or for slowly falling
singular values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.subspace import dominant_basis

OVERSAMPLING = 8
POWER_ITERATIONS = 2

Basis = Callable[..., tuple[Tensor, Tensor]]


def basis_finder(generator: torch.Generator | None, *, power_iterations: int = POWER_ITERATIONS) -> Basis:
    """`dominant_basis`, or with a generator `randomised_basis` drawing from it."""
    if generator is None:
        return dominant_basis

    def find(matrix: Tensor, *, budget: Tensor | None, cap: int) -> tuple[Tensor, Tensor]:
        return randomised_basis(matrix, budget=budget, cap=cap, generator=generator, power_iterations=power_iterations)

    return find


def randomised_basis(
    matrix: Num[Tensor, "rows columns"],
    *,
    budget: Num[Tensor, ""] | None,
    cap: int,
    generator: torch.Generator,
    power_iterations: int = POWER_ITERATIONS,
) -> tuple[Num[Tensor, "rows rank"], Num[Tensor, ""]]:
    """Orthonormal basis of the dominant left subspace and the squared norm that it leaves out; no derivative.

    Args:
        matrix: M.
        budget: largest squared norm that may be left out; None for none but the cap.
        cap: largest rank.
        generator: source of the sketch.
        power_iterations: how often the sketch is multiplied by M M^H; each costs two products.
    """
    if torch.is_grad_enabled() and matrix.requires_grad:
        raise InputError("generator: a random sketch has no gradient; leave it out, or use torch.no_grad()")
    with torch.no_grad():
        matrix = matrix.detach()
        energy = torch.linalg.vector_norm(matrix).square()
        most = min(matrix.shape)
        width = min(most, (16 if budget is not None else cap) + OVERSAMPLING)
        while True:
            if 2 * width >= most:
                return dominant_basis(matrix, budget=budget, cap=cap)
            sketch = _range(matrix, width, generator, power_iterations)
            reduced = sketch.mH @ matrix
            missed = (energy - torch.linalg.vector_norm(reduced).square()).clamp_min(0)
            missed = missed + 16 * torch.finfo(matrix.dtype).eps * energy
            if budget is None or bool(missed <= budget / 2) or width >= cap + OVERSAMPLING:
                break
            width *= 2
        inner = None if budget is None else (budget - missed).clamp_min(0)
        basis, lost = dominant_basis(reduced, budget=inner, cap=cap)
        return sketch @ basis, lost + missed


def _range(matrix: Tensor, width: int, generator: torch.Generator, power_iterations: int) -> Tensor:
    draw = torch.randn(matrix.shape[1], width, generator=generator, dtype=matrix.dtype, device=generator.device)
    sketch = torch.linalg.qr(matrix @ draw.to(matrix.device)).Q
    for _ in range(power_iterations):
        sketch = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.mH @ sketch).Q).Q
    return sketch

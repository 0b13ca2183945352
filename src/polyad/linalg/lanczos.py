"""Lanczos: extreme eigenpairs of a symmetric operator from products with vectors alone.

    A q_j = beta_{j-1} q_{j-1} + alpha_j q_j + beta_j q_{j+1},      T = tridiag(alpha, beta) = Q^T A Q

Eigenpairs (theta, s) of T give Ritz pairs (theta, Q s) with |A Q s - theta Q s| = beta_m |s_m|. Every new vector is
orthogonalised against all former ones, twice ("twice is enough"), so no copies of converged eigenvalues appear. Where
the Krylov space is exhausted (beta = 0) the iteration goes on from a random vector orthogonal to it, so repeated
eigenvalues are found too.

Sources: C. Lanczos, J. Res. NBS 45 (1950) 255; B. N. Parlett, The Symmetric Eigenvalue Problem, SIAM 1998, sections
6.9 and 13.

*When not to use it*: for eigenvalues inside the spectrum, or where m vectors of length n do not fit in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class RitzPairs:
    """Approximate eigenpairs, eigenvalues descending.

    Args:
        values: (k,).
        vectors: (n, k), orthonormal columns.
        residuals: (k,) |A v - theta v|, an upper bound of every eigenvalue's error.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "n k"]
    residuals: Float[Tensor, " k"]


def lanczos(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    steps: int,
    start: Float[Tensor, " n"] | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> RitzPairs:
    """All Ritz pairs after `steps` products (at most `size`), in float64.

    Args:
        operator: v -> A v for float64 vectors of length `size`; A symmetric.
        size: n.
        steps: number of products, m.
        start: first direction; random if not given.
        generator: of the start and of restarts, on the CPU; seeded with 0 if not given.
        device: where vectors live, that of `start` if given.

    Raises:
        InputError: a size, a number of steps or a start that cannot be used, or products that are not finite.
    """
    if size < 1 or steps < 1:
        raise InputError(f"lanczos: size {size}, steps {steps}; both must be at least 1")
    if start is not None and (start.shape != (size,) or not bool(start.isfinite().all()) or not bool(start.any())):
        raise InputError(f"start: must be a finite vector of length {size} other than 0")
    generator = generator or torch.Generator().manual_seed(0)
    device = start.device if start is not None else torch.device(device)
    steps = min(steps, size)
    basis = torch.zeros(steps, size, dtype=torch.float64, device=device)
    diagonal, beside = [], []
    vector = _random(size, generator, device) if start is None else start.double()
    vector = vector / torch.linalg.vector_norm(vector)
    scale = 0.0
    for step in range(steps):
        basis[step] = vector
        product = operator(vector).double()
        alpha = float(vector @ product)
        if not math.isfinite(alpha):
            raise InputError("operator: a product is not finite; look at the point where it is taken")
        scale = max(scale, float(torch.linalg.vector_norm(product)))
        rest = _orthogonal(product, basis[: step + 1])
        beta = float(torch.linalg.vector_norm(rest))
        if beta <= 1e-13 * scale and step + 1 < steps:  # invariant: what is left lies in its complement
            beta = 0.0
            rest = _orthogonal(_random(size, generator, device), basis[: step + 1])
        diagonal.append(alpha)
        beside.append(beta)
        vector = rest / torch.linalg.vector_norm(rest).clamp_min(torch.finfo(torch.float64).tiny)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if steps > 1:
        side = torch.diag(torch.tensor(beside[:-1], dtype=torch.float64), 1)
        tridiagonal = tridiagonal + side + side.mT
    values, inner = torch.linalg.eigh(tridiagonal)
    values, inner = values.flip(0).to(device), inner.flip(1).to(device)
    return RitzPairs(values, basis.mT @ inner, beside[-1] * inner[-1].abs())


def extreme_eigenpairs(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    largest: int,
    smallest: int = 0,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> RitzPairs:
    """The `largest` algebraically largest and then the `smallest` smallest eigenpairs, eigenvalues descending.

    Args:
        operator: v -> A v for float64 vectors of length `size`; A symmetric.
        size: n.
        largest: how many at the upper end.
        smallest: how many at the lower end.
        steps: products; max(4 (largest + smallest), 2 ln n) if not given, enough where the wanted ones are apart.
        generator: as in `lanczos`.
        device: as in `lanczos`.

    Raises:
        InputError: more eigenpairs than n or than steps.
    """
    wanted = largest + smallest
    if min(largest, smallest) < 0 or not 1 <= wanted <= size:
        raise InputError(f"extreme_eigenpairs: {largest} largest and {smallest} smallest of {size}")
    steps = min(size, steps or max(4 * wanted, math.ceil(2 * math.log(max(size, 2)))))
    if steps < wanted:
        raise InputError(f"steps: {steps} give at most as many eigenpairs, {wanted} are wanted; allow more")
    pairs = lanczos(operator, size, steps=steps, generator=generator, device=device)
    kept = [*range(largest), *range(steps - smallest, steps)]
    return RitzPairs(pairs.values[kept], pairs.vectors[:, kept], pairs.residuals[kept])


def _random(size: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    return torch.randn(size, generator=generator, dtype=torch.float64).to(device)


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """What is left of a vector beside the rows of `basis`."""
    for _ in range(2):
        vector = vector - basis.mT @ (basis @ vector)
    return vector

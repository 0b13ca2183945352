"""Trace and diagonal of an operator from products with random signs.

    tr A = E[z . A z],     diag A = E[z * A z],       z_i = +-1 at equal odds

For signs the variance of the trace is 2 sum over i != j of A_ij^2, of diagonal entry i it is sum over j != i of A_ij^2:
a diagonal matrix is found exactly by one product.

Sources: M. F. Hutchinson, Commun. Stat. Simul. Comput. 18 (1989) 1059; C. Bekas, E. Kokiopoulou and Y. Saad, Appl.
Numer. Math. 57 (2007) 1214.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """`mean` of the draws and its `standard_error` (infinite after a single draw)."""

    mean: Tensor
    standard_error: Tensor


def hutchinson_trace(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    samples: int = 32,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Estimate:
    """The trace of an operator on float64 vectors of length `size`.

    Args:
        operator: v -> A v.
        size: n.
        samples: number of products.
        generator: of the signs, on the CPU; seeded with 0 if not given.
        device: where vectors live.

    Raises:
        InputError: fewer than one sample.
    """
    draws = [z @ product for z, product in _products(operator, size, samples, generator, device)]
    return _estimate(torch.stack(draws))


def hutchinson_diagonal(
    operator: Callable[[Tensor], Tensor],
    size: int,
    *,
    samples: int = 32,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Estimate:
    """The diagonal of an operator, as `hutchinson_trace`."""
    return _estimate(torch.stack([z * product for z, product in _products(operator, size, samples, generator, device)]))


def _products(
    operator: Callable[[Tensor], Tensor],
    size: int,
    samples: int,
    generator: torch.Generator | None,
    device: torch.device | str,
) -> list[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]:
    if samples < 1:
        raise InputError(f"samples: must be at least 1, got {samples}")
    generator = generator or torch.Generator().manual_seed(0)
    pairs = []
    for _ in range(samples):
        signs = 2 * torch.randint(2, (size,), generator=generator).double().to(device) - 1
        pairs.append((signs, operator(signs).double()))
    return pairs


def _estimate(draws: Tensor) -> Estimate:
    count = len(draws)
    error = draws.std(0) / count**0.5 if count > 1 else torch.full_like(draws[0], torch.inf)
    return Estimate(draws.mean(0), error)

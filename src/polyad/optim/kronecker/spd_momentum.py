"""Momentum on positive definite matrices, without inverse, transport or retraction solve.

A function of tau = A A' is minimised over factors A of a group: dense, diagonal, block triangular, or the factors of a
Kronecker product. Around the present A a neighbour is A expm(D * x) with coordinates x in which the affine-invariant
metric is a multiple of the identity at x = 0, so momentum is Euclidean there. With S = A' (gradient by tau) A,

    m <- alpha m + 2 D * sym(S),      A <- A expm(-lr D * m)

D is 1/2 on diagonal blocks, 1/sqrt 2 above them, 0 below; dense and diagonal matrices are one block. For a Kronecker
product, S of a factor is the partial trace over the others divided by their order. expm may be cut after its first or
second term: products are then all there is.

    factor = nn.Parameter(torch.eye(3))
    optimizer = SPDMomentum([factor], lr=0.1)
    tau = factor @ factor.mT
    ((tau @ statistics).trace() - 2 * torch.linalg.slogdet(factor).logabsdet).backward()
    optimizer.step()

Source: Lin, Duruisseaux, Leok, Nielsen, Khan, Schmidt, ICML 2023, arXiv:2302.09738, sections 3 and 4.

Deviations: the parameter is A, from whose gradient 2 (gradient by tau) A the method's own follows, so that any loss in
A A' can be differentiated. The metric of a Kronecker product is taken factor by factor, as the paper does: the
scale, which factors share, moves once for each.

When not to use it: the loss must depend on A through A A' only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer

STRUCTURES = ("dense", "diagonal", "triangular", "kronecker")
"""What a factor may be; `diagonal` factors are vectors, `kronecker` ones are those of a single product."""

EXPONENTIALS = ("exact", "first", "second")
"""expm itself, or its series up to this order."""


def exponential(x: Float[Tensor, "... n n"], kind: str = "exact") -> Float[Tensor, "... n n"]:
    """expm(x), or I + x, or I + x + x x / 2.

    Args:
        x: matrices.
        kind: one of `EXPONENTIALS`.
    """
    if kind == "exact":
        wide = torch.promote_types(x.dtype, torch.float32)
        return torch.linalg.matrix_exp(x.to(wide)).to(x.dtype)
    result = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) + x
    return result + x @ x / 2 if kind == "second" else result


def coordinate_weights(blocks: Sequence[int], like: Tensor) -> Float[Tensor, "n n"]:
    """D of block upper triangular matrices.

    Args:
        blocks: orders of the diagonal blocks.
        like: gives dtype and device.
    """
    number = torch.repeat_interleave(torch.arange(len(blocks)), torch.tensor(list(blocks))).to(like.device)
    row, column = number[:, None], number[None, :]
    weights = torch.zeros(len(number), len(number), dtype=like.dtype, device=like.device)
    return weights.masked_fill_(row == column, 0.5).masked_fill_(row < column, 0.5**0.5)


@final
class SPDMomentum(GradientOptimizer):
    """Riemannian momentum on factors A of positive definite matrices A A'.

    Args:
        params: factors (..., n, n), `diagonal` ones (..., n), as everywhere in torch.optim.
        lr: of the coordinates.
        momentum: alpha.
        structure: one of `STRUCTURES`. The factors of a group with `kronecker` make one product.
        blocks: of `triangular`, orders of the diagonal blocks; None for 1 each.
        exponential: one of `EXPONENTIALS`.

    Raises:
        InputError: an option out of its range, factors that do not fit the structure, or what `polyad.optim.checks`
            refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        structure: str = "dense",
        blocks: Sequence[int] | None = None,
        exponential: str = "exact",
    ) -> None:
        orders = None if blocks is None else list(blocks)
        defaults = {"structure": structure, "blocks": orders, "exponential": exponential}
        super().__init__(params, {"lr": lr, "momentum": momentum, **defaults})

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges and factors that do not fit."""
        checks.check_share(momentum=group["momentum"])
        for name, allowed in (("structure", STRUCTURES), ("exponential", EXPONENTIALS)):
            if group[name] not in allowed:
                raise InputError(f"{name}: {group[name]!r} is unknown; choose one of {', '.join(allowed)}")
        for factor in group["params"]:
            square = factor.ndim >= 2 and factor.shape[-1] == factor.shape[-2]
            if not (factor.ndim >= 1 if group["structure"] == "diagonal" else square):
                wanted = "(..., n)" if group["structure"] == "diagonal" else "(..., n, n)"
                raise InputError(f"params: a {group['structure']} factor must be {wanted}, got {tuple(factor.shape)}")
            blocks = group["blocks"]
            if blocks is not None and (sum(blocks) != factor.shape[-1] or min(blocks) < 1):
                raise InputError(f"blocks: {blocks} must be positive and sum to the order, {factor.shape[-1]}")

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of every factor of a group."""
        orders = [p.shape[-1] for p in group["params"]] if group["structure"] == "kronecker" else []
        for factor in parameters:
            assert factor.grad is not None
            if group["structure"] == "diagonal":
                memory = self._remember(group, factor, factor * factor.grad / 2)
                shift = -group["lr"] / 2 * memory
                if group["exponential"] == "exact":
                    factor.mul_(shift.exp())
                else:
                    square = shift.square() / 2 if group["exponential"] == "second" else 0.0
                    factor.mul_(1 + shift + square)
                continue
            blocks = [factor.shape[-1]]
            if group["structure"] == "triangular":
                blocks = group["blocks"] or [1] * factor.shape[-1]
            weights = coordinate_weights(blocks, factor)
            pulled = factor.mT @ factor.grad / 2
            if orders:
                pulled = pulled * (factor.shape[-1] / prod(orders))
            memory = self._remember(group, factor, weights * (pulled + pulled.mT))
            factor.copy_(factor @ exponential(-group["lr"] * weights * memory, group["exponential"]))

    def _remember(self, group: dict[str, Any], factor: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[factor]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        memory: Tensor = state["momentum"].mul_(group["momentum"]).add_(gradient)
        return memory

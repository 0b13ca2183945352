"""Shampoo whose preconditioners take four bits an entry: eigenvectors are rounded, eigenvalues are not.

For a gradient G of a matrix (tensors of higher order are flattened to rows times the rest), L and R are running means
of G G' and G' G. The step goes along L^(-1/4) G R^(-1/4), scaled to the length of G (grafting), and is handed to SGD
with momentum, AdamW or LAMB. Rounding the eigenvectors of L and R and repairing their orthogonality keeps the inverse
roots accurate where rounding L and R themselves does not: small eigenvalues, which the inverse root amplifies, survive.

Eigenvectors follow the statistics by one orthogonal iteration at a time, which tracks them and is no decomposition:
with a fixed G it needs hundreds of updates to come within one percent. `basis="eigh"` decomposes instead.

Deviations: the published names T1, T2, t1, t2, beta are `statistics_every`, `roots_every`, `rectify_statistics`,
`rectify_roots`, `decay`; statistics start at zero, not at eps I, for the ridge is relative to the largest eigenvalue;
parameters with less than two axes go to the base method as they are; the length is that of the whole tensor, not of
each block.

Source: Wang, Zhou, Li, Huang, NeurIPS 2024, arXiv:2405.18144; Gupta, Koren, Singer, ICML 2018, arXiv:1802.09568.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, full_precision
from polyad.optim.kronecker import sides
from polyad.optim.kronecker.base_updates import base_update, check_base
from polyad.optim.kronecker.quantization import codebook_values
from polyad.optim.kronecker.sides import SideOptions

WAYS = ("subspace", "eigh", "matrix")
"""What a side keeps and how it is renewed."""

_SAFE = 1e-15  # a float32 norm above this has lost no square that matters


@final
@dataclass(frozen=True)
class StateBytes:
    """Bytes that an optimiser keeps.

    Args:
        preconditioner: statistics and inverse roots.
        base: momentum and what else the base method keeps.
    """

    preconditioner: int
    base: int

    @property
    def total(self) -> int:
        """Bytes of the whole state."""
        return self.preconditioner + self.base


@final
class Shampoo(GradientOptimizer):
    """Shampoo with preconditioners in 4 or 32 bits.

    Args:
        params: as everywhere in torch.optim.
        lr: learning rate of the base method.
        base: `sgd`, `adamw` or `lamb`.
        bits: 4 or 32.
        basis: `subspace` (one orthogonal iteration a statistics update), `eigh` (a decomposition), or `matrix`: the
            second moments themselves are kept and, with 4 bits, rounded; for comparison only.
        codebook: of the rounding, `linear2` or `dynamic_tree`.
        decay: of the second moments.
        eps: ridge of the inverse roots over the largest eigenvalue.
        statistics_every: steps between updates of the second moments.
        roots_every: steps between inverse roots; before the first the base method steps along the gradient.
        max_order: longer axes are split into equal blocks of at most this.
        min_size: preconditioner matrices of fewer entries stay in full precision.
        rectify_statistics: orthonormalising steps of rounded eigenvectors before statistics are added.
        rectify_roots: the same before an inverse root.
        momentum: of `sgd`.
        betas: of `adamw` and `lamb`.
        adam_eps: guard of their division.
        weight_decay: with `sgd` added to the direction, else to the update.

    Raises:
        InputError: an option out of its range, or what `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.05,
        base: str = "sgd",
        bits: int = 4,
        basis: str = "subspace",
        codebook: str = "linear2",
        decay: float = 0.95,
        eps: float = 1e-6,
        statistics_every: int = 100,
        roots_every: int = 500,
        max_order: int = 1200,
        min_size: int = 4096,
        rectify_statistics: int = 1,
        rectify_roots: int = 4,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        adam_eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {name: value for name, value in locals().items() if name not in ("self", "params", "__class__")}
        super().__init__(params, defaults)

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges."""
        check_base(group)
        if group["bits"] not in (4, 32):
            raise InputError(f"bits: {group['bits']} is not supported; choose 4 or 32")
        if group["basis"] not in WAYS:
            raise InputError(f"basis: {group['basis']!r} is unknown; choose one of {', '.join(WAYS)}")
        codebook_values(group["codebook"])
        checks.check_share(decay=group["decay"])
        checks.check_positive(eps=group["eps"])
        for name in ("statistics_every", "roots_every", "max_order"):
            if group[name] < 1:
                raise InputError(f"{name}: must be at least 1, got {group[name]}")
        for name in ("rectify_statistics", "rectify_roots", "min_size"):
            if group[name] < 0:
                raise InputError(f"{name}: must not be negative, got {group[name]}")

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of a group."""
        options = SideOptions(**{name: group[name] for name in SideOptions.__dataclass_fields__})
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        directions = [
            self._direction(group, options, parameter, gradient) if gradient.ndim > 1 else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        base_update(self.state, group, parameters, directions)

    def state_bytes(self) -> StateBytes:
        """Bytes of the state as it is now, before the first step none."""
        states = list(self.state.values())
        preconditioner = sum(sides.bytes_of(state.get("blocks", [])) for state in states)
        return StateBytes(preconditioner, sum(sides.bytes_of(state) for state in states) - preconditioner)

    def _direction(self, group: dict[str, Any], options: SideOptions, parameter: Tensor, gradient: Tensor) -> Tensor:
        matrix = gradient.flatten(1)
        state = self.state[parameter]
        state["steps"] = state.get("steps", 0) + 1
        places = list(_blocks(matrix.shape[0], matrix.shape[1], group["max_order"]))
        if "blocks" not in state:
            orders = [matrix[place].shape for place in places]
            state["blocks"] = [[sides.new_side(n, matrix, options) for n in shape] for shape in orders]
        direction = torch.empty_like(matrix) if len(places) > 1 else matrix
        for place, (left, right) in zip(places, state["blocks"], strict=True):
            block = matrix[place]
            if state["steps"] % group["statistics_every"] == 0:
                _observe(left, right, block, options)
            if state["steps"] % group["roots_every"] == 0:
                sides.renew_root(left, options)
                sides.renew_root(right, options)
            if "root" in left:
                block = sides.root(left, options) @ block @ sides.root(right, options)
            if len(places) > 1:
                direction[place] = block
            else:
                direction = block
        return graft(direction, matrix).view_as(gradient)


def graft(direction: Tensor, gradient: Tensor) -> Tensor:
    """The direction scaled to the gradient's length; a direction of length zero is returned as it is.

    Where squares might overflow or vanish, both are divided by their largest entry first.
    """
    if direction.device.type == "cpu":  # elsewhere, asking for a norm would wait for it
        length, size = direction.norm(), gradient.norm()
        if all(_SAFE < float(norm) < math.inf for norm in (length, size)):
            return direction * (size / length)
    largest, height = direction.abs().amax(), gradient.abs().amax()
    unit = direction / torch.where(largest > 0, largest, 1.0)
    length = unit.norm()
    size = (gradient / torch.where(height > 0, height, 1.0)).norm()
    return unit * (torch.where(length > 0, size / length, 1.0) * height)


def _observe(left: sides.Side, right: sides.Side, block: Tensor, options: SideOptions) -> None:
    if not bool(block.square().sum().isfinite()):
        warnings.warn(
            "Shampoo: squares of a gradient overflow; its statistics are left as they were: scale the loss down",
            NumericalWarning,
            stacklevel=2,
        )
        return
    sides.accumulate(left, block, options)
    sides.accumulate(right, block.mT, options)


def _blocks(rows: int, columns: int, max_order: int) -> Iterator[tuple[slice, slice]]:
    """Places of a grid of near-equal blocks of at most max_order x max_order."""
    for top in _cuts(rows, max_order):
        for left in _cuts(columns, max_order):
            yield top, left


def _cuts(length: int, longest: int) -> list[slice]:
    pieces = -(-length // longest)
    edges = [length * k // pieces for k in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]

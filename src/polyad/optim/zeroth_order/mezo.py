"""Fine-tuning in the memory of inference: the slope along one random direction, drawn again instead of being kept.

With a seed s for every step, z ~ N(0, I) drawn from s each time it is needed, and the loss of one batch:

    theta += eps z;  l+;  theta -= 2 eps z;  l-;  theta += eps z;  slope = (l+ - l-) / (2 eps);  theta -= lr slope z

No gradient, no activations for a backward pass and no z are held: beside the parameters, one piece of `PIECE` numbers.

S. Malladi, T. Gao, E. Nichani, A. Damian, J. D. Lee, D. Chen, S. Arora, 'Fine-tuning language models with just forward
passes', NeurIPS 2023, arXiv:2305.17333, algorithm 1.

Deviations: normal numbers are drawn for pieces of a parameter, not for whole ones, so that scratch memory is bounded;
`step` returns the mean of l+ and l-, which is the loss at theta up to a term in eps^2.

When not to use it: where gradients fit into memory. The variance of a step grows with the number of parameters, and
from random weights hardly anything is learned. In bfloat16 steps below 1/256 of a weight are lost in rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer

PIECE = 1 << 16
"""Numbers drawn at once: few enough for the processor's cache; a multiple of 16, by which torch draws them."""


@final
class MeZO(GradientOptimizer):
    """Memory-efficient zeroth-order descent; `step(closure)`, the closure returns the loss alone.

    Args:
        params: parameters or groups of them; those that require no gradient are moved too.
        lr: step size, of each group.
        eps: half distance of the two losses.
        seed: of all steps; two optimisers with one seed look along the same directions.

    Raises:
        InputError: a learning rate or eps that is not positive, or complex parameters.
    """

    def __init__(self, params: Any, *, lr: float = 1e-6, eps: float = 1e-3, seed: int = 0) -> None:
        checks.check_positive(eps=eps)
        super().__init__(params, {"lr": lr, "eps": eps, "seed": seed, "steps": 0})
        self._slope = 0.0
        self._generator = torch.Generator(self.param_groups[0]["params"][0].device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with two losses; returns their mean. A closure that raises leaves the parameters where they were.

        Args:
            closure: returns the loss of this step's batch, the same batch both times; it is called without gradients.

        Raises:
            InputError: no closure, or one that returns no single real number.
        """
        if closure is None:
            raise InputError("MeZO: needs the loss at every step: call step(closure)")
        eps, shifted = self.param_groups[0]["eps"], 0
        try:
            self._shift(eps)
            shifted = 1
            plus = checks.one_number(closure(), "loss")
            self._shift(-2 * eps)
            shifted = -1
            minus = checks.one_number(closure(), "loss")
        except BaseException:
            if shifted:
                self._shift(-shifted * eps)
            raise
        self._shift(eps)
        self._slope = slope_of(plus, minus, eps)
        if math.isfinite(self._slope):
            self._restart()
            for group in self.param_groups:
                self.update(group, group["params"])
        else:
            checks.count_skipped(self, what="a loss")
        for group in self.param_groups:
            group["steps"] += 1
        return (plus + minus) / 2

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """theta -= lr slope z, the generator standing where the group's directions begin."""
        add_normal(parameters, -group["lr"] * self._slope, generator=self._generator)

    def _shift(self, factor: float) -> None:
        self._restart()
        for group in self.param_groups:
            add_normal(group["params"], factor, generator=self._generator)

    def _restart(self) -> None:
        first = self.param_groups[0]
        self._generator.manual_seed(step_seed(first["seed"], first["steps"]))


def step_seed(seed: int, step: int) -> int:
    """Seed of one step's directions, in [0, 2^63): the number seed and step give in SplitMix64.

    Args:
        seed: of the whole run.
        step: number of the step, from 0.
    """
    mask = (1 << 64) - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1342543DE82EF95) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 1


@torch.no_grad()
def add_normal(parameters: Iterable[Tensor], factor: float, *, generator: torch.Generator) -> None:
    """parameter += factor z for all, in order, z standard normal from the generator, in pieces of `PIECE` numbers.

    Args:
        parameters: changed in place; those of less than 32 bits are added to in float32 and rounded.
        factor: of the noise.
        generator: left behind the last number used; its device draws.
    """
    for parameter in parameters:
        dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        whole = parameter.detach()
        flat = whole.reshape(-1)  # a view where memory is in order, else a copy that is written back
        for piece in flat.split(PIECE):
            noise = torch.randn(len(piece), dtype=dtype, device=generator.device, generator=generator)
            piece.add_(noise.to(piece.device), alpha=factor)
            del noise  # before the next is drawn
        if flat.numel() and flat.data_ptr() != whole.data_ptr():
            whole.copy_(flat.reshape(whole.shape))


def slope_of(plus: Tensor, minus: Tensor, eps: float) -> float:
    """(l+ - l-) / (2 eps), formed in float64 whatever the losses' dtype."""
    return (float(plus) - float(minus)) / (2 * eps)

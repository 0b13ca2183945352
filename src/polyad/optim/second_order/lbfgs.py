"""L-BFGS with a strong Wolfe line search, one iteration a step, whose curvature pairs never mix two batches.

    theta <- theta - t H g,    H the inverse BFGS matrix of the last pairs (s, y) on gamma I

y has to be a difference of gradients of one function. With the line search it is: both gradients come from the closure
of that step. With a fixed step, `step(closure, overlap=...)` takes both from the samples that this batch shares with
the next, which costs two evaluations of few samples instead of one of all (multi-batch L-BFGS).

With `blocks` the leading dimension of every parameter counts independent parts, each with a history of its own; the
line search is joint.

Sources: J. Nocedal, Mathematics of Computation 35 (1980) 773; D. C. Liu, J. Nocedal, Mathematical Programming 45 (1989)
503; A. S. Berahas, J. Nocedal, M. Takac, NeurIPS 2016, arXiv:1605.06049 (batches); H. Saratchandran, S.-F. Chng,
S. Ramasinghe, L. MacDonald, S. Lucey, ICCV 2023, arXiv:2305.08552 (coordinate networks).

*When not to use it*: on small noisy batches; where 2 `history` vectors of the model's size do not fit beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim._processes import mean_over_processes
from polyad.optim.base import GradientOptimizer
from polyad.optim.second_order import curvature_pairs
from polyad.optim.second_order.line_search import Trial, strong_wolfe

_OWN: Any = "lbfgs"


@final
class LBFGS(GradientOptimizer):
    """L-BFGS; `step(closure)` is one iteration: a direction, a line search along it, and a new curvature pair.

    Args:
        params: as everywhere in torch.optim.
        lr: first step of every line search, the step itself without one; groups with other rates scale their part of
            the direction.
        history: the most curvature pairs, 2 vectors each.
        line_search: strong Wolfe; False for steps of `lr`.
        sufficient_decrease: c1 of the line search.
        curvature: c2 of the line search; near 0 it is exact.
        evaluations: the most closure calls of a line search.
        full_batch: the closure is the same function at every step and parameters change in steps alone, so the gradient
            at the end of a line search serves the next step.
        blocks: leading dimension of all parameters that counts independent parts; 1 for one history of all.

    Raises:
        InputError: an option out of its range, or what `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        history: int = 100,
        line_search: bool = True,
        sufficient_decrease: float = 1e-4,
        curvature: float = 0.9,
        evaluations: int = 25,
        full_batch: bool = False,
        blocks: int = 1,
    ) -> None:
        if min(history, evaluations, blocks) < 1:
            raise InputError(
                f"LBFGS: history {history}, evaluations {evaluations} and blocks {blocks} must be at least 1"
            )
        if not 0 < sufficient_decrease < curvature < 1:
            raise InputError(
                f"LBFGS: sufficient_decrease {sufficient_decrease} and curvature {curvature} must satisfy "
                "0 < sufficient_decrease < curvature < 1"
            )
        self.history, self.line_search, self.full_batch, self.blocks = history, line_search, full_batch, blocks
        self.sufficient_decrease, self.curvature, self.evaluations = sufficient_decrease, curvature, evaluations
        super().__init__(params, {"lr": lr})
        self.state[_OWN] = {"calls": 0, "stalled": False}
        self._line: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self._length = 0.0

    @property
    def calls(self) -> int:
        """Closure calls so far, those for the overlap not counted."""
        return int(self.state[_OWN]["calls"])

    @property
    def stalled(self) -> bool:
        """Whether the last step, straight down, found no lower value, as at the limit of rounding."""
        return bool(self.state[_OWN]["stalled"])

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse parameters that do not have `blocks` parts."""
        for parameter in group["params"]:
            if self.blocks > 1 and parameter.requires_grad and (not parameter.ndim or len(parameter) != self.blocks):
                raise InputError(
                    f"blocks: {self.blocks}, but a parameter has shape {tuple(parameter.shape)}; the leading dimension "
                    "of each must count the blocks"
                )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the same parameters, to the bit.

        Raises:
            InputError: a state of other parameters, or of another optimiser.
        """
        if "state" in state_dict and _OWN not in state_dict["state"]:
            raise InputError("state: holds no history of LBFGS; load it into the optimiser it is of")
        super().load_state_dict(state_dict)
        saved = checks.copied(state_dict["state"][_OWN], self.param_groups[0]["params"][0].device)
        self.state[_OWN] = saved

    @torch.compiler.disable
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, overlap: Callable[[], Any] | None = None) -> Any:
        """One iteration; returns the closure's loss at its start.

        Args:
            closure: zeroes gradients, computes them and returns the loss; called several times.
            overlap: the same on the samples that this batch shares with the next.

        Raises:
            InputError: no closure, one that returns None, or sparse gradients.
        """
        closure = checks.require_loss(closure, "LBFGS")
        own = self.state[_OWN]
        if self.full_batch and "gradient" in own:
            loss, gradient = own["loss"], own["gradient"]
        else:
            loss = self._call(closure)
            if not checks.gradients_usable(self):
                return loss
            gradient = self._gradient()
        if all(float(group["lr"]) == 0 for group in self.param_groups) or (self.full_batch and own["stalled"]):
            return loss
        value = float(mean_over_processes(loss.detach()))
        direction, slope = self._direction(gradient)
        own["stalled"] = not slope < 0
        if own["stalled"]:
            return loss
        self._start_line(direction)
        before = gradient if overlap is None else self._gradient_of(overlap)

        def trial(length: float) -> Trial:
            self._go_to(length)
            there = float(mean_over_processes(self._call(closure).detach()))
            reached = self._gradient()
            return Trial(length, there, float((reached * direction).sum(dtype=torch.float64)), reached)

        if not self.line_search:
            self._go_to(1.0)
            reached = None
        else:
            first = 1.0 if curvature_pairs.count(own["pairs"]) else min(1.0, 1.0 / float(gradient.abs().sum()))
            found = strong_wolfe(
                trial,
                Trial(0.0, value, slope, gradient),
                first=first,
                sufficient_decrease=self.sufficient_decrease,
                curvature=self.curvature,
                evaluations=self.evaluations,
                resolution=4 * torch.finfo(loss.dtype).eps,
            )
            self._go_to(found.trial.step)
            reached = found.trial.gradient
            if self.full_batch:
                own["loss"], own["gradient"] = loss.new_tensor(found.trial.value), reached
        moved = self._joined([p.to(start.dtype) - start for p, (start, _) in self._line.items()])
        if not bool(moved.any()):
            self._forget()
        else:
            if overlap is not None:
                reached = self._gradient_of(overlap)
            elif reached is None:
                self._call(closure)
                reached = self._gradient()
            curvature_pairs.add_pair(own["pairs"], moved, reached - before, history=self.history)
        self._line = {}
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Put the parameters of a group on the line, `start + length * direction`."""
        starts, directions = zip(*(self._line[p] for p in parameters), strict=True)
        torch._foreach_copy_(parameters, torch._foreach_add(list(starts), list(directions), alpha=self._length))

    def _direction(self, gradient: Tensor) -> tuple[Tensor, float]:
        """Where to go, and the slope along it; straight down, without history, where that does not descend."""
        own = self.state[_OWN]
        if "pairs" not in own or own["members"] != self._members()[0]:
            own["members"] = self._members()[0]
            own["pairs"] = curvature_pairs.new_pairs(self.blocks, gradient.shape[1], gradient)
        rates = self._rates(gradient)
        direction = -rates * curvature_pairs.inverse_times(own["pairs"], gradient)
        slope = float((gradient * direction).sum(dtype=torch.float64))
        if not slope < 0 and curvature_pairs.count(own["pairs"]):
            own["pairs"] = curvature_pairs.new_pairs(self.blocks, gradient.shape[1], gradient)
            direction = -rates * gradient
            slope = float((gradient * direction).sum(dtype=torch.float64))
        return direction, slope

    def _forget(self) -> None:
        """Start again straight down after a step that moved nothing; without a history to forget, it stalls."""
        own = self.state[_OWN]
        own["stalled"] = curvature_pairs.count(own["pairs"]) == 0
        del own["pairs"]

    def _call(self, closure: Callable[[], Any]) -> Tensor:
        self.state[_OWN]["calls"] += 1
        return torch.as_tensor(checks.evaluate(closure))

    def _gradient_of(self, closure: Callable[[], Any]) -> Tensor:
        """Gradient of a closure whose calls are not counted."""
        checks.evaluate(closure)
        return self._gradient()

    def _members(self) -> tuple[list[int], list[Tensor]]:
        """Parameters that are moved, with their numbers."""
        every = [p for group in self.param_groups for p in group["params"]]
        numbers = [k for k, p in enumerate(every) if p.requires_grad and p.numel()]
        return numbers, [every[k] for k in numbers]

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        """Tensors shaped like the members as one (blocks, n), in float32 at least."""
        wide = torch.float32
        for tensor in tensors:
            wide = torch.promote_types(wide, tensor.dtype)
        return torch.cat([x.reshape(self.blocks, -1).to(wide) for x in tensors], 1)

    def _gradient(self) -> Tensor:
        return self._joined([torch.zeros_like(p) if p.grad is None else p.grad for p in self._members()[1]])

    def _rates(self, like: Tensor) -> Tensor:
        """Learning rate of every column."""
        rates = {p: float(group["lr"]) for group in self.param_groups for p in group["params"]}
        parts = [like.new_full((p.numel() // self.blocks,), rates[p]) for p in self._members()[1]]
        return torch.cat(parts)

    def _start_line(self, direction: Tensor) -> None:
        members = self._members()[1]
        parts = direction.split([p.numel() // self.blocks for p in members], 1)
        self._line = {
            p: (p.to(direction.dtype, copy=True), part.reshape(p.shape)) for p, part in zip(members, parts, strict=True)
        }

    def _go_to(self, length: float) -> None:
        self._length = length
        for group in self.param_groups:
            if parameters := [p for p in group["params"] if p in self._line]:
                self.update(group, parameters)

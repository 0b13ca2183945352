"""MKOR: a Kronecker-factored step whose inverse factors take one rank-one update each, and so can be renewed often.

A layer's factors are running means of products of two vectors, the mean input a (1 appended for the bias) and the mean
output gradient g of a batch. Their inverses are updated directly (`rank_one`); the gradient G of weight and bias
becomes R_g^-1 G R_a^-1, scaled to the length of G, and goes to SGD with momentum, AdamW or LAMB. Only a and g are sent
between processes, which must all reach the same layers. Covered are linear layers, convolutions without groups and the
projections of attention; other parameters take the base step.

Deviations: mode `exact` updates the inverse of gamma R + (1 - gamma) v v'. The formula in the paper does not
(`printed`), nor does the authors' program, which has no gamma (`published`).

When not to use it: one vector a batch says little of a covariance where means vanish, as behind a normalisation.
Without the stabiliser, inverses lose their digits where fewer than n of the last 1 / (1 - gamma) vectors count.

Source: Mozaffari, Li, Zhang, Mehri Dehnavi, NeurIPS 2023, arXiv:2306.01685.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, full_precision
from polyad.optim.kronecker.base_updates import base_update, check_base
from polyad.optim.kronecker.matrices import Matrix
from polyad.optim.kronecker.means import MeanRecorder, Means, averaged_over_processes
from polyad.optim.kronecker.rank_one import MODES, largest_entry, updated_inverse
from polyad.optim.kronecker.shampoo import graft

_MEMORY = 0.98  # decay of the recent loss decrease that the hybrid form compares with the mean of all steps

_LARGEST = 1e12  # of an entry; the product with two such factors is still far from overflow


@final
class MKOR(GradientOptimizer):
    """MKOR, and MKOR-H, which falls back to its base method for good when curvature no longer pays.

    Args:
        params: as everywhere in torch.optim.
        model: is watched; its parameters should be among `params`.
        lr: learning rate of the base method.
        base: `sgd`, `adamw` or `lamb`.
        decay: gamma of the factors.
        update_every: steps between updates of the inverse factors, the first step included.
        stabilizer: zeta, share of the identity that is mixed in; with `exact` at least 1 - decay, without which
            inverse factors grow without bound where no vector points, or 0 for none.
        threshold: largest entry of an inverse factor above which it is mixed in (`published`: always).
        mode: `exact`, `published` or `printed`.
        half_precision: round the vectors to bfloat16, which halves what is sent.
        hybrid: None, or the fraction of the mean loss decrease a step under which the recent one ends preconditioning;
            steps then need a closure.
        hybrid_after: steps before which it does not end.
        momentum: of `sgd`.
        betas: of `adamw` and `lamb`.
        adam_eps: guard of their division.
        weight_decay: with `sgd` added to the direction, else to the update.

    Raises:
        InputError: an option out of its range, a model without a layer to precondition, or what
            `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        model: nn.Module,
        lr: float = 0.05,
        base: str = "sgd",
        decay: float = 0.95,
        update_every: int = 10,
        stabilizer: float = 0.05,
        threshold: float = 2.0,
        mode: str = "exact",
        half_precision: bool = False,
        hybrid: float | None = None,
        hybrid_after: int = 100,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        adam_eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "base": base,
            "decay": decay,
            "stabilizer": stabilizer,
            "threshold": threshold,
            "mode": mode,
            "momentum": momentum,
            "betas": betas,
            "adam_eps": adam_eps,
            "weight_decay": weight_decay,
        }
        if update_every < 1 or hybrid_after < 1:
            raise InputError(f"update_every and hybrid_after: must be at least 1, got {update_every}, {hybrid_after}")
        if hybrid is not None:
            checks.check_positive(hybrid=hybrid)
        super().__init__(params, defaults)
        self._update_every, self._half_precision = update_every, half_precision
        self._hybrid, self._hybrid_after = hybrid, hybrid_after
        self._directions: dict[Tensor, Tensor] = {}
        self.param_groups[0].setdefault("steps", 0)
        self.param_groups[0].setdefault("progress", {"off": False})
        self._recorder = MeanRecorder(model, wanted=self._due)
        if not self._recorder.matrices:
            raise InputError("model: has no linear, convolutional or attention layer to precondition")

    @property
    def preconditions(self) -> bool:
        """False once the hybrid form has fallen back to its base method."""
        return not self.param_groups[0]["progress"]["off"]

    def remove_hooks(self) -> None:
        """Let go of the model; later steps use the factors as they are."""
        self._recorder.remove()

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges."""
        check_base(group)
        checks.check_share(decay=group["decay"], stabilizer=group["stabilizer"])
        checks.check_positive(decay=group["decay"], threshold=group["threshold"])
        if group["mode"] not in MODES:
            raise InputError(f"mode: {group['mode']!r} is unknown; choose one of {', '.join(MODES)}")
        if group["mode"] == "exact" and 0 < group["stabilizer"] < 1 - group["decay"] - 1e-9:
            raise InputError(
                f"stabilizer: {group['stabilizer']} is less than 1 - decay = {1 - group['decay']:.3g}, so that inverse "
                "factors grow without bound; choose at least that, or 0 for no stabiliser"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the closure's loss.

        Raises:
            InputError: a closure that returns None or is missing in the hybrid form, or sparse gradients.
        """
        if self._hybrid is not None:
            closure = checks.require_loss(closure, "MKOR with hybrid")
        loss = checks.evaluate(closure)
        if checks.gradients_usable(self):
            if self.preconditions:
                self._observe()
                self._directions = self._preconditioned()
            for group in self.param_groups:
                if parameters := checks.with_gradient(group["params"]):
                    self.update(group, parameters)
            self.param_groups[0]["steps"] += 1
            if self._hybrid is not None and self.preconditions:
                self._judge(float(loss))
        self._directions = {}
        self._recorder.forget()
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One base step of a group, along preconditioned gradients where there are some."""
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        directions = [self._directions.get(p, g) for p, g in zip(parameters, gradients, strict=True)]
        base_update(self.state, group, parameters, directions)

    def _due(self) -> bool:
        return self.preconditions and self.param_groups[0]["steps"] % self._update_every == 0

    def _observe(self) -> None:
        """Update the inverse factors of every layer that passes have reached."""
        if not self._due():
            return
        means = averaged_over_processes(self._recorder.means(), half_precision=self._half_precision)
        groups = self._group_of()
        for name, vectors in means.items():
            matrix = self._recorder.matrices[name]
            if matrix.weight in groups:
                self._update_factors(matrix, vectors, groups[matrix.weight])

    def _update_factors(self, matrix: Matrix, means: Means, group: dict[str, Any]) -> None:
        factors = self.state[matrix.weight].setdefault("factors", {})
        if matrix.key not in factors:
            factors[matrix.key] = {
                side: torch.eye(len(vector), dtype=vector.dtype, device=vector.device)
                for side, vector in (("inputs", means.inputs), ("gradients", means.gradients))
            }
        pair = factors[matrix.key]
        names = ("mode", "decay", "stabilizer", "threshold")
        for side, vector in (("inputs", means.inputs), ("gradients", means.gradients)):
            updated = updated_inverse(pair[side], vector, **{name: group[name] for name in names})
            if not bool(largest_entry(updated) < _LARGEST):
                warnings.warn(
                    "MKOR: an inverse factor has grown out of bounds and starts from the identity again: "
                    "set a stabilizer",
                    NumericalWarning,
                    stacklevel=2,
                )
                updated = torch.eye(len(vector), dtype=vector.dtype, device=vector.device)
            pair[side] = updated

    def _preconditioned(self) -> dict[Tensor, Tensor]:
        """Directions of all weights and biases whose layers have factors."""
        directions: dict[Tensor, Tensor] = {}
        for matrix in self._recorder.matrices.values():
            weight = matrix.weight
            factors = self.state[weight].get("factors", {}).get(matrix.key) if weight in self.state else None
            if factors is None or weight.grad is None:
                continue
            gradient = matrix.gradient(factors["inputs"].dtype)
            matrix.place(graft(factors["gradients"] @ gradient @ factors["inputs"], gradient), directions)
        return directions

    def _group_of(self) -> dict[Tensor, dict[str, Any]]:
        return {parameter: group for group in self.param_groups for parameter in group["params"]}

    def _judge(self, loss: float) -> None:
        """End preconditioning when the recent decrease of the loss falls under a fraction of the mean one."""
        before = self.param_groups[0]["progress"]
        if "last" not in before:
            self.param_groups[0]["progress"] = {"off": False, "first": loss, "last": loss, "recent": 0.0, "steps": 0}
            return
        steps = before["steps"] + 1
        recent = _MEMORY * before["recent"] + (1 - _MEMORY) * (before["last"] - loss)
        unbiased, mean = recent / (1 - _MEMORY**steps), (before["first"] - loss) / steps
        assert self._hybrid is not None
        off = steps >= self._hybrid_after and unbiased < self._hybrid * mean
        self.param_groups[0]["progress"] = {**before, "last": loss, "recent": recent, "steps": steps, "off": off}

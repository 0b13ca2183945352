"""Inverse-free K-FAC: factors of the inverse curvature follow the data by matrix products alone.

For the weight matrix of a layer (d, p with the bias last), with second moments aa of inputs and gg of per-sample output
gradients, A and B are kept with

    (A A') (x) (B B') ~ (aa (x) gg + damping I)^-1

by momentum on positive definite matrices (`spd_momentum`, cut after the first order). Every `update_every` steps

    N_A = ( tr(B' gg B)/d  A' aa A  +  damping tr(B'B)/d  A'A  -  I ) / 2
    m_A <- factor_momentum m_A + sym(N_A),      A <- A (I - factor_lr m_A)

and the same for B with the sides exchanged. A step goes along (B B') G (A A') by SGD with momentum. Since nothing is
inverted or decomposed, all of it can run in bfloat16. A and B start as the identity, the method as SGD. Covered are
linear layers, convolutions without groups and the projections of attention; other parameters take the step of SGD. The
leading dimension of inputs counts samples, as in `polyad.optim.curvature.kronecker`, which also reduces the moments
over processes.

Deviations: the published names lr_cov, beta2, T are `factor_lr`, `factor_momentum`, `update_every`. A factor's step
longer than 1/2 (in a norm that bounds the spectral one) is shortened to it, so that I - factor_lr m stays invertible.
`factor_lr` is the warm-up's or the constant, whichever is less.

When not to use it: `factor_lr` is a rate, so it takes about log(1 / damping) / factor_lr updates until factors fit the
curvature; in trainings shorter than that, raise it and drop the warm-up.

Source: Lin, Duruisseaux, Leok, Nielsen, Khan, Schmidt, ICML 2023, arXiv:2302.09738, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, full_precision
from polyad.optim.curvature.kronecker import KroneckerCollector
from polyad.optim.curvature.layers import DENSE
from polyad.optim.kronecker.base_updates import base_update
from polyad.optim.kronecker.matrices import matrices_of

WARM_UP = ((100, 2e-4), (500, 2e-3))
"""Steps up to which a smaller rate of the factors counts, and the rate."""

_LONGEST = 0.5  # of a factor's step; under 1 the factor stays invertible


@final
class InverseFreeKFAC(GradientOptimizer):
    """SGD with momentum along Kronecker-preconditioned gradients whose factors are never inverted.

    Args:
        params: as everywhere in torch.optim.
        model: is watched; its parameters should be among `params`.
        lr: learning rate of the weights.
        momentum: of the weights.
        weight_decay: is added to the preconditioned gradient.
        damping: added to the curvature; the largest preconditioner is 1 / damping.
        factor_lr: rate of the factors.
        factor_momentum: theirs.
        update_every: steps between updates of the factors, the first step included.
        warm_up: pairs of a number of steps, increasing, and the largest rate of the factors until then.
        factor_dtype: torch.float32, torch.bfloat16 or torch.float64; None for that of each weight
            (float32 for float16).
        loss_reduction: `mean` if the loss is a mean over the samples of a batch, `sum` if it is a sum.

    Raises:
        InputError: an option out of its range, a model without a layer to precondition, or what
            `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        model: nn.Module,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        damping: float = 1e-3,
        factor_lr: float = 1e-2,
        factor_momentum: float = 0.5,
        update_every: int = 10,
        warm_up: Sequence[tuple[int, float]] = WARM_UP,
        factor_dtype: torch.dtype | None = None,
        loss_reduction: str = "mean",
    ) -> None:
        if update_every < 1:
            raise InputError(f"update_every: must be at least 1, got {update_every}")
        if factor_dtype not in (None, torch.bfloat16, torch.float32, torch.float64):
            raise InputError(
                f"factor_dtype: {factor_dtype} is not supported; choose float32, bfloat16, float64 or None"
            )
        for _, rate in warm_up:
            checks.check_positive(warm_up=rate)
        defaults = {
            "base": "sgd",
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "damping": damping,
            "factor_lr": factor_lr,
            "factor_momentum": factor_momentum,
        }
        super().__init__(params, defaults)
        self._update_every, self._factor_dtype = update_every, factor_dtype
        self._warm_up = sorted(warm_up)
        self._directions: dict[Tensor, Tensor] = {}
        self.param_groups[0].setdefault("steps", 0)
        self._collector = KroneckerCollector(model, loss_reduction=loss_reduction, kinds=(DENSE,))
        self._matrices = matrices_of(model, self._collector.layers)
        if not self._matrices:
            raise InputError("model: has no linear, convolutional or attention layer to precondition")

    def remove_hooks(self) -> None:
        """Let go of the model; later steps use the factors as they are."""
        self._collector.remove()

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges."""
        checks.check_share(momentum=group["momentum"], factor_momentum=group["factor_momentum"])
        checks.check_not_negative(weight_decay=group["weight_decay"])
        checks.check_positive(damping=group["damping"], factor_lr=group["factor_lr"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the closure's loss.

        Raises:
            InputError: a closure that returns None, or sparse gradients.
        """
        loss = checks.evaluate(closure)
        if checks.gradients_usable(self):
            self._renew_factors()
            self._directions = self._preconditioned()
            for group in self.param_groups:
                if parameters := checks.with_gradient(group["params"]):
                    self.update(group, parameters)
            self.param_groups[0]["steps"] += 1
        self._directions = {}
        self._collector.reset()
        self._collector.enabled = self._due()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the same parameters, to the bit.

        Raises:
            InputError: a state of other parameters.
        """
        super().load_state_dict(state_dict)
        self._collector.enabled = self._due()

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of SGD with momentum, along preconditioned gradients where there are some."""
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        directions = [self._directions.get(p, g) for p, g in zip(parameters, gradients, strict=True)]
        base_update(self.state, group, parameters, directions)

    def _due(self) -> bool:
        return bool(self.param_groups[0]["steps"] % self._update_every == 0)

    def _renew_factors(self) -> None:
        """Update the factors of every layer that passes have reached."""
        if not self._due():
            return
        groups = {parameter: group for group in self.param_groups for parameter in group["params"]}
        steps = self.param_groups[0]["steps"]
        warm = next((rate for until, rate in self._warm_up if steps < until), float("inf"))
        for name, moments in self._collector.factors().items():
            matrix = self._matrices[name]
            if matrix.weight not in groups:
                continue
            group = groups[matrix.weight]
            assert moments.input is not None
            dtype = self._factor_dtype or _factor_dtype(matrix.weight)
            pair = moments.input.to(dtype), moments.output.to(dtype)
            factors = self.state[matrix.weight].setdefault("factors", {})
            if matrix.key not in factors:
                factors[matrix.key] = {side: _new_side(x) for side, x in zip(("inputs", "outputs"), pair, strict=True)}
            inputs, outputs = factors[matrix.key]["inputs"], factors[matrix.key]["outputs"]
            gradients = factor_gradients(inputs["factor"], outputs["factor"], *pair, damping=group["damping"])
            for side, gradient in zip((inputs, outputs), gradients, strict=True):
                _move(side, gradient, lr=min(warm, group["factor_lr"]), momentum=group["factor_momentum"])

    def _preconditioned(self) -> dict[Tensor, Tensor]:
        """Directions of all weights and biases whose layers have factors, in float32 at least."""
        directions: dict[Tensor, Tensor] = {}
        for matrix in self._matrices.values():
            factors = self.state[matrix.weight].get("factors", {}) if matrix.weight in self.state else {}
            if matrix.key not in factors or matrix.weight.grad is None:
                continue
            left, right = factors[matrix.key]["outputs"]["product"], factors[matrix.key]["inputs"]["product"]
            direction = left @ matrix.gradient(left.dtype) @ right
            matrix.place(direction.to(torch.promote_types(matrix.weight.dtype, torch.float32)), directions)
        return directions


def factor_gradients(
    inputs: Float[Tensor, "p p"],
    outputs: Float[Tensor, "d d"],
    input_moments: Float[Tensor, "p p"],
    output_moments: Float[Tensor, "d d"],
    *,
    damping: float,
) -> tuple[Float[Tensor, "p p"], Float[Tensor, "d d"]]:
    """sym(N_A) and sym(N_B): zero where the factors fit the damped moments.

    Args:
        inputs: A.
        outputs: B.
        input_moments: aa.
        output_moments: gg.
        damping: of the Kronecker product.
    """
    moved_inputs, moved_outputs = input_moments @ inputs, output_moments @ outputs
    results = []
    for own, moved, other, other_moved in (
        (inputs, moved_inputs, outputs, moved_outputs),
        (outputs, moved_outputs, inputs, moved_inputs),
    ):
        order = len(other)
        curvature = _inner(other, other_moved) / order  # tr(B' gg B) / d
        ridge = damping * _inner(other, other) / order
        gradient = own.mT @ torch.add(moved * curvature, own * ridge)
        gradient.diagonal().sub_(1)
        results.append((gradient + gradient.mT) / 4)
    return results[0], results[1]


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Sum of products, at least in float32, rounded at the end."""
    wide = torch.promote_types(one.dtype, torch.float32)
    return torch.dot(one.flatten().to(wide), other.flatten().to(wide)).to(one.dtype)


def _factor_dtype(weight: Tensor) -> torch.dtype:
    return torch.float32 if weight.dtype == torch.float16 else weight.dtype


def _new_side(like: Tensor) -> dict[str, Tensor]:
    identity = torch.eye(len(like), dtype=like.dtype, device=like.device)
    return {"factor": identity, "momentum": torch.zeros_like(identity), "product": identity.clone()}


def _move(side: dict[str, Tensor], gradient: Tensor, *, lr: float, momentum: float) -> None:
    """One step of a factor, and its product with its transpose."""
    memory = side["momentum"].mul_(momentum).add_(gradient)
    length = lr * torch.minimum(torch.linalg.matrix_norm(memory.float()), memory.abs().sum(1).amax().float())
    shortened = lr * torch.clamp(_LONGEST / length, max=1.0).to(memory.dtype)
    factor = side["factor"]
    factor.sub_((factor @ memory) * shortened)
    torch.mm(factor, factor.mT, out=side["product"])

"""Steepest descent, every parameter under a norm of its own, or all under the largest of them.

One parameter at a time (`SteepestDescent`):

    D = -lr |G|_dual dualmap(G)        scale 'dual': the minimiser of <G, D> + |D|^2 / (2 lr)
    D = -lr dualmap(G)                 scale 'unit': always as long as the rate says

All at once (`ModularSteepestDescent`), under max_l s_l |W_l|_l:

    D_l = -(eta / s_l) dualmap_l(G_l),    eta = lr sum_k |G_k|_dual,k / s_k    ('unit': eta = lr)

Parameters of one shape are stacked, so that a network of equal layers takes a few batched products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, add_scaled, full_precision
from polyad.optim.norms.duality import POLAR, check_kind, dual_map

SCALES = ("dual", "unit")
"""How long a step is: in proportion to the gradient's dual norm, or of the norm that the learning rate says."""


@final
class SteepestDescent(GradientOptimizer):
    """Steepest descent of every parameter under the norm of its group.

    Args:
        params: as everywhere in torch.optim; `recommend_norms` makes groups with the norms that layers should have.
        lr: learning rate, 1 / lam where `scale` is 'dual'.
        norm: of the matrices, see `duality`. Parameters with more than two dimensions are flattened behind the first,
            vectors are one column.
        scale: 'dual' or 'unit'.
        momentum: mu of M <- mu M + G, which takes the gradient's place.
        polar: 'svd', 'cubic' or 'quintic', for `spectral` and `rms_rms`.
        polar_steps: of the last two.
        transposed: whether the first two dimensions are inputs and outputs, as in tables of embeddings.
        pieces: number of matrices that the first dimension packs, as in attention's `in_proj_weight` (3).

    Raises:
        InputError: an option out of its range, a first dimension that `pieces` does not divide, or what
            `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        norm: str = "rms_rms",
        scale: str = "dual",
        momentum: float = 0.0,
        polar: str = "quintic",
        polar_steps: int | None = None,
        transposed: bool = False,
        pieces: int = 1,
    ) -> None:
        defaults = {
            "lr": lr,
            "norm": norm,
            "scale": scale,
            "momentum": momentum,
            "polar": polar,
            "polar_steps": polar_steps,
            "transposed": transposed,
            "pieces": pieces,
        }
        super().__init__(params, defaults)

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges."""
        _check(group)

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of a group."""
        steps, slopes = _unit_steps(self.state, group, parameters)
        if group["scale"] == "dual":
            steps = [slope[:, None, None] * step for step, slope in zip(steps, slopes, strict=True)]
        _move(group, parameters, steps, -group["lr"])


@final
class ModularSteepestDescent(GradientOptimizer):
    """Steepest descent of a whole network under max_l mass_l |W_l|_l; every matrix is a layer.

    Args:
        params: as everywhere in torch.optim; `recommend_norms` makes groups with the norms that layers should have.
        lr: learning rate, 1 / lam where `scale` is 'dual'; a group's multiplies its own steps alone.
        norm: as in `SteepestDescent`, and so are the options that follow.
        mass: s_l, by which the norm of a layer counts; of a layer of twice the mass, steps are half as long.
        scale: 'dual', or 'unit' for eta = lr.
        momentum: mu of M <- mu M + G.
        polar: 'svd', 'cubic' or 'quintic'.
        polar_steps: of the last two.
        transposed: whether the first two dimensions are inputs and outputs.
        pieces: number of matrices that the first dimension packs.

    Raises:
        InputError: as `SteepestDescent`, groups with different scales, or a mass that is not positive.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.02,
        norm: str = "rms_rms",
        mass: float = 1.0,
        scale: str = "dual",
        momentum: float = 0.0,
        polar: str = "quintic",
        polar_steps: int | None = None,
        transposed: bool = False,
        pieces: int = 1,
    ) -> None:
        defaults = {
            "lr": lr,
            "norm": norm,
            "mass": mass,
            "scale": scale,
            "momentum": momentum,
            "polar": polar,
            "polar_steps": polar_steps,
            "transposed": transposed,
            "pieces": pieces,
        }
        super().__init__(params, defaults)
        self._steps: dict[Tensor, Tensor] = {}
        self._length: Any = 1.0

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options out of their ranges."""
        _check(group)
        checks.check_positive(mass=group["mass"])
        if group["scale"] != self.param_groups[0]["scale"]:
            raise InputError("scale: is one for all groups; their steps depend on each other")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups; returns the closure's loss.

        Raises:
            InputError: a closure that returns None, or sparse gradients.
        """
        loss = checks.evaluate(closure)
        if checks.gradients_usable(self):
            groups = [(group, checks.with_gradient(group["params"])) for group in self.param_groups]
            slope: Any = 0.0
            for group, parameters in groups:
                steps, slopes = _unit_steps(self.state, group, parameters)
                self._steps.update(zip(parameters, steps, strict=True))
                slope += sum(own.sum() for own in slopes) / group["mass"]
            self._length = slope if self.param_groups[0]["scale"] == "dual" else 1.0
            for group, parameters in groups:
                if parameters:
                    self.update(group, parameters)
            self._steps = {}
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Change the parameters of one group by the steps that `step` found for the whole network."""
        steps = [self._length * self._steps[parameter] for parameter in parameters]
        _move(group, parameters, steps, -group["lr"] / group["mass"])


def _check(group: dict[str, Any]) -> None:
    check_kind(group["norm"])
    if group["scale"] not in SCALES:
        raise InputError(f"scale: {group['scale']!r} is unknown; choose one of {', '.join(SCALES)}")
    if group["polar"] not in POLAR:
        raise InputError(f"polar: {group['polar']!r} is unknown; choose one of {', '.join(POLAR)}")
    if group["polar_steps"] is not None and group["polar_steps"] < 1:
        raise InputError(f"polar_steps: must be at least 1, got {group['polar_steps']}")
    checks.check_share(momentum=group["momentum"])
    for parameter in group["params"]:
        rows = parameter.shape[0] if parameter.ndim else 1
        if group["pieces"] < 1 or rows % group["pieces"]:
            raise InputError(f"pieces: {group['pieces']} does not divide the {rows} rows of a parameter")


def _unit_steps(
    state: Any, group: dict[str, Any], parameters: list[Tensor]
) -> tuple[list[Float[Tensor, "pieces m n"]], list[Float[Tensor, " pieces"]]]:
    """Dual maps of all matrices of a group, and the gradient's products with them, which are its dual norms."""
    gradients = [_matrices(g, group) for g in _with_momentum(state, group, parameters)]
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, matrices in enumerate(gradients):
        alike.setdefault((matrices.shape, matrices.dtype, matrices.device), []).append(number)
    steps, slopes = list(gradients), list(gradients)
    for numbers in alike.values():
        stacked = torch.stack([gradients[number] for number in numbers])
        found = dual_map(stacked, group["norm"], polar=group["polar"], steps=group["polar_steps"])
        for number, step, slope in zip(numbers, found, (stacked * found).sum((-2, -1)), strict=True):
            steps[number], slopes[number] = step, slope
    return steps, slopes


def _with_momentum(state: Any, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
    gradients = full_precision([p.grad for p in parameters if p.grad is not None])
    if not group["momentum"]:
        return gradients
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if "memory" not in state[parameter]:
            state[parameter]["memory"] = torch.zeros_like(gradient)
    memory = [state[parameter]["memory"] for parameter in parameters]
    torch._foreach_mul_(memory, group["momentum"])
    torch._foreach_add_(memory, gradients)
    return memory


def _matrices(tensor: Tensor, group: dict[str, Any]) -> Float[Tensor, "pieces m n"]:
    """A parameter's gradient as the matrices y = W x that it packs."""
    split = _split(tensor.shape, group)
    packed = tensor.reshape(split)
    return (packed.transpose(1, 2) if group["transposed"] else packed).flatten(2)


def _move(group: dict[str, Any], parameters: list[Tensor], steps: list[Tensor], factor: float) -> None:
    """Add the matrices of each parameter, times a factor."""
    placed = []
    for parameter, step in zip(parameters, steps, strict=True):
        split = _split(parameter.shape, group)
        if group["transposed"]:
            step = step.reshape(split[0], split[2], split[1], *split[3:]).transpose(1, 2)
        placed.append(step.reshape(parameter.shape))
    add_scaled(parameters, placed, factor)


def _split(shape: torch.Size, group: dict[str, Any]) -> list[int]:
    """(pieces, rows of each, columns, rest); vectors are one column."""
    rows, *rest = shape or (1,)
    return [group["pieces"], rows // group["pieces"], *(rest or [1])]

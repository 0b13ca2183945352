"""FOSI: Newton's method along the few directions that curve most, any first-order method along the rest.

Every so many steps Lanczos finds eigenpairs (V, lam) of the Hessian: the k largest and, if wanted, the l smallest. For
a gradient g and a base method B of any kind

    g1 = V V^T g,   g2 = g - g1                              (two quadratics on orthogonal subspaces)
    d1 = -alpha V |lam|^-1 V^T mom(g1)                       (Newton)
    d2 = (1 - V V^T) s B(g2),   s = clip(lam_1 / lam_k, 1, lr_clip)
    theta <- theta + d1 + d2

so the base method sees the condition number lam_(k+1) / lam_n in place of lam_1 / lam_n, and may go s times faster. mom
is the base's own momentum: g1; m <- b m + g1 (heavy ball); (1 + b) g1 + b^2 m (Nesterov); m <- b m + (1 - b) g1 (Adam).

Deviations: k, l and T are `largest`, `smallest` and `every`. Momentum lives in the coordinates V^T m, r numbers in
place of n, and is projected when V changes, which forgets what lay outside both spaces (a part b^every of it, < 3e-5
at b = 0.9). Pairs with |lam| below `resolution` times the largest |lam| belong to the base: their inverse is noise.
s = 1 where lam_k is not positive. A group's rate over the constructor's scales d1 as well, so schedules and groups act
on the whole step.

Source: H. Sivan, M. Gabel, A. Schuster, ICLR 2024, arXiv:2302.08484.

*When not to use it*: where the spectrum decays without a gap after k (little is gained), or where k + l vectors of the
model's size do not fit beside it. The loss must be twice differentiable at the steps that estimate the spectrum: fused
attention is replaced by the plain kernel there, a graph compiled ahead of time is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from polyad.errors import InputError
from polyad.linalg.lanczos import RitzPairs, extreme_eigenpairs
from polyad.optim import checks
from polyad.optim._processes import mean_over_processes
from polyad.optim.base import GradientOptimizer, add_scaled
from polyad.optim.curvature.products import flat_operator, flatten, hessian_operator, unflatten

MOMENTA = ("auto", "none", "heavy_ball", "nesterov", "mean")
"""How the Newton part remembers gradients; 'auto' reads it off the base's options."""

_SPECTRUM: Any = "spectrum"


@final
class FOSI(GradientOptimizer):
    """Newton's method in the subspace of extreme curvature, a base optimiser in its complement.

    `step(closure)` needs the closure, which zeroes gradients, calls `loss.backward()` and returns the loss; the graph
    is kept by itself where the spectrum is due. With `every=None` the spectrum is never estimated in a step (call
    `update_spectrum` or `use_spectrum`), and `step()` works without a closure.

    The base's options sit in the same parameter groups, and its state in the same `state_dict`. Its update must depend
    on gradients alone, so weight decay has to be part of the loss.

    Args:
        params: as everywhere in torch.optim.
        base: parameter groups -> optimiser, such as `functools.partial(torch.optim.SGD, momentum=0.9)`.
        lr: learning rate of the base.
        largest: k, eigenpairs at the upper end of the spectrum.
        smallest: l, eigenpairs at its lower end, for saddles.
        every: steps between estimates; None for estimates by call alone.
        warmup: steps of the base alone before the first; `every` if not given.
        alpha: step of the Newton part; 0.1 suits noisy gradients, 1 exact ones.
        lr_clip: bound of s; by default 1 for bases with second moments (Adam), else 3.
        momentum: of the Newton part, one of `MOMENTA`; its coefficient is the first group's `momentum` or `betas[0]`.
        lanczos_steps: Hessian products an estimate; max(4 (k + l), 2 ln n) if not given.
        resolution: pairs with |lam| below this share of the largest are left to the base.
        seed: of Lanczos' first vectors.

    Raises:
        InputError: an option out of its range, a base with weight decay, or what `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        params: Any,
        *,
        base: Callable[[Any], torch.optim.Optimizer] = torch.optim.Adam,
        lr: float = 1e-3,
        largest: int = 10,
        smallest: int = 0,
        every: int | None = 100,
        warmup: int | None = None,
        alpha: float = 0.1,
        lr_clip: float | None = None,
        momentum: str = "auto",
        lanczos_steps: int | None = None,
        resolution: float = 1e-6,
        seed: int = 0,
    ) -> None:
        if min(largest, smallest) < 0 or (every is not None and every < 1) or (warmup is not None and warmup < 0):
            raise InputError(
                f"FOSI: largest {largest}, smallest {smallest}, warmup {warmup} must not be negative, every {every} "
                "at least 1 or None"
            )
        if momentum not in MOMENTA:
            raise InputError(f"momentum: {momentum!r} is unknown; choose one of {', '.join(MOMENTA)}")
        checks.check_not_negative(resolution=resolution)
        super().__init__(params, {"lr": lr, "alpha": alpha, "reference_lr": lr})
        self.base = base(list(self.param_groups))
        for group in self.param_groups:
            _check_base_group(group)
        adaptive = "betas" in self.param_groups[0]
        self.lr_clip = (1.0 if adaptive else 3.0) if lr_clip is None else lr_clip
        if not self.lr_clip >= 1:
            raise InputError(f"lr_clip: must be at least 1, got {lr_clip}")
        self.largest, self.smallest, self.every, self.seed = largest, smallest, every, seed
        self.warmup = (every or 0) if warmup is None else warmup
        self.momentum, self.lanczos_steps, self.resolution = momentum, lanczos_steps, resolution
        self.state[_SPECTRUM] = {"step": 0}
        self._moves: dict[Tensor, Tensor] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch.optim, to the base as well."""
        super().add_param_group(param_group)
        if hasattr(self, "base"):
            self.base.add_param_group(self.param_groups[-1])

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse a Newton step that is not positive, and weight decay."""
        checks.check_positive(alpha=group["alpha"])
        _check_base_group(group)

    @property
    def values(self) -> Float[Tensor, " r"]:
        """Eigenvalues in use, the large ones first; empty before the first estimate."""
        found: Tensor = self.state[_SPECTRUM].get("values", torch.zeros(0))
        return found

    def state_dict(self) -> dict[str, Any]:
        """As in torch.optim; each parameter's state holds the base's under `base`, the spectrum is under its name."""
        for parameter, state in self.base.state.items():
            self.state[parameter]["base"] = state
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the same parameters, to the bit, the base's with it.

        Raises:
            InputError: a state of other parameters, or of another optimiser.
        """
        if "state" in state_dict and _SPECTRUM not in state_dict["state"]:
            raise InputError("state: holds no spectrum, so it is not one of FOSI; load it into the optimiser it is of")
        super().load_state_dict(state_dict)
        device = self.param_groups[0]["params"][0].device
        self.state[_SPECTRUM] = checks.copied(state_dict["state"][_SPECTRUM], device)
        self.base.param_groups = list(self.param_groups)
        self.base.state.clear()
        for parameter, state in self.state.items():
            if isinstance(state, dict) and "base" in state:
                self.base.state[parameter] = state["base"]

    @torch.compiler.disable
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the closure's loss.

        Args:
            closure: zeroes gradients, computes them and returns the loss; may be left out where `every` is None.

        Raises:
            InputError: no closure where one is needed, one that returns None, or sparse gradients.
        """
        if self.every is not None:
            closure = checks.require_loss(closure, "FOSI")
        due = self._due()
        if due:
            with _KeepGraph(), sdpa_kernel(SDPBackend.MATH):
                loss = checks.evaluate(closure)
        else:
            loss = checks.evaluate(closure)
        if not checks.gradients_usable(self):
            return loss.detach() if due else loss
        if due:
            self.update_spectrum(loss)
            loss = loss.detach()
        self.state[_SPECTRUM]["step"] += 1
        if not len(self.values):
            self.base.step()
            return loss
        self._moves = self._hybrid_moves()
        for group in self.param_groups:
            self.update(group, [p for p in group["params"] if p in self._moves])
        self._moves = {}
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Move the parameters of a group."""
        if parameters:
            add_scaled(parameters, [self._moves[p] for p in parameters], 1.0)

    def update_spectrum(self, loss: Float[Tensor, ""]) -> None:
        """Estimate the spectrum from a loss with its graph, at the parameters as they are, and use it from now on.

        Under torch.distributed every process calls this, and the Hessian is that of the mean of the losses.

        Raises:
            InputError: a loss without a graph, or Hessian products that are not finite.
        """
        _, members = self._members()
        step = self.state[_SPECTRUM]["step"]
        largest, smallest = self._wanted(members)
        with torch.enable_grad():
            local = flat_operator(hessian_operator(loss, members), members)
            pairs = extreme_eigenpairs(
                lambda vector: mean_over_processes(local(vector)),
                sum(p.numel() for p in members),
                largest=largest,
                smallest=smallest,
                steps=self.lanczos_steps,
                generator=torch.Generator().manual_seed(self.seed + step),
                device=members[0].device,
            )
        self.use_spectrum(pairs)

    @torch.no_grad()
    def use_spectrum(self, pairs: RitzPairs) -> None:
        """Use given eigenpairs from now on.

        Args:
            pairs: first the `largest` large ones, in smaller models all that there are; vectors over all parameters
                that require gradients, in order.

        Raises:
            InputError: vectors of another length, or not as many pairs as `largest` and `smallest` say.
        """
        numbers, members = self._members()
        size = sum(p.numel() for p in members)
        largest, smallest = self._wanted(members)
        if pairs.vectors.shape != (size, largest + smallest):
            raise InputError(
                f"pairs: vectors have shape {tuple(pairs.vectors.shape)}; for {size} parameters, {largest} largest and "
                f"{smallest} smallest it must be {(size, largest + smallest)}"
            )
        kept = pairs.values.abs() > self.resolution * pairs.values.abs().amax()
        spectrum, dtype = self.state[_SPECTRUM], _wide(members)
        basis = pairs.vectors[:, kept].mT.to(members[0].device, dtype).contiguous()
        memory = torch.zeros(len(basis), dtype=dtype, device=basis.device)
        if "basis" in spectrum and spectrum["members"] == numbers:
            memory = basis @ (spectrum["memory"] @ spectrum["basis"])
        spectrum |= {
            "members": numbers,
            "values": pairs.values[kept].to(basis),
            "large": int(kept[:largest].sum()),
            "basis": basis,
            "memory": memory,
        }

    def _due(self) -> bool:
        if self.every is None or self.largest + self.smallest == 0:
            return False
        since = self.state[_SPECTRUM]["step"] - self.warmup
        return bool(since >= 0 and since % self.every == 0)

    def _members(self) -> tuple[list[int], list[Tensor]]:
        """Parameters that the spectrum is of, with their numbers."""
        every = [p for group in self.param_groups for p in group["params"]]
        numbers = [k for k, p in enumerate(every) if p.requires_grad and p.numel()]
        return numbers, [every[k] for k in numbers]

    def _wanted(self, members: list[Tensor]) -> tuple[int, int]:
        """How many eigenpairs of each end; small models have no more than their size."""
        size = sum(p.numel() for p in members)
        return min(self.largest, size), min(self.smallest, max(0, size - self.largest))

    def _hybrid_moves(self) -> dict[Tensor, Tensor]:
        """What is added to every parameter that has a gradient."""
        spectrum = self.state[_SPECTRUM]
        basis, values = spectrum["basis"], spectrum["values"]
        every = [(p, group) for group in self.param_groups for p in group["params"]]
        members, groups = zip(*(every[k] for k in spectrum["members"]), strict=True)
        gradient = flatten((torch.zeros_like(p) if p.grad is None else p.grad for p in members), dtype=basis.dtype)
        inside = basis @ gradient
        newton = (self._remembered(inside) / values.abs()) @ basis
        rest = gradient - inside @ basis
        moves = self._base_moves(dict(zip(members, unflatten(rest, members), strict=True)))
        base = self._boost() * flatten(
            (moves[p] if p in moves else torch.zeros_like(p) for p in members), dtype=basis.dtype
        )
        base -= (basis @ base) @ basis
        sizes = [p.numel() for p in members]
        rates = [float(group["alpha"]) * float(group["lr"]) / group["reference_lr"] for group in groups]
        torch._foreach_mul_(list(newton.split(sizes)), rates)
        for parameter, move in zip(members, (base - newton).split(sizes), strict=True):
            if parameter in moves:
                moves[parameter] = move.view_as(parameter)
        return moves

    def _base_moves(self, gradients: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """The base's updates, fed with these gradients: steps from 0, so that no update is rounded to a parameter."""
        chosen = [p for group in self.param_groups for p in checks.with_gradient(group["params"])]
        saved = [(p, p.data, p.grad) for p in chosen]
        moves = {p: torch.zeros_like(p.data) for p in chosen}
        try:
            for parameter in chosen:
                parameter.data = moves[parameter]
                parameter.grad = gradients.get(parameter, parameter.grad)
            self.base.step()
            return moves
        finally:
            for parameter, value, gradient in saved:
                parameter.data = value
                parameter.grad = gradient

    def _boost(self) -> float:
        """How much faster the base may go without the largest curvatures."""
        spectrum = self.state[_SPECTRUM]
        large = spectrum["values"][: spectrum["large"]]
        if not len(large) or float(large[-1]) <= 0:
            return 1.0
        return min(max(float(large[0] / large[-1]), 1.0), self.lr_clip)

    def _remembered(self, inside: Tensor) -> Tensor:
        """mom(g1) in the coordinates of the subspace."""
        group, spectrum = self.param_groups[0], self.state[_SPECTRUM]
        share = float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))
        kind = self.momentum
        if kind == "auto":
            kind = "mean" if "betas" in group else "nesterov" if group.get("nesterov") else "heavy_ball"
        if kind == "none":
            return inside
        memory = spectrum["memory"].mul_(share).add_(inside, alpha=1 - share if kind == "mean" else 1.0)
        return inside + share * memory if kind == "nesterov" else memory


@final
class _KeepGraph(TorchFunctionMode):
    """`loss.backward()` leaves the graph, so that it can be differentiated once more."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is Tensor.backward:
            kwargs["retain_graph"] = True
        return function(*args, **kwargs)


def _check_base_group(group: dict[str, Any]) -> None:
    if group.get("weight_decay"):
        raise InputError(
            f"base: its weight_decay is {group['weight_decay']}, which FOSI cannot split; set it to 0 and add the "
            "decay to the loss"
        )


def _wide(parameters: list[Tensor]) -> torch.dtype:
    dtype = torch.float32
    for parameter in parameters:
        dtype = torch.promote_types(dtype, parameter.dtype)
    return dtype

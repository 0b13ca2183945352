"""Least squares on a tensor network: one core after the other, several starts at once, missing entries allowed.

With the others held, the network is linear in core i: T_(i) ~ E_i G_i with the environment E_i as a matrix. The step is

    (E_i^T E_i + mu 1) G_i = E_i^T T_(i) + mu G_i(old)            mu = 1e-12 tr(E_i^T E_i) / rows of G_i

so it is defined where ranks are larger than needed, and the residual never grows. With a mask every slice of the mode
has its own normal matrix over its known entries. Starts form a batch; a start that stands still leaves it.

    loss = |mask (T - network)|^2 / |mask T|^2

When not to use it: for relative errors below 1e-7 (normal equations square the condition), or where gradients are
wanted (`network_gradients`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import TensorNetwork
from polyad.tensors.formats.base import check_dense
from polyad.tensors.structure_search.plans import Plan, Update, sweep_plan, to_dense
from polyad.tensors.structure_search.structures import NetworkStructure

Progress = Callable[[int, int], None]

_DAMPING = 1e-12
_BALANCE_EVERY = 8


@final
@dataclass(frozen=True, eq=False)
class NetworkFit:
    """A fitted network and how it was reached.

    Args:
        value: the network.
        loss: squared relative residual over the known entries; `error` is its root.
        history: loss of the best start after every sweep.
        starts: loss that each start reached.
        stopped_by: "goal", "tolerance", "sweeps" or "seconds".
    """

    value: TensorNetwork
    loss: float
    history: tuple[float, ...]
    starts: tuple[float, ...]
    stopped_by: str

    @property
    def error(self) -> float:
        """Relative residual."""
        return self.loss**0.5


@final
@dataclass(frozen=True, eq=False)
class FitTarget:
    """What is fitted: entries, zero where unknown, and where they are known.

    Args:
        tensor: dense.
        known: 1 where an entry is known, of the tensor's dtype; None where all are.
        square: sum of squares that losses are relative to.
    """

    tensor: Tensor
    known: Tensor | None
    square: float

    @classmethod
    def of(cls, tensor: Tensor, mask: Tensor | None = None) -> FitTarget:
        """Checked: real, finite where known, not zero; every slice has a known entry."""
        known = None
        if mask is not None:
            if mask.shape != tensor.shape or mask.dtype != torch.bool:
                raise InputError(
                    f"mask: {mask.dtype} {tuple(mask.shape)} was given, bool {tuple(tensor.shape)} is needed"
                )
            tensor = torch.where(mask, tensor, 0)
            for mode in range(tensor.ndim):
                empty = ~mask.movedim(mode, 0).flatten(1).any(1)
                if bool(empty.any()):
                    where = f"slice {int(empty.nonzero()[0])} of mode {mode}"
                    raise InputError(f"mask: {where} has no known entry, so nothing is learned about it; drop it")
            known = None if bool(mask.all()) else mask.to(tensor.dtype)
        check_dense(tensor)
        if tensor.is_complex():
            raise InputError(f"tensor: {tensor.dtype} was given; structures are searched for real tensors")
        tensor = tensor.detach()
        return cls(tensor, known, float(torch.linalg.vector_norm(tensor).square()))

    def minus(self, approximation: Tensor) -> FitTarget:
        """What an approximation leaves, with losses still relative to the whole."""
        rest = self.tensor - approximation.detach()
        return FitTarget(rest if self.known is None else rest * self.known, self.known, self.square)

    def loss(self, approximation: Float[Tensor, "starts ..."]) -> Float[Tensor, "starts"]:
        """Squared relative residual of dense approximations."""
        rest = approximation - self.tensor
        if self.known is not None:
            rest = rest * self.known
        return rest.flatten(1).square().sum(1) / self.square


def fit_network(
    tensor: Float[Tensor, "..."],
    structure: NetworkStructure,
    *,
    mask: Bool[Tensor, "..."] | None = None,
    starts: int = 4,
    sweeps: int = 500,
    tolerance: float = 1e-4,
    goal: float = 0.0,
    initial: Sequence[Float[Tensor, "..."]] | None = None,
    seconds: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> NetworkFit:
    """The best network of a structure for a dense tensor, by alternating least squares from several starts.

    Args:
        tensor: dense, real.
        structure: of the tensor's shape.
        mask: True where an entry is known; the others are never read.
        starts: random starts, all in one batch.
        sweeps: largest number of sweeps.
        tolerance: a start ends when ten sweeps lower its loss by less than this share.
        goal: all end when one start reaches this loss.
        initial: cores to begin from, instead of `starts`.
        seconds: also ends after this wall time.
        seed: of the starts.
        progress: called with sweeps done and the most there can be.
    """
    target = FitTarget.of(tensor, mask)
    if tuple(tensor.shape) != structure.shape:
        raise InputError(f"structure: it is for shape {structure.shape}, the tensor has {tuple(tensor.shape)}")
    if starts < 1 or sweeps < 1:
        raise InputError(f"starts, sweeps: {starts} and {sweeps} were given; each must be at least 1")
    if initial is None:
        cores = starting_cores(target, structure, starts, seed)
    else:
        cores = [core.detach()[None] for core in structure.network(initial).tensors]
    found = run_sweeps(
        target, structure, cores, sweeps=sweeps, tolerance=tolerance, goal=goal, seconds=seconds, progress=progress
    )
    return NetworkFit(
        structure.network(found.best), found.loss, found.history, tuple(found.losses.tolist()), found.stopped_by
    )


def starting_cores(target: FitTarget, structure: NetworkStructure, starts: int, seed: int) -> list[Tensor]:
    """Random cores in a batch, of the size of the target's entries."""
    generator = torch.Generator(device=target.tensor.device).manual_seed(seed)
    cores = structure.random_cores(generator, starts=starts, dtype=target.tensor.dtype)
    cores[0] = cores[0] * (target.square / target.tensor.numel()) ** 0.5
    return cores


@final
@dataclass(frozen=True, eq=False)
class Sweeps:
    """What a run of sweeps gave: all starts' cores and losses, the best start's history, and why it ended."""

    cores: list[Tensor]
    losses: Tensor
    history: tuple[float, ...]
    stopped_by: str

    @property
    def best(self) -> list[Tensor]:
        """Cores of the best start."""
        return [core[int(self.losses.argmin())] for core in self.cores]

    @property
    def loss(self) -> float:
        """Loss of the best start."""
        return float(self.losses.min())


def run_sweeps(
    target: FitTarget,
    structure: NetworkStructure,
    cores: Sequence[Tensor],
    *,
    nodes: tuple[int, ...] | None = None,
    sweeps: int,
    tolerance: float = 0.0,
    goal: float = 0.0,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Sweeps:
    """Sweeps over some nodes (by default all) from a batch of cores; see `fit_network` for how a run ends."""
    begun = time.perf_counter()
    with torch.no_grad():
        solver = _Solver(target, sweep_plan(structure, nodes))
        final = [core.clone() for core in cores]
        losses = final[0].new_full((final[0].shape[0],), float("inf"))
        active = torch.arange(len(losses))
        current = list(cores)
        history: list[float] = []
        recent: list[Tensor] = []
        reason = "sweeps"
        for done in range(1, sweeps + 1):
            values = solver.sweep(current)
            if done % _BALANCE_EVERY == 0 and nodes is None:
                current = balanced(current)
            recent.append(values)
            listed = values.tolist()
            history.append(min([*listed, *history[-1:]]))
            if progress is not None:
                progress(done, sweeps)
            over = seconds is not None and time.perf_counter() - begun > seconds
            ended = [False] * len(listed)
            if len(recent) > 10:
                before = recent.pop(0).tolist()
                ended = [was - now <= tolerance * was for was, now in zip(before, listed, strict=True)]
            if min(listed) <= goal or over or done == sweeps or all(ended):
                reason = (
                    "goal" if min(listed) <= goal else "seconds" if over else "tolerance" if all(ended) else "sweeps"
                )
                ended = [True] * len(listed)
            if any(ended):
                gone = torch.tensor(ended)
                losses[active[gone]] = values[gone]
                for whole, part in zip(final, current, strict=True):
                    whole[active[gone]] = part[gone]
                active = active[~gone]
                if not len(active):
                    break
                current = [core[~gone] for core in current]
                recent = [value[~gone] for value in recent]
    if not bool(torch.isfinite(losses).all()):
        raise InputError("tensor: the fit overflowed; scale the tensor so that its entries are of order one")
    return Sweeps(final, losses, tuple(history), reason)


def balanced(cores: Sequence[Tensor]) -> list[Tensor]:
    """The same networks, all cores of one norm."""
    norms = torch.stack([core.flatten(1).norm(dim=1) for core in cores])
    floor = torch.finfo(norms.dtype).tiny
    factors = norms.clamp_min(floor).log().mean(0).exp() / norms.clamp_min(floor)
    factors = torch.where((norms > floor).all(0), factors, 1)
    return [core * factor.reshape(-1, *[1] * (core.ndim - 1)) for core, factor in zip(cores, factors, strict=True)]


class _Solver:
    """One sweep: runs the plan's steps; unfoldings of the target are made once a run."""

    def __init__(self, target: FitTarget, plan: Plan) -> None:
        self.target, self.plan = target, plan
        self.updates = [step for step in plan.steps if isinstance(step, Update)]
        self.unfoldings = {step.node: self._unfolded(target.tensor, step) for step in self.updates}
        known = target.known
        self.known = {} if known is None else {step.node: self._unfolded(known, step).mT for step in self.updates}

    def sweep(self, cores: list[Tensor]) -> Tensor:
        """Update the cores in the list, one after the other; returns the losses after the last one."""
        slots = dict(enumerate(cores))
        losses = cores[0].new_zeros(1)
        last = self.updates[-1].node
        for step in self.plan.steps:
            if isinstance(step, Update):
                slots[step.node], losses = self._solve(step, slots, with_loss=step.node == last)
            else:
                step(slots)
        cores[:] = [slots[node] for node in range(len(cores))]
        return losses

    def _unfolded(self, tensor: Tensor, step: Update) -> Tensor:
        mine = [step.node] if step.node < tensor.ndim else []
        return tensor.permute([*step.modes, *mine]).reshape(step.rows, -1).contiguous()

    def _solve(self, step: Update, slots: dict[int, Tensor], *, with_loss: bool) -> tuple[Tensor, Tensor]:
        old = slots[step.node]
        starts = old.shape[0]
        unfolding = self.unfoldings[step.node]
        size = unfolding.shape[1]
        if step.environment is None:
            environment = old.new_ones(starts, step.rows, step.columns)
        else:
            environment = slots[step.environment].permute(step.order).reshape(starts, step.rows, step.columns)
        before = old.reshape(starts, size, step.columns)
        adjoint = environment.mT
        right = (adjoint @ unfolding).mT
        if self.target.known is None:
            normal = adjoint @ environment
            new = _damped(normal, right.mT, before.mT).mT
            applied = new @ normal if with_loss else None
        else:
            normal = torch.stack([(adjoint * row) @ environment for row in self.known[step.node]], 1)
            new = _damped(normal, right[..., None], before[..., None])[..., 0]
            applied = (normal @ new[..., None])[..., 0] if with_loss else None
        losses = old.new_zeros(1)
        if applied is not None:
            fitted = (new * (applied - 2 * right)).flatten(1).sum(1)
            square = self.target.tensor.square().sum()
            losses = ((square + fitted) / self.target.square).clamp_min(0)
        return new.reshape(old.shape), losses


def _damped(normal: Tensor, right: Tensor, before: Tensor) -> Tensor:
    """Solve with the damping towards the old core; several matrices of one start share the largest trace's damping."""
    damping = normal.diagonal(dim1=-2, dim2=-1).mean(-1) * _DAMPING
    if normal.ndim == 4:
        damping = damping.amax(1, keepdim=True).expand_as(damping)
    damping = damping.clamp_min(torch.finfo(normal.dtype).tiny)[..., None, None]
    eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    factor, _ = torch.linalg.cholesky_ex(normal + damping * eye)
    return torch.cholesky_solve(right + damping * before, factor)


def network_loss(target: FitTarget, structure: NetworkStructure, cores: Sequence[Tensor]) -> Tensor:
    """Losses of a batch of cores, from the dense tensor and not from normal equations."""
    return target.loss(to_dense(structure, cores))

"""What a network is grown for: a tensor, a tensor with missing entries, or any function of a tensor.

A loss knows how to optimise all cores of a structure, and how to try a larger bond with only the new slices free (a
cheap score):

    X(structure + slices) = X(structure) + X(the bond replaced by the slices)

so the score fits a second, smaller network to what is missing. Least squares use alternating solves, everything else
Adam. Losses of layers are in `layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.tensors.structure_search.network_als import FitTarget, balanced, network_loss, run_sweeps, starting_cores
from polyad.tensors.structure_search.network_gradients import adam_cores
from polyad.tensors.structure_search.plans import to_dense
from polyad.tensors.structure_search.structures import NetworkStructure
from polyad.tensors.structure_search.transfer import grow, new_slices

Grown = tuple[NetworkStructure, list[Tensor], float]


@runtime_checkable
class NetworkLoss(Protocol):
    """A loss that `greedy_tn` can grow a network for. Cores come and go without a dimension for starts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        ...

    def start(self, seed: int) -> list[Tensor]:
        """Cores of a rank-one tensor."""
        ...

    def value(self, structure: NetworkStructure, cores: Sequence[Tensor]) -> float:
        """The loss."""
        ...

    def optimise(self, structure: NetworkStructure, cores: Sequence[Tensor], goal: float) -> tuple[list[Tensor], float]:
        """All cores moved to a minimum, or until the goal; the loss is never above that of the cores given."""
        ...

    def restart(self, structure: NetworkStructure, starts: int, seed: int, goal: float) -> tuple[list[Tensor], float]:
        """The best of some random starts."""
        ...

    def score(self, structure: NetworkStructure, cores: Sequence[Tensor], edge: tuple[int, int], seed: int) -> Grown:
        """The bond one larger, only the new slices optimised for a short while."""
        ...


@final
@dataclass(frozen=True, eq=False)
class LeastSquaresLoss:
    """|mask (T - network)|^2 / |mask T|^2 by alternating least squares; make it with `decomposition` or `completion`.

    Args:
        target: what is fitted.
        sweeps: the most at once on all cores.
        tolerance: ten sweeps that win less than this share end the optimisation.
        score_sweeps, score_starts: of the new slices.
    """

    target: FitTarget
    sweeps: int = 100
    tolerance: float = 1e-2
    score_sweeps: int = 4
    score_starts: int = 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(self.target.tensor.shape)

    def start(self, seed: int) -> list[Tensor]:
        """Random vectors."""
        return _random_vectors(self.shape, seed, self.target.tensor)

    def value(self, structure: NetworkStructure, cores: Sequence[Tensor]) -> float:
        """Squared relative residual."""
        return float(network_loss(self.target, structure, [core[None] for core in cores])[0])

    def optimise(
        self, structure: NetworkStructure, cores: Sequence[Tensor], goal: float = 0.0
    ) -> tuple[list[Tensor], float]:
        """Sweeps over all cores."""
        batch = balanced([core[None] for core in cores])
        found = run_sweeps(self.target, structure, batch, sweeps=self.sweeps, tolerance=self.tolerance, goal=goal)
        best = found.best
        return best, self.value(structure, best)

    def restart(self, structure: NetworkStructure, starts: int, seed: int, goal: float) -> tuple[list[Tensor], float]:
        """A third of the sweeps from a batch of random starts; then the best alone, five times as long."""
        batch = starting_cores(self.target, structure, starts, seed)
        sweeps, tolerance = max(1, self.sweeps // 3), self.tolerance
        found = run_sweeps(self.target, structure, batch, sweeps=sweeps, tolerance=tolerance, goal=goal)
        if found.loss > goal:
            batch = balanced([core[None] for core in found.best])
            found = run_sweeps(
                self.target, structure, batch, sweeps=5 * self.sweeps, tolerance=tolerance / 5, goal=goal
            )
        best = found.best
        return best, self.value(structure, best)

    def score(self, structure: NetworkStructure, cores: Sequence[Tensor], edge: tuple[int, int], seed: int) -> Grown:
        """Sweeps over the two new slices against the residual."""
        slim = structure.with_rank(*edge, 1)
        approximation = to_dense(structure, [core[None] for core in cores])[0]
        generator = torch.Generator(device=cores[0].device).manual_seed(seed)
        zero, random = new_slices(structure, edge, generator, like=cores[0], starts=self.score_starts)
        batch = [core[None].expand(self.score_starts, *core.shape) for core in cores]
        batch[edge[0]], batch[edge[1]] = zero, random
        found = run_sweeps(self.target.minus(approximation), slim, batch, nodes=edge, sweeps=self.score_sweeps)
        best = found.best
        grown, larger = grow(structure, cores, edge, (best[edge[0]], best[edge[1]]))
        return grown, larger, found.loss


def decomposition(tensor: Float[Tensor, "..."], *, sweeps: int = 100, tolerance: float = 1e-2) -> LeastSquaresLoss:
    """The loss |T - network|^2 / |T|^2."""
    return LeastSquaresLoss(FitTarget.of(tensor), sweeps=sweeps, tolerance=tolerance)


def completion(
    tensor: Float[Tensor, "..."], mask: Bool[Tensor, "..."], *, sweeps: int = 100, tolerance: float = 1e-2
) -> LeastSquaresLoss:
    """The loss over known entries (mask True); the others are never read."""
    return LeastSquaresLoss(FitTarget.of(tensor, mask), sweeps=sweeps, tolerance=tolerance)


@final
@dataclass(frozen=True, eq=False)
class GradientLoss:
    """Any differentiable function of the dense tensor, by Adam.

    Args:
        shape: sizes of the modes.
        function: (dense tensor, step) -> scalar; step is None where all samples count, else the number of the step.
        extra: further tensors that it depends on and that move along, in place.
        steps, score_steps, learning_rate: of Adam.
        dtype: of the cores.
        scale: standard deviation of the entries at the start.
    """

    shape: tuple[int, ...]
    function: Callable[[Tensor, int | None], Tensor]
    extra: tuple[Tensor, ...] = ()
    steps: int = 200
    score_steps: int = 10
    learning_rate: float = 1e-2
    dtype: torch.dtype = torch.float32
    scale: float = 1.0

    def start(self, seed: int) -> list[Tensor]:
        """Random vectors whose outer product has entries of the size `scale`."""
        vectors = _random_vectors(self.shape, seed, torch.empty(0, dtype=self.dtype))
        return [v * v.square().mean().rsqrt() * self.scale ** (1 / len(vectors)) for v in vectors]

    def value(self, structure: NetworkStructure, cores: Sequence[Tensor]) -> float:
        """The function over all samples."""
        with torch.no_grad():
            return float(self.function(to_dense(structure, [core[None] for core in cores])[0], None))

    def optimise(
        self, structure: NetworkStructure, cores: Sequence[Tensor], goal: float = 0.0
    ) -> tuple[list[Tensor], float]:
        """Adam on all cores and on `extra`; where the loss ends above where it began, all go back."""
        kept = [tensor.detach().clone() for tensor in self.extra]
        before = self.value(structure, cores)
        moved = self._moved(structure, cores, steps=self.steps, goal=goal, extra=self.extra)
        after = self.value(structure, moved)
        if after <= before:
            return moved, after
        with torch.no_grad():
            for tensor, old in zip(self.extra, kept, strict=True):
                tensor.copy_(old)
        return list(cores), before

    def restart(self, structure: NetworkStructure, starts: int, seed: int, goal: float) -> tuple[list[Tensor], float]:
        """Adam from random starts, one after the other."""
        runs = []
        for start in range(starts):
            generator = torch.Generator().manual_seed(seed + start)
            cores = [core[0] for core in structure.random_cores(generator, dtype=self.dtype)]
            cores[0] = cores[0] * self.scale
            runs.append(self.optimise(structure, cores, goal))
        return min(runs, key=lambda run: run[1])

    def score(self, structure: NetworkStructure, cores: Sequence[Tensor], edge: tuple[int, int], seed: int) -> Grown:
        """Adam on the two new slices; where it makes things worse, the zero slice that changes nothing."""
        slim = structure.with_rank(*edge, 1)
        with torch.no_grad():
            approximation = to_dense(structure, [core[None] for core in cores])
        generator = torch.Generator(device=cores[0].device).manual_seed(seed)
        zero, random = new_slices(structure, edge, generator, like=cores[0])
        batch = list(cores)
        batch[edge[0]], batch[edge[1]] = zero[0], random[0]
        found = self._moved(slim, batch, steps=self.score_steps, free=edge, offset=approximation)
        grown, larger = grow(structure, cores, edge, (found[edge[0]], found[edge[1]]))
        loss, before = self.value(grown, larger), self.value(structure, cores)
        if loss <= before:
            return grown, larger, loss
        return *grow(structure, cores, edge, (zero[0], random[0])), before

    def _moved(
        self,
        structure: NetworkStructure,
        cores: Sequence[Tensor],
        *,
        steps: int,
        goal: float = 0.0,
        free: Sequence[int] | None = None,
        offset: Tensor | None = None,
        extra: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        step = -1

        def losses(dense: Tensor) -> Tensor:
            nonlocal step
            step += 1
            return self.function(dense[0], step)[None]

        moved = adam_cores(
            losses,
            structure,
            [core[None] for core in cores],
            free=free,
            offset=offset,
            steps=steps,
            learning_rate=self.learning_rate,
            extra=extra,
            goal=goal,
        )
        return [core[0] for core in moved]


def _random_vectors(shape: Sequence[int], seed: int, like: Tensor) -> list[Tensor]:
    generator = torch.Generator(device=like.device).manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=like.dtype, device=like.device) for size in shape]

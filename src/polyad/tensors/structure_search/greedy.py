"""Greedy growth of a tensor network: from rank one, the bond that helps most grows by one, again and again.

    1. for every pair (i, j): R_ij + 1, only the new slices optimised           (a cheap score, see `losses`)
    2. the pair with the smallest loss grows; all cores are optimised from the weights that it has
    3. a core that an SVD can split at a saving is split, if the loss allows             (new nodes without a mode)

The new slice is zero in one core, so weights carry over and the loss never rises above where it was, or above the
target once that is reached. A run ends at a target loss or at a budget of parameters; near the budget, pairs that would
exceed it are left out.

Source: M. Hashemizadeh, M. Liu, J. Miller, G. Rabusseau, arXiv:2008.05437 (2020), algorithm 1.

Deviations: by default (`selection="rate"`) the pair grows that wins most, in the logarithm of the loss, a parameter;
the paper's smallest loss is `selection="loss"`. On random tensor trains the rate finds the train itself five times in
six, the loss once in six: it likes bonds across the chain. `prune` goes over the bonds at the end and takes back what
the target does not need, from the weights at hand and from fresh starts: an early wrong bond stays otherwise.
`exchange` lets a bond shrink and others grow in its place. Splits wait until target or budget is
reached (`split_each_step` tries them after each step): a core with a bond too many is of low rank, and splitting it
makes the mistake permanent.

When not to use it: where a wrong early bond is costly and the tensor small; alternating enumeration (`tnale`) can undo.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from math import inf, log
from typing import Literal, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.executors import map_unordered
from polyad.tensors.formats import TensorNetwork
from polyad.tensors.structure_search.losses import Grown, NetworkLoss
from polyad.tensors.structure_search.structures import NetworkStructure
from polyad.tensors.structure_search.transfer import shrink, splits

Selection = Literal["loss", "rate", "random"]


@final
@dataclass(frozen=True)
class GreedyStep:
    """A point of the path: what happened, and what it gave after all cores were optimised.

    Args:
        event: "start", "grow", "split", "exchange", "restart", "prune", or "kept" (the network that validation chose).
        edge: the pair that grew or shrank.
        structure: after the step; its `parameters` are the abscissa of the Pareto path.
        loss: after the step.
        evaluations: optimisations of all cores so far.
        scores: optimisations of new slices so far.
        seconds: wall time so far.
    """

    event: str
    edge: tuple[int, int] | None
    structure: NetworkStructure
    loss: float
    evaluations: int
    scores: int
    seconds: float

    @property
    def parameters(self) -> int:
        """Numbers in all cores."""
        return self.structure.parameters


@final
@dataclass(frozen=True, eq=False)
class GreedySearch:
    """A grown network and its path; the last step is the network.

    Args:
        value: the network.
        structure: its structure.
        steps: one a change of the structure, the start included.
        stopped_by: "goal", "budget", "steps", "seconds", "validation" or "standstill".
    """

    value: TensorNetwork
    structure: NetworkStructure
    steps: tuple[GreedyStep, ...]
    stopped_by: str

    @property
    def loss(self) -> float:
        """Loss of the network."""
        return self.steps[-1].loss

    @property
    def evaluations(self) -> int:
        """Optimisations of all cores."""
        return self.steps[-1].evaluations


def greedy_tn(
    loss: NetworkLoss,
    *,
    budget: int | None = None,
    goal: float = 0.0,
    selection: Selection = "rate",
    r_max: int | None = None,
    edges: Collection[tuple[int, int]] | None = None,
    split: float | None = None,
    split_each_step: bool = False,
    exchange: bool = False,
    prune: bool = False,
    restarts: int = 0,
    most_steps: int | None = None,
    seconds: float | None = None,
    validate: Callable[[Tensor], float] | None = None,
    patience: int = 4,
    executor: Executor | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> GreedySearch:
    """Grow a network for a loss.

    Args:
        loss: what is minimised.
        budget: parameters never exceeded.
        goal: a loss at which to stop.
        selection: the pair of smallest loss; of the largest gain a parameter; or a random pair (a random walk).
        r_max: largest bond.
        edges: pairs (i, j), i < j, that may have a bond; by default all. A path's or a ring's give an adaptive train or
            ring; nodes that splits make stay without growth then.
        split: relative error of a core up to which SVD splits are tried; None tries none.
        split_each_step: try splits after every growth, not only at the goal or the budget.
        exchange: shrink a bond and grow others in its place while that lowers the loss at the budget, or saves
            parameters at the goal.
        prune: shrink or remove bonds at the end while the goal is kept.
        restarts: random starts for the last structure, and for each shrunk one whose transferred weights miss the goal.
        most_steps: of growth.
        seconds: no step begins after this wall time.
        validate: error of a dense tensor on data held back; growth ends when `patience` steps did not lower it, and the
            network with the lowest one is returned.
        patience: see `validate`.
        executor: scores the pairs in parallel.
        seed: of the start, the new slices and the random walk.
        progress: called with parameters and budget (0 where there is none) after every step.

    Raises:
        InputError: neither budget nor goal nor another end is given, or the budget is below a rank-one tensor's size.
    """
    shape = tuple(loss.shape)
    if budget is None and goal <= 0 and most_steps is None and seconds is None and validate is None:
        raise InputError("budget: nothing would end the growth; give budget, goal, most_steps, seconds or validate")
    if budget is not None and budget < sum(shape):
        raise InputError(f"budget: {budget} was given, a rank-one tensor of shape {shape} has {sum(shape)} numbers")
    run = _Growth(loss, goal, budget, seed, time.perf_counter(), progress, r_max, edges)
    begun = NetworkStructure.from_edges(shape, {})
    run.accept("start", None, begun, *loss.optimise(begun, loss.start(seed), goal))
    generator = torch.Generator().manual_seed(seed)
    best, best_error, waited = run.state, inf, 0
    while (reason := run.ended(most_steps, seconds)) is None:
        pairs = run.affordable()
        if not pairs:
            if (split is not None and run.split(split)) or (exchange and run.exchange(selection, executor)):
                continue
            reason = "budget"
            break
        if selection == "random":
            pairs = [pairs[int(torch.randint(len(pairs), (1,), generator=generator))]]
        grown = run.grow(pairs, selection, executor)
        if grown is None:
            reason = "standstill"
            break
        if split is not None and split_each_step:
            run.split(split)
        if validate is not None:
            error = validate(run.state.network().to_dense())
            best, best_error, waited = (run.state, error, 0) if error < best_error else (best, best_error, waited + 1)
            if waited >= patience:
                reason = "validation"
                break
    if run.state.loss > goal and restarts > 0 and validate is None:
        run.restart(restarts)
    if run.state.loss <= goal:
        run.tidy(prune, split, restarts, (selection, executor) if exchange else None)
    state = run.state
    if validate is not None and best is not state:
        state = best
        run.steps.append(replace(run.steps[best.place], event="kept"))
    return GreedySearch(state.network(), state.structure, tuple(run.steps), reason)


def random_walk(loss: NetworkLoss, **options: object) -> GreedySearch:
    """`greedy_tn` with a random pair instead of the best: the control that shows what choosing is worth."""
    return greedy_tn(loss, **{**options, "selection": "random"})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class _State:
    structure: NetworkStructure
    cores: list[Tensor]
    loss: float
    place: int

    def network(self) -> TensorNetwork:
        return self.structure.network(self.cores)


class _Growth:
    """The network so far, its path, and the moves."""

    def __init__(
        self,
        loss: NetworkLoss,
        goal: float,
        budget: int | None,
        seed: int,
        begun: float,
        progress: Callable[[int, int], None] | None,
        r_max: int | None,
        edges: Collection[tuple[int, int]] | None,
    ) -> None:
        self.r_max, self.edges = r_max, edges
        self.loss, self.goal, self.budget, self.seed, self.begun = loss, goal, budget, seed, begun
        self.progress = progress
        self.steps: list[GreedyStep] = []
        self.evaluations = self.scores = 0
        self.state: _State

    def accept(
        self, event: str, edge: tuple[int, int] | None, structure: NetworkStructure, cores: list[Tensor], loss: float
    ) -> None:
        self.evaluations += event in ("start", "grow", "exchange")
        self.state = _State(structure, cores, loss, len(self.steps))
        seconds = time.perf_counter() - self.begun
        self.steps.append(GreedyStep(event, edge, structure, loss, self.evaluations, self.scores, seconds))
        if self.progress is not None:
            self.progress(structure.parameters, self.budget or 0)

    def ended(self, most_steps: int | None, seconds: float | None) -> str | None:
        if self.state.loss <= self.goal:
            return "goal"
        if seconds is not None and time.perf_counter() - self.begun > seconds:
            return "seconds"
        grown = sum(step.event == "grow" for step in self.steps)
        return "steps" if most_steps is not None and grown >= most_steps else None

    def affordable(self) -> list[tuple[int, int]]:
        """Pairs whose growth the budget and the size of the cores allow: a bond above its side's size is useless."""
        structure, found = self.state.structure, []
        for i, j in structure.pairs:
            if self.r_max is not None and structure.ranks[i][j] >= self.r_max:
                continue
            if self.edges is not None and (i, j) not in self.edges:
                continue
            grown = structure.with_rank(i, j, structure.ranks[i][j] + 1)
            fits = self.budget is None or grown.parameters <= self.budget
            if fits and all(_is_useful(grown, node, (i, j)) for node in (i, j)):
                found.append((i, j))
        return found

    def grow(
        self, pairs: Sequence[tuple[int, int]], selection: Selection, executor: Executor | None
    ) -> tuple[int, int] | None:
        state = self.state
        score = partial(_score, self.loss, state.structure, state.cores, self.seed + len(self.steps))
        scored = sorted(map_unordered(score, pairs, executor=executor, in_flight=len(pairs)), key=lambda item: item[0])
        self.scores += len(scored)
        scored.sort(key=lambda item: self._rank(item[1], selection))
        for edge, (structure, cores, _) in scored:
            moved, loss = self.loss.optimise(structure, cores, self.goal)
            if loss < state.loss or len(pairs) == 1:
                self.accept("grow", edge, structure, moved if loss <= state.loss else cores, min(loss, state.loss))
                return edge
            self.evaluations += 1
        return None

    def exchange(self, selection: Selection, executor: Executor | None) -> bool:
        """The first bond whose shrinking, with others grown in its place, helps: a lower loss within the budget, or,
        once the goal is reached, fewer parameters at the goal."""
        state, count, budget = self.state, len(self.steps), self.budget
        reached = state.loss <= self.goal
        if reached:
            self.budget = state.structure.parameters - 1
        for edge in state.structure.edges:
            structure, cores = shrink(state.structure, state.cores, edge)
            self.accept("exchange", edge, structure, *self.loss.optimise(structure, cores, self.goal))
            pairs = [pair for pair in self.affordable() if pair != edge]
            while pairs and self.state.loss > self.goal and self.grow(pairs, selection, executor) is not None:
                pairs = self.affordable()
            found = self.state
            del self.steps[count:]
            if found.loss <= self.goal if reached else found.loss < state.loss:
                self.budget = budget
                self.accept("exchange", edge, found.structure, found.cores, found.loss)
                return True
        self.state, self.budget = state, budget
        return False

    def restart(self, restarts: int) -> None:
        """The structure at hand from random starts, in case its weights are at a poor minimum."""
        state = self.state
        self.evaluations += 1
        cores, loss = self.loss.restart(state.structure, restarts, self.seed + len(self.steps), self.goal)
        if loss < state.loss:
            self.accept("restart", None, state.structure, cores, loss)

    def tidy(
        self, prune: bool, threshold: float | None, restarts: int, exchange: tuple[Selection, Executor | None] | None
    ) -> None:
        """Prune, split and exchange in turns until none finds anything."""
        changed = True
        while changed:
            changed = prune and self.prune(restarts)
            changed = (threshold is not None and self.split(threshold)) or changed
            changed = (exchange is not None and self.exchange(*exchange)) or changed

    def split(self, threshold: float) -> bool:
        """The first split, by saving, after which the loss is no larger or still at the goal."""
        state = self.state
        for structure, cores in splits(state.structure, state.cores, threshold=threshold):
            self.evaluations += 1
            moved, loss = self.loss.optimise(structure, cores, max(self.goal, state.loss))
            if loss <= max(state.loss, self.goal):
                self.accept("split", None, structure, moved, loss)
                return True
        return False

    def prune(self, restarts: int) -> bool:
        """Remove or shrink bonds while the goal is kept, the largest saving first."""
        refused: set[tuple[tuple[int, int], int]] = set()
        changed, found = False, True
        while found:
            found = False
            structure = self.state.structure
            wanted = {(edge, rank) for edge in structure.edges for rank in (1, structure.ranks[edge[0]][edge[1]] - 1)}
            for edge, rank in sorted(wanted - refused, key=lambda item: _shrunk_size(structure, *item)):
                if self._shrunk(edge, rank, restarts):
                    changed = found = True
                    break
                refused.add((edge, rank))
        return changed

    def _shrunk(self, edge: tuple[int, int], rank: int, restarts: int) -> bool:
        structure, cores = self.state.structure, self.state.cores
        while structure.ranks[edge[0]][edge[1]] > rank:
            structure, cores = shrink(structure, cores, edge)
        self.evaluations += 1
        moved, loss = self.loss.optimise(structure, cores, self.goal)
        if loss > self.goal and restarts > 0:
            self.evaluations += 1
            moved, loss = self.loss.restart(structure, restarts, self.seed + len(self.steps), self.goal)
        if loss <= self.goal:
            self.accept("prune", edge, structure, moved, loss)
        return loss <= self.goal

    def _rank(self, grown: Grown, selection: Selection) -> float:
        structure, _, loss = grown
        if selection != "rate":
            return loss
        more = structure.parameters - self.state.structure.parameters
        tiny = torch.finfo(torch.float64).tiny
        return (log(max(loss, tiny)) - log(max(self.state.loss, tiny))) / more


def _score(
    loss: NetworkLoss, structure: NetworkStructure, cores: Sequence[Tensor], seed: int, edge: tuple[int, int]
) -> tuple[tuple[int, int], Grown]:
    return edge, loss.score(structure, cores, edge, seed)


def _shrunk_size(structure: NetworkStructure, edge: tuple[int, int], rank: int) -> int:
    return structure.with_rank(edge[0], edge[1], rank).parameters


def _is_useful(structure: NetworkStructure, node: int, edge: tuple[int, int]) -> bool:
    """A bond larger than the product of its core's other legs adds nothing."""
    size = structure.shape[node] if node < structure.order else 1
    for other, rank in enumerate(structure.ranks[node]):
        if other not in edge:
            size *= rank
    return structure.ranks[edge[0]][edge[1]] <= size

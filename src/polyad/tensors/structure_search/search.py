"""One call that finds a network for a tensor: which graph, which ranks, at what error.

    found = search_structure(x, tol=1e-2)
    print(found.drawing)

`greedy` grows a network from rank one, for tensors of any order; `alternating` enumerates ranks and placements on a
ring, which suits small tensors. Both stop at the tolerance, or at the time with the best that they have.

When not to use it: for very large modes (hundreds); ranks grow one by one. `compress` has the classical formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from math import inf
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import TensorNetwork
from polyad.tensors.formats.base import check_dense
from polyad.tensors.structure_search.alternating import Centre, tnale
from polyad.tensors.structure_search.drawing import draw_structure
from polyad.tensors.structure_search.evaluation import Evaluator, SearchResult, tolerance_objective
from polyad.tensors.structure_search.greedy import greedy_tn
from polyad.tensors.structure_search.losses import decomposition
from polyad.tensors.structure_search.structures import NetworkStructure, structure_of
from polyad.tensors.structure_search.templates import ring

_SMALLEST_TOLERANCE = 1e-6


@final
@dataclass(frozen=True)
class PathPoint:
    """A structure that no other on the way beat in both parameters and error."""

    structure: NetworkStructure
    parameters: int
    error: float


@final
@dataclass(frozen=True, eq=False)
class StructureSearch:
    """What `search_structure` found.

    Args:
        value: the network.
        error: |x - value| / |x|, measured on the dense tensors.
        parameters: numbers in all cores.
        ratio: entries of the dense tensor divided by `parameters`.
        evaluations: structures that were fitted.
        path: Pareto path, parameters ascending and errors descending.
        drawing: the network in text.
        method: "greedy" or "alternating".
        stopped_by: why the search ended; "goal" or "minimum" where the tolerance was met.
    """

    value: TensorNetwork
    error: float
    parameters: int
    ratio: float
    evaluations: int
    path: tuple[PathPoint, ...]
    drawing: str
    method: str
    stopped_by: str

    @property
    def structure(self) -> NetworkStructure:
        """The rank matrix."""
        return structure_of(self.value)[0]


def search_structure(
    dense: Float[Tensor, "..."],
    *,
    method: str = "greedy",
    tol: float = 1e-2,
    seconds: float | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StructureSearch:
    """Find a tensor network for a dense tensor.

    Args:
        dense: real, of order >= 2; fitted in float64.
        method: "greedy" (`greedy_tn`, with splits and pruning) or "alternating" (`tnale` on a ring).
        tol: relative error (Frobenius) to reach, at least 1e-6.
        seconds: wall time after which no further structure is tried; the best so far is returned.
        seed: of starts and centres.
        executor: fits structures in parallel.
        progress: called after every step; greedy: parameters and 0, alternating: structures and 0.

    Raises:
        InputError: not a real finite tensor of order >= 2, a tolerance out of range, an unknown method.
    """
    check_dense(dense, name="dense")
    if dense.is_complex() or dense.ndim < 2:
        raise InputError(f"dense: {dense.dtype}, order {dense.ndim} was given; a real tensor of order >= 2 is needed")
    if not _SMALLEST_TOLERANCE <= tol < 1:
        raise InputError(f"tol: {tol:g} was given, allowed is {_SMALLEST_TOLERANCE:g} <= tol < 1 for least squares")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds: {seconds} was given; give a positive time, or None for no limit")
    scale = float(dense.detach().abs().max())
    scaled = dense.detach().double() / scale
    if method == "greedy":
        found = greedy_tn(
            decomposition(scaled),
            goal=tol**2,
            split=tol,
            prune=True,
            seconds=seconds,
            seed=seed,
            executor=executor,
            progress=None if progress is None else lambda done, _: progress(done, 0),
        )
        tried = [(step.structure, step.loss) for step in found.steps]
        return _result(scaled, scale, found.value, found.evaluations, tried, "greedy", found.stopped_by)
    if method != "alternating":
        raise InputError(f"method: {method!r} was given, allowed are 'greedy' and 'alternating'")
    return _alternating(scaled, scale, tol, seconds, seed, executor, progress)


def pareto_path(tried: list[tuple[NetworkStructure, float]]) -> tuple[PathPoint, ...]:
    """Of structures and their losses (squared relative errors), those not beaten in both parameters and error."""
    path: list[PathPoint] = []
    lowest = inf
    for structure, loss in sorted(tried, key=lambda item: (item[0].parameters, item[1])):
        if loss < lowest:
            path.append(PathPoint(structure, structure.parameters, loss**0.5))
            lowest = loss
    return tuple(path)


def _alternating(
    scaled: Tensor,
    scale: float,
    tol: float,
    seconds: float | None,
    seed: int,
    executor: Executor | None,
    progress: Callable[[int, int], None] | None,
) -> StructureSearch:
    """The best minimum from ranks of two and the modes in three orders, the first as they come."""
    template = ring(scaled.ndim)
    evaluator = Evaluator(
        scaled, objective=tolerance_objective(tol), starts=4, goal=0.99 * tol**2, seed=seed, executor=executor
    )
    generator = torch.Generator().manual_seed(seed)
    orders = [list(range(scaled.ndim)), *(torch.randperm(scaled.ndim, generator=generator).tolist() for _ in range(2))]
    begun = time.perf_counter()
    results: list[SearchResult] = []
    for order in orders:
        left = None if seconds is None else seconds - (time.perf_counter() - begun)
        if left is not None and left <= 0 and results:
            break
        results.append(
            tnale(
                evaluator,
                template,
                r_max=4 * max(scaled.shape),
                initial=Centre((2,) * len(template.edges), tuple(order)),
                seconds=left,
                progress=None if progress is None else lambda *_: progress(evaluator.fits, 0),
            )
        )
    best = min(results, key=lambda result: result.best.objective)
    tried = [(evaluation.structure, evaluation.loss) for result in results for evaluation in result.history]
    stopped_by = results[-1].stopped_by
    return _result(scaled, scale, best.best.value, evaluator.fits, tried, "alternating", stopped_by)


def _result(
    scaled: Tensor,
    scale: float,
    value: TensorNetwork,
    evaluations: int,
    tried: list[tuple[NetworkStructure, float]],
    method: str,
    stopped_by: str,
) -> StructureSearch:
    structure = structure_of(value)[0]
    error = float(torch.linalg.vector_norm(scaled - value.to_dense()) / torch.linalg.vector_norm(scaled))
    return StructureSearch(
        value.scale(scale),
        error,
        structure.parameters,
        scaled.numel() / structure.parameters,
        evaluations,
        pareto_path(tried),
        draw_structure(structure),
        method,
        stopped_by,
    )

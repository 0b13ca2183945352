"""Cross approximation: a tensor train of a black-box function from few of its values.

Bond k keeps rows I_k (left multi-indices) and columns J_k (right ones) with f(I_k, J_k) invertible. With the blocks
T_k = f(I_{k-1}, i, J_k) the interpolant is

    x = T_1 P_1^{-1} T_2 P_2^{-1} ... T_d,      P_k = f(I_k, J_k)

exact at every point of the blocks. A visit to a bond looks for the largest residual on (I_{k-1}, i) x (j, J_{k+1}) by
rook search: the best of some random points, then along its column, along the best row, and so on. Its row and column
are new parts of T_k and T_{k+1}, so hardly a value is asked for twice. Products T_k P_k^{-1} are taken from a QR
decomposition, which stays accurate where P_k is nearly singular. Random points tell the error; where one is missed by
far, it becomes a pivot at every bond. The search ends when fresh points, none of which was looked at before, confirm
the tolerance by two standard errors of their mean square.

Sources: I. V. Oseledets and E. E. Tyrtyshnikov, Linear Algebra Appl. 432 (2010) 70; D. V. Savostyanov, Linear Algebra
Appl. 458 (2014) 217; S. Dolgov and D. Savostyanov, Comput. Phys. Commun. 246 (2020) 106869; Y. Nunez Fernandez et al.,
Phys. Rev. X 12 (2022) 041018.

Memory: the blocks hold as many numbers as the train; both are there when it is written, beside their index tuples.

When not to use it: for functions that vanish but for a few narrow peaks which random points miss; start from points
known to matter (`pivots`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._cross_bonds import Bonds, Function
from polyad.tensors.formats.tensor_train import TensorTrain


@final
@dataclass(frozen=True, eq=False)
class CrossApproximation:
    """A tensor train found from values of a function.

    Args:
        value: the tensor train.
        evaluations: how many values were asked for, those of the validation points included.
        error: relative root mean square error on the validation points.
        largest_error: largest error there, relative to the largest value seen.
        history: after every sweep, the evaluations so far and the validation error.
        stopped_by: "tolerance", "rank", "evaluations", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: TensorTrain
    evaluations: int
    error: float
    largest_error: float
    history: tuple[tuple[int, float], ...]
    stopped_by: str
    seconds: float


def tt_cross(
    function: Callable[[Int[Tensor, "count order"]], Num[Tensor, " count"]],
    shape: Sequence[int],
    *,
    tolerance: float = 1e-6,
    max_rank: int = 200,
    max_evaluations: int = 10_000_000,
    max_sweeps: int = 100,
    seconds: float | None = None,
    validation: int = 200,
    pivots: Int[Tensor, "count order"] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CrossApproximation:
    """Tensor train of function(indices) on a grid of this shape.

    Args:
        function: takes index tuples, one a row, and gives one finite value each.
        shape: sizes of the modes.
        tolerance: wanted relative root mean square error.
        max_rank: largest rank of any bond.
        max_evaluations: stop when this many values were asked for (up to one sweep more).
        max_sweeps: largest number of sweeps over the bonds.
        seconds: largest wall time.
        validation: random points that tell the error.
        pivots: index tuples where the function is known to matter.
        seed: of the random points.
        progress: called with evaluations done and the most there can be.
    """
    start = time.perf_counter()
    shape = _checked_shape(shape, tolerance, max_rank, validation)
    asked = Function(function, shape, progress=progress, limit=max_evaluations)
    generator = torch.Generator().manual_seed(seed)
    probes = _random_points(shape, validation, generator)
    wanted = asked(probes)
    first, values = probes, wanted
    if pivots is not None:
        first, values = torch.cat([probes, pivots]), torch.cat([wanted, asked(pivots)])
    if not bool(values.any()):
        raise InputError(f"function: it is zero at all {len(values)} random points; give pivots where it is not")
    bonds = Bonds(asked, shape, first[int(values.abs().argmax())], generator, max_rank)
    for pivot in () if pivots is None else pivots:
        bonds.add_point(pivot, 0.0)
    history: list[tuple[int, float]] = []
    threshold, reason = tolerance, "sweeps"
    for sweep in range(max_sweeps):
        added = bonds.sweep(threshold, forward=sweep % 2 == 0)
        gap = (bonds.train().entries(probes) - wanted).abs()
        history.append((asked.count, _relative_error(gap, wanted)[0]))
        if not added and history[-1][1] <= tolerance:
            # the sample has been looked at again and again, and its worst points became pivots: ask others
            fresh = _random_points(shape, validation, generator)
            probes, wanted = torch.cat([probes, fresh]), torch.cat([wanted, asked(fresh)])
            gap = (bonds.train().entries(probes) - wanted).abs()
            error, surely = _relative_error(gap[-validation:], wanted[-validation:])
            history.append((asked.count, error))
            if surely <= tolerance:
                reason = "tolerance"
        if reason == "sweeps" and not added and bonds.is_full():
            reason = "rank"
        elif reason == "sweeps" and asked.count >= max_evaluations:
            reason = "evaluations"
        elif reason == "sweeps" and seconds is not None and time.perf_counter() - start > seconds:
            reason = "seconds"
        if reason != "sweeps":
            break
        if not added and not bonds.add_point(probes[int(gap.argmax())], threshold):
            threshold /= 4  # the search is content, the validation points are not
    value = bonds.train()
    gap = (value.entries(probes) - wanted).abs()
    largest = float(gap.max() / asked.largest)
    return CrossApproximation(
        value, asked.count, history[-1][1], largest, tuple(history), reason, time.perf_counter() - start
    )


def _random_points(shape: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    return torch.stack([torch.randint(0, size, (count,), generator=generator) for size in shape], dim=1)


def _relative_error(gap: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Relative root mean square of a sample of errors, and its bound two standard errors up."""
    scale = wanted.abs().square().mean()
    if not bool(scale > 0):
        return 0.0, 0.0
    squares = gap.square()
    doubt = 2 * squares.std(correction=0) / len(squares) ** 0.5
    return float((squares.mean() / scale).sqrt()), float(((squares.mean() + doubt) / scale).sqrt())


def _checked_shape(shape: Sequence[int], tolerance: float, max_rank: int, validation: int) -> tuple[int, ...]:
    shape = tuple(int(size) for size in shape)
    if not shape or min(shape) < 1:
        raise InputError(f"shape: {shape} was given; give at least one mode, every size at least 1")
    if not 1e-15 <= tolerance < 1:
        raise InputError(f"tolerance: {tolerance:g} was given, allowed is 1e-15 <= tolerance < 1")
    if max_rank < 1 or validation < 1:
        raise InputError(f"max_rank, validation: {max_rank} and {validation} were given; both must be at least 1")
    if prod(shape) < 2:
        raise InputError(f"shape: {shape} has a single entry; ask the function itself")
    return shape

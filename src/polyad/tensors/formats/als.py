"""CP decomposition by alternating least squares (ALS).

Each factor in turn solves a linear least-squares problem with the others held:

    A_k = M_k V_k^{-1},   M_k = X_(k) conj(KR),   V_k = *_{j != k} (A_j^T conj(A_j)),   KR: Khatri-Rao of the others

Three things make it fast. The tensor is first compressed to a Tucker core slightly larger than the rank; ALS runs
there from several starts, one of them algebraic (a matrix pencil, exact where the tensor has that rank), and only a
few sweeps on the full tensor follow. A full sweep passes over the tensor twice whatever its order: once for the first
half of the modes, once for the second. The residual is a by-product; where it drowns in rounding it is formed in full.

With a mask, every row of a factor has its own normal matrix over its observed entries: no imputation, no bias.

Sources: R. A. Harshman, UCLA Working Papers 16 (1970) 1; J. D. Carroll and J. J. Chang, Psychometrika 35 (1970) 283;
R. Bro and C. A. Andersson, Chemom. Intell. Lab. Syst. 42 (1998) 105 (compression); S. E. Leurgans, R. T. Ross, R. B.
Abel, SIAM J. Matrix Anal. Appl. 14 (1993) 1064 (pencil); A.-H. Phan, P. Tichavsky, A. Cichocki, IEEE Trans. Signal
Process. 61 (2013) 4834 (two passes a sweep).

When not to use it: where terms nearly cancel (ALS creeps and norms grow; look at the weights), or for nonnegative
factors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Bool, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._masked_slabs import check_known, check_slices, filled_tucker, known_counts
from polyad.tensors.formats.als_starts import make_starts
from polyad.tensors.formats.als_targets import DenseTarget, MaskedTarget, Target
from polyad.tensors.formats.base import check_dense
from polyad.tensors.formats.cp import CP
from polyad.tensors.formats.randomised import basis_finder
from polyad.tensors.formats.tucker import Tucker, multiply_modes, unfold

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class CPFit:
    """A CP decomposition and how it was reached.

    Args:
        value: unit columns, weights descending.
        error: relative residual |mask * (x - value)| / |mask * x|.
        history: relative residual after every sweep of the start that won; the last `full_sweeps` on the full tensor.
        full_sweeps: sweeps on the full tensor.
        starts: relative residual that each start reached.
        stopped_by: "tolerance", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: CP
    error: float
    history: tuple[float, ...]
    full_sweeps: int
    starts: tuple[float, ...]
    stopped_by: str
    seconds: float


def cp_als(
    tensor: Num[Tensor, "..."],
    rank: int,
    *,
    mask: Bool[Tensor, "..."] | None = None,
    starts: int = 4,
    sweeps: int = 500,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    compress: bool = True,
    initial: Sequence[Num[Tensor, "..."]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CPFit:
    """Rank-`rank` CP decomposition of a dense tensor, real or complex; without a gradient.

    Args:
        tensor: dense; finite where observed, not zero.
        rank: number of terms.
        mask: True where an entry is known; the others are never read.
        starts: how many starts: the pencil, the leading singular vectors, then random ones.
        sweeps: largest number of sweeps of each start, and again on the full tensor.
        tolerance: a run ends when a sweep lowers the relative residual by less.
        seconds: a run also ends when this wall time is over.
        compress: work on a Tucker core first (never with a mask).
        initial: factors (n_k, rank) to begin from, instead of `starts`.
        seed: of the random starts and the sketch.
        progress: called with sweeps done and the most there can be.
    """
    clock = _Clock(time.perf_counter(), seconds)
    with torch.no_grad():
        tensor, known = _checked(tensor.detach(), rank, mask)
        generator = torch.Generator(device=tensor.device).manual_seed(seed)
        begun = None if initial is None else _checked_factors(initial, tensor.shape, rank)
        full: DenseTarget | MaskedTarget = DenseTarget(tensor) if known is None else MaskedTarget(tensor, known)
        count = starts if begun is None else 1
        report = _Reporter(progress, (count + 1) * sweeps)
        if known is None and compress and begun is None and _pays(tensor.shape, rank):
            core = _tucker_core(tensor, rank, generator)
            target: DenseTarget | MaskedTarget = DenseTarget(core.core, missed=_missed(tensor, core.core))
        else:
            core, target = None, full
        runs = []
        for factors in [begun] if begun is not None else _starts(target, rank, starts, generator):
            runs.append(run_als(target, factors, sweeps=sweeps, tolerance=tolerance, clock=clock, report=report))
            if clock.is_over() or runs[-1].history[-1] <= 10 * torch.finfo(tensor.dtype).eps:
                break
        best = min(runs, key=lambda run: run.history[-1])
        history, full_sweeps, reason = list(best.history), 0, best.reason
        factors = best.factors
        if core is not None:
            factors = [basis @ factor for basis, factor in zip(core.factors, factors, strict=True)]
            last = run_als(full, factors, sweeps=sweeps, tolerance=tolerance, clock=clock, report=report)
            factors, full_sweeps, reason = last.factors, len(last.history), last.reason
            history += last.history
        value = CP(torch.ones_like(factors[0][0]), tuple(factors)).orthogonalise()
    reached = tuple(run.history[-1] for run in runs)
    return CPFit(value, history[-1], tuple(history), full_sweeps, reached, reason, clock.elapsed())


@dataclass(frozen=True, eq=False)
class Run:
    """What one sequence of sweeps gave: factors, relative residual after each sweep, and why it ended."""

    factors: list[Tensor]
    history: list[float]
    reason: str


def run_als(
    target: Target,
    factors: Sequence[Tensor],
    *,
    sweeps: int,
    tolerance: float,
    clock: _Clock | None = None,
    report: Callable[[], None] | None = None,
) -> Run:
    """Sweeps from these factors until the residual stands still, or sweeps or time are used up."""
    factors, history = list(factors), []
    for _ in range(sweeps):
        for mode in range(len(factors)):
            factors[mode] = _balanced(target.solve(factors, mode), mode, len(factors))
        history.append(target.residual(factors))
        if report is not None:
            report()
        if history[-1] <= torch.finfo(factors[0].dtype).eps or (
            len(history) > 1 and history[-2] - history[-1] < tolerance
        ):
            return Run(factors, history, "tolerance")
        if clock is not None and clock.is_over():
            return Run(factors, history, "seconds")
    return Run(factors, history, "sweeps")


def _starts(
    target: DenseTarget | MaskedTarget, rank: int, count: int, generator: torch.Generator
) -> list[list[Tensor]]:
    """From the tensor; of one with holes, from a small core of it with the holes filled."""
    if isinstance(target, DenseTarget):
        return make_starts(target.tensor, rank, count, generator)
    small = filled_tucker(target.tensor, target.mask, _core_ranks(target.tensor.shape, rank))
    found = make_starts(small.core, rank, count, generator)
    return [[basis @ factor for basis, factor in zip(small.factors, start, strict=True)] for start in found]


def _balanced(factor: Tensor, mode: int, order: int) -> Tensor:
    """Unit columns in all modes but the last, which carries the weights."""
    if mode == order - 1:
        return factor
    length = torch.linalg.vector_norm(factor, dim=0)
    return factor / torch.where(length > 0, length, 1)


class _Clock:
    def __init__(self, start: float, limit: float | None) -> None:
        if limit is not None and not limit > 0:
            raise InputError(f"seconds: {limit} was given; give a positive time, or None for no limit")
        self.start, self.limit = start, limit

    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    def is_over(self) -> bool:
        return self.limit is not None and self.elapsed() > self.limit


class _Reporter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _checked(tensor: Tensor, rank: int, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if mask is not None:
        check_known(tensor, mask)
        if bool(mask.all()):
            mask = None
    else:
        check_dense(tensor)
    if tensor.ndim < 2:
        raise InputError("tensor: it has one mode; CP needs at least two")
    largest = prod(tensor.shape) // max(tensor.shape)
    if not 1 <= rank <= largest:
        raise InputError(f"rank: {rank} was given, allowed is 1..{largest} (no tensor of this shape needs more)")
    if mask is not None:
        _check_identifiable(mask, rank)
    return tensor, mask


def _check_identifiable(mask: Tensor, rank: int) -> None:
    unknowns, known = rank * (sum(mask.shape) - mask.ndim + 1), int(known_counts(mask).sum())
    if known < unknowns:
        raise InputError(
            f"mask: {known} known entries cannot fix the {unknowns} unknowns of rank {rank}; lower the rank"
        )
    check_slices(mask, [rank] * mask.ndim)


def _checked_factors(factors: Sequence[Tensor], shape: Sequence[int], rank: int) -> list[Tensor]:
    wanted = [(size, rank) for size in shape]
    if [tuple(factor.shape) for factor in factors] != wanted:
        raise InputError(f"initial: shapes {[tuple(f.shape) for f in factors]} were given, {wanted} are needed")
    return [factor.detach() for factor in factors]


def _core_ranks(shape: Sequence[int], rank: int) -> list[int]:
    return [min(size, rank + rank // 4 + 2) for size in shape]


def _pays(shape: Sequence[int], rank: int) -> bool:
    return prod(shape) > 4 * prod(_core_ranks(shape, rank))


def _tucker_core(tensor: Tensor, rank: int, generator: torch.Generator) -> Tucker:
    """Sketches without power iterations are enough: full sweeps follow."""
    find = basis_finder(generator, power_iterations=0)
    core, factors, order = tensor, [], tensor.ndim
    for mode, most in enumerate(_core_ranks(tensor.shape, rank)):
        basis, _ = find(unfold(core, mode, order), budget=None, cap=most)
        core = multiply_modes(core, {mode: basis.mH}, order)
        factors.append(basis)
    return Tucker(core, tuple(factors))


def _missed(tensor: Tensor, core: Tensor) -> float:
    """Squared norm that the core cannot show."""
    square = float(torch.linalg.vector_norm(tensor).square())
    gap = square - float(torch.linalg.vector_norm(core).square())
    return gap if gap > 64 * torch.finfo(tensor.dtype).eps * square else 0.0

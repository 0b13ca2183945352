"""The one step of truncating a network: fewer terms on one bond, whatever lies around it.

Cut a bond that joins m tensors open at each of them. What remains is a linear map e (rank x r^m) whose value at the
identity, sum_i e_{i..i}, is the tensor itself. Sought are m matrices of s < r columns with

    | sum_i e_{i..i}  -  sum_{t <= s} sum_{a..b} e_{a..b} M^1_{a t} .. M^m_{b t} |        small

For m = 2 this asks for a matrix P = M^1 M^2^T of low rank in place of the identity. Starts are the singular value
decomposition in the metric of the two ends (optimal on trees), and the matrix of least sum of log singular values at
that error (iteratively reweighted least squares: it finds what redundancy a loop hides). Alternating least squares
improves either; for m > 2 it begins with the largest terms and with mixtures of all.

Sources: M. Lubasch, J. I. Cirac, M.-C. Banuls, Phys. Rev. B 90 (2014) 064425 (the problem); K. Mohan, M. Fazel,
J. Mach. Learn. Res. 13 (2012) 3441 (reweighting); M. Hauru, C. Delcamp, S. Mizera, Phys. Rev. B 97 (2018) 045111.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.subspace import triangular_root

SWEEPS = 40
REWEIGHTINGS = 24
MIXTURES = 2
STEADY = 1e-3
"""Relative cutoff of the least squares of hyperedges, whose terms would otherwise grow and cancel without end."""

Start = Callable[[int], list[Tensor]]
"""The matrices of a start at any rank."""


def shrink_bond(
    environment: Num[Tensor, "rank ..."], *, share: Tensor | None, cap: int, floor: int = 1
) -> tuple[list[Num[Tensor, "old new"]], Tensor] | None:
    """Matrices for the ends and the error (Frobenius); None where nothing smaller is found.

    Args:
        environment: e, of shape (rank, r, .., r).
        share: largest error; the smallest s <= cap that keeps it. None for s = cap.
        cap: largest s; where nothing keeps the share, it wins.
        floor: no smaller s is tried.
    """
    problem, full = _Problem(environment), environment.shape[1]
    if share is None:
        return problem.best(cap, problem.starts(None)) if cap < full else None
    starts = problem.starts(share)
    found = problem.plain(starts, share, cap, floor)
    if found is None and cap < full:
        found = problem.best(cap, starts, share)
        if bool(found[1] > share):
            return found
    rank = full if found is None else found[0][0].shape[1]
    while rank > floor:
        smaller = problem.best(rank - 1, starts, share)
        if bool(smaller[1] > share):
            break
        found, rank = smaller, rank - 1
    return found


class _Problem:
    def __init__(self, environment: Tensor) -> None:
        self.environment, self.ends, self.full = environment, environment.ndim - 1, environment.shape[1]
        self.terms = _terms(environment)
        self.wanted = self.terms.sum(-1)
        self.rounding = 16 * torch.finfo(environment.dtype).eps * torch.linalg.vector_norm(self.wanted)

    def starts(self, share: Tensor | None) -> list[Start]:
        """Where to begin, the cheapest first."""
        if self.ends == 2:
            return _matrix_starts(self.environment, self.wanted, share)
        order = torch.linalg.vector_norm(self.terms, dim=0).argsort(descending=True)
        eye = torch.eye(self.full, dtype=self.wanted.dtype, device=self.wanted.device)
        generator = torch.Generator(device=eye.device).manual_seed(0)
        sizes = (MIXTURES, self.ends, self.full, self.full)
        draws = torch.randn(sizes, generator=generator, dtype=eye.dtype, device=eye.device)
        leading = eye[:, order].expand(self.ends, -1, -1)
        return [partial(_leading_columns, matrices) for matrices in (leading, *draws)]

    def plain(self, starts: Sequence[Start], share: Tensor, cap: int, floor: int) -> tuple[list[Tensor], Tensor] | None:
        """Of the first two starts as they are: the smallest rank that keeps the share, by bisection."""
        best, high = None, min(cap, self.full - 1)
        for start in starts[:2]:
            low = floor
            while low <= high:
                middle = (low + high) // 2
                matrices = start(middle)
                error = self.error(matrices)
                if bool(error <= share):
                    best, high = (_balanced(matrices), error), middle - 1
                else:
                    low = middle + 1
        return best

    def best(self, rank: int, starts: Sequence[Start], share: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The best matrices of all starts, or the first that keep the share."""
        best: tuple[list[Tensor], Tensor] | None = None
        for start in starts:
            found = self.improve(start(rank), share)
            if best is None or bool(found[1] < best[1]):
                best = found
            if share is not None and bool(best[1] <= share):
                break
        assert best is not None  # there is at least one start
        return best

    def improve(self, matrices: Sequence[Tensor], share: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Alternating least squares; ends with the share kept, or where a sweep gains nothing."""
        matrices = list(matrices)
        error = self.error(matrices)
        for _ in range(SWEEPS):
            if share is not None and bool(error <= share):
                break
            newer = list(matrices)
            for end in range(self.ends):
                for other in range(self.ends):
                    if other != end:
                        newer[other] = _well_scaled(newer[other], self.ends)
                reduced = self.reduced(newer, end)
                solved = _least_squares(reduced.flatten(1), self.wanted, None if self.ends == 2 else STEADY)
                newer[end] = solved.reshape(reduced.shape[1:])
            after = self.error(newer)
            gained = bool(after < error * (1 - 1e-3))
            if bool(after < error):
                matrices, error = newer, after
            if not gained or bool(error <= 2 * self.rounding):
                break
        return _balanced(matrices), error

    def error(self, matrices: Sequence[Tensor]) -> Tensor:
        """|wanted - e(M^1, .., M^m)|, and what rounding may hide of it."""
        found = (self.reduced(matrices, 0) * matrices[0]).sum((1, 2))
        return torch.linalg.vector_norm(self.wanted - found) + self.rounding

    def reduced(self, matrices: Sequence[Tensor], end: int) -> Tensor:
        """e with all ends but one multiplied by their matrices: (rank, r, s)."""
        others = [matrix for k, matrix in enumerate(matrices) if k != end]
        moved = self.environment.movedim(1 + end, 1) @ others[-1]
        for matrix in reversed(others[:-1]):
            moved = (moved * matrix).sum(-2)
        return moved


def _leading_columns(matrices: Tensor, rank: int) -> list[Tensor]:
    return list(matrices[..., :rank])


def _matrix_starts(environment: Tensor, wanted: Tensor, share: Tensor | None) -> list[Start]:
    left_root = triangular_root(environment.movedim(1, 2).flatten(0, 1))
    right_root = triangular_root(environment.flatten(0, 1))
    rounding = environment.shape[1] * torch.finfo(environment.dtype).eps
    left_inverse, right_inverse = (torch.linalg.pinv(root, rtol=rounding) for root in (left_root, right_root))
    identity = left_root @ right_root.mT
    gauged = torch.einsum("qab,ac,bd->qcd", environment, left_inverse, right_inverse)
    size = torch.linalg.vector_norm(wanted)
    levels = [share / 4] if share is not None else [size * 10.0**-k for k in (1, 2, 4)]
    return [
        _split(identity, left_inverse, right_inverse),
        *(
            _split(
                _lowest_rank(gauged, wanted, identity, level.clamp_min(rounding * size)), left_inverse, right_inverse
            )
            for level in levels
        ),
    ]


def _split(matrix: Tensor, left_inverse: Tensor, right_inverse: Tensor) -> Start:
    """The two halves of a matrix's truncated singular value decomposition, back in the bond's own basis."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    left, right = left_inverse @ (u * s.sqrt()), right_inverse @ (vh.mT * s.sqrt())
    return lambda rank: [left[:, :rank], right[:, :rank]]


def _lowest_rank(environment: Tensor, wanted: Tensor, matrix: Tensor, level: Tensor) -> Tensor:
    """Argmin of |wanted - e(Z)|^2 + level^2 log det(Z Z^H + d), with d falling from step to step."""
    flat = environment.flatten(1)
    size = torch.linalg.matrix_norm(matrix, 2).square()
    floor = (torch.finfo(wanted.dtype).eps * size.sqrt()).square()
    right = torch.cat([wanted, wanted.new_zeros(matrix.numel())])
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    for step in range(REWEIGHTINGS):
        values, vectors = torch.linalg.eigh(matrix @ matrix.mH)
        weights = (values.clamp_min(0) + (size * 4.0**-step).clamp_min(floor)).rsqrt()
        penalty = torch.kron(level * (vectors * weights) @ vectors.mH, eye)
        stacked = torch.cat([flat, penalty])  # of full rank
        matrix = torch.linalg.lstsq(stacked, right[:, None], driver="gels").solution.reshape(matrix.shape)
    return matrix


def _terms(environment: Tensor) -> Tensor:
    """e_{i..i}: (rank, r)."""
    places = torch.arange(environment.shape[1], device=environment.device)
    return environment.movedim(0, -1)[(places,) * (environment.ndim - 1)].mT


def _least_squares(matrix: Tensor, wanted: Tensor, cutoff: float | None = None) -> Tensor:
    """The shortest of the best solutions; directions below the cutoff (rounding by default) count as none."""
    cutoff = torch.finfo(matrix.dtype).eps * max(matrix.shape) if cutoff is None else cutoff
    if not matrix.is_cuda:
        return torch.linalg.lstsq(matrix, wanted[:, None], rcond=cutoff, driver="gelsd").solution[:, 0]
    return torch.linalg.pinv(matrix, rtol=cutoff) @ wanted


def _well_scaled(matrix: Tensor, ends: int) -> Tensor:
    """For a plain bond orthonormal columns, which span the same; else each column divided by its length."""
    if ends == 2:
        return torch.linalg.qr(matrix).Q
    length = torch.linalg.vector_norm(matrix, dim=0)
    return matrix / torch.where(length > 0, length, 1)


def _balanced(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The same product with the sizes shared among the ends."""
    lengths = torch.stack([torch.linalg.vector_norm(matrix, dim=0) for matrix in matrices])
    lengths = torch.where(lengths > 0, lengths, 1)
    mean = lengths.log().mean(0).exp()
    return [matrix * (mean / length) for matrix, length in zip(matrices, lengths, strict=True)]

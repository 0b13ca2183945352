"""Tucker approximation at given ranks (higher-order orthogonal iteration), and ranks by the true loss: the slow way.

HOOI (L. De Lathauwer, B. De Moor, J. Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1324) improves the truncated
higher-order SVD one factor at a time: the leading singular vectors of X contracted with all other factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.core_shape.packing import TuckerPacking
from polyad.tensors.core_shape.spectra import check_tensor, leading_basis, matricize
from polyad.tensors.formats.base import refuse_gradient


@final
@dataclass(frozen=True, eq=False)
class TuckerApproximation:
    """X ~ core x_1 factors[0] ... x_N factors[N-1].

    Attributes:
        core: (r_1, ..., r_N).
        factors: orthonormal columns, (I_n, r_n).
        relative_error: |X - approximation| / |X|, from the difference itself.
        history: relative error by norms after every sweep, the truncated higher-order SVD first.
    """

    core: Inexact[Tensor, "..."]
    factors: tuple[Inexact[Tensor, "_ _"], ...]
    relative_error: float
    history: tuple[float, ...]

    @property
    def loss(self) -> float:
        """|X - approximation|^2 over |X|^2."""
        return self.relative_error**2

    def reconstruct(self) -> Inexact[Tensor, "..."]:
        """The dense approximation."""
        return _expand(self.core, self.factors)


def hooi(
    tensor: Inexact[Tensor, "..."],
    ranks: Sequence[int],
    *,
    sweeps: int = 25,
    tolerance: float = 1e-5,
    factors: Sequence[Inexact[Tensor, "_ _"]] | None = None,
) -> TuckerApproximation:
    """The best Tucker approximation of these ranks that alternating finds; without a gradient.

    Args:
        tensor: X.
        ranks: from 1 to I_n.
        sweeps: at most so many rounds over the modes; 0 gives the truncated higher-order SVD.
        tolerance: stop when a sweep lowers the error by less than this times itself.
        factors: orthonormal start; the truncated higher-order SVD if not given.

    Raises:
        InputError: ranks out of range, or a tensor that asks for a gradient.
    """
    check_tensor(tensor)
    refuse_gradient([tensor, *(factors or ())], "hooi: its factors are found by a search")
    if len(ranks) != tensor.ndim or any(not 1 <= r <= n for r, n in zip(ranks, tensor.shape, strict=False)):
        raise InputError(f"ranks: {tuple(ranks)}; need one rank a mode, from 1 to the shape {tuple(tensor.shape)}")
    if factors is None:
        factors = [leading_basis(matricize(tensor, (n,)), r) for n, r in enumerate(ranks)]
    found, core, history = _alternate(tensor, list(factors), ranks, sweeps, tolerance)
    error = float(torch.linalg.vector_norm(tensor - _expand(core, found)) / torch.linalg.vector_norm(tensor))
    return TuckerApproximation(core, tuple(found), error, tuple(history))


def greedy_true_loss(
    tensor: Inexact[Tensor, "..."],
    budget: int,
    *,
    spectra: Sequence[Float[Tensor, " _"]],
    sweeps: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, ...]:
    """Ranks raised one by one by the true loss, each candidate decomposed by HOOI (the greedy method of the paper).

    The rank that lowers the loss most per added number is raised. Where no single step lowers it, as from (1, ..., 1),
    where a rank cannot exceed the product of the others, the largest next squared singular value decides.

    Args:
        tensor: X.
        budget: largest number of entries of core and factors.
        spectra: of the unfoldings, for such ties.
        sweeps: of every HOOI, started from the factors so far and the next singular vector.
        progress: called with (size reached, budget).
    """
    problem = TuckerPacking.from_spectra(spectra, budget)
    bases = [leading_basis(matricize(tensor, (n,)), size) for n, size in enumerate(tensor.shape)]
    ranks = [1] * tensor.ndim
    norm = float(torch.linalg.vector_norm(tensor))
    factors, core, _ = _alternate(tensor, [basis[:, :1] for basis in bases], ranks, sweeps, 0.0)
    while True:
        size, kept = problem.size(ranks), float(torch.linalg.vector_norm(core))
        if progress is not None:
            progress(size, budget)
        candidates = []
        for mode, rank in enumerate(ranks):
            added = math.prod(ranks) // rank + tensor.shape[mode]
            if rank == tensor.shape[mode] or size + added > budget:
                continue
            raised = [r + (m == mode) for m, r in enumerate(ranks)]
            start = list(factors)
            start[mode] = torch.linalg.qr(torch.cat([factors[mode], bases[mode][:, rank : rank + 1]], dim=1)).Q
            new_factors, new_core, _ = _alternate(tensor, start, raised, sweeps, 0.0)
            gain = (float(torch.linalg.vector_norm(new_core)) ** 2 - kept**2) / norm**2
            tie = float(problem.tails[mode][rank] - problem.tails[mode][rank + 1]) / added
            candidates.append((gain / added if gain > 1e-14 else 0.0, tie, raised, new_factors, new_core))
        if not candidates or all(gain <= 0 and tie <= 0 for gain, tie, *_ in candidates):
            return tuple(ranks)
        _, _, ranks, factors, core = max(candidates, key=lambda candidate: candidate[:2])


def _alternate(
    tensor: Tensor, factors: list[Tensor], ranks: Sequence[int], sweeps: int, tolerance: float
) -> tuple[list[Tensor], Tensor, list[float]]:
    """Factors, core and the relative errors, by |X|^2 - |core|^2, of start and sweeps."""
    norm = torch.linalg.vector_norm(tensor)
    core = _contract(tensor, factors, skip=None)
    history = [_error(norm, core)]
    for _ in range(sweeps):
        for mode in range(tensor.ndim):
            partial = _contract(tensor, factors, skip=mode)
            factors[mode] = leading_basis(matricize(partial, (mode,)), ranks[mode])
        core = torch.tensordot(partial, factors[-1].conj(), dims=([tensor.ndim - 1], [0]))
        history.append(_error(norm, core))
        if history[-2] - history[-1] <= tolerance * history[-2] and tolerance > 0:
            break
    return factors, core, history


def _error(norm: Tensor, core: Tensor) -> float:
    return math.sqrt(max(0.0, 1.0 - float(torch.linalg.vector_norm(core) / norm) ** 2))


def _contract(tensor: Tensor, factors: Sequence[Tensor], skip: int | None) -> Tensor:
    """X contracted with the conjugates of all factors but one, in place of the modes; what shrinks most goes first."""
    modes = sorted(
        (mode for mode in range(tensor.ndim) if mode != skip),
        key=lambda mode: factors[mode].shape[1] / factors[mode].shape[0],
    )
    for mode in modes:
        tensor = torch.tensordot(tensor, factors[mode].conj(), dims=([mode], [0])).movedim(-1, mode)
    return tensor


def _expand(core: Tensor, factors: Sequence[Tensor]) -> Tensor:
    for mode, factor in enumerate(factors):
        core = torch.tensordot(core, factor, dims=([mode], [1])).movedim(-1, mode)
    return core

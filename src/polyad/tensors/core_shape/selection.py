"""The front: a tensor and a budget in, the core shape and the decomposition out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.core_shape.hooi import TuckerApproximation, greedy_true_loss, hooi
from polyad.tensors.core_shape.integer_program import integer_program
from polyad.tensors.core_shape.packing import TuckerPacking, enumerate_packing, greedy_packing
from polyad.tensors.core_shape.relaxation import ptas
from polyad.tensors.core_shape.spectra import unfolding_spectra

Method = Literal["auto", "enumerate", "ip", "ptas", "greedy_hosvd", "greedy_rre"]


@final
@dataclass(frozen=True, eq=False)
class CoreShape:
    """The ranks chosen for a budget, what the surrogate says of them, and the decomposition.

    Attributes:
        ranks: r_n.
        size: prod r_n + sum I_n r_n, at most the budget.
        surrogate: sum of the tails over |X|^2; the loss of the best approximation lies in [surrogate / N, surrogate].
        approximation: by HOOI at these ranks; None where it was not asked for.
        method: what chose the ranks.
    """

    ranks: tuple[int, ...]
    size: int
    surrogate: float
    approximation: TuckerApproximation | None
    method: str

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound on |X - best approximation|^2 / |X|^2."""
        return self.surrogate / len(self.ranks), self.surrogate


def optimal_core_shape(
    tensor: Inexact[Tensor, "..."],
    budget: int,
    *,
    method: Method = "auto",
    eps: float = 0.1,
    sweeps: int | None = 25,
) -> CoreShape:
    """Choose the multilinear ranks of a Tucker decomposition with at most `budget` numbers, and decompose.

    Args:
        tensor: X, two modes or more.
        budget: c in prod r_n + sum I_n r_n <= c.
        method: `enumerate` is exact for the surrogate (`auto`, up to four modes); `ip` the integer program (`auto` from
            five modes on); `ptas` certified to 1 - eps; `greedy_hosvd` the greedy packing; `greedy_rre` greedy by the
            true loss, which decomposes X at every step.
        eps: ratio of the grid of `ip`, factor of `ptas`.
        sweeps: of HOOI at the ranks chosen; None leaves the decomposition out.

    Raises:
        InputError: NaN, a zero tensor, fewer than two modes, an unknown method, a budget below ranks (1, ..., 1).
    """
    spectra = unfolding_spectra(tensor)
    problem = TuckerPacking.from_spectra([spectrum.detach().cpu() for spectrum in spectra], budget)
    if method == "auto":
        method = "enumerate" if tensor.ndim <= 4 else "ip"
    if method == "enumerate":
        ranks = enumerate_packing(problem)
    elif method == "ip":
        ranks = integer_program(problem, eps=eps)
    elif method == "ptas":
        ranks = ptas(problem, eps=eps).ranks
    elif method == "greedy_hosvd":
        ranks = greedy_packing(problem)
    elif method == "greedy_rre":
        ranks = greedy_true_loss(tensor, budget, spectra=spectra)
    else:
        raise InputError(f"method: {method!r}; take 'auto', 'enumerate', 'ip', 'ptas', 'greedy_hosvd' or 'greedy_rre'")
    ranks = problem.trimmed(ranks)
    surrogate = problem.loss(ranks) / float(spectra[0].sum())
    approximation = None if sweeps is None else hooi(tensor, ranks, sweeps=sweeps)
    return CoreShape(ranks, problem.size(ranks), surrogate, approximation, method)

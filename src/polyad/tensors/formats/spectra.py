"""Singular values of a tensor's unfoldings: what rank each mode, or each cut of a train, needs for which error.

An unfolding groups the modes into rows and columns. Its singular values give the smallest error that any tensor whose
unfolding has rank r can have (Eckart and Young, Psychometrika 1 (1936) 211):

    error(r) = sqrt( sum_{j > r} sigma_j^2 ) / |x|

Unfoldings of single modes bound the ranks of a Tucker tensor, those of leading modes the ranks of a train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import check_dense

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_CUT = 1024
"""Cuts between several modes and several modes are left out where both sides are larger than this."""


@final
@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of one unfolding.

    Args:
        rows: the modes that form its rows; the others form its columns.
        values: singular values, descending.
    """

    rows: tuple[int, ...]
    values: Tensor

    @property
    def errors(self) -> Float[Tensor, "count"]:
        """Smallest relative error at rank 1, 2, ...; the last one is zero."""
        squares = self.values.double().square()
        tails = squares.flip(0).cumsum(0).flip(0)  # small ones first: no cancellation
        return (torch.cat([tails[1:], tails.new_zeros(1)]) / tails[0]).sqrt()

    def rank(self, tolerance: float) -> int:
        """The smallest rank whose error is within the tolerance."""
        return int((self.errors > tolerance).sum()) + 1


def unfolding_spectra(tensor: Num[Tensor, "..."], *, largest_cut: int = LARGEST_CUT) -> list[Spectrum]:
    """Spectra of every mode's unfolding, then of the inner cuts (0..k | k+1..) of a train.

    Args:
        tensor: dense, finite, not zero, of order >= 2.
        largest_cut: inner cuts whose smaller side exceeds this are left out; they cost its square times the other side.
    """
    check_dense(tensor)
    order = tensor.ndim
    if order < 2:
        raise InputError("tensor: one mode has no unfolding; at least 2 modes are needed")
    groups: list[tuple[int, ...]] = [(mode,) for mode in range(order if order > 2 else 1)]
    groups += [tuple(range(k)) for k in range(2, order - 1) if _smaller_side(tensor.shape, k) <= largest_cut]
    found = []
    for rows in groups:
        columns = [mode for mode in range(order) if mode not in rows]
        matrix = tensor.detach().permute(*rows, *columns).reshape(prod(tensor.shape[mode] for mode in rows), -1)
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mH
        found.append(Spectrum(rows, torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)))
    return found


def plot_spectra(spectra: Sequence[Spectrum], *, tolerance: float | None = None, title: str | None = None) -> Figure:
    """Singular values beside the error that each rank leaves, as a matplotlib figure.

    Args:
        spectra: as `unfolding_spectra` gives them.
        tolerance: drawn as a line; a dot marks the rank at which each unfolding meets it.
        title: above both panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if not spectra:
        raise InputError("spectra: none was given; take those of unfolding_spectra")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    floor = float(torch.finfo(spectra[0].values.dtype).eps)
    for place, spectrum in enumerate(spectra):
        size = float(torch.linalg.vector_norm(spectrum.values.double()))
        relative, errors = (spectrum.values.double() / size).cpu(), spectrum.errors.cpu()
        ranks = torch.arange(1, len(errors) + 1)
        style = "-" if len(spectrum.rows) == 1 else "--"
        for axes, values in ((left, relative), (right, errors)):
            seen = values > floor  # below, rounding is all there is to see
            axes.plot(ranks[seen], values[seen], style, color=f"C{place % 10}", marker=".", label=_label(spectrum))
        if tolerance is not None and int((errors > floor).sum()) >= spectrum.rank(tolerance):
            rank = spectrum.rank(tolerance)
            right.plot(rank, errors[rank - 1], "o", color=f"C{place % 10}", fillstyle="none", markersize=9)
    if tolerance is not None:
        right.axhline(tolerance, color="0.4", linewidth=1, linestyle=":", label=f"tolerance {tolerance:g}")
    left.set(
        xlabel="index j", ylabel="singular value / norm of the tensor (no unit)", title="Spectra of the unfoldings"
    )
    right.set(xlabel="rank r kept", ylabel="relative error (no unit)", title="Smallest error at each rank")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        axes.grid(True, which="major", alpha=0.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    right.legend(fontsize="small")
    if title is not None:
        figure.suptitle(title)
    return figure


def _smaller_side(shape: Sequence[int], k: int) -> int:
    return min(prod(shape[:k]), prod(shape[k:]))


def _label(spectrum: Spectrum) -> str:
    kind = "mode" if len(spectrum.rows) == 1 else "modes"
    return f"{kind} {', '.join(map(str, spectrum.rows))} | rest"

"""Squared singular values and leading singular vectors of the matricisations of a tensor.

A Gram matrix is the fastest way to both and resolves squared values down to rounding of the largest, sigma / sigma_1 of
1e-8; where a spectrum falls so far that this matters, a QR and the SVD of its triangle take over.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from polyad.errors import InputError

_RESOLVED = 1e-10


def unfolding_spectra(tensor: Inexact[Tensor, "..."]) -> tuple[Float[Tensor, " _"], ...]:
    """Squared singular values of every mode-n unfolding, in decreasing order, I_n of them; rounding is set to zero.

    Raises:
        InputError: fewer than two modes, an empty mode, numbers that are not finite, the zero tensor.
    """
    check_tensor(tensor)
    return tuple(matricization_spectrum(tensor, (mode,)) for mode in range(tensor.ndim))


def matricization_spectrum(tensor: Inexact[Tensor, "..."], modes: Sequence[int]) -> Float[Tensor, " values"]:
    """Squared singular values of the matrix with `modes` as rows and all other modes as columns, decreasing."""
    matrix = matricize(tensor, modes)
    if matrix.shape[0] > matrix.shape[1]:
        short = matricization_spectrum(matrix.mT, (0,))
        return torch.cat([short, short.new_zeros(matrix.shape[0] - matrix.shape[1])])
    values = torch.linalg.eigvalsh(matrix @ matrix.mH).flip(0).clamp(min=0)
    eps = torch.finfo(values.dtype).eps
    if bool(values[-1] < _RESOLVED * values[0]):
        values = torch.linalg.svdvals(torch.linalg.qr(matrix.mH, mode="r").R).square()
        eps = len(values) * eps**2
    return torch.where(values > len(values) * eps * values[0], values, 0.0)


def leading_basis(matrix: Inexact[Tensor, "rows columns"], rank: int) -> Inexact[Tensor, "rows rank"]:
    """Left singular vectors of the `rank` largest singular values (rank <= rows)."""
    rows, columns = matrix.shape
    if rows <= 2 * columns:
        values, vectors = torch.linalg.eigh(matrix @ matrix.mH)
        if bool(values[-rank] > _RESOLVED * values[-1]):
            return vectors[:, -rank:].flip(-1)
    found = torch.linalg.svd(matrix, full_matrices=rank > min(rows, columns)).U
    return found[:, :rank]


def matricize(tensor: Inexact[Tensor, "..."], modes: Sequence[int]) -> Inexact[Tensor, "rows columns"]:
    """The matrix with `modes` as rows, in the order given, and the other modes as columns."""
    rest = [mode for mode in range(tensor.ndim) if mode not in modes]
    rows = 1
    for mode in modes:
        rows *= tensor.shape[mode]
    return tensor.permute(*modes, *rest).reshape(rows, -1)


def check_tensor(tensor: Tensor) -> None:
    """Refuse what has no core shape."""
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise InputError(f"tensor: shape {tuple(tensor.shape)}; at least two modes are needed, none of them empty")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("tensor: holds NaN or infinite numbers; fill or leave out what is missing first")
    if not bool((tensor != 0).any()):
        raise InputError("tensor: is zero; every core shape fits it")

"""One side of a Kronecker preconditioner: second moments of a gradient's rows, kept as eigenvectors in few bits.

A side is a dictionary of tensors, so that it can be saved. Eigenvectors: `basis` (stored transposed, so that a block of
the quantiser lies inside one eigenvector) and `eigenvalues`. The matrix itself, for comparison: `matrix`. The inverse
root that steps use: `root`. A stored matrix is either `values`, or `codes` and `scales`, with the diagonal beside them
in full precision where the matrix is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from polyad.optim.kronecker.eigenbasis import inverse_root, orthonormalize, subspace_iteration
from polyad.optim.kronecker.quantization import Quantized, dequantize, quantize_blockwise

Side = dict[str, Any]
"""State of a side, tensors and dictionaries of tensors."""

Stored = dict[str, Tensor]
"""A matrix as it is kept."""

BLOCK = 64
"""Entries that share a scale."""


@final
@dataclass(frozen=True)
class SideOptions:
    """How sides are kept and renewed.

    Args:
        bits: 4 or 32 bits an entry.
        basis: `subspace` and `eigh` keep eigenvectors, renewed by one orthogonal iteration or by a decomposition;
            `matrix` keeps the second moments themselves, the naive way.
        codebook: of the quantiser.
        decay: of the second moments.
        eps: ridge of the inverse root over the largest eigenvalue.
        min_size: matrices of fewer entries stay in full precision.
        rectify_statistics: orthonormalising steps after eigenvectors are read for new statistics.
        rectify_roots: the same for inverse roots.
    """

    bits: int
    basis: str
    codebook: str
    decay: float
    eps: float
    min_size: int
    rectify_statistics: int
    rectify_roots: int

    def rounds(self, order: int) -> bool:
        """Whether order x order matrices are kept in few bits."""
        return self.bits < 32 and order * order >= self.min_size


def new_side(order: int, like: Tensor, options: SideOptions) -> Side:
    """A side that has seen nothing: second moments zero, no root.

    Args:
        order: of its matrices.
        like: gives dtype (float32 or float64) and device.
        options: how it is kept.
    """
    if options.basis == "matrix":
        return {"matrix": store(torch.zeros(order, order).to(like), options, symmetric=True)}
    identity = torch.eye(order).to(like)
    return {"basis": store(identity, options), "eigenvalues": like.new_zeros(order)}


def second_moments(side: Side, options: SideOptions) -> Tensor:
    """The second moments that a side stands for, (order, order)."""
    if options.basis == "matrix":
        return restore(side["matrix"], options)
    basis = _read_basis(side, options, options.rectify_statistics)
    return (basis * side["eigenvalues"]) @ basis.mT


def accumulate(side: Side, factor: Tensor, options: SideOptions) -> None:
    """Let decay * A + (1 - decay) * factor factor' take the place of the second moments A.

    Args:
        side: is changed.
        factor: (order, any), finite products.
        options: how the side is kept.
    """
    added = (1 - options.decay) * (factor @ factor.mT)
    if options.basis == "matrix":
        moments = options.decay * second_moments(side, options) + added
        side["matrix"] = store(moments, options, symmetric=True)
        return
    basis = _read_basis(side, options, options.rectify_statistics)
    moments = options.decay * (basis * side["eigenvalues"]) @ basis.mT + added
    if options.basis == "eigh":
        values, basis = torch.linalg.eigh((moments + moments.mT) / 2)
        side["eigenvalues"] = values.clamp_min(0)
    else:
        basis, side["eigenvalues"] = subspace_iteration(moments, basis)
    side["basis"] = store(basis.mT.contiguous(), options)


def renew_root(side: Side, options: SideOptions) -> None:
    """Compute the inverse fourth root of the second moments and keep it under `root`."""
    if options.basis == "matrix":
        moments = second_moments(side, options)
        eigenvalues, basis = torch.linalg.eigh((moments + moments.mT) / 2)
        eigenvalues = eigenvalues.clamp_min(0)  # a rounded matrix is indefinite
    else:
        basis, eigenvalues = _read_basis(side, options, options.rectify_roots), side["eigenvalues"]
    side["root"] = store(inverse_root(basis, eigenvalues, eps=options.eps), options, symmetric=True)


def root(side: Side, options: SideOptions) -> Tensor:
    """The inverse fourth root as it was kept, (order, order)."""
    return restore(side["root"], options)


def store(matrix: Tensor, options: SideOptions, *, symmetric: bool = False) -> Stored:
    """A square matrix as it is kept; of a symmetric one the diagonal stays in full precision."""
    if not options.rounds(matrix.shape[-1]):
        return {"values": matrix}
    diagonal = {}
    if symmetric:
        diagonal = {"diagonal": matrix.diagonal().clone()}
        matrix = matrix - torch.diag(diagonal["diagonal"])
    quantized = quantize_blockwise(matrix, bits=options.bits, block=BLOCK, codebook=options.codebook)
    return {"codes": quantized.codes, "scales": quantized.scales, **diagonal}


def restore(stored: Stored, options: SideOptions) -> Tensor:
    """The square matrix that was kept."""
    if "values" in stored:
        return stored["values"]
    order = stored["codes"].shape[0]
    matrix = dequantize(Quantized(stored["codes"], stored["scales"], order, options.bits, BLOCK, options.codebook))
    if "diagonal" in stored:
        matrix.diagonal().copy_(stored["diagonal"])
    return matrix


def bytes_of(side: Any) -> int:
    """Bytes of all tensors in a side, or in anything made of dictionaries and lists."""
    if isinstance(side, Tensor):
        return side.nbytes
    if isinstance(side, dict):
        return sum(bytes_of(value) for value in side.values())
    if isinstance(side, (list, tuple)):
        return sum(bytes_of(value) for value in side)
    return 0


def _read_basis(side: Side, options: SideOptions, steps: int) -> Tensor:
    """Eigenvectors as columns; rounded ones are made orthonormal again."""
    basis = restore(side["basis"], options).mT
    return orthonormalize(basis, steps=steps) if "codes" in side["basis"] else basis

"""Matrices in four bits: blocks along rows, one scale a block, two codes a byte.

A block of `block` neighbours in a row is divided by its largest magnitude and every quotient replaced by the nearest
entry of a codebook of 2^bits values in [-1, 1]. An n x n matrix takes n^2 (bits / 8 + 4 / block) bytes.

Codebooks: `linear2`, the signed squares of equally spaced numbers with a zero put in, fine near zero and coarse near
one; `dynamic_tree`, a decimal exponent and a linear fraction that share the bits, whose entries lie closer to zero.

Sources: Wang, Zhou, Li, Huang, NeurIPS 2024, arXiv:2405.18144; Dettmers, ICLR 2016, arXiv:1511.04561 (dynamic tree).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from polyad.errors import InputError

BITS = (4, 8)
"""Widths of a code: two codes share a byte, or one fills it."""


@final
@dataclass(frozen=True)
class Quantized:
    """A matrix in few bits.

    Args:
        codes: numbers of codebook entries; with four bits the even column's in the low half of a byte, the odd one's
            in the high half.
        scales: largest magnitude of each block.
        columns: width of the matrix, which may be no multiple of the block.
        bits: width of a code.
        block: neighbours in a row that share a scale.
        codebook: name of the codebook.
    """

    codes: UInt8[Tensor, "... rows bytes"]
    scales: Float[Tensor, "... rows blocks"]
    columns: int
    bits: int = 4
    block: int = 64
    codebook: str = "linear2"

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes


def codebook_values(name: str = "linear2", *, bits: int = 4) -> Float[Tensor, " entries"]:
    """The 2^bits values of a codebook, ascending, in float64.

    Args:
        name: `linear2` or `dynamic_tree`.
        bits: width of a code.

    Raises:
        InputError: an unknown codebook or width.
    """
    if bits not in BITS:
        raise InputError(f"bits: {bits} is not supported; choose one of {', '.join(map(str, BITS))}")
    if name not in _CODEBOOKS:
        raise InputError(f"codebook: {name!r} is unknown; choose one of {', '.join(sorted(_CODEBOOKS))}")
    return _CODEBOOKS[name](bits)


def quantize_blockwise(
    matrix: Float[Tensor, "... rows columns"], *, bits: int = 4, block: int = 64, codebook: str = "linear2"
) -> Quantized:
    """The matrix with every entry rounded to the nearest codebook value times its block's largest magnitude.

    Args:
        matrix: finite; a block lies in one row, the last block of a row may be shorter.
        bits: width of a code, 4 or 8.
        block: neighbours in a row that share a scale.
        codebook: `linear2` or `dynamic_tree`.

    Returns:
        Codes and scales (float64 for a float64 matrix, float32 for all others).

    Raises:
        InputError: an unknown codebook or width, or a block shorter than one entry.
    """
    if block < 1:
        raise InputError(f"block: must be at least 1, got {block}")
    values = codebook_values(codebook, bits=bits)
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    columns = matrix.shape[-1]
    blocks = torch.nn.functional.pad(matrix, (0, -columns % block)).unflatten(-1, (-1, block))
    scales = blocks.abs().amax(-1)
    quotients = (blocks / scales.where(scales > 0, 1.0)[..., None]).flatten(-2)[..., :columns]
    boundaries = ((values[1:] + values[:-1]) / 2).to(quotients)
    codes = torch.bucketize(quotients.contiguous(), boundaries, out_int32=True).to(torch.uint8)
    if bits == 4:
        codes = torch.nn.functional.pad(codes, (0, columns % 2)).unflatten(-1, (-1, 2))
        codes = codes[..., 0] | (codes[..., 1] << 4)
    return Quantized(codes, scales, columns, bits, block, codebook)


def dequantize(quantized: Quantized) -> Float[Tensor, "... rows columns"]:
    """The matrix that codes and scales stand for, in the dtype of the scales."""
    table = _byte_table(quantized.codebook, quantized.bits).to(quantized.scales)
    matrix = torch.nn.functional.embedding(quantized.codes.int(), table).flatten(-2)[..., : quantized.columns]
    blocks = torch.nn.functional.pad(matrix, (0, -quantized.columns % quantized.block))
    blocks = blocks.unflatten(-1, (-1, quantized.block)) * quantized.scales[..., None]
    return blocks.flatten(-2)[..., : quantized.columns]


@cache
def _byte_table(name: str, bits: int) -> Tensor:
    """The values that each of the 256 bytes holds, (256, values a byte)."""
    values = codebook_values(name, bits=bits)
    if bits == 8:
        return values[:, None]
    byte = torch.arange(256)
    return values[torch.stack((byte & 15, byte >> 4), dim=-1)]


def _linear_square(bits: int) -> Tensor:
    x = torch.linspace(-1, 1, 2**bits, dtype=torch.float64)
    x[2 ** (bits - 1) - 1] = 0
    return x.sign() * x.square()


def _dynamic_tree(bits: int) -> Tensor:
    """Zero, one, and both signs of 10^-k times midpoints of [0.1, 1] in equal parts: the smaller k, the more parts."""
    values = [torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)]
    for level in range(bits - 1):
        edges = torch.linspace(0.1, 1, 2**level + 1, dtype=torch.float64)
        middles = 10.0 ** (level + 2 - bits) * (edges[1:] + edges[:-1]) / 2
        values += [middles, -middles]
    return torch.cat(values).sort().values


_CODEBOOKS = {"linear2": _linear_square, "dynamic_tree": _dynamic_tree}

"""Codes of four bits: their values, their packing, their rounding."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.kronecker.quantization import BITS, codebook_values, dequantize, quantize_blockwise

LINEAR_SQUARE = [-1, -0.7511, -0.5378, -0.36, -0.2178, -0.1111, -0.04, 0]
LINEAR_SQUARE += [0.0044, 0.04, 0.1111, 0.2178, 0.36, 0.5378, 0.7511, 1]
DYNAMIC_TREE = [-0.8875, -0.6625, -0.4375, -0.2125, -0.0775, -0.0325, -0.0055, 0]
DYNAMIC_TREE += [0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875, 1]


@pytest.mark.parametrize(("name", "published"), [("linear2", LINEAR_SQUARE), ("dynamic_tree", DYNAMIC_TREE)])
def test_codebooks_are_the_published_ones(name: str, published: list[float]) -> None:
    torch.testing.assert_close(codebook_values(name), torch.tensor(published, dtype=torch.float64), atol=5e-5, rtol=0)
    assert len(codebook_values(name, bits=8)) == len(set(codebook_values(name, bits=8).tolist())) == 256


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [1, 7, 64, 65, 130])
@pytest.mark.parametrize("codebook", ["linear2", "dynamic_tree"])
def test_rounding_is_to_the_nearest_entry_of_each_block(bits: int, columns: int, codebook: str) -> None:
    matrix = torch.randn(2, 3, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(columns))
    quantized = quantize_blockwise(matrix, bits=bits, codebook=codebook)
    values = codebook_values(codebook, bits=bits)
    expected = torch.empty_like(matrix)
    for start in range(0, columns, 64):
        part = matrix[..., start : start + 64]
        scale = part.abs().amax(-1, keepdim=True)
        nearest = (part[..., None] / scale[..., None] - values).abs().argmin(-1)
        expected[..., start : start + 64] = values[nearest] * scale
    torch.testing.assert_close(dequantize(quantized), expected, atol=1e-15, rtol=0)
    again = dequantize(quantize_blockwise(dequantize(quantized), bits=bits, codebook=codebook))
    if codebook == "linear2":  # holds -1 and 1, so that the scale is kept; the dynamic tree lacks -1
        torch.testing.assert_close(again, expected, atol=1e-15, rtol=0)


def test_bytes() -> None:
    quantized = quantize_blockwise(torch.randn(128, 128, generator=torch.Generator().manual_seed(0)))
    assert quantized.codes.dtype == torch.uint8
    assert quantized.nbytes == 128 * 128 * (0.5 + 4 / 64)
    assert quantize_blockwise(torch.ones(2, 65)).codes.shape == (2, 33)


def test_dtypes_and_zeros() -> None:
    assert dequantize(quantize_blockwise(torch.ones(2, 3).bfloat16())).dtype == torch.float32
    zero = torch.zeros(2, 100)
    zero[1, 70] = -3e-39  # smaller than any normal number
    torch.testing.assert_close(dequantize(quantize_blockwise(zero)), zero, atol=1e-45, rtol=0)
    assert dequantize(quantize_blockwise(torch.zeros(0, 4))).shape == (0, 4)


def test_bad_options() -> None:
    matrix = torch.ones(2, 2)
    for options, message in (({"bits": 3}, "bits"), ({"codebook": "linear"}, "codebook"), ({"block": 0}, "block")):
        with pytest.raises(InputError, match=message):
            quantize_blockwise(matrix, **options)

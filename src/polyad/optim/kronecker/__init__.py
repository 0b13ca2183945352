"""Optimisers whose preconditioner of a layer is a Kronecker product of two small matrices."""

from polyad.optim.kronecker.quantization import Quantized, codebook_values, dequantize, quantize_blockwise
from polyad.optim.kronecker.shampoo import Shampoo, StateBytes

__all__ = ["Quantized", "Shampoo", "StateBytes", "codebook_values", "dequantize", "quantize_blockwise"]

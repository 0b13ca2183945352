"""Optimisers whose preconditioner of a layer is a Kronecker product of two small matrices."""

from polyad.optim.kronecker.costs import application_flops, communication_bytes, factor_update_flops
from polyad.optim.kronecker.inverse_free import InverseFreeKFAC, factor_gradients
from polyad.optim.kronecker.means import MeanRecorder, Means, averaged
from polyad.optim.kronecker.mkor import MKOR
from polyad.optim.kronecker.quantization import Quantized, codebook_values, dequantize, quantize_blockwise
from polyad.optim.kronecker.rank_one import updated_inverse
from polyad.optim.kronecker.shampoo import Shampoo, StateBytes
from polyad.optim.kronecker.spd_momentum import SPDMomentum

__all__ = [
    "MKOR",
    "InverseFreeKFAC",
    "MeanRecorder",
    "Means",
    "Quantized",
    "SPDMomentum",
    "Shampoo",
    "StateBytes",
    "application_flops",
    "averaged",
    "codebook_values",
    "communication_bytes",
    "dequantize",
    "factor_gradients",
    "factor_update_flops",
    "quantize_blockwise",
    "updated_inverse",
]

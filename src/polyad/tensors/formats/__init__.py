"""Tensor formats as values, and the algorithms that make, truncate and approximate them."""

from polyad.tensors.formats.base import Storage, TensorFormat, Truncation
from polyad.tensors.formats.contraction import ContractionCost, contract_network, contraction_cost
from polyad.tensors.formats.cp import CP, khatri_rao
from polyad.tensors.formats.tensor_train import TensorTrain
from polyad.tensors.formats.tucker import Tucker

__all__ = [
    "CP",
    "ContractionCost",
    "Storage",
    "TensorFormat",
    "TensorTrain",
    "Truncation",
    "Tucker",
    "contract_network",
    "contraction_cost",
    "khatri_rao",
]

"""Tensor formats as values, and the algorithms that make, truncate and approximate them."""

from polyad.tensors.formats.als import CPFit, cp_als
from polyad.tensors.formats.array_files import StoredArray, open_array, read_array
from polyad.tensors.formats.base import Storage, TensorFormat, Truncation
from polyad.tensors.formats.compress import Candidate, Compression, compress
from polyad.tensors.formats.contraction import ContractionCost, contract_network, contraction_cost
from polyad.tensors.formats.cp import CP, khatri_rao
from polyad.tensors.formats.cross import CrossApproximation, tt_cross
from polyad.tensors.formats.entry_als import EntryFit, cp_from_entries, tucker_from_entries
from polyad.tensors.formats.hosvd import hooi, hosvd, st_hosvd, tree_svd
from polyad.tensors.formats.io import SavedFormat, load_format, save_format
from polyad.tensors.formats.mode_order import mutual_information, order_modes
from polyad.tensors.formats.network import TensorNetwork
from polyad.tensors.formats.randomised import randomised_basis
from polyad.tensors.formats.spectra import Spectrum, plot_spectra, unfolding_spectra
from polyad.tensors.formats.subspace import dominant_basis
from polyad.tensors.formats.tensor_ring import TensorRing
from polyad.tensors.formats.tensor_train import TensorTrain
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import balanced_tree, chain_tree
from polyad.tensors.formats.tt_svd import tr_svd, tt_svd
from polyad.tensors.formats.tucker import Tucker
from polyad.tensors.formats.tucker_als import TuckerFit, tucker_als

__all__ = [
    "CP",
    "CPFit",
    "Candidate",
    "Compression",
    "ContractionCost",
    "CrossApproximation",
    "EntryFit",
    "SavedFormat",
    "Spectrum",
    "Storage",
    "StoredArray",
    "TensorFormat",
    "TensorNetwork",
    "TensorRing",
    "TensorTrain",
    "TreeTensorNetwork",
    "Truncation",
    "Tucker",
    "TuckerFit",
    "balanced_tree",
    "chain_tree",
    "compress",
    "contract_network",
    "contraction_cost",
    "cp_als",
    "cp_from_entries",
    "dominant_basis",
    "hooi",
    "hosvd",
    "khatri_rao",
    "load_format",
    "mutual_information",
    "open_array",
    "order_modes",
    "plot_spectra",
    "randomised_basis",
    "read_array",
    "save_format",
    "st_hosvd",
    "tr_svd",
    "tree_svd",
    "tt_cross",
    "tt_svd",
    "tucker_als",
    "tucker_from_entries",
    "unfolding_spectra",
]

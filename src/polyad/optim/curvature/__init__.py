"""What optimisers know of curvature: products, Lanczos, random estimates, Kronecker factors, roots."""

from polyad.linalg.lanczos import RitzPairs, extreme_eigenpairs, lanczos
from polyad.linalg.matrix_roots import InverseRoot, inverse_root, inverse_root_eigh, polar_factor
from polyad.optim.curvature.hutchinson import Estimate, hutchinson_diagonal, hutchinson_trace
from polyad.optim.curvature.kronecker import KroneckerCollector, KroneckerFactors, gram_matrix
from polyad.optim.curvature.layers import Layer, Rows
from polyad.optim.curvature.products import (
    Operator,
    empirical_fisher_operator,
    fisher_operator,
    flat_operator,
    flatten,
    gauss_newton_operator,
    hessian_operator,
    unflatten,
)

__all__ = [
    "Estimate",
    "InverseRoot",
    "KroneckerCollector",
    "KroneckerFactors",
    "Layer",
    "Operator",
    "RitzPairs",
    "Rows",
    "empirical_fisher_operator",
    "extreme_eigenpairs",
    "fisher_operator",
    "flat_operator",
    "flatten",
    "gauss_newton_operator",
    "gram_matrix",
    "hessian_operator",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "inverse_root",
    "inverse_root_eigh",
    "lanczos",
    "polar_factor",
    "unflatten",
]

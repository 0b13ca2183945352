"""Which core for a Tucker decomposition of at most c numbers? Spectra of the unfoldings and a packing problem tell.

With sigma^(n) the singular values of the mode-n unfolding of X, the multilinear ranks r cost prod_n r_n + sum_n I_n r_n
numbers, and the loss L(X, r) of the best Tucker approximation lies between two multiples of a surrogate that needs no
decomposition (M. Ghadiri, M. Fahrbach, G. Fu, V. Mirrokni, *Approximately Optimal Core Shapes for Tensor
Decompositions*, ICML 2023):

    surrogate(r) = sum_n sum_{i > r_n} (sigma_i^(n))^2         surrogate / N <= L(X, r) <= surrogate

the upper bound by truncating the higher-order SVD, the lower one because every tail alone is a lower bound. To minimise
the surrogate under the size constraint is the Tucker packing problem (NP-hard): maximise sum_n sum_{i <= r_n} a_i^(n)
with a = sigma^2. `packing` enumerates it (exact) and packs greedily, `integer_program` solves a two-dimensional
multiple-choice knapsack for every cap on the core's size, `relaxation` rounds linear programs until a factor 1 - eps is
certified, `hooi` holds the decomposition and the slow greedy method by the true loss, `selection` is the front, `tree`
the same question for hierarchical Tucker and tree tensor networks.

Deviations: losses are handled as tails, summed from the smallest value up, and measured against the tail of the best
packing known so far; ranks whose own tail exceeds that are left out of the programs. This is the rescaling that
tensors with fast spectra need, and it loses nothing. Spectra come from Gram matrices, and from a QR and SVD instead
where they fall below 1e-10 of the largest value, which a Gram matrix cannot resolve. After the sweep of caps the ranks
of two modes at a time are chosen anew, which closes the gap that a coarse grid of caps leaves. `ptas` expands its
guesses best first and stops at the certificate, instead of going through all guesses of a fixed number of items; the
bound that it certifies is that of its linear programs.

When not to use it: where the loss is not a sum of squares; where entries are missing (the spectra need all of X).
"""

from polyad.tensors.core_shape.hooi import TuckerApproximation, greedy_true_loss, hooi
from polyad.tensors.core_shape.integer_program import integer_program
from polyad.tensors.core_shape.packing import TuckerPacking, enumerate_packing, greedy_packing
from polyad.tensors.core_shape.relaxation import CertifiedPacking, ptas
from polyad.tensors.core_shape.selection import CoreShape, optimal_core_shape
from polyad.tensors.core_shape.spectra import matricization_spectrum, unfolding_spectra
from polyad.tensors.core_shape.tree import TreeCoreShape, tree_core_shape

__all__ = [
    "CertifiedPacking",
    "CoreShape",
    "TreeCoreShape",
    "TuckerApproximation",
    "TuckerPacking",
    "enumerate_packing",
    "greedy_packing",
    "greedy_true_loss",
    "hooi",
    "integer_program",
    "matricization_spectrum",
    "optimal_core_shape",
    "ptas",
    "tree_core_shape",
    "unfolding_spectra",
]

"""Functions of few variables in low rank without a grid: Chebyshev series in a Tucker tensor.

    f(x) = sum_{r1..rd} g_{r1..rd} v^1_{r1}(x_1) ... v^d_{rd}(x_d),      v^k_r a Chebyshev series on (lower_k, upper_k)

`chebyshev_tucker` is the value: values at points and on grids, derivatives, integrals, sums, products. `sampling` makes
it from a function, sampled on one small Chebyshev grid, `canonical` from a sum of many products of univariate functions
by reduced HOSVD (`rhosvd`), with a cost that is linear in the terms. Ranks are those of the function, not of a grid,
and any grid is served afterwards. `newton_kernel` and `potentials` apply this to electrostatics: 1/r as a sum of
Gaussians, its long-range part over all charges in low rank, the short-range part over near pairs; `particles` draws
clusters and lattices.

Source: P. Benner, B. N. Khoromskij, V. Khoromskaia, B. Sun, *A mesh-free hybrid Chebyshev-Tucker tensor format with
applications to multi-particle modelling*, arXiv:2503.01696 (2025).

Deviations: counts are found by doubling where they are not given, and a sum of Gaussians gets no more coefficients than
Bernstein's bound asks for. Terms are reduced in blocks (one Gaussian of all charges, say), which is exact to rounding
and cheaper, as most blocks have far lower ranks than the sum. `newton_kernel` puts one constant in place of all
Gaussians wider than the region, so that a third of the terms is as accurate; `sinc_gaussians` is the plain rule. The
cosine transform is a matrix product: counts are small. Ranks come from the sequentially truncated HOSVD at the
tolerance; the iteration that follows improves the factors at these ranks. The tolerance is kept: at 1e-4 the long-range
part of 100 charges takes ranks 14 to 15, where 13 to 14 would leave 1.5 to 4 times as much. The derivative that passes
a truncation is projected onto the tangent space, as that of singular vectors loses its digits where small values are
kept.

When not to use it: for kinks and singularities in the box (split them off, as the short-range part here), or for more
than four or five variables (the core has r^d numbers).
"""

from polyad.tensors.chebyshev.approximation import ChebyshevApproximation
from polyad.tensors.chebyshev.canonical import CanonicalBlock, from_canonical, from_canonical_blocks
from polyad.tensors.chebyshev.chebyshev_tucker import ChebyshevTucker
from polyad.tensors.chebyshev.newton_kernel import GaussianSum, newton_kernel, sinc_gaussians
from polyad.tensors.chebyshev.particles import lattice_with_vacancies, random_cluster
from polyad.tensors.chebyshev.potentials import direct_potential, gaussian_count, long_range_potential
from polyad.tensors.chebyshev.rhosvd import canonical_to_tucker
from polyad.tensors.chebyshev.sampling import from_function
from polyad.tensors.chebyshev.splines import spline_matrix
from polyad.tensors.chebyshev.transforms import (
    antiderivative_matrix,
    chebyshev_basis,
    chebyshev_coefficients,
    chebyshev_points,
    derivative_matrix,
    evaluate_series,
    integral_weights,
    transform_matrix,
)

__all__ = [
    "CanonicalBlock",
    "ChebyshevApproximation",
    "ChebyshevTucker",
    "GaussianSum",
    "antiderivative_matrix",
    "canonical_to_tucker",
    "chebyshev_basis",
    "chebyshev_coefficients",
    "chebyshev_points",
    "derivative_matrix",
    "direct_potential",
    "evaluate_series",
    "from_canonical",
    "from_canonical_blocks",
    "from_function",
    "gaussian_count",
    "integral_weights",
    "lattice_with_vacancies",
    "long_range_potential",
    "newton_kernel",
    "random_cluster",
    "sinc_gaussians",
    "spline_matrix",
    "transform_matrix",
]

"""Steepest descent under a norm that suits what a weight does: Adam, Shampoo and Prodigy without their averages.

    argmin_D <G, D> + (lam / 2) |D|^2 = -(|G|_dual / lam) dualmap(G),    dualmap(G) = argmax_{|T| = 1} <G, T>

`duality` has norms, dual norms and dual maps, `descent` the optimisers, `reductions` the three known methods that they
are, `layers` the norm that each layer should have.

Source: Bernstein and Newhouse, Old optimizer, new norm: an anthology, 2024, arXiv:2409.20325; of the quintic iteration
and of `pieces` (packed projections), K. Jordan et al., Muon, 2024.

Deviations: `rms` and Schatten norms with 1 < p < infinity beside the paper's. Where several T attain the maximum, the
dual map has zeros for the directions that G does not know (sign(0) = 0, no completion of a deficient U V^T). A vector
is a matrix of one column where a norm asks for a matrix.

When not to use it: sign and orthogonal steps have the same length near a minimum as far from it; let the rate fall. The
quintic polar factor has singular values in [0.68, 1.14], so no closed form holds to more digits than that.
"""

from polyad.optim.norms.descent import ModularSteepestDescent, SteepestDescent
from polyad.optim.norms.duality import NORMS, dual_map, dual_norm, norm
from polyad.optim.norms.layers import recommend_norms
from polyad.optim.norms.reductions import AdaptiveSignDescent, SignDescent, UnaccumulatedShampoo

__all__ = [
    "NORMS",
    "AdaptiveSignDescent",
    "ModularSteepestDescent",
    "SignDescent",
    "SteepestDescent",
    "UnaccumulatedShampoo",
    "dual_map",
    "dual_norm",
    "norm",
    "recommend_norms",
]

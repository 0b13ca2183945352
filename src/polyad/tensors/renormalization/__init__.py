"""Renormalisation of tensors and of images: coarse-grained partition functions, and the same idea on sets of samples.

A two-dimensional partition function is a network of one small tensor a site. Merging neighbours and truncating the
doubled legs to D states gives ln Z of a lattice of any size in a number of steps that grows with the logarithm of the
size; what is lost is known from exact formulas. The same blocking acts on images of closed loops.

* `log_z`, `log_partition`: ln Z by pair contraction, HOTRG, Levin-Nave TRG, or exactly (`flow`, `blocking`, `parity`);
* `thermodynamics`, `magnetism`: energy, heat, magnetisation by autograd, differences or impurities (`observables`);
* `kaufman`, `onsager`, `transfer_matrix`, `loop_statistics`: exact references (`references`);
* `accuracy`: error and time over bonds, sizes, temperatures (`study`);
* `worm`, `loop_observables`: loop configurations as link images, and their statistics (`loops`);
* `block_links`, `block_grey`, `leading_eigenvalue`, `blocking_flow`, `collapse_spread`: image renormalisation
  (`images`);
* `two_state_fixed_point`: the tensor renormalisation group with two states a leg (`two_state`).

Sources: D. Yevick, J. Thompson, arXiv:2001.00123 (2020); Z. Y. Xie et al., Phys. Rev. B 86 (2012) 045139; M. Levin,
C. P. Nave, Phys. Rev. Lett. 99 (2007) 120601; S. Foreman, J. Giedt, Y. Meurice, J. Unmuth-Yockey, Phys. Rev. E 98
(2018) 052129, arXiv:1807.10250; Y. Meurice, Phys. Rev. B 87 (2013) 064422.

Deviations:

* The flow stops once one side of the torus is at most 2 and takes the rest as a power of one matrix, which is exact; a
  flow down to a single site truncates there once more. Long tori are thereby much more accurate (16 x 4 to rounding).
* Which contraction the paper calls its simplified one is not known; `pair` is the plainest of those that work.
* Levin and Nave's halves are weighted by the square roots of the singular values in a form that is differentiable
  under degeneracy (matrix roots of the kept block).
* Meurice's two isotropic blockings are identified by their exponents: the abstract gives 0.987 and 0.993, the isometry
  of the pair's Gram matrix and of its transfer matrix give 0.9873 and 0.9933.
* Var(N) / (2 V) at T_c is 1.414456 at L = 64, by derivatives that equal enumeration at L = 4; 1.41426, a value in
  circulation, is that of a temperature lower by 4e-5.
* Specific heats by impurities with fixed isometries are far off (the truncation knows one-point states only); they are
  there for comparison, automatic differentiation is the default.
* Link images: the translation average uses the covariance about the mean of each link, so that raw and averaged
  covariance have the same trace.

When not to use it: three dimensions; frustrated or antiferromagnetic couplings; more than about 32 states a leg.
"""

from __future__ import annotations

from polyad.tensors.renormalization.blocking import merge_rows, pair_gram, split_and_join
from polyad.tensors.renormalization.flow import METHODS, log_partition, log_partition_jet, log_z
from polyad.tensors.renormalization.images import (
    BlockingFlow,
    block_grey,
    block_links,
    blocking_flow,
    collapse_spread,
    leading_eigenvalue,
    link_degrees,
    momentum_spectrum,
    picture,
    principal_components,
)
from polyad.tensors.renormalization.ising import ising_jet, ising_tensor
from polyad.tensors.renormalization.loops import LoopObservables, loop_observables, worm
from polyad.tensors.renormalization.observables import Magnetism, Thermodynamics, magnetism, thermodynamics
from polyad.tensors.renormalization.references import (
    CRITICAL_BETA,
    derivatives,
    kaufman,
    loop_statistics,
    onsager,
    transfer_matrix,
)
from polyad.tensors.renormalization.study import AccuracyRow, accuracy
from polyad.tensors.renormalization.two_state import (
    TwoStateFixedPoint,
    link_occupation,
    two_state_fixed_point,
    two_state_step,
    two_state_tensor,
)

__all__ = [
    "CRITICAL_BETA",
    "METHODS",
    "AccuracyRow",
    "BlockingFlow",
    "LoopObservables",
    "Magnetism",
    "Thermodynamics",
    "TwoStateFixedPoint",
    "accuracy",
    "block_grey",
    "block_links",
    "blocking_flow",
    "collapse_spread",
    "derivatives",
    "ising_jet",
    "ising_tensor",
    "kaufman",
    "leading_eigenvalue",
    "link_degrees",
    "link_occupation",
    "log_partition",
    "log_partition_jet",
    "log_z",
    "loop_observables",
    "loop_statistics",
    "magnetism",
    "merge_rows",
    "momentum_spectrum",
    "onsager",
    "pair_gram",
    "picture",
    "principal_components",
    "split_and_join",
    "thermodynamics",
    "transfer_matrix",
    "two_state_fixed_point",
    "two_state_step",
    "two_state_tensor",
    "worm",
]

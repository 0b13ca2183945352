"""One engine for matrix factorisations: oblique projectors onto the column and row space, and a core between them.

Every factorisation A = F G H^T is a solution of three equations (M. P. Karpowicz, *A theory of meta-factorization*,
arXiv:2111.14385, 2021). With F (m, k) spanning the columns of A (m, n) and H (n, l) its rows:

    projector equations        F Y^T F = F,   H^T X H^T = H^T       P = F Y^T and Q = X H^T are (oblique) projectors
    their solutions            Y^T = (B^T F)^+ B^T,   X = D (H^T D)^+       for sketches B (m, p), D (n, q) that keep
                                                                            the rank of F and H
    reconstruction equation    A = F G H^T  with  G = Y^T A X + W - Y^T F W H^T X,   W arbitrary

`engine` solves them and says how stable the choice of B and D is; `constructors` derives the known factorisations (SVD,
pivoted QR, UTV, CUR, full rank, Wedderburn, generalised Nystrom, randomised SVD); `inverses` the pseudoinverse and
other generalised inverses; `replacement` swaps one factor for another without factoring anew.

Deviations: F and H may have different numbers of columns. The orthogonal projectors (B = F, D = H) come from the
singular values of F and H themselves, since F^T F would square their condition. G depends on W where F or H has
linearly dependent columns, whatever k may be; with independent ones W cancels. The generalised Nystrom form is the
one-sided equation A = F Y^T A with F = A D: its oversampled H has more rows than the sketch D can tell apart, so the
row equation does not hold there. The pseudoinverse orthonormalises the two factors first, which cancels in the formula
and keeps half of the digits that it would lose.

When not to use it: for the SVD or QR alone of one small matrix LAPACK is faster, since the engine finds bases first.
Sparse matrices and operators that are known by products alone: only what random sketches need (`generalized_nystrom`)
would make sense there, and it takes dense matrices here.

All functions are batched (leading dimensions `...`) and take real or complex matrices; ^T is the conjugate transpose.
"""

from polyad.tensors.meta_factorization.constructors import (
    Factorization,
    cur,
    full_rank,
    generalized_nystrom,
    pivoted_qr,
    randomized_svd,
    singular_value_decomposition,
    utv,
    wedderburn,
)
from polyad.tensors.meta_factorization.engine import (
    MetaFactorization,
    ObliqueProjector,
    StabilityReport,
    meta_factorization,
    oblique_projector,
    stability_report,
)
from polyad.tensors.meta_factorization.inverses import (
    generalized_inverse,
    group_inverse,
    pseudoinverse,
    weighted_pseudoinverse,
)
from polyad.tensors.meta_factorization.replacement import Replacement, replace_factor

__all__ = [
    "Factorization",
    "MetaFactorization",
    "ObliqueProjector",
    "Replacement",
    "StabilityReport",
    "cur",
    "full_rank",
    "generalized_inverse",
    "generalized_nystrom",
    "group_inverse",
    "meta_factorization",
    "oblique_projector",
    "pivoted_qr",
    "pseudoinverse",
    "randomized_svd",
    "replace_factor",
    "singular_value_decomposition",
    "stability_report",
    "utv",
    "wedderburn",
    "weighted_pseudoinverse",
]

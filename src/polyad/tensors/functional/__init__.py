"""Tensors whose indices are continuous: a Tucker or CP model with a Gaussian process for every factor, with error bars.

Index i^k of mode k is a real number (a time, a latitude, a pressure), and R_k latent functions of it take the place of
the rows of a factor matrix. Entries are scattered values,

    y_n = vec(W)^T (u^1(i_n^1) kron .. kron u^K(i_n^K)) + noise,   u^k_r ~ GP(0, Matern),  W ~ N(0, I),
    noise precision tau ~ Gamma(a0, b0)

with vec row by row, as in `tensorly.tucker_to_tensor`. A Matern process is a Markov chain (`linalg.matern`), so the
posterior of a mode costs O(T_k) in its number T_k of distinct indices, and O(N) in the number of values.

Inference is conditional expectation propagation. With all moments at their current values, a = W_(k) (kron of the other
modes' functions) and z the kron of all, every value sends

    to u^k(i_n^k):  precision E[tau] E[a a^T],  natural mean E[tau] y_n E[a]
    to vec(W):      precision E[tau] E[z z^T],  natural mean E[tau] y_n E[z]
    to tau:         Gamma(a0 + N/2, b0 + sum_n (y_n^2 / 2 - y_n E[z]^T E[w] + tr(E[z z^T] E[w w^T]) / 2))

Messages at one index are multiplied into one Gaussian factor; filter and smoother (`linalg.state_space`) turn the
factors of a mode into the new posterior of u^k, and the bridge between neighbours gives it at any other index. These
updates are coordinate ascent on a bound of the evidence. The bound is the history, and it compares kernels,
lengthscales and ranks without held-out values; as the bound of a mean field it leans to small ranks and rough kernels,
so where values abound, a tenth of them held back chooses better.

    fit = FunctionalBayesianTucker((3, 3, 3), lengthscales=0.1).fit(indices, values)
    mean, variance = (p := fit.predict(queries)).mean, p.variance

Source: S. Fang, X. Yu, Z. Wang, S. Li, R. M. Kirby, S. Zhe, *Functional Bayesian Tucker Decomposition for
Continuous-indexed Tensor Data*, ICLR 2024. The paper's names FunBaT and FunBaT-CP are `FunctionalBayesianTucker` and
`FunctionalBayesianCP` here.

Deviations: `damping` is the weight of the old message, as in the authors' code, and is 0 by default: undamped updates
raise the bound in every round and need far fewer rounds. E[a a^T] uses the covariance of the core too, which the
authors' code leaves out. The core of the CP variant has weights with prior N(0, I), which the authors fix to one (give
`core=torch.ones(rank)`). Values are standardised, and the best of several short random starts goes on.

When not to use it: for few values in few dimensions, where one Gaussian process on all coordinates is exact and assumes
no rank; for values of high multilinear rank; for count or binary values. As in every mean-field posterior, variances of
the functions are too small where modes trade off against each other.
"""

from polyad.tensors.functional.io import Entries, read_entries
from polyad.tensors.functional.model import FunctionalBayesianCP, FunctionalBayesianTucker, Inference
from polyad.tensors.functional.posterior import FunctionalPosterior, Prediction

__all__ = [
    "Entries",
    "FunctionalBayesianCP",
    "FunctionalBayesianTucker",
    "FunctionalPosterior",
    "Inference",
    "Prediction",
    "read_entries",
]

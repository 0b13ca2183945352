"""SE(3)-Transformers: attention between points of space that turns with them, once or in rounds that move the points.

Features of a node have degrees l = 0..L, channels first: f^l is (channels, 2l + 1). A layer lets node i attend to the
nodes j that send to it, with queries that are linear in its own features, and keys and values that come from theirs by
kernels of the offset x = x_j - x_i, the most general ones that turn with it:

    W^{lk}(x) = sum over J = |k-l|..k+l of  phi_J(|x|, a_ij) sum over m of Y_Jm(x / |x|) Q^{lk}_Jm
    q_i = W_q f_i,   k_ij = sum over k of W_key^{lk}(x) f_j^k,   v_ij = sum over k of W_value^{lk}(x) f_j^k
    alpha_ij = softmax over j of <q_i, k_ij> / sqrt(their length),        summed over degrees, head by head
    out_i = W_self f_i + sum over j of alpha_ij v_ij

with Clebsch-Gordan blocks Q, harmonics Y that are 1 in the mean square, and a perceptron phi of the distance and of
further scalars of the edge. Between layers f^l <- f^l / |f^l| ReLU(LN(|f^l|)), LN over the channels of a degree and
|f| = sqrt(|f|^2 + epsilon), so what vanishes stays zero, with a finite gradient.

The iterative network runs such a transformer, moves every node by a vector that it gives, and starts again from the
new positions with new kernels; features are passed on. Gradients flow through the recomputed harmonics, which are
polynomials of x / |x|, so there are no poles; only |x| is bounded from below, so nodes may coincide.

With a cutoff, alpha_ij = w_ij exp(s_ij) / (1 + sum over j of w_ij exp(s_ij)) with a window w that falls to zero with
two derivatives: the 1 is the node itself, with score 0 and value 0. A window alone would not do: it cancels where all
neighbours are far, and the weight of a lone neighbour would jump from 1 to 0 at the cutoff.

Sources: F. B. Fuchs, E. Wagstaff, J. Dauparas and I. Posner, Iterative SE(3)-Transformers, GSI 2021, arXiv:2102.13419;
F. B. Fuchs, D. E. Worrall, V. Fischer and M. Welling, SE(3)-Transformers, NeurIPS 2020, arXiv:2006.10503, equations 8
to 13.

*Deviations*: one perceptron gives the strengths of a layer's keys and values, with an output of its own for each. With
`reflections` only paths with even J + k + l are kept, and the network commutes with reflections too. The softmax with
a cutoff, as above, is ours.

*When not to use it*: for many neighbours at L >= 3, where kernels cost L^6 and `polyad.symmetry.so2` L^3; where
neighbours must be counted: attention averages.
"""

from polyad.symmetry.se3_transformer.attention import AttentionLayer, NormNonlinearity, edge_softmax
from polyad.symmetry.se3_transformer.kernels import EdgeBasis, EdgeKernel
from polyad.symmetry.se3_transformer.networks import IterativeSE3Transformer, SE3Transformer, displaced

__all__ = [
    "AttentionLayer",
    "EdgeBasis",
    "EdgeKernel",
    "IterativeSE3Transformer",
    "NormNonlinearity",
    "SE3Transformer",
    "displaced",
    "edge_softmax",
]

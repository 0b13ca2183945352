"""CP decompositions that do not degenerate, and convolutions compressed with them.

A CP fit may reach its error with large terms that cancel; small changes of its factors then change the tensor much, and
a network that holds such factors cannot be fine-tuned. Among all CP tensors within an error bound the error-preserving
correction finds the one whose expected change under noise on the factors, the sensitivity

    ss = sum_n I_n sum_r prod_{m != n} |a^m_r|^2        minimise  ss  subject to  |T - [[A, B, C, ..]]| <= delta

is least (A.-H. Phan, K. Sobolev, K. Sozykin, D. Ermilov, J. Gusak, P. Tichavsky, V. Glukhov, I. Oseledets, A. Cichocki,
*Stable Low-rank Tensor Decomposition for Compression of Convolutional Neural Network*, ECCV 2020, arXiv:2008.05441).
`sensitivity` measures, `factor_path` solves for one factor, `correction` alternates, `relaxation` leaves degenerate
starts, `stable` decomposes from scratch, `tucker_cp` puts Tucker-2 around it, `kernels` factor convolutions in five
ways, `convolutions` build the layers, `costs` and `ranks` keep to a budget, `networks` compress a whole network,
`fine_tuning` trains it on.

Deviations: every sweep ends by rescaling the columns to the least ss, without which the alternation rests at points
that are no joint optimum: for the tensor a o a o b + a o b o a + b o a o a at error 0.1 |T| it ends between 21 and 36,
depending on the start, where the optimum is 20.330 (for 2 x 2 x 2; 50.824 for 5 x 5 x 5; a general constrained solver
on all factors agrees). The residual on the path of one factor is summed from what is missing instead of |T|^2 minus
what is captured, which cancels at small errors. A start outside the bound is brought inside by least squares, and one
whose terms cancel a hundredfold is replaced by fits with a falling price on ss, without which such starts stand still.

When not to use it: on kernels that are not degenerate ss falls by a factor of two or so at equal error (allow a few per
cent of slack for more), and there least squares stopped after some twenty sweeps, which never lets terms grow, may
fine-tune as well. With few channels (tens) Tucker-2 may be worth more at equal operations than Tucker-2 around CP.
Grouped and transposed convolutions are refused.
"""

from polyad.tensors.stable_cp.convolutions import (
    convolution_sequence,
    factor_convolution,
    replace_conv,
    sequence_shapes,
)
from polyad.tensors.stable_cp.correction import StableCP, cp_epc, cp_least_error
from polyad.tensors.stable_cp.costs import (
    ConvolutionShape,
    Cost,
    LayerCost,
    convolution_cost,
    layer_costs,
    network_cost,
    sequence_cost,
)
from polyad.tensors.stable_cp.factor_path import FactorPath, factor_path
from polyad.tensors.stable_cp.fine_tuning import FineTuning, accuracy, fine_tune
from polyad.tensors.stable_cp.kernels import METHODS, KernelFactors, Method, factor_kernel
from polyad.tensors.stable_cp.networks import CompressedLayer, CompressedNetwork, compress_network
from polyad.tensors.stable_cp.ranks import rank_for_budget
from polyad.tensors.stable_cp.relaxation import relax
from polyad.tensors.stable_cp.sensitivity import (
    Degeneracy,
    balance,
    cp_intensity,
    cp_sensitivity,
    diagnose_degeneracy,
    mode_sensitivities,
    term_norms,
)
from polyad.tensors.stable_cp.stable import cp_stable
from polyad.tensors.stable_cp.tucker_cp import TuckerCP, channel_ranks, tkd_cpd_epc, tucker2

__all__ = [
    "METHODS",
    "CompressedLayer",
    "CompressedNetwork",
    "ConvolutionShape",
    "Cost",
    "Degeneracy",
    "FactorPath",
    "FineTuning",
    "KernelFactors",
    "LayerCost",
    "Method",
    "StableCP",
    "TuckerCP",
    "accuracy",
    "balance",
    "channel_ranks",
    "compress_network",
    "convolution_cost",
    "convolution_sequence",
    "cp_epc",
    "cp_intensity",
    "cp_least_error",
    "cp_sensitivity",
    "cp_stable",
    "diagnose_degeneracy",
    "factor_convolution",
    "factor_kernel",
    "factor_path",
    "fine_tune",
    "layer_costs",
    "mode_sensitivities",
    "network_cost",
    "rank_for_budget",
    "relax",
    "replace_conv",
    "sequence_cost",
    "sequence_shapes",
    "term_norms",
    "tkd_cpd_epc",
    "tucker2",
]

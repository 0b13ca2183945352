"""Networks in the limit of infinite width under adaptive optimisers: features learn, or a nonlinear kernel is left.

    W = n^-a w,    w_0 ~ N(0, n^-2b),    w_{t+1} = w_t - eta n^-c Q_t(n^d g_0, ..., n^d g_t)

`parametrisation` has the exponents and what they make of training, `updates` the entrywise functions Q, `networks` the
perceptrons of finite width. Limits: `covariances` and `kernels` for the kernel regime, `shallow` for muP with one
hidden layer, `tensor_program` for programs of matrix products. `transfer` brings muP to any torch model.

Source: Yang and Littwin, Tensor Programs IVb: adaptive optimization in the infinite-width limit, 2023,
arXiv:2308.01814.

Deviations: one output. Weights and products alone in `networks`, no biases. Limits in the kernel regime start from a
given output, in muP from 0. `tensor_program` writes matrices as their own instruction and takes scalars into functions
by closures.

When not to use it: networks much deeper than wide, where the limits of width and depth do not commute; a loss or an
output that grows with the width.
"""

from polyad.theory.width_limits.covariances import GaussianRecursion, covariance_recursion, tangent_kernel
from polyad.theory.width_limits.kernels import adaptive_kernel, kernel_dynamics
from polyad.theory.width_limits.networks import TrainingRecord, forward, initial_weights, train
from polyad.theory.width_limits.parametrisation import (
    ABCDParam,
    Exponents,
    LayerExponents,
    classify,
    faithful,
    from_exponents,
    preset,
)
from polyad.theory.width_limits.shallow import ShallowLimit, mup_limit_shallow
from polyad.theory.width_limits.tensor_program import Ket, Machine, TensorProgram
from polyad.theory.width_limits.transfer import CoordCheck, apply_mup, coord_check
from polyad.theory.width_limits.updates import AdamUpdate, Memoryless, UpdateFunction, sgd, sign

__all__ = [
    "ABCDParam",
    "AdamUpdate",
    "CoordCheck",
    "Exponents",
    "GaussianRecursion",
    "Ket",
    "LayerExponents",
    "Machine",
    "Memoryless",
    "ShallowLimit",
    "TensorProgram",
    "TrainingRecord",
    "UpdateFunction",
    "adaptive_kernel",
    "apply_mup",
    "classify",
    "coord_check",
    "covariance_recursion",
    "faithful",
    "forward",
    "from_exponents",
    "initial_weights",
    "kernel_dynamics",
    "mup_limit_shallow",
    "preset",
    "sgd",
    "sign",
    "tangent_kernel",
    "train",
]

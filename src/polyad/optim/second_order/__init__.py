"""Second-order methods: cubic models, accelerated and gradient-normalised Newton by oracle; FOSI, L-BFGS."""

from polyad.optim.second_order.accelerated import AcceleratedInexactNewton
from polyad.optim.second_order.cubic import CubicStep, minimize_cubic
from polyad.optim.second_order.fosi import FOSI
from polyad.optim.second_order.gradient_normalized import GradientNormalizedNewton
from polyad.optim.second_order.lbfgs import LBFGS
from polyad.optim.second_order.line_search import strong_wolfe
from polyad.optim.second_order.smoothness import gradient_normalized_smoothness

__all__ = [
    "FOSI",
    "LBFGS",
    "AcceleratedInexactNewton",
    "CubicStep",
    "GradientNormalizedNewton",
    "gradient_normalized_smoothness",
    "minimize_cubic",
    "strong_wolfe",
]

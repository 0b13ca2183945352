"""Second-order methods by oracle: cubic models solved globally, accelerated Newton with inexact derivatives."""

from polyad.optim.second_order.accelerated import AcceleratedInexactNewton
from polyad.optim.second_order.cubic import CubicStep, minimize_cubic
from polyad.optim.second_order.gradient_normalized import GradientNormalizedNewton
from polyad.optim.second_order.smoothness import gradient_normalized_smoothness

__all__ = [
    "AcceleratedInexactNewton",
    "CubicStep",
    "GradientNormalizedNewton",
    "gradient_normalized_smoothness",
    "minimize_cubic",
]

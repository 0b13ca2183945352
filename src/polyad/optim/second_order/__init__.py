"""Second-order methods by oracle: cubic models solved globally, accelerated Newton with inexact derivatives."""

from polyad.optim.second_order.accelerated import AcceleratedInexactNewton
from polyad.optim.second_order.cubic import CubicStep, minimize_cubic

__all__ = ["AcceleratedInexactNewton", "CubicStep", "minimize_cubic"]

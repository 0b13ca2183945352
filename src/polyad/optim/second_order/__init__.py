"""Second-order methods: Newton on cubic models, accelerated, gradient-normalised; FOSI, L-BFGS, Gauss-Newton."""

from polyad.optim.second_order.accelerated import AcceleratedInexactNewton
from polyad.optim.second_order.cubic import CubicStep, minimize_cubic
from polyad.optim.second_order.fields import CurvatureAwareFit, FitRecord, psnr
from polyad.optim.second_order.fosi import FOSI
from polyad.optim.second_order.gauss_newton import GaussNewton, gauss_newton_product
from polyad.optim.second_order.gradient_normalized import GradientNormalizedNewton
from polyad.optim.second_order.lbfgs import LBFGS
from polyad.optim.second_order.line_search import strong_wolfe
from polyad.optim.second_order.smoothness import gradient_normalized_smoothness

__all__ = [
    "FOSI",
    "LBFGS",
    "AcceleratedInexactNewton",
    "CubicStep",
    "CurvatureAwareFit",
    "FitRecord",
    "GaussNewton",
    "GradientNormalizedNewton",
    "gauss_newton_product",
    "gradient_normalized_smoothness",
    "minimize_cubic",
    "psnr",
    "strong_wolfe",
]

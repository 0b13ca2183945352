"""Second-order methods: Newton on cubic models, accelerated, gradient-normalised; FOSI, L-BFGS, Gauss-Newton."""

from polyad.optim.second_order.accelerated import AcceleratedInexactNewton, AcceleratedInexactTensor
from polyad.optim.second_order.adaptive import AdaptiveCubicNewton, LineSearchGradient, SuperUniversalNewton
from polyad.optim.second_order.cubic import CubicStep, minimize_cubic
from polyad.optim.second_order.fields import CurvatureAwareFit, FitRecord, psnr
from polyad.optim.second_order.fosi import FOSI
from polyad.optim.second_order.gauss_newton import GaussNewton, gauss_newton_product
from polyad.optim.second_order.gradient_normalized import GradientNormalizedNewton
from polyad.optim.second_order.lbfgs import LBFGS
from polyad.optim.second_order.line_search import strong_wolfe
from polyad.optim.second_order.oracles import FunctionOracle
from polyad.optim.second_order.quartic import QuarticStep, minimize_quartic
from polyad.optim.second_order.smoothness import gradient_normalized_smoothness

__all__ = [
    "FOSI",
    "LBFGS",
    "AcceleratedInexactNewton",
    "AcceleratedInexactTensor",
    "AdaptiveCubicNewton",
    "CubicStep",
    "CurvatureAwareFit",
    "FitRecord",
    "FunctionOracle",
    "GaussNewton",
    "GradientNormalizedNewton",
    "LineSearchGradient",
    "QuarticStep",
    "SuperUniversalNewton",
    "gauss_newton_product",
    "gradient_normalized_smoothness",
    "minimize_cubic",
    "minimize_quartic",
    "psnr",
    "strong_wolfe",
]

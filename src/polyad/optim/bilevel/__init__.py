"""Bilevel optimisation: min over (x, y) of F(x, y), where y minimises f(x, .) + g(x, .)."""

from polyad.optim.bilevel.envelope import Envelope, moreau_envelope
from polyad.optim.bilevel.grid import GridSearch, grid_search
from polyad.optim.bilevel.hypergradients import Hypergradient, implicit_gradient, lower_descent, unrolled_gradient
from polyad.optim.bilevel.meha import MEHA, Residual
from polyad.optim.bilevel.objectives import ElasticNet, Objective, Penalty
from polyad.optim.bilevel.value_function import ValueFunctionDirection, value_function_direction

__all__ = [
    "MEHA",
    "ElasticNet",
    "Envelope",
    "GridSearch",
    "Hypergradient",
    "Objective",
    "Penalty",
    "Residual",
    "ValueFunctionDirection",
    "grid_search",
    "implicit_gradient",
    "lower_descent",
    "moreau_envelope",
    "unrolled_gradient",
    "value_function_direction",
]

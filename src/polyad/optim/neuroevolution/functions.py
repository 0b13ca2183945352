"""Activations and aggregations of nodes; a genome stores their numbers, which never change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "steep_sigmoid": lambda x: torch.sigmoid(4.9 * x),
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
    "relu": torch.relu,
    "sin": torch.sin,
    "gauss": lambda x: torch.exp(-(x * x)),
    "abs": torch.abs,
}
"""By name, in the order of their numbers; the steep sigmoid is that of Stanley and Miikkulainen (2002)."""

AGGREGATIONS = ("sum", "mean", "product", "max", "min")
"""Of weighted inputs, in the order of their numbers; without an input each of them gives 0."""

REDUCTIONS = ("sum", "mean", "prod", "amax", "amin")
"""Names of the aggregations in `torch.Tensor.scatter_reduce_`."""

"""Perceptrons whose weights and activations keep the variance of what they are given.

    x <- phi(x) / rms(phi) W / sqrt(inputs),   W standard normal, no biases, SiLU between the layers

Without biases the result vanishes where the inputs do, as at the end of a window of distance.

Source: e3nn's `FullyConnectedNet` (M. Geiger and T. Smidt, arXiv:2207.09453).

When not to use it: where an offset must be learned; torch's own layers have biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.symmetry.activations import root_mean_square


@final
class Perceptron(nn.Module):
    """(..., sizes[0]) to (..., sizes[-1]), with SiLU after all layers but the last."""

    def __init__(self, sizes: Sequence[int], *, generator: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(size, following, generator=generator)) for size, following in pairwise(sizes)
        )
        self.scale = 1 / root_mean_square(nn.functional.silu)

    def forward(self, values: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The image of the values."""
        for number, weight in enumerate(self.weights):
            if number:
                values = nn.functional.silu(values) * self.scale
            values = values @ (weight / math.sqrt(len(weight)))
        return values

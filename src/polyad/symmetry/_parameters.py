"""How weights start: normal variables from the caller's generator."""

from __future__ import annotations

import torch
from torch import nn


def normal_parameter(
    *shape: int, generator: torch.Generator, dtype: torch.dtype | None = None, deviation: float = 1.0
) -> nn.Parameter:
    """A parameter of normal entries with this standard deviation, on the generator's device."""
    dtype = dtype or torch.get_default_dtype()
    return nn.Parameter(deviation * torch.randn(shape, generator=generator, dtype=dtype, device=generator.device))

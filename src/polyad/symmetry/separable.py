"""Activations and norms for features of many degrees, channels last, that treat scalars apart from the rest.

    SeparableActivation   l = 0: SiLU of scalars that are given beside the features;
                          l > 0: to a grid on the sphere, SiLU at every point, and back
    GateActivation        l = 0: SiLU;  l > 0: times the sigmoid of a scalar for every degree and channel
    SeparableNorm         l = 0: layer norm over the channels;  l > 0: divided by one root mean square of all of them,
                          sigma^2 = 1/lmax sum over l of 1/(2l+1) sum over m of x_lm^2, mean over channels
    DegreeNorm            l = 0: layer norm;  every l > 0 by the root mean square of its own

The norms multiply every degree and channel by a learned weight. With one sigma the relative sizes of the degrees
survive, which norms a degree at a time wipe out. Both norms and the gate commute with rotations exactly, the separable
activation up to its grid's error.

Paper: Y.-L. Liao, B. Wood, A. Das and T. Smidt, "EquiformerV2: Improved Equivariant Transformer for Scaling to
Higher-Degree Representations", ICLR 2024, arXiv:2306.12059, section 4.

When not to use it: the grid where exact equivariance is promised; take the gate.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.feature_grid import FeatureGrid
from polyad.symmetry.so2 import frame_components
from polyad.symmetry.spherical_harmonics import split_degrees

_EPSILON = 1e-6


@final
class SeparableActivation(nn.Module):
    """SiLU of separate scalars for l = 0, SiLU on the sphere for l > 0.

    Args:
        channels: of the features.
        lmax: largest degree.
        degree: of the grid.
        mmax: as `FeatureGrid`: a number for features in the frame of an edge.
    """

    def __init__(self, channels: int, lmax: int, *, degree: int, mmax: int | None = None) -> None:
        super().__init__()
        self.scalars = channels
        self.grid = FeatureGrid(lmax, degree, mmax)

    def forward(
        self, features: Float[Tensor, "rows components channels"], scalars: Float[Tensor, "rows channels"]
    ) -> Float[Tensor, "rows components channels"]:
        """The features after the activation; `scalars` has `self.scalars` columns."""
        values = self.grid.from_grid(nn.functional.silu(self.grid.to_grid(features)))
        return torch.cat([nn.functional.silu(scalars)[:, None], values[:, 1:]], dim=1)


@final
class GateActivation(nn.Module):
    """SiLU for l = 0 and a gate for every degree l > 0 and channel; `mmax` as for `SeparableActivation`."""

    def __init__(self, channels: int, lmax: int, *, mmax: int | None = None) -> None:
        super().__init__()
        self.channels, self.lmax, self.scalars = channels, lmax, lmax * channels
        orders = range(lmax + 1)
        degrees = (
            [degree for degree in orders for _ in range(2 * degree + 1)]
            if mmax is None
            else [degree for degree, _ in frame_components(lmax, mmax)]
        )
        self.degrees: Tensor
        self.register_buffer("degrees", torch.tensor(degrees[1:], dtype=torch.int64) - 1, persistent=False)

    def forward(
        self, features: Float[Tensor, "rows components channels"], scalars: Float[Tensor, "rows gates"]
    ) -> Float[Tensor, "rows components channels"]:
        """The features after the activation; `scalars` holds the gates, degree by degree."""
        gates = torch.sigmoid(scalars).unflatten(-1, (self.lmax, self.channels)).index_select(1, self.degrees)
        return torch.cat([nn.functional.silu(features[:, :1]), features[:, 1:] * gates], dim=1)


@final
class SeparableNorm(nn.Module):
    """Layer norm of the scalars, and one root mean square for all other degrees."""

    def __init__(self, channels: int, lmax: int) -> None:
        super().__init__()
        self.scalar, self.weight, self.lmax = nn.LayerNorm(channels), nn.Parameter(torch.ones(lmax, channels)), lmax

    def forward(self, features: Float[Tensor, "rows harmonics channels"]) -> Float[Tensor, "rows harmonics channels"]:
        """The features at a size of 1."""
        first, *rest = _degrees(features, self.lmax)
        blocks = [self.scalar(first)]
        if rest:
            squares = torch.stack([part.square().mean((1, 2)) for part in rest]).mean(0)
            factor = (squares + _EPSILON).rsqrt()[:, None, None]
            blocks += [part * factor * weight for part, weight in zip(rest, self.weight, strict=True)]
        return torch.cat(blocks, dim=1)


@final
class DegreeNorm(nn.Module):
    """Layer norm of the scalars, and for every other degree a root mean square of its own."""

    def __init__(self, channels: int, lmax: int) -> None:
        super().__init__()
        self.scalar, self.weight, self.lmax = nn.LayerNorm(channels), nn.Parameter(torch.ones(lmax, channels)), lmax

    def forward(self, features: Float[Tensor, "rows harmonics channels"]) -> Float[Tensor, "rows harmonics channels"]:
        """The features, every degree at a size of 1."""
        first, *rest = _degrees(features, self.lmax)
        factors = [(part.square().mean((1, 2), keepdim=True) + _EPSILON).rsqrt() for part in rest]
        blocks = [part * factor * weight for part, factor, weight in zip(rest, factors, self.weight, strict=True)]
        return torch.cat([self.scalar(first), *blocks], dim=1)


def _degrees(features: Tensor, lmax: int) -> tuple[Tensor, ...]:
    if features.shape[1] != (lmax + 1) ** 2:
        raise InputError(f"features: {features.shape[1]} components, this norm is for lmax {lmax}")
    return split_degrees(features, dim=1)

"""Coordinate networks: a signal as a function of position, in one network or in one small network a patch.

    y = W_L h_(L-1) + b_L,    h_l = phi(W_l h_(l-1) + b_l),    h_0 = x in [-1, 1]^d

    gaussian   phi(x) = exp(-x^2 / (2 s^2))                     Ramasinghe and Lucey, ECCV 2022
    sine       phi(x) = sin(w0 x), initialised as SIREN         Sitzmann et al., NeurIPS 2020
    sinc       phi(x) = sin(w x) / (w x)                        Saratchandran et al., CVPR 2024
    relu_pe    phi = ReLU on h_0 = (x, sin(2^k pi x), cos(2^k pi x))   Tancik et al., NeurIPS 2020

Source: H. Saratchandran, S.-F. Chng, S. Ramasinghe, L. MacDonald, S. Lucey, ICCV 2023, arXiv:2305.08552, for the use
with second-order methods; splitting into patches is an option of this library.

*When not to use it*: for signals on a regular grid that need no values between its points; a compressed array is
smaller and faster there (`polyad.tensors.formats`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError

ACTIVATIONS = ("gaussian", "sine", "relu_pe", "sinc")
"""Names of the activations."""


@final
class CoordinateMLP(nn.Module):
    """Position -> value, by a network with `depth` hidden layers of equal width.

    Args:
        in_dim: coordinates of a position, each in [-1, 1].
        out_dim: numbers of a value.
        width: of the hidden layers.
        depth: number of hidden layers.
        activation: one of `ACTIVATIONS`.
        deviation: s of `gaussian`.
        frequency: w0 of `sine`, w of `sinc`.
        octaves: frequencies pi, 2 pi, 4 pi, ... of `relu_pe`.
        generator: draws the initial weights; seeded with 0 if not given.

    Raises:
        InputError: an unknown activation, or numbers that are not positive.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        width: int = 64,
        depth: int = 3,
        *,
        activation: str = "gaussian",
        deviation: float = 0.1,
        frequency: float = 30.0,
        octaves: int = 6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.encode, self.activate = _parts(activation, deviation, frequency, octaves)
        sizes = _sizes(in_dim, out_dim, width, depth, octaves if activation == "relu_pe" else 0)
        layers = [nn.utils.skip_init(nn.Linear, n, m) for n, m in itertools.pairwise(sizes)]
        generator = generator or torch.Generator().manual_seed(0)
        with torch.no_grad():
            for number, layer in enumerate(layers):
                _initialise(layer.weight, layer.bias, activation, frequency, generator, first=number == 0)
        self.layers = nn.ModuleList(layers)

    def forward(self, coordinates: Float[Tensor, "... dimensions"]) -> Float[Tensor, "... values"]:
        """Values at coordinates."""
        hidden = self.encode(coordinates)
        for layer in self.layers[:-1]:
            hidden = self.activate(layer(hidden))
        values: Tensor = self.layers[-1](hidden)
        return values


@final
class PatchedCoordinateNet(nn.Module):
    """A grid of patches on [-1, 1]^d with a small network each, all trained jointly by batched products.

    Every parameter counts the patches first: weights (patches, in, out), biases (patches, 1, out). A network sees the
    position within its patch, again in [-1, 1]^d; patches are numbered with the last axis fastest.

    Args:
        in_dim: coordinates of a position.
        out_dim: numbers of a value.
        patches: number of patches along every axis.
        width: of the hidden layers.
        depth: number of hidden layers.
        activation: one of `ACTIVATIONS`.
        deviation: s of `gaussian`.
        frequency: w0 of `sine`, w of `sinc`.
        octaves: frequencies of `relu_pe`.
        generator: draws the initial weights; seeded with 0 if not given.

    Raises:
        InputError: an unknown activation, a grid of another dimension, or numbers that are not positive.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        patches: Sequence[int],
        width: int = 16,
        depth: int = 2,
        *,
        activation: str = "gaussian",
        deviation: float = 0.1,
        frequency: float = 30.0,
        octaves: int = 6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.patches = tuple(patches)
        if len(self.patches) != in_dim or min(self.patches, default=0) < 1:
            raise InputError(f"patches: {self.patches}; give a positive number for each of the {in_dim} axes")
        self.encode, self.activate = _parts(activation, deviation, frequency, octaves)
        sizes = _sizes(in_dim, out_dim, width, depth, octaves if activation == "relu_pe" else 0)
        generator = generator or torch.Generator().manual_seed(0)
        count = math.prod(self.patches)
        self.weights = nn.ParameterList(torch.empty(count, n, m) for n, m in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.empty(count, 1, m) for m in sizes[1:])
        with torch.no_grad():
            for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                _initialise(weight.mT, bias, activation, frequency, generator, first=number == 0)

    def forward(self, coordinates: Float[Tensor, "points dimensions"]) -> Float[Tensor, "points values"]:
        """Values at coordinates; a point on a border belongs to the upper patch, one outside to the nearest patch."""
        place, local = self.locate(coordinates)
        order = place.argsort(stable=True)
        counts = place.bincount(minlength=math.prod(self.patches))
        slot = torch.arange(len(place), device=place.device) - (counts.cumsum(0) - counts)[place[order]]
        padded = local.new_zeros(len(counts), int(counts.max()) if len(place) else 0, local.shape[1])
        padded = padded.index_put((place[order], slot), local[order])
        return self.within(padded)[place[order], slot][order.argsort()]

    def within(self, local: Float[Tensor, "patches points dimensions"]) -> Float[Tensor, "patches points values"]:
        """Values at positions within patches, equally many for each."""
        hidden = self.encode(local)
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if number < last:
                hidden = self.activate(hidden)
        return hidden

    def locate(
        self, coordinates: Float[Tensor, "points dimensions"]
    ) -> tuple[Int[Tensor, " points"], Float[Tensor, "points dimensions"]]:
        """Number of the patch, and position within it, of every point."""
        grid = torch.tensor(self.patches, device=coordinates.device)
        scaled = 0.5 * (coordinates + 1) * grid
        cell = torch.minimum(scaled.floor().long().clamp_min(0), grid - 1)
        strides = torch.tensor([math.prod(self.patches[k + 1 :]) for k in range(len(grid))], device=grid.device)
        return (cell * strides).sum(-1), 2 * (scaled - cell) - 1


Map = Callable[[Tensor], Tensor]


def _parts(activation: str, deviation: float, frequency: float, octaves: int) -> tuple[Map, Map]:
    """Encoding of positions, and activation."""
    if activation not in ACTIVATIONS:
        raise InputError(f"activation: {activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
    if min(deviation, frequency, octaves) <= 0:
        raise InputError(f"deviation {deviation}, frequency {frequency} and octaves {octaves} must be positive")
    if activation == "relu_pe":
        return lambda x: _encode(x, octaves), torch.relu
    if activation == "gaussian":
        return _same, lambda x: torch.exp(x.square() * (-0.5 / deviation**2))
    if activation == "sine":
        return _same, lambda x: torch.sin(frequency * x)
    return _same, lambda x: torch.sinc(x * (frequency / math.pi))


def _same(x: Tensor) -> Tensor:
    return x


def _encode(x: Tensor, octaves: int) -> Tensor:
    angles = x[..., None] * (math.pi * 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device))
    return torch.cat([x, angles.sin().flatten(-2), angles.cos().flatten(-2)], -1)


def _sizes(in_dim: int, out_dim: int, width: int, depth: int, octaves: int) -> list[int]:
    if min(in_dim, out_dim, width, depth) < 1:
        raise InputError(f"in_dim {in_dim}, out_dim {out_dim}, width {width} and depth {depth} must be at least 1")
    return [in_dim * (1 + 2 * octaves)] + [width] * depth + [out_dim]


def _initialise(
    weight: Tensor, bias: Tensor, activation: str, frequency: float, generator: torch.Generator, *, first: bool
) -> None:
    """Fill (..., out, in) weights, uniform with SIREN's bounds for sines, else with those of torch's linear layers."""
    inputs = weight.shape[-1]
    bound = 1 / math.sqrt(inputs)
    if activation == "sine":
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / frequency
    for tensor, limit in ((weight, bound), (bias, 1 / math.sqrt(inputs))):
        tensor.copy_((2 * torch.rand(tensor.shape, generator=generator) - 1) * limit)

"""Convolutions of SO(3) as maps of SO(2): turn each edge to the pole, mix orders m, turn back. O(L^3), not O(L^6).

In the frame whose polar axis is the edge's direction the harmonics of that direction vanish but for m = 0, so a
convolution with them only joins orders +m and -m, and by symmetry as a complex number is multiplied by another:

    x' = D(R) x,   R direction / |direction| = e_z
    y'_0  = W_0 x'_0  (+ b for l = 0)
    y'_m  = W1_m x'_m - W2_m x'_-m,    y'_-m = W2_m x'_m + W1_m x'_-m       (matrices over degree l >= m and channel)
    y  = D(R)^T y'

Orders beyond mmax are dropped. The roll of R about the edge is free: it does not change the result.

A dense convolution y[l3] = sum over l1, l2 of h[l1, l2, l3] C(x[l1], Y_l2(direction)), with C the Clebsch-Gordan block,
is the same map with, for K = sum over l2 of h C(l1, l2, l3) Y_l2(pole), W1_m = K[+m, +m] and W2_m = K[+m -> -m]: even
l1 + l2 + l3 feed W1, odd ones W2 (`weights_from_paths`).

Paper: S. Passaro and C. L. Zitnick, "Reducing SO(3) convolutions to SO(2) for efficient equivariant GNNs", ICML 2023,
arXiv:2302.03655, equations 5 to 8.

*When not to use it*: on edges without a direction (two points in the same place) and, with odd l1 + l2 + l3 in W2,
where reflections must be kept: set `reflections` to leave W2 out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry._parameters import normal_parameter
from polyad.symmetry.coupling import clebsch_gordan, is_triangle
from polyad.symmetry.spherical_harmonics import split_degrees
from polyad.symmetry.wigner import wigner_d


def edge_rotation(
    directions: Float[Tensor, "*batch 3"], *, roll: Float[Tensor, "*batch"] | None = None, check: bool = True
) -> Float[Tensor, "*batch 3 3"]:
    """A rotation R with R direction / |direction| = e_z, then turned by the angle `roll` about e_z.

    Smooth but for a jump of the roll where z changes sign, so what does not depend on the roll has right derivatives
    everywhere. With `check`, a direction of length zero, or not finite, raises InputError.
    """
    squares = directions.square().sum(-1, keepdim=True)
    if check:
        broken = int((~((squares > 0) & torch.isfinite(squares))).sum())
        if broken:
            raise InputError(f"directions: {broken} of {squares.numel()} have no length or are not finite; drop them")
    x, y, z = (directions * squares.rsqrt()).unbind(-1)
    lower = torch.where(z < 0, -1.0, 1.0)  # below the equator, half a turn about x comes first
    y, z = y * lower, z * lower
    fraction = 1 / (1 + z)
    rows = [1 - x * x * fraction, -x * y * fraction, -x, -x * y * fraction, 1 - y * y * fraction, -y, x, y, z]
    rotation = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    flip = torch.stack([torch.ones_like(lower), lower, lower], dim=-1)
    rotation = rotation * flip.unsqueeze(-2)
    if roll is None:
        return rotation
    cosine, sine, zero = roll.cos(), roll.sin(), torch.zeros_like(roll)
    about = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1], dim=-1)
    return about.unflatten(-1, (3, 3)) @ rotation


@final
@dataclass(frozen=True)
class EdgeFrames:
    """Rotations of edges to the pole, at hand for several layers: Wigner blocks cut to orders |m| <= mmax."""

    lmax: int
    mmax: int
    blocks: tuple[Tensor, ...]

    @staticmethod
    def from_directions(
        directions: Float[Tensor, "edges 3"],
        lmax: int,
        *,
        mmax: int | None = None,
        roll: Tensor | None = None,
        check: bool = True,
    ) -> EdgeFrames:
        """Frames of edges with these directions; `mmax` is lmax if not given."""
        mmax = lmax if mmax is None else mmax
        if not 0 <= mmax <= lmax:
            raise InputError(f"mmax: {mmax} was given; give an integer from 0 to lmax = {lmax}")
        blocks = wigner_d(edge_rotation(directions, roll=roll, check=check), lmax, check=False)
        kept = (block[:, max(0, degree - mmax) : degree + mmax + 1] for degree, block in enumerate(blocks))
        return EdgeFrames(lmax, mmax, tuple(kept))

    def to_frame(self, coefficients: Float[Tensor, "edges channels harmonics"]) -> Float[Tensor, "edges kept channels"]:
        """x' with components grouped by order: m = 0, +1, -1, +2, -2, ..., degrees ascending in each; channels last."""
        if coefficients.shape[-1] != (self.lmax + 1) ** 2 or len(coefficients) != len(self.blocks[0]):
            raise InputError(
                f"coefficients: shape is {tuple(coefficients.shape)}, these frames are of {len(self.blocks[0])} edges "
                f"and lmax {self.lmax} ({(self.lmax + 1) ** 2} components)"
            )
        parts = split_degrees(coefficients.mT.contiguous(), dim=1)
        turned = torch.cat([block @ part for block, part in zip(self.blocks, parts, strict=True)], dim=1)
        return turned.index_select(1, _order_major(coefficients, self.lmax, self.mmax)[0])

    def from_frame(self, values: Float[Tensor, "edges kept channels"]) -> Float[Tensor, "edges channels harmonics"]:
        """D(R)^T y': back to the common frame, channels first."""
        by_degree = values.index_select(1, _order_major(values, self.lmax, self.mmax)[1])
        pieces = by_degree.split([block.shape[1] for block in self.blocks], dim=1)
        return torch.cat([block.mT @ piece for block, piece in zip(self.blocks, pieces, strict=True)], dim=1).mT


@final
class SO2Linear(nn.Module):
    """The map in the frame: (edges, kept, channels_in) to (edges, kept, channels_out), as `EdgeFrames.to_frame` orders.

    `scales` in `forward` multiply the inputs, (edges, pairs, channels_in), the same for +m and -m, pairs (m, l) running
    as the components do: the place for radial networks. `invariants` adds that many outputs from m = 0, (edges,
    invariants), for gates and attention. With `reflections` W2 is left out and the map commutes with them too.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax: int,
        *,
        generator: torch.Generator,
        mmax: int | None = None,
        invariants: int = 0,
        reflections: bool = False,
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels_in, self.channels_out, self.lmax = channels_in, channels_out, lmax
        self.mmax = lmax if mmax is None else mmax
        self.invariants, self.reflections = invariants, reflections
        sizes = [lmax + 1 - order for order in range(self.mmax + 1)]
        self.pairs = sum(sizes)
        self.weight0 = normal_parameter(
            sizes[0] * channels_out + invariants,
            sizes[0] * channels_in,
            generator=generator,
            dtype=dtype,
            deviation=1 / math.sqrt(sizes[0] * channels_in),
        )
        parts = 1 if reflections else 2
        self.weights = nn.ParameterList(
            normal_parameter(
                parts,
                size * channels_out,
                size * channels_in,
                generator=generator,
                dtype=dtype,
                deviation=1 / math.sqrt(parts * size * channels_in),
            )
            for size in sizes[1:]
        )
        self.bias = nn.Parameter(torch.zeros(channels_out + invariants, dtype=dtype)) if bias else None

    def forward(
        self,
        values: Float[Tensor, "edges kept channels"],
        *,
        scales: Float[Tensor, "edges pairs channels"] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The image, and the extra invariants (edges, invariants)."""
        edges = len(values)
        if scales is not None:
            values = values * scales.index_select(1, _pair_of_component(values, self.lmax, self.mmax)[0])
        sizes = [self.lmax + 1, *(2 * (self.lmax + 1 - order) for order in range(1, self.mmax + 1))]
        first, *pairs = values.split(sizes, dim=1)
        image = nn.functional.linear(first.flatten(1), self.weight0)
        zeroth, invariants = image.split([sizes[0] * self.channels_out, self.invariants], dim=-1)
        zeroth = zeroth.unflatten(-1, (sizes[0], self.channels_out))
        if self.bias is not None:
            shift, extra = self.bias.split([self.channels_out, self.invariants])
            zeroth = zeroth + nn.functional.pad(shift[None], (0, 0, 0, self.lmax))
            invariants = invariants + extra
        images = [zeroth]
        for pair, weight in zip(pairs, self.weights, strict=True):
            rows = pair.reshape(edges, 2, pair.shape[1] // 2 * self.channels_in)
            if self.reflections:
                mixed = nn.functional.linear(rows, weight[0])
            else:
                # one product with [W1; W2] for both signs
                both = nn.functional.linear(rows, weight.flatten(0, 1)).unflatten(-1, (2, -1))
                (plus1, plus2), (minus1, minus2) = (sign.unbind(1) for sign in both.unbind(1))
                mixed = torch.stack([plus1 - minus2, plus2 + minus1], dim=1)
            images.append(mixed.reshape(edges, pair.shape[1], self.channels_out))
        return torch.cat(images, dim=1), invariants


@final
class SO2Convolution(nn.Module):
    """Rotate to the edge, `SO2Linear`, rotate back; channels first, invariants left out."""

    def __init__(self, channels_in: int, channels_out: int, lmax: int, **options: object) -> None:
        super().__init__()
        self.linear = SO2Linear(channels_in, channels_out, lmax, **options)  # type: ignore[arg-type]

    def forward(
        self,
        coefficients: Float[Tensor, "edges channels harmonics"],
        frames: EdgeFrames,
        *,
        scales: Float[Tensor, "edges pairs channels"] | None = None,
    ) -> Float[Tensor, "edges out harmonics"]:
        """The message on every edge, (edges, channels_out, (lmax + 1)^2)."""
        if (frames.lmax, frames.mmax) != (self.linear.lmax, self.linear.mmax):
            raise InputError(
                f"frames: lmax {frames.lmax}, mmax {frames.mmax}; this layer has {self.linear.lmax}, {self.linear.mmax}"
            )
        image, _ = self.linear(frames.to_frame(coefficients), scales=scales)
        return frames.from_frame(image)


def weights_from_paths(
    paths: Mapping[tuple[int, int, int], Tensor], lmax: int
) -> tuple[Float[Tensor, "..."], list[Tensor]]:
    """`weight0` and `weights` of the `SO2Linear` (bias 0) that is a dense convolution.

    `paths[l1, l2, l3]` is (channels_out, channels_in): y[l3] gains h C(x[l1], Y_l2(direction)), with Clebsch-Gordan
    blocks C and 'integral' harmonics Y.
    """
    kernels: dict[tuple[int, int], Tensor] = {}
    for (l1, l2, l3), weight in paths.items():
        if max(l1, l3) > lmax or not is_triangle(l1, l2, l3):
            raise InputError(f"paths: ({l1}, {l2}, {l3}) does not couple within lmax {lmax}")
        pole = clebsch_gordan(l1, l2, l3)[:, l2].to(weight) * math.sqrt((2 * l2 + 1) / (4 * math.pi))
        term = torch.einsum("ab,wu->bwau", pole, weight)  # (order out, channel out, order in, channel in)
        kernels[l1, l3] = kernels.get((l1, l3), torch.zeros_like(term)) + term
    first = next(iter(paths.values()))

    def matrix(order_in: int, order_out: int) -> Tensor:
        degrees = range(abs(order_in), lmax + 1)
        rows = []
        for l3 in degrees:
            found = [kernels.get((l1, l3)) for l1 in degrees]
            zero = torch.zeros_like(first)
            blocks = [
                zero if k is None else k[l3 + order_out, :, l1 + order_in] for l1, k in zip(degrees, found, strict=True)
            ]
            rows.append(torch.cat(blocks, dim=1))
        return torch.cat(rows, dim=0)

    higher = [torch.stack([matrix(m, m), matrix(m, -m)]) for m in range(1, lmax + 1)]
    return matrix(0, 0), higher


def frame_components(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """(degree, order) of the components in an edge's frame, in order: m = 0, +1, -1, +2, -2, ..., degrees ascending."""
    orders: Sequence[int] = [0, *(sign * order for order in range(1, mmax + 1) for sign in (1, -1))]
    return [(degree, order) for order in orders for degree in range(abs(order), lmax + 1)]


@constant_tables
def _order_major(lmax: int, mmax: int) -> tuple[np.ndarray, ...]:
    """Which component by degree stands at each place by order, and the other way round."""
    degree_major = [(d, m) for d in range(lmax + 1) for m in range(-min(d, mmax), min(d, mmax) + 1)]
    place = {component: index for index, component in enumerate(degree_major)}
    forward = np.array([place[component] for component in frame_components(lmax, mmax)])
    return forward, np.argsort(forward)


@constant_tables
def _pair_of_component(lmax: int, mmax: int) -> tuple[np.ndarray, ...]:
    pairs = {(d, m): k for k, (d, m) in enumerate((d, m) for d, m in frame_components(lmax, mmax) if m >= 0)}
    return (np.array([pairs[degree, abs(order)] for degree, order in frame_components(lmax, mmax)]),)

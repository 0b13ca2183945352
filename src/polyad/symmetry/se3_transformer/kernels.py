"""Kernels on edges: the linear maps between features that turn with the offset of two points.

    W^{lk}(x) = sum over J of phi_J sum over m of Y_Jm(x / |x|) Q^{lk}_Jm

The sum over m depends on the geometry alone: it is done once for all layers (`EdgeBasis`). A layer first couples the
features with it, which costs no weights, and then mixes paths and channels by the strengths phi of every edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics


@final
@dataclass(frozen=True, eq=False)
class EdgeBasis:
    """Harmonics of edges coupled to matrices from degree k to all degrees l, at hand for several layers.

    Args:
        lmax: largest degree k and l.
        reflections: whether only paths with even J + k + l are there.
        lengths: (edges,) of the offsets, bounded from below.
        blocks: for every k, (edges, 2k + 1, columns): columns run over l, then J, then the orders of l.
    """

    lmax: int
    reflections: bool
    lengths: Float[Tensor, " edges"]
    blocks: tuple[Tensor, ...]

    @staticmethod
    def from_offsets(
        offsets: Float[Tensor, "edges 3"],
        lmax: int,
        *,
        reflections: bool = False,
        shortest: float = 1e-3,
        detach: bool = False,
    ) -> EdgeBasis:
        """The basis of offsets x_j - x_i.

        Args:
            offsets: of the edges.
            lmax: largest degree of features.
            reflections: keep even J + k + l only.
            shortest: offsets are divided by their length or this, whichever is larger, so that the basis is smooth
                where points coincide; its derivatives are up to lmax / `shortest` there.
            detach: cut the gradient through the harmonics; the one through `lengths` stays.
        """
        if lmax < 0 or not (math.isfinite(shortest) and shortest > 0):
            raise InputError(f"EdgeBasis: lmax {lmax}, shortest {shortest}; give lmax >= 0 and a positive length")
        lengths = offsets.square().sum(-1).clamp_min(shortest**2).sqrt()
        directions = offsets / lengths[:, None]
        if detach:
            directions = directions.detach()
        harmonics = spherical_harmonics(directions, 2 * lmax, normalization="component", solid=True)
        blocks = []
        for degree in range(lmax + 1):
            (table,) = _coupling_table(harmonics, degree, lmax, reflections)
            blocks.append((harmonics @ table).unflatten(-1, (2 * degree + 1, table.shape[1] // (2 * degree + 1))))
        return EdgeBasis(lmax, reflections, lengths, tuple(blocks))


@final
class EdgeKernel(nn.Module):
    """W f on every edge, with strengths from a perceptron of the edge's invariants.

    Args:
        channels_in: of the features, for every degree.
        channels_out: of the result, for degrees 0, 1, ... in turn.
        degree_in: largest degree of the features.
        invariants: scalars of an edge.
        hidden: width of the perceptron's two hidden layers.
        reflections: as in the basis.
        generator: of the weights; results of features with variance 1 have variance near 1.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: Sequence[int],
        degree_in: int,
        *,
        invariants: int,
        hidden: int = 32,
        reflections: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.channels_in, self.channels_out, self.degree_in = channels_in, tuple(channels_out), degree_in
        self.reflections = reflections
        self.paths = [
            [len(_couplings(k, degree, reflections)) for k in range(degree_in + 1)]
            for degree in range(len(self.channels_out))
        ]
        self.fans = [channels_in * sum(counts) for counts in self.paths]
        self.sizes = [count * fan for count, fan in zip(self.channels_out, self.fans, strict=True)]
        widths = [(invariants, hidden), (hidden, hidden), (hidden, sum(self.sizes))]
        first, second, last = (nn.utils.skip_init(nn.Linear, *width) for width in widths)
        with torch.no_grad():
            for layer in (first, second, last):
                layer.weight.normal_(std=1 / math.sqrt(layer.in_features), generator=generator)
                layer.bias.normal_(std=0.5, generator=generator)
            for weight, bias, fan in zip(
                last.weight.split(self.sizes), last.bias.split(self.sizes), self.fans, strict=True
            ):
                weight.mul_(2 / math.sqrt(fan))  # hidden units have a mean square near a quarter
                bias.mul_(1 / math.sqrt(fan))
        self.strength = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)

    def strengths(self, invariants: Float[Tensor, "edges n"]) -> list[Tensor]:
        """phi for every degree l, (edges, c_out, c_in paths): the last axis runs over k, then c_in, then J."""
        parts = self.strength(invariants).split(self.sizes, dim=-1)
        shapes = zip(self.channels_out, self.fans, strict=True)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def forward(
        self, features: Float[Tensor, "edges c_in harmonics"], basis: EdgeBasis, invariants: Float[Tensor, "edges n"]
    ) -> list[Tensor]:
        """The image of the features that edges carry, (edges, c_out, 2l + 1) for every degree l.

        Raises:
            InputError: features or a basis that this kernel is not made for.
        """
        degrees = range(len(self.channels_out))
        if features.shape[1:] != (self.channels_in, (self.degree_in + 1) ** 2):
            raise InputError(
                f"features: {features.shape[1]} channels of {features.shape[2]} components; this kernel takes "
                f"{self.channels_in} of {(self.degree_in + 1) ** 2}"
            )
        if basis.reflections != self.reflections or basis.lmax < max(self.degree_in, degrees[-1]):
            raise InputError(
                f"basis: lmax {basis.lmax}, reflections {basis.reflections}; this kernel needs lmax >= "
                f"{max(self.degree_in, degrees[-1])} and reflections {self.reflections}"
            )
        pieces: list[list[Tensor]] = [[] for _ in degrees]
        for k, place in enumerate(degree_slices(self.degree_in)):
            widths = [self.paths[degree][k] * (2 * degree + 1) for degree in degrees]
            coupled = features[..., place] @ basis.blocks[k][..., : sum(widths)]
            for degree, part in zip(degrees, coupled.split(widths, dim=-1), strict=True):
                pieces[degree].append(part.unflatten(-1, (self.paths[degree][k], 2 * degree + 1)).flatten(1, 2))
        strengths = self.strengths(invariants)
        return [phi @ torch.cat(parts, dim=1) for phi, parts in zip(strengths, pieces, strict=True)]


def _couplings(k: int, degree: int, reflections: bool) -> list[int]:
    """The degrees J of harmonics that take degree k to `degree`."""
    return list(range(abs(k - degree), k + degree + 1, 2 if reflections else 1))


@constant_tables
def _coupling_table(k: int, lmax: int, reflections: bool) -> tuple[np.ndarray, ...]:
    """(harmonics of degrees to 2 lmax, orders of k times columns): Clebsch-Gordan blocks of all l and J."""
    columns = []
    for degree in range(lmax + 1):
        for coupling in _couplings(k, degree, reflections):
            block = np.zeros(((2 * lmax + 1) ** 2, 2 * k + 1, 2 * degree + 1))
            place = slice(coupling**2, (coupling + 1) ** 2)
            block[place] = clebsch_gordan(k, coupling, degree).numpy().transpose(1, 0, 2)
            columns.append(block)
    table = np.concatenate(columns, axis=2)
    return (np.ascontiguousarray(table.reshape(len(table), -1)),)

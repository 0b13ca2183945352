"""Dense Clebsch-Gordan convolutions, as fast as they get.

Couplings meet the harmonics first, once for all channels; channels are mixed on the side, before or after the coupling,
that has fewer orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.edge_scales import EdgeScales
from polyad.symmetry.feature_grid import FeatureGrid
from polyad.symmetry.so2 import EdgeFrames
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics


def dense_paths(lmax: int, *, filter_degree: int | None = None) -> list[tuple[int, int, int]]:
    """(l1, l2, l3) of all couplings of features to lmax with filters of degree l2, to 2 lmax if not told otherwise."""
    reach = 2 * lmax if filter_degree is None else filter_degree
    degrees = range(lmax + 1)
    return [(a, b, c) for a in degrees for c in degrees for b in range(abs(a - c), min(a + c, reach) + 1)]


def dense_multiply_adds(lmax: int, channels: int) -> float:
    """Of one edge with the full coupling block of every path and a matrix over the channels for it."""
    return float(
        sum(
            channels * (2 * a + 1) * (2 * b + 1) * (2 * c + 1) + channels**2 * (2 * c + 1)
            for a, b, c in dense_paths(lmax)
        )
    )


@final
class DenseFilters(nn.Module):
    """C(l1, l2, l3) Y_l2 of every edge, for each pair (l1, l3), as the matrices that `DenseConvolution` takes."""

    def __init__(self, lmax: int, *, filter_degree: int | None = None) -> None:
        super().__init__()
        self.paths = dense_paths(lmax, filter_degree=filter_degree)
        self.reach = max(b for _, b, _ in self.paths)
        self.blocks: dict[tuple[int, int], Tensor] = {}
        for pair in dict.fromkeys((a, c) for a, _, c in self.paths):
            # the harmonics of all its paths lie side by side, from |l1 - l3| up
            parts = [clebsch_gordan(a, b, c) for a, b, c in self.paths if (a, c) == pair]
            blocks = [part.permute(1, 2, 0) for part in parts]
            joined = torch.block_diag(*(block.flatten(1) for block in blocks))
            self.register_buffer(f"block_{pair[0]}_{pair[1]}", joined.float(), persistent=False)

    def forward(self, directions: Tensor) -> dict[tuple[int, int], Tensor]:
        """The filters of edges (edges, 3)."""
        harmonics = spherical_harmonics(directions, self.reach)
        found = {}
        for a, c in dict.fromkeys((a, c) for a, _, c in self.paths):
            block: Tensor = getattr(self, f"block_{a}_{c}")
            low = abs(a - c) ** 2
            values = harmonics[:, low : low + block.shape[0]] @ block
            whole = values.view(len(directions), -1, 2 * c + 1, 2 * a + 1)
            found[a, c] = whole.transpose(1, 2).flatten(2) if a < c else whole.flatten(1, 2)
        return found


@final
class DenseConvolution(nn.Module):
    """y[l3] = sum over paths of W (C Y) x[l1], features (edges, harmonics, channels), a matrix over channels a path."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax: int,
        *,
        generator: torch.Generator,
        filter_degree: int | None = None,
    ) -> None:
        super().__init__()
        self.lmax, self.channels_out = lmax, channels_out
        self.weights = nn.ParameterDict()
        paths = dense_paths(lmax, filter_degree=filter_degree)
        for c in range(lmax + 1):
            fan = sum(1 for path in paths if path[2] == c) * channels_in
            for a in range(lmax + 1):
                count = sum(1 for path in paths if (path[0], path[2]) == (a, c))
                # |C Y|^2 summed over the filter is 1 / 4 pi on the average
                size = math.sqrt(4 * math.pi / fan)
                self.weights[f"{a}-{c}"] = nn.Parameter(
                    size * torch.randn(channels_out, count, channels_in, generator=generator)
                )
        self.bias = nn.Parameter(torch.zeros(channels_out))

    @torch.no_grad()
    def set_paths(self, paths: Mapping[tuple[int, int, int], Tensor]) -> None:
        """Take weights (channels_out, channels_in) of single paths."""
        for name, weight in self.weights.items():
            a, c = (int(part) for part in name.split("-"))
            weight.copy_(torch.stack([w for (i, _, o), w in paths.items() if (i, o) == (a, c)], dim=1))

    def forward(self, features: Tensor, filters: Mapping[tuple[int, int], Tensor]) -> Tensor:
        """The images of all edges' features."""
        edges, places = len(features), degree_slices(self.lmax)
        out = []
        for c in range(self.lmax + 1):
            total = features.new_zeros(edges, 2 * c + 1, self.channels_out)
            for a in range(self.lmax + 1):
                weight = self.weights[f"{a}-{c}"]
                if a < c:  # channels first: (edges, l1 orders, out, paths) -> (edges, paths and l1 orders, out)
                    mixed = (features[:, places[a]] @ weight.transpose(0, 1).flatten(0, 1).T).unflatten(
                        -1, (-1, self.channels_out)
                    )
                    total = total + filters[a, c] @ mixed.transpose(1, 2).flatten(1, 2)
                    continue
                filtered = filters[a, c] @ features[:, places[a]]
                paths = filtered.view(edges, weight.shape[1], 2 * c + 1, -1).transpose(1, 2).flatten(2)
                total = total + paths @ weight.flatten(1).T
            out.append(total)
        out[0] = out[0] + self.bias
        return torch.cat(out, dim=1)


@final
class DenseMessage(nn.Module):
    """The twin of an `ESCNMessage`: its two convolutions dense, all else alike; one weight a path, where SO(2) maps
    have one a pair of degrees and order."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        lmax: int,
        *,
        filters: DenseFilters,
        filter_degree: int,
        degree: int,
        edge_features: int,
        edge_hidden: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.filters, self.grid, self.lmax = filters, FeatureGrid(lmax, degree), lmax
        self.first, self.second = (
            DenseConvolution(a, b, lmax, filter_degree=filter_degree, generator=generator)
            for a, b in ((2 * channels, hidden), (hidden, channels))
        )
        self.scales = nn.ModuleList(
            EdgeScales(edge_features, lmax + 1, c, hidden=edge_hidden) for c in (2 * channels, hidden)
        )
        self.known: tuple[EdgeFrames, dict[tuple[int, int], Tensor]] | None = None

    def forward(self, features: Tensor, edge_index: Tensor, frames: EdgeFrames, edge_features: Tensor) -> Tensor:
        """Messages of all edges; the filters are made once a graph."""
        filters = self.filters_of(frames)
        source, target = (features.index_select(0, end) for end in edge_index)
        orders = torch.arange(self.lmax + 1).repeat_interleave(2 * torch.arange(self.lmax + 1) + 1)
        first, second = (scale(edge_features).index_select(1, orders) for scale in self.scales)
        hidden = self.first(torch.cat([source, target], dim=-1) * first, filters)
        hidden = self.grid.from_grid(nn.functional.silu(self.grid.to_grid(hidden)))
        image: Tensor = self.second(hidden * second, filters)
        return image

    def filters_of(self, frames: EdgeFrames) -> dict[tuple[int, int], Tensor]:
        """The filters along the edges that these frames turn to the pole."""
        if self.known is None or self.known[0] is not frames:
            middle = frames.blocks[1].shape[1] // 2
            directions = frames.blocks[1][:, middle][:, [2, 0, 1]]  # the turn's third row is the direction, as y, z, x
            self.known = (frames, self.filters(directions))
        return self.known[1]

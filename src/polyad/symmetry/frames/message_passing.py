"""Message passing on raw coordinates, made equivariant by one frame of the whole structure.

A layer sees scalars and vectors of nodes, in the axes of the frame simply as numbers h = (scalars, vectors):

    m_ij = phi(h_i, h_j, r_ij, |r_ij|^2, a_ij),        h_i <- h_i + psi(h_i, sum over j of m_ij)

with r_ij = x_i - x_j in the axes of the frame and a_ij given scalars of the edge.
The frame comes from the input positions and is shared by all layers. Either the network as a whole is averaged over it,
or every layer for itself, between which scalars and vectors are the usual invariant and equivariant features.

Source: O. Puny et al., ICLR 2022, arXiv:2110.03336, section 3.3 (FA-GNN for motions of particles).

*When not to use it*: large structures of independent parts: the frame is global, so far atoms turn the axes of all.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.frames.euclidean import EuclideanFrames, euclidean_frames
from polyad.symmetry.initialisation import seeded


@final
class FAMessagePassing(nn.Module):
    """FA-MPNN: from positions, further vectors and scalars of nodes to vectors and scalars of nodes.

    Args:
        scalars: features that a node comes with.
        vectors: vectors that a node comes with beside its position, such as its velocity.
        edge_scalars: features that an edge comes with.
        channels: numbers that a node carries; a multiple of 4 where layers are averaged, which makes channels / 4
            scalars and channels / 4 vectors of them.
        layers: rounds of messages.
        out_scalars: invariants that a node leaves with.
        out_vectors: vectors that a node leaves with.
        average: "network" averages the whole, "layers" each layer, "none" nothing, the bare backbone.
        group: "E" or "SE"; vectors are then free of translations, and positions enter relative to the centroid.
        samples: elements of the frame drawn in training, where the whole is averaged; None takes all. (Averages of
            single layers are nested, so a draw is no estimate of them: trained so, n-body errors were 25 times larger.)
        detach: take frames as constants in gradients.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        scalars: int = 1,
        vectors: int = 1,
        edge_scalars: int = 0,
        channels: int = 60,
        layers: int = 4,
        out_scalars: int = 0,
        out_vectors: int = 1,
        average: str = "network",
        group: str = "E",
        samples: int | None = None,
        detach: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(channels, layers, out_scalars + out_vectors) < 1 or min(scalars, vectors, edge_scalars) < 0:
            raise InputError(
                f"FAMessagePassing: scalars {scalars}, vectors {vectors}, edge_scalars {edge_scalars}, channels "
                f"{channels}, layers {layers}, out_scalars {out_scalars}, out_vectors {out_vectors}"
            )
        if average not in ("network", "layers", "none") or group not in ("E", "SE"):
            raise InputError(
                f"FAMessagePassing: average {average!r}, group {group!r}; allowed are network, layers, none and E, SE"
            )
        if average == "layers" and channels % 4:
            raise InputError(f"channels: {channels} are not shared by scalars and vectors; give a multiple of 4")
        if average == "layers" and samples is not None:
            raise InputError("samples: with few frames every layer is another function than its average; use 'network'")
        if samples is not None and samples < 1:
            raise InputError(f"samples: {samples} was given; draw at least 1, or None for the full frame")
        self.inputs, self.outputs = (scalars, vectors + 1), (out_scalars, out_vectors)
        self.average, self.group, self.samples, self.detach = average, group, samples, detach
        self.carried = channels // 4
        with seeded(seed):
            self.embedding = nn.Linear(scalars + 3 * (vectors + 1), channels)
            self.layers = nn.ModuleList(_Layer(channels, edge_scalars + 4) for _ in range(layers))
            self.head = _perceptron(channels, channels, out_scalars + 3 * out_vectors)

    def forward(
        self,
        scalars: Float[Tensor, "nodes s"],
        positions: Float[Tensor, "nodes 3"],
        vectors: Float[Tensor, "nodes v 3"],
        edge_index: Int[Tensor, "2 edges"],
        structure: Int[Tensor, " nodes"],
        edge_scalars: Float[Tensor, "edges e"] | None = None,
        *,
        num_structures: int | None = None,
    ) -> tuple[Float[Tensor, "nodes out_scalars"], Float[Tensor, "nodes out_vectors 3"]]:
        """Scalars and vectors of every node; edges run from source to target.

        Raises:
            InputError: another number of features than the network was made for; and what `euclidean_frames` refuses.
        """
        given = (scalars.shape[1], vectors.shape[1] + 1)
        if given != self.inputs:
            raise InputError(
                f"FAMessagePassing: {given[0]} scalars and {given[1] - 1} vectors were given; "
                f"the network takes {self.inputs[0]} and {self.inputs[1] - 1}"
            )
        frames = self._frames(positions, structure, num_structures)
        vectors = torch.cat([(positions - frames.translation[structure])[:, None], vectors], dim=1)
        along = frames.to_frame(vectors[:, 0], "vector")
        along = along.index_select(-2, edge_index[1]) - along.index_select(-2, edge_index[0])
        edges = [along, along.square().sum(-1, keepdim=True)]
        if edge_scalars is not None:
            edges.append(frames.to_frame(edge_scalars, "scalar"))
        seen = torch.cat(edges, dim=-1)
        state = self.embedding(_numbers(frames, scalars, vectors))
        for layer in self.layers:
            if self.average == "layers":
                state = _numbers(frames, *_average(frames, state, self.carried))
            state = layer(state, edge_index, seen)
        return _average(frames, self.head(state), self.outputs[0])

    def _frames(self, positions: Tensor, structure: Tensor, count: int | None) -> EuclideanFrames:
        if self.average == "none":
            return _centred(positions, structure, count)
        frames = euclidean_frames(positions, structure, num_structures=count, group=self.group, detach=self.detach)
        return frames.sample(self.samples) if self.training and self.samples is not None else frames


class _Layer(nn.Module):
    """One round of messages along any leading axes."""

    def __init__(self, channels: int, edges: int) -> None:
        super().__init__()
        self.message = nn.Sequential(
            nn.Linear(2 * channels + edges, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )
        self.update = _perceptron(2 * channels, channels, channels)

    def forward(self, state: Tensor, edge_index: Tensor, edges: Tensor) -> Tensor:
        ends = [state.index_select(-2, edge_index[1]), state.index_select(-2, edge_index[0])]
        message = self.message(torch.cat([*ends, edges], dim=-1))
        received = torch.zeros_like(state).index_add(-2, edge_index[1], message)
        return state + self.update(torch.cat([state, received], dim=-1))


def _numbers(frames: EuclideanFrames, scalars: Tensor, vectors: Tensor) -> Tensor:
    """(elements, nodes, s + 3 v) scalars and components in the axes of every element."""
    seen = frames.to_frame(vectors, "vector")
    return torch.cat([frames.to_frame(scalars, "scalar"), seen.flatten(-2)], dim=-1)


def _average(frames: EuclideanFrames, numbers: Tensor, scalars: int) -> tuple[Tensor, Tensor]:
    """Means of scalars and vectors from their numbers in every element; the inverse of `_numbers`."""
    components = numbers[..., scalars:]
    components = components.unflatten(-1, (components.shape[-1] // 3, 3))
    return frames.average(numbers[..., :scalars], "scalar"), frames.average(components, "vector")


def _centred(positions: Tensor, structure: Tensor, count: int | None) -> EuclideanFrames:
    """The centroids, and the axes in which the coordinates came."""
    count = int(structure.max()) + 1 if count is None else count
    nodes = torch.bincount(structure, minlength=count).clamp_min(1).to(positions.dtype)
    centroid = positions.new_zeros(count, 3).index_add(0, structure, positions) / nodes[:, None]
    axes = torch.eye(3, dtype=positions.dtype, device=positions.device).expand(1, count, 3, 3)
    return EuclideanFrames(axes, centroid, structure, torch.zeros(count, dtype=torch.bool, device=positions.device))


def _perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))

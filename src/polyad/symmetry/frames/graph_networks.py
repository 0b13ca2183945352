"""Networks on graphs that distinguish nodes by their number, and their averages over the graph's frame.

    perceptron    the flattened adjacency matrix through linear layers
    GIN           h_i <- perceptron((1 + epsilon) h_i + sum over neighbours j of h_j), read out by a sum over nodes;
                  with identity features every node starts as its own unit vector

Neither the perceptron nor the GIN with identities is invariant under relabelling; averaged over the frame both are, and
see more than message passing without identities, which is bounded by colour refinement.

Sources: K. Xu, W. Hu, J. Leskovec and S. Jegelka, How Powerful are Graph Neural Networks?, ICLR 2019, arXiv:1810.00826;
O. Puny et al., ICLR 2022, arXiv:2110.03336, section 4.

*Deviations*: epsilon must not be 0 with identity features, for then a node and its neighbour enter the first sum
alike: N(i) + i is a set that two nodes can share, and graphs merge. It is 0.3 by default and learned.
"""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.frames.averaging import FrameAverage, frame_average
from polyad.symmetry.frames.permutation import MAXIMUM_ELEMENTS, permutation_frames
from polyad.symmetry.initialisation import seeded


@final
class GraphPerceptron(nn.Module):
    """A perceptron on flattened adjacency matrices; not invariant under relabelling.

    Args:
        nodes: of every graph.
        channels: width.
        layers: hidden layers.
        outputs: numbers for a graph.
        seed: of the weights.
    """

    def __init__(self, *, nodes: int, channels: int = 64, layers: int = 2, outputs: int = 10, seed: int = 0) -> None:
        super().__init__()
        if min(nodes, channels, layers, outputs) < 1:
            raise InputError(f"GraphPerceptron: {nodes} nodes, {channels} channels, {layers} layers, {outputs} outputs")
        with seeded(seed):
            self.layers = _perceptron(nodes * nodes, channels, outputs, hidden=layers)

    def forward(self, adjacency: Float[Tensor, "*batch nodes nodes"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs for every graph."""
        return self.layers(adjacency.flatten(-2))


@final
class GraphIsomorphismNetwork(nn.Module):
    """GIN on adjacency matrices.

    Args:
        nodes: of every graph; None starts all nodes alike, with the constant feature 1, for graphs of any size.
        channels: width.
        layers: rounds of messages.
        outputs: numbers for a graph.
        epsilon: start of the learned weight of a node itself.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        nodes: int | None,
        channels: int = 32,
        layers: int = 3,
        outputs: int = 10,
        epsilon: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(channels, layers, outputs, 1 if nodes is None else nodes) < 1:
            raise InputError(f"GIN: {nodes} nodes, {channels} channels, {layers} layers, {outputs} outputs")
        if nodes is not None and epsilon == 0:
            raise InputError("epsilon: 0 merges a node with its neighbours where nodes have identities; give another")
        self.nodes = nodes
        with seeded(seed):
            sizes = [nodes or 1] + [channels] * layers
            self.updates = nn.ModuleList(_perceptron(size, channels, channels) for size in sizes[:-1])
            self.epsilon = nn.Parameter(torch.full((layers,), float(epsilon)))
            self.head = nn.Linear(channels, outputs)

    def forward(self, adjacency: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs for every graph.

        Raises:
            InputError: graphs of another number of nodes than the network has identities for.
        """
        count = adjacency.shape[-1]
        if self.nodes is None:
            features = adjacency.new_ones(*adjacency.shape[:-1], 1)
        elif self.nodes != count:
            raise InputError(f"GIN: graphs have {count} nodes; this network has identities for {self.nodes}")
        else:
            features = torch.eye(count, dtype=adjacency.dtype, device=adjacency.device)
        for update, epsilon in zip(self.updates, self.epsilon, strict=True):
            features = update((1 + epsilon) * features + adjacency @ features)
        return self.head(features.sum(-2))


def fa_mlp(
    *,
    nodes: int,
    channels: int = 64,
    layers: int = 2,
    outputs: int = 10,
    samples: int | None = None,
    maximum: int = MAXIMUM_ELEMENTS,
    seed: int = 0,
) -> FrameAverage:
    """Invariant perceptron: `GraphPerceptron` averaged over frames; takes (graphs, nodes, nodes).

    Args:
        nodes, channels, layers, outputs, seed: as of `GraphPerceptron`.
        samples: elements drawn in training, and for graphs whose frame is larger than `maximum`; None takes all.
        maximum: elements of one graph's frame that are listed.
    """
    backbone = GraphPerceptron(nodes=nodes, channels=channels, layers=layers, outputs=outputs, seed=seed)
    return _invariant(backbone, samples, maximum)


def fa_gnn(
    *,
    nodes: int,
    channels: int = 32,
    layers: int = 3,
    outputs: int = 10,
    epsilon: float = 0.3,
    samples: int | None = None,
    maximum: int = MAXIMUM_ELEMENTS,
    seed: int = 0,
) -> FrameAverage:
    """Invariant GIN with identities: `GraphIsomorphismNetwork` averaged over frames; takes (graphs, nodes, nodes).

    Args:
        nodes, channels, layers, outputs, epsilon, seed: as of `GraphIsomorphismNetwork`.
        samples: elements drawn in training, and for graphs whose frame is larger than `maximum`; None takes all.
        maximum: elements of one graph's frame that are listed.
    """
    backbone = GraphIsomorphismNetwork(
        nodes=nodes, channels=channels, layers=layers, outputs=outputs, epsilon=epsilon, seed=seed
    )
    return _invariant(backbone, samples, maximum)


def _invariant(backbone: nn.Module, samples: int | None, maximum: int) -> FrameAverage:
    frame = partial(permutation_frames, merged=True, samples=samples, maximum=maximum)
    return frame_average(backbone, frame, ("edges",), "scalar", samples=samples, together=True)


def _perceptron(size: int, channels: int, outputs: int, *, hidden: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in [size, *[channels] * (hidden - 1)]:
        layers += [nn.Linear(width, channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(channels, outputs))

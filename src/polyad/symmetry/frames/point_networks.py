"""Networks on raw coordinates of points, and their averages over Euclidean frames.

    PointNet    a perceptron on every point, the maximum over the cloud beside it, another perceptron
    DGCNN       edge convolutions h_i <- max over the k nearest j of perceptron(h_i, h_j - h_i), nearest in the features
                of the layer; then as PointNet

Averaged over the frame of the cloud they give invariants, or vectors such as normals, that turn with it.

Sources: C. R. Qi et al., PointNet, CVPR 2017, arXiv:1612.00593; Y. Wang et al., Dynamic Graph CNN for Learning on Point
Clouds, ACM Trans. Graph. 38 (2019) 146, arXiv:1801.07829; O. Puny et al., ICLR 2022, arXiv:2110.03336.

*Deviations*: no batch normalisation and no learned alignment of the input; the frame aligns it.

*When not to use it*: DGCNN on many points at once: it looks at the distances of all pairs of all clouds.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.frames.averaging import FrameAverage, frame_average
from polyad.symmetry.frames.euclidean import EuclideanFrames, euclidean_frames
from polyad.symmetry.initialisation import seeded


@final
class PointNet(nn.Module):
    """Features of every point from its coordinates and the cloud's maximum; not equivariant by itself.

    Args:
        inputs: coordinates of a point.
        channels: width.
        outputs: numbers for every point.
        seed: of the weights.
    """

    def __init__(self, *, inputs: int = 3, channels: int = 64, outputs: int = 3, seed: int = 0) -> None:
        super().__init__()
        if min(inputs, channels, outputs) < 1:
            raise InputError(f"PointNet: {inputs} inputs, {channels} channels, {outputs} outputs")
        with seeded(seed):
            self.local = _perceptron(inputs, channels, channels)
            self.deep = _perceptron(channels, channels, channels)
            self.head = _perceptron(2 * channels, channels, outputs)

    def forward(
        self, points: Float[Tensor, "*batch points d"], structure: Int[Tensor, " points"]
    ) -> Float[Tensor, "*batch points outputs"]:
        """Outputs for the points of all clouds."""
        features = self.local(points)
        return self.head(_with_maximum(features, self.deep(features), structure))


@final
class DGCNN(nn.Module):
    """Edge convolutions over nearest neighbours in feature space; not equivariant by itself.

    Args:
        inputs: coordinates of a point.
        channels: width.
        layers: edge convolutions.
        neighbors: nearest points that a point looks at, itself among them; clouds have at least as many points.
        outputs: numbers for every point.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        inputs: int = 3,
        channels: int = 64,
        layers: int = 3,
        neighbors: int = 8,
        outputs: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(inputs, channels, layers, neighbors, outputs) < 1:
            raise InputError(
                f"DGCNN: {inputs} inputs, {channels} channels, {layers} layers, {neighbors} neighbors, {outputs} out"
            )
        self.neighbors = neighbors
        with seeded(seed):
            sizes = [inputs] + [channels] * (layers - 1)
            self.convolutions = nn.ModuleList(_perceptron(2 * size, channels, channels) for size in sizes)
            self.deep = _perceptron(layers * channels, channels, channels)
            self.head = _perceptron((layers + 1) * channels, channels, outputs)

    def forward(
        self, points: Float[Tensor, "*batch points d"], structure: Int[Tensor, " points"]
    ) -> Float[Tensor, "*batch points outputs"]:
        """Outputs for the points of all clouds.

        Raises:
            InputError: a cloud with fewer points than there are neighbours to look at.
        """
        sizes = torch.bincount(structure)
        if len(sizes) and int(sizes[sizes > 0].min()) < self.neighbors:
            raise InputError(f"DGCNN: a cloud has fewer points than the {self.neighbors} neighbors to look at")
        apart = structure[:, None] != structure
        features, seen = points, []
        for convolution in self.convolutions:
            with torch.no_grad():
                distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
                near = distance.masked_fill(apart, torch.inf).topk(self.neighbors, dim=-1, largest=False).indices
            own = features[..., None, :]
            other = torch.take_along_dim(own, near.flatten(-2)[..., None, None], dim=-3)
            other = other.view(*near.shape, features.shape[-1])
            own = own.expand_as(other)
            features = convolution(torch.cat([own, other - own], dim=-1)).amax(-2)
            seen.append(features)
        every = torch.cat(seen, dim=-1)
        return self.head(_with_maximum(every, self.deep(every), structure))


def fa_point_net(
    *,
    output: str = "vector",
    outputs: int = 8,
    channels: int = 64,
    group: str = "E",
    samples: int | None = None,
    seed: int = 0,
) -> FrameAverage:
    """`PointNet` in space averaged over frames; takes positions (points, 3) and structure (points,).

    Args:
        output: what a point gets: one "vector" or "position", or `outputs` invariants ("scalar").
        outputs: how many invariants.
        channels, seed: as of `PointNet`.
        group: "E", "SE", "O" or "SO".
        samples: elements of the frame drawn in training; None takes all.
    """
    backbone = PointNet(channels=channels, outputs=outputs if output == "scalar" else 3, seed=seed)
    return _averaged(backbone, output, group, samples)


def fa_dgcnn(
    *,
    output: str = "vector",
    outputs: int = 8,
    channels: int = 64,
    layers: int = 3,
    neighbors: int = 8,
    group: str = "E",
    samples: int | None = None,
    seed: int = 0,
) -> FrameAverage:
    """`DGCNN` in space averaged over frames; takes positions (points, 3) and structure (points,).

    Args:
        output: what a point gets: one "vector" or "position", or `outputs` invariants ("scalar").
        outputs: how many invariants.
        channels, layers, neighbors, seed: as of `DGCNN`.
        group: "E", "SE", "O" or "SO".
        samples: elements of the frame drawn in training; None takes all.
    """
    width = outputs if output == "scalar" else 3
    backbone = DGCNN(channels=channels, layers=layers, neighbors=neighbors, outputs=width, seed=seed)
    return _averaged(backbone, output, group, samples)


def _averaged(backbone: nn.Module, output: str, group: str, samples: int | None) -> FrameAverage:
    def frame(positions: Tensor, structure: Tensor) -> EuclideanFrames:
        return euclidean_frames(positions, structure, group=group)

    return frame_average(backbone, frame, ("position", None), output, samples=samples, together=True)


def _with_maximum(features: Tensor, deep: Tensor, structure: Tensor) -> Tensor:
    """The features of every point beside the maximum of its cloud's deep ones."""
    count = int(structure.max()) + 1 if len(structure) else 0
    index = structure.view(-1, 1).expand(deep.shape)
    most = deep.new_full((*deep.shape[:-2], count, deep.shape[-1]), -torch.inf)
    most = most.scatter_reduce(-2, index, deep, "amax")
    return torch.cat([features, most.index_select(-2, structure)], dim=-1)


def _perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))

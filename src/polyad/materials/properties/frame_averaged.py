"""Crystal-graph networks made exactly equivariant from outside: seen in the principal axes of each structure.

    y(X) = mean over the frame's elements R of D(R) f(R' X)

with f a network that sees edge directions as plain numbers (`CGC`, `NNConv`), D the representation of its outputs,
and the frame the eight systems of axes of the covariance of edge vectors. In training one element is drawn for every
structure and step, which costs one pass and is right in expectation; predictions average over all.

Sources: O. Puny et al., ICLR 2022, arXiv:2110.03336 (frames); A. Duval et al., ICML 2023, arXiv:2305.05577 (one draw,
crystals).

*When not to use it*: for cubic cells and others with equal principal moments, whose axes are not unique: there a
warning is given, and the result depends on how the structure lies.
"""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.crystal_graph import CGC, NNConv
from polyad.symmetry.frames.structures import FrameAveraged
from polyad.symmetry.irreps import Irreps

BACKBONES = ("cgc", "nnconv")
"""Networks that can be averaged."""


@final
class FrameAveragedCrystalGraph(nn.Module):
    """A crystal-graph network averaged over frames, `PointGraph` -> (structures, out.dim).

    Args:
        kinds: number of elements; lattices have one.
        cutoff: of the neighbour list: length up to which the length basis and the covariance's weights reach.
        out: irreps of the result.
        backbone: "cgc" or "nnconv".
        frames: in training, "stochastic" for one element drawn a step, "full" for all eight.
        neighbors: mean number of edges that end in a node.
        radius: largest strut radius; None for structures without one.
        width: numbers on a node; None for the backbone's own.
        layers: convolutions.
        seed: of weights and draws.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps,
        backbone: str = "cgc",
        frames: str = "stochastic",
        neighbors: float = 4.0,
        radius: float | None = None,
        width: int | None = None,
        layers: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES or frames not in ("stochastic", "full"):
            raise InputError(
                f"backbone {backbone!r}, frames {frames!r}: allowed are {', '.join(BACKBONES)}, and stochastic or full"
            )
        build, own = (CGC, 128) if backbone == "cgc" else (NNConv, 32)
        network = build(
            kinds=kinds,
            cutoff=cutoff,
            out=out,
            neighbors=neighbors,
            radius=radius,
            width=own if width is None else width,
            layers=layers,
            seed=seed,
        )
        self.averaged = FrameAveraged(network, outputs=out, cutoff=cutoff, mode=frames, seed=seed)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures features"]:
        """The features of every structure."""
        return self.averaged(graph)

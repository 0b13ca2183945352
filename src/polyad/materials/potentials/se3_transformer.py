"""SE(3)-Transformer as a potential: atoms attend to their neighbours, and their last scalars give energies.

    h_i = embedding of the element -> layers of `polyad.symmetry.se3_transformer` -> scalars -> perceptron -> E_i

An edge's scalars are Bessel functions of its length. Attention ends smoothly at the cutoff: weights carry a window, and
the atom itself stands in the softmax's denominator, so energies and forces are continuous as neighbours come and go,
and an atom alone has the energy of its element. Only paths that keep reflections are there.

Source: F. B. Fuchs, D. E. Worrall, V. Fischer and M. Welling, SE(3)-Transformers, NeurIPS 2020, arXiv:2006.10503.

*Deviations*: in the nonlinearity SiLU replaces ReLU, whose kinks would be jumps of the forces, and `epsilon` is large:
features are not blown up where they vanish, by symmetry or because all neighbours are far.

*When not to use it*: where forces must be as exact as possible; attention averages over neighbours and counts them only
roughly. MACE and TensorNet sum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.radial import bessel
from polyad.symmetry.se3_transformer import SE3Transformer


@final
class SE3TransformerPotential(nn.Module):
    """The network, `PointGraph` -> (nodes,) energies.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        channels: copies of every irrep.
        lmax: largest degree of the features.
        layers: of attention.
        heads: of every layer; they divide the channels.
        radial: number of Bessel functions.
        hidden: width of the kernels' perceptrons.
        epsilon: of the nonlinearity.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        channels: int = 16,
        lmax: int = 2,
        layers: int = 3,
        heads: int = 4,
        radial: int = 8,
        hidden: int = 32,
        epsilon: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, radial) < 1:
            raise InputError(f"SE3TransformerPotential: {kinds} kinds, {radial} radial functions; give at least 1")
        self.cutoff, self.radial = float(cutoff), radial
        self.transformer = SE3Transformer(
            channels_in=channels,
            out=Irreps([(channels, "0e")]),
            channels=channels,
            lmax=lmax,
            layers=layers,
            heads=heads,
            edge_scalars=radial,
            hidden=hidden,
            reflections=True,
            cutoff=self.cutoff,
            epsilon=epsilon,
            activation=nn.functional.silu,
            seed=seed,
        )
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.energy = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))

    def forward(self, graph: PointGraph) -> Float[Tensor, " nodes"]:
        """The energy of every atom."""
        described = replace(graph, edge_scalars=bessel(graph.distances(), self.radial, self.cutoff))
        scalars: Tensor = self.transformer(self.element(graph.kind)[..., None], described)
        return self.energy(scalars)[:, 0]

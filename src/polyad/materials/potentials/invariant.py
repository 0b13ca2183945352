"""The baseline of equivariant potentials: atoms carry scalars, and messages depend on distances only.

    h_i <- h_i + perceptron( sum over j of phi(d_ij) f(d_ij) * (W h_j) )

with f a perceptron of the Gaussian basis and phi the cosine window: a continuous-filter convolution, a layer at a time.

Source: K. T. Schuett et al., SchNet, J. Chem. Phys. 148 (2018) 241722.

*When not to use it*: where angles matter. A layer cannot tell two environments with equal distances apart, and
chirality never shows.
"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import cosine_window, gaussian


@final
class InvariantNetwork(nn.Module):
    """Continuous-filter convolutions on scalars, `PointGraph` -> (nodes,) energies.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        channels: scalars on every atom.
        layers: rounds of messages.
        radial: size of the Gaussian basis.
        seed: of the weights.
    """

    def __init__(
        self, *, kinds: int, cutoff: float, channels: int = 128, layers: int = 3, radial: int = 50, seed: int = 0
    ) -> None:
        super().__init__()
        if min(kinds, channels, layers, radial - 1) < 1:
            raise InputError(f"InvariantNetwork: {kinds} kinds, {channels} channels, {layers} layers, {radial} radial")
        self.cutoff, self.radial = float(cutoff), radial
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.filters = nn.ModuleList(_perceptron(radial, channels, channels) for _ in range(layers))
            self.senders = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in range(layers))
            self.updates = nn.ModuleList(_perceptron(channels, channels, channels) for _ in range(layers))
            self.head = _perceptron(channels, channels // 2 or 1, 1)

    def forward(self, graph: PointGraph) -> Tensor:
        """The energy of every atom."""
        distance = graph.distances()
        basis, window = gaussian(distance, self.radial, self.cutoff), cosine_window(distance, self.cutoff)
        state = self.element(graph.kind)
        for filters, sender, update in zip(self.filters, self.senders, self.updates, strict=True):
            weights = filters(basis) * window[:, None]
            state = state + update(graph.sum_messages(weights * sender(state).index_select(0, graph.edge_index[0])))
        return self.head(state)[:, 0]


def _perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))

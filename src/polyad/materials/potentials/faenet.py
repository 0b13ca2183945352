"""FAENet: message passing on raw edge vectors, without symmetry, to be seen in frames.

    atom          h_i = linear(element, period, group, tag, physical properties)
    edge          e_ij = s(linear(r_ij) | linear(rbf(d_ij))),  r_ij the components in the axes of the frame
    interaction   f_ij = s(linear(e_ij, h_i, h_j)),  m_i = sum over j of w(d_ij) s(linear_down h_j) * f_ij,
                  h_i <- h_i + s(linear_up s(GraphNorm(m_i)))
    output        energy of an atom a(h_i) mlp(h_i), with a learned weight a; force of an atom: a perceptron of h_i

s is the swish. Nothing in it turns with the structure, so an edge costs a few products of matrices; symmetry comes from
outside: `FrameAveraged`, exact over all elements of the frame, or in expectation over one drawn at random.
`FrameAveragedFAENet` is the two together, as the table of potentials takes it.

Source: A. Duval, V. Schmidt, A. Hernandez-Garcia, S. Miret, F. D. Malliaros, Y. Bengio and D. Rolnick, FAENet: Frame
Averaging Equivariant GNN for Materials Modeling, ICML 2023, arXiv:2305.05577, section 4.

*Deviations*: messages end at the cutoff with a window w, without which energies jump there. Physical properties are
those of the element tables at hand: mass, covalent radius, van der Waals radius and whether it is a metal.

*When not to use it*: for trajectories that must conserve energy with stochastic frames; for structures with equal
principal moments; for extended systems of independent parts, as frames and GraphNorm see the whole structure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.frames.structures import FrameAveraged
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import cosine_window, gaussian

_NOBLE = (2, 10, 18, 36, 54, 86, 118)
_FRAMES = ("stochastic", "full", "augmented")


@final
class FAENet(nn.Module):
    """The network in one frame, `PointGraph` -> energies of atoms, and forces if asked for.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        channels: numbers on every atom.
        filters: numbers on every edge and in messages; by default as many as channels, rounded up to even.
        layers: interactions.
        radial: size of the Gaussian basis.
        species: atomic number of every kind, for period, group and physical properties; without it, only the learned
            embedding tells elements apart.
        tags: number of tags of atoms, such as bulk, surface and adsorbate; 0 for none.
        edge_layers: 2 puts a second linear layer with swish on the edges.
        force_head: also predict forces directly.
        seed: of the weights.
    """

    properties: Tensor
    place: Tensor

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        channels: int = 128,
        filters: int | None = None,
        layers: int = 4,
        radial: int = 50,
        species: Sequence[int] | None = None,
        tags: int = 0,
        edge_layers: int = 1,
        force_head: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        filters = 2 * (-(-channels // 2)) if filters is None else filters
        if min(kinds, channels, layers, radial - 1) < 1 or tags < 0 or edge_layers not in (1, 2):
            raise InputError(
                f"FAENet: {kinds} kinds, {channels} channels, {layers} layers, {radial} radial, {tags} tags, "
                f"{edge_layers} edge layers; sizes must be positive, edge layers 1 or 2"
            )
        if filters < 2 or filters % 2:
            raise InputError(
                f"filters: {filters} was given; half are for vectors, half for lengths: give an even number"
            )
        if species is not None and len(species) != kinds:
            raise InputError(f"species: {len(species)} atomic numbers for {kinds} kinds; give one each")
        self.cutoff, self.radial, self.tags = float(cutoff), radial, tags
        places, properties = element_facts(species or [])
        self.register_buffer("place", places, persistent=False)
        self.register_buffer("properties", properties, persistent=False)
        width = 8 if species else 0
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.period = nn.Embedding(8, width) if species else None
            self.group = nn.Embedding(19, width) if species else None
            self.tag = nn.Embedding(tags, 8) if tags else None
            known = 2 * width + properties.shape[1] * bool(species) + 8 * bool(tags)
            self.atom = nn.Linear(channels + known, channels)
            self.along = nn.Linear(3, filters // 2)
            self.length = nn.Linear(radial, filters // 2)
            self.edge = nn.Linear(filters, filters) if edge_layers == 2 else None
            self.interactions = nn.ModuleList(_Interaction(channels, filters) for _ in range(layers))
            self.weight = nn.Linear(channels, 1)
            self.energy = _perceptron(channels, 1)
            self.force = _perceptron(channels, 3) if force_head else None

    def forward(self, graph: PointGraph, tags: Int[Tensor, " nodes"] | None = None) -> dict[str, Tensor]:
        """`energy` (nodes,) and, with a head for them, `forces` (nodes, 3), in the axes of the graph.

        Raises:
            InputError: tags for a network without, or none for one with.
        """
        state = self.atom(self._atoms(graph, tags))
        distance = graph.distances()
        window = cosine_window(distance, self.cutoff)[:, None]
        lengths = self.length(gaussian(distance, self.radial, self.cutoff))
        edges = _swish(torch.cat([self.along(graph.vectors), lengths], dim=-1))
        if self.edge is not None:
            edges = _swish(self.edge(edges))
        for interaction in self.interactions:
            state = interaction(graph, state, edges, window)
        found = {"energy": (self.weight(state) * self.energy(state))[:, 0]}
        if self.force is not None:
            found["forces"] = self.force(state)
        return found

    def _atoms(self, graph: PointGraph, tags: Tensor | None) -> Tensor:
        """What is known of every atom before it meets others."""
        if (tags is None) != (self.tag is None):
            given = "none were given" if tags is None else "some were given"
            raise InputError(f"tags: {given} to a network made for {self.tags} of them")
        parts = [self.element(graph.kind)]
        if self.period is not None and self.group is not None:
            period, group = self.place[graph.kind].unbind(1)
            parts += [self.period(period), self.group(group), self.properties[graph.kind].to(parts[0].dtype)]
        if self.tag is not None:
            parts.append(self.tag(tags))
        return torch.cat(parts, dim=-1)


@final
class FrameAveragedFAENet(nn.Module):
    """`FAENet` seen in frames, `PointGraph` -> (nodes,) energies, as potentials take it.

    Args:
        kinds, cutoff, channels, filters, layers, radial, species, edge_layers, seed: as of `FAENet`.
        frames: in training "stochastic", "full" or "augmented" (random rotations, no frame).
        inference: "full" or "stochastic" in evaluation.
        group: "E", or "SE" to tell mirror images apart.
        plane: frames within the plane of x and y only, for slabs.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        channels: int = 128,
        filters: int | None = None,
        layers: int = 4,
        radial: int = 50,
        species: Sequence[int] | None = None,
        edge_layers: int = 1,
        frames: str = "stochastic",
        inference: str = "full",
        group: str = "E",
        plane: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if frames not in _FRAMES:
            raise InputError(f"frames: {frames!r} is none; allowed are {', '.join(_FRAMES)}")
        network = FAENet(
            kinds=kinds, cutoff=cutoff, channels=channels, filters=filters, layers=layers, radial=radial,
            species=species, edge_layers=edge_layers, seed=seed,
        )  # fmt: skip
        self.averaged = FrameAveraged(
            network, outputs={"energy": "scalar"}, cutoff=cutoff, mode=frames, inference=inference, group=group,
            plane=plane, seed=seed,
        )  # fmt: skip

    def forward(self, graph: PointGraph) -> Tensor:
        """The energy of every atom."""
        energies: Tensor = self.averaged(graph)["energy"]
        return energies


@final
class GraphNorm(nn.Module):
    """g (x - a mean) / sqrt(mean of (x - a mean)^2) + b, means over the nodes of a structure (Cai et al. 2021).

    Args:
        channels: of x; a, g and b are learned, one each a channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift, self.gain = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, graph: PointGraph, values: Float[Tensor, "nodes channels"]) -> Float[Tensor, "nodes channels"]:
        """Normalised values."""
        values = values - self.shift * graph.mean_nodes(values)[graph.structure]
        size = (graph.mean_nodes(values.square()) + 1e-5).sqrt()
        return self.gain * values / size[graph.structure] + self.bias


class _Interaction(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.of_edge = nn.Linear(filters, filters)
        self.of_target = nn.Linear(channels, filters, bias=False)
        self.of_source = nn.Linear(channels, filters, bias=False)
        self.down, self.up = nn.Linear(channels, filters), nn.Linear(filters, channels)
        self.norm = GraphNorm(filters)

    def forward(self, graph: PointGraph, state: Tensor, edges: Tensor, window: Tensor) -> Tensor:
        source, target = graph.edge_index
        # linear in (e_ij, h_i, h_j): the parts of atoms once an atom, not once an edge
        ends = self.of_target(state).index_select(0, target) + self.of_source(state).index_select(0, source)
        filters = _swish(self.of_edge(edges) + ends) * window
        sent = _swish(self.down(state)).index_select(0, source)
        received = graph.sum_messages(sent * filters)
        return state + _swish(self.up(_swish(self.norm(graph, received))))


def element_facts(species: Sequence[int]) -> tuple[Int[Tensor, "kinds 2"], Float[Tensor, "kinds 4"]]:
    """Period and group of elements (0 for f elements), and log mass, covalent and van der Waals radius, metal or not.

    Raises:
        InputError: what is no atomic number.
    """
    import gemmi

    places, properties = [], []
    for number in species:
        if not 1 <= number <= _NOBLE[-1]:
            raise InputError(f"species: {number} is no atomic number from 1 to {_NOBLE[-1]}")
        element = gemmi.Element(int(number))
        places.append(period_and_group(number))
        metal = float(element.is_metal)
        properties.append([math.log(element.weight) / 4, element.covalent_r, element.vdw_r / 2, metal])
    return torch.tensor(places, dtype=torch.int64).view(-1, 2), torch.tensor(properties).view(-1, 4)


def period_and_group(number: int) -> tuple[int, int]:
    """Row and column of an element in the periodic table; column 0 for lanthanides and actinides."""
    period = next(row for row, last in enumerate(_NOBLE, start=1) if number <= last)
    first, last = 1 + (0, *_NOBLE)[period - 1], _NOBLE[period - 1]
    ahead, behind = number - first, last - number
    if ahead < (1 if period == 1 else 2):
        return period, 1 + ahead
    # the p block, and the d block of the rows that have one, counted from the noble gas
    return period, 18 - behind if behind < (16 if period > 3 else 6) else 0


def _swish(values: Tensor) -> Tensor:
    return nn.functional.silu(values)


def _perceptron(size: int, out: int) -> nn.Sequential:
    hidden = size // 2 or 1
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))

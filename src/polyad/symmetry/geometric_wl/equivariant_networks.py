"""Minimal equivariant networks: nodes hold positions that move, vectors, tensors, or many-body products of tensors.

    EGNN       `polyad.symmetry.egnn`, read out by its scalars (or by its displacements)
    GVP-like   messages of scalars and vectors, mixed linearly; norms of vectors feed the scalars, scalars gate vectors
    TFN        messages h_j x Y_l(r_ij) with weights by distance, mixed linearly; norms feed the scalars, which gate
    MACE-like  the same sum A_i, then the symmetric contraction of up to nu factors A_i, no other non-linearity

The sum over nodes goes through a perceptron to the outputs: the scalars, or with `equivariant` all components, so that
outputs turn with the structure in an unspecified way and can tell orientations apart.

Sources: V. Satorras et al., ICML 2021, arXiv:2102.09844; B. Jing et al., ICLR 2021, arXiv:2009.01411 (GVP);
N. Thomas et al., arXiv:1802.08219 (TFN); I. Batatia et al., NeurIPS 2022, arXiv:2206.07697 (MACE).

*When not to use it*: for work; these are specimens, of which the tests of this package say what they can do.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.activations import irrep_norms, scale_irreps
from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.egnn import EGNN
from polyad.symmetry.geometric_wl.orbits import Group, check_group
from polyad.symmetry.geometric_wl.specimens import RADIAL, check_sizes, distance_basis, perceptron
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps, channels_to_flat, flat_to_channels
from polyad.symmetry.linear import DegreeLinear, EquivariantLinear
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_product import DepthwiseTensorProduct


@final
class EgnnLike(nn.Module):
    """EGNN on positions in units of the cutoff, which move by about an edge from the start; those of `EGNN` hardly do.

    Args:
        channels: copies of every feature.
        layers: rounds of messages.
        outputs: numbers for a structure.
        equivariant: also read out the sum of the displacements.
        kinds: of nodes.
        cutoff: longest edge.
        seed: of the weights.
    """

    def __init__(
        self, *, channels: int = 32, layers: int, outputs: int = 2, equivariant: bool = False, kinds: int = 1,
        cutoff: float = 10.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff, self.equivariant = float(cutoff), equivariant
        self.network = EGNN(scalars=kinds, channels=channels, layers=layers, seed=seed)
        with seeded(seed):
            for name, weight in self.network.named_parameters():
                if ".along.2." in name:
                    nn.init.xavier_uniform_(weight, gain=10)  # as far as an edge is long
            self.head = perceptron(channels + 3 * equivariant, channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        positions = graph.positions / self.cutoff
        kinds = nn.functional.one_hot(graph.kind, self.network.scalars).to(positions.dtype)
        scalars, moved = self.network(kinds, positions, graph.edge_index)
        seen = torch.cat([scalars, moved - positions], dim=-1) if self.equivariant else scalars
        return self.head(graph.sum_nodes(seen))


@final
class GvpLike(nn.Module):
    """Scalars and vectors; arguments as of `EgnnLike`."""

    def __init__(
        self, *, channels: int = 32, layers: int, outputs: int = 2, equivariant: bool = False, kinds: int = 1,
        cutoff: float = 10.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff, self.equivariant, self.channels = float(cutoff), equivariant, channels
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.messages = nn.ModuleList(
                _GeometricPerceptron(channels + RADIAL, channels + 1, channels) for _ in range(layers)
            )
            self.updates = nn.ModuleList(
                _GeometricPerceptron(2 * channels, 2 * channels, channels) for _ in range(layers)
            )  # fmt: skip
            self.head = perceptron(channels * (4 if equivariant else 1), channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        basis, source = distance_basis(graph, self.cutoff), graph.edge_index[0]
        unit = (graph.vectors / graph.distances()[:, None])[:, None]
        scalars = self.element(graph.kind)
        vectors = unit.new_zeros(graph.num_nodes, self.channels, 3)
        for message, update in zip(self.messages, self.updates, strict=True):
            sent = message(torch.cat([scalars[source], basis], dim=-1), torch.cat([vectors[source], unit], dim=1))
            received = [graph.sum_messages(part) for part in sent]
            change = update(torch.cat([scalars, received[0]], dim=-1), torch.cat([vectors, received[1]], dim=1))
            scalars, vectors = scalars + change[0], vectors + change[1]
        seen = torch.cat([scalars, vectors.flatten(1)], dim=-1) if self.equivariant else scalars
        return self.head(graph.sum_nodes(seen))


class _GeometricPerceptron(nn.Module):
    """Scalars see norms of mixed vectors; vectors are mixed twice and gated by scalars."""

    def __init__(self, scalars: int, vectors: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(vectors, channels, bias=False)
        self.second = nn.Linear(channels, channels, bias=False)
        self.scalars = perceptron(scalars + channels, channels, channels)
        self.gates = nn.Linear(channels, channels)

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(vectors.mT)  # (n, 3, channels)
        norms = (hidden.square().sum(1) + 1e-16).sqrt()
        out = self.scalars(torch.cat([scalars, norms], dim=-1))
        return out, (self.second(hidden) * torch.sigmoid(self.gates(out))[:, None]).mT


@final
class TfnLike(nn.Module):
    """Tensors of degrees 0..lmax; further arguments as of `EgnnLike`."""

    def __init__(
        self, *, lmax: int, channels: int = 16, layers: int, outputs: int = 2, equivariant: bool = False,
        kinds: int = 1, cutoff: float = 10.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_degrees(lmax)
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff, self.equivariant, self.lmax, self.channels = float(cutoff), equivariant, lmax, channels
        self.irreps = Irreps.spherical(lmax, multiplicity=channels)
        with seeded(seed) as generator:
            self.element = nn.Embedding(kinds, channels)
            self.gathers = nn.ModuleList(
                _Gather(0 if number == 0 else lmax, lmax, channels, generator) for number in range(layers)
            )
            self.updates = nn.ModuleList(
                perceptron(channels * (lmax + 2), channels, channels * (lmax + 1)) for _ in range(layers)
            )
            self.head = perceptron(channels * ((lmax + 1) ** 2 if equivariant else 1), channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        basis = distance_basis(graph, self.cutoff)
        harmonics = spherical_harmonics(graph.vectors, self.lmax, normalization="component")
        features = self.element(graph.kind)
        for gather, update in zip(self.gathers, self.updates, strict=True):
            atomic = gather(graph, features, basis, harmonics)
            scalars = features[:, : self.channels]
            seen = torch.cat([scalars, irrep_norms(atomic, self.irreps)], dim=-1)
            change, gates = update(seen).split([self.channels, self.channels * self.lmax], dim=-1)
            gated = scale_irreps(atomic, self.irreps, torch.cat([torch.ones_like(change), gates], dim=-1))
            tensors = gated[:, self.channels :]
            if features.shape[1] == self.irreps.dim:
                tensors = tensors + features[:, self.channels :]
            features = torch.cat([scalars + change, tensors], dim=-1)
        return self.head(graph.sum_nodes(features if self.equivariant else features[:, : self.channels]))


@final
class MaceLike(nn.Module):
    """Products of up to `correlation` sums over neighbours; further arguments as of `EgnnLike`.

    With `group="SO(3)"` pseudo-scalars are among the invariants that are read out, so mirror images may differ.
    """

    def __init__(
        self, *, lmax: int, correlation: int, channels: int = 16, layers: int, outputs: int = 2,
        equivariant: bool = False, group: Group = "O(3)", kinds: int = 1, cutoff: float = 10.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_degrees(lmax)
        check_group(group)
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff, self.lmax, self.channels = float(cutoff), lmax, channels
        last = Irreps.spherical(lmax if equivariant else 0) + Irreps("0o" if group == "SO(3)" else "")
        with seeded(seed) as generator:
            self.element = nn.Embedding(kinds, channels)
            self.gathers = nn.ModuleList(
                _Gather(0 if number == 0 else lmax, lmax, channels, generator) for number in range(layers)
            )
            self.contractions = nn.ModuleList(
                SymmetricContraction(
                    lmax, last if number == layers - 1 else Irreps.spherical(lmax), channels=channels, species=kinds,
                    correlation=correlation, generator=generator,
                )
                for number in range(layers)
            )  # fmt: skip
            self.mixings = nn.ModuleList(
                DegreeLinear(channels, channels, lmax, bias=False, generator=generator) for _ in range(layers - 1)
            )
            self.head = perceptron(channels * last.dim, channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        basis = distance_basis(graph, self.cutoff)
        harmonics = spherical_harmonics(graph.vectors, self.lmax, normalization="component")
        features = self.element(graph.kind)
        for number, (gather, contract) in enumerate(zip(self.gathers, self.contractions, strict=True)):
            products = contract(flat_to_channels(gather(graph, features, basis, harmonics), self.lmax), graph.kind)
            if number < len(self.mixings):
                features = channels_to_flat(self.mixings[number](products))
        return self.head(graph.sum_nodes(products.flatten(1)))


class _Gather(nn.Module):
    """The sum over neighbours of h_j x Y(r_ij), weighted by distance and mixed over paths and channels; flat."""

    def __init__(self, degree: int, lmax: int, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.product = DepthwiseTensorProduct(
            Irreps.spherical(degree, multiplicity=channels), Irreps.spherical(lmax), keep=Irreps.spherical(lmax)
        )
        paths = self.product.weight_shape[0]
        self.radial = perceptron(RADIAL, channels, paths * channels)
        self.mix = EquivariantLinear(
            self.product.irreps_out, Irreps.spherical(lmax, multiplicity=channels), bias=False, generator=generator
        )

    def forward(self, graph: PointGraph, features: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
        weights = self.radial(basis).view(len(basis), *self.product.weight_shape)
        sent = features.index_select(0, graph.edge_index[0])
        return self.mix(self.product(sent, harmonics, weights, gather=graph.sum_messages))


def _check_degrees(lmax: int) -> None:
    if lmax < 0:
        raise InputError(f"lmax: {lmax} was given; give a degree of 0 or more")

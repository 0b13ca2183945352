"""MACE: messages of high body order, so that two rounds of them are enough.

One layer, for atom i with features h (channels first, degrees 0..L), neighbours j, unit vectors r and distances d:

    one particle   phi_ij = R(d_ij) (h_j x Y(r_ij)),                        every path l1 x l2 -> l3 <= lmax
    atomic basis   A_i = linear_l3 ( sum over j of phi_ij ) / neighbours     mixes channels and paths of each degree
    product basis  B_i = sum over nu <= correlation of W_nu[z_i] K_nu A_i^nu   (`polyad.symmetry.contraction`)
    update         h_i <- linear B_i + residual[z_i] h_i                    (residual from the second layer on)
    readout        E_i += linear of the scalars; after the last layer a perceptron; and a constant of the element

R is a perceptron (SiLU, no bias) of Bessel functions times the polynomial window, so messages vanish at the cutoff with
two derivatives. `neighbors` is the mean number of neighbours in the data, a constant: an atom's own count would not be
smooth, and would spoil the body order, which is correlation + 1 after one layer with a linear readout.

Source: I. Batatia, D. P. Kovacs, G. N. C. Simm, C. Ortner and G. Csanyi, MACE: Higher Order Equivariant Message Passing
Neural Networks for Fast and Accurate Force Fields, NeurIPS 2022, arXiv:2206.07697, equations 8 to 13.

*When not to use it*: for a first look at a small data set of one molecule; TensorNet trains several times faster.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps, channels_to_flat, flat_to_channels
from polyad.symmetry.linear import DegreeLinear, EquivariantLinear
from polyad.symmetry.perceptron import Perceptron
from polyad.symmetry.radial import bessel, polynomial_window
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_product import DepthwiseTensorProduct

_FIRST_LAYERS = ("plain", "mixing", "residual")


@final
class MACE(nn.Module):
    """The network, `PointGraph` -> (nodes,) energies.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        neighbors: mean number of neighbours within the cutoff in the data.
        channels: copies of every irrep.
        lmax: largest degree of the atomic basis.
        message_degree: L, largest degree of the features between layers; 0 sends scalars only.
        correlation: nu, factors of A in the product basis.
        layers: rounds of messages.
        radial: number of Bessel functions.
        radial_layers: hidden sizes of the radial perceptron.
        window_power: p of the polynomial window.
        hidden_readout: units of the last layer's perceptron.
        linear_readout: read the last layer out linearly, too; then one layer has body order nu + 1 exactly.
        first_layer: how elements enter the first layer besides the product's weights: "plain" not at all, "mixing" by a
            map of A for the receiving element, "residual" as in later layers. mace-torch's blocks are the last two.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        neighbors: float,
        channels: int = 64,
        lmax: int = 3,
        message_degree: int = 1,
        correlation: int = 3,
        layers: int = 2,
        radial: int = 8,
        radial_layers: tuple[int, ...] | list[int] = (64, 64, 64),
        window_power: int = 5,
        hidden_readout: int = 16,
        linear_readout: bool = False,
        first_layer: str = "plain",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if first_layer not in _FIRST_LAYERS:
            raise InputError(f"first_layer: {first_layer!r} is none; allowed are {', '.join(_FIRST_LAYERS)}")
        if min(kinds, channels, layers, radial) < 1 or not 0 <= message_degree <= lmax:
            raise InputError(
                f"MACE: {kinds} kinds, {channels} channels, {layers} layers, {radial} radial functions, lmax {lmax}, "
                f"message_degree {message_degree}; give at least 1 of each and 0 <= message_degree <= lmax"
            )
        check_neighbors(neighbors)
        self.cutoff, self.radial, self.window_power, self.lmax = float(cutoff), radial, window_power, lmax
        degrees = [0] + [message_degree] * (layers - 1) + [0]
        with seeded(seed) as generator:
            self.element = nn.Parameter(torch.randn(kinds, channels, generator=generator))
            # readouts have no bias, and messages vanish without neighbours: constants are learned here
            self.constant = nn.Parameter(torch.zeros(kinds))
            self.layers = nn.ModuleList(
                _Layer(
                    kinds,
                    channels,
                    lmax,
                    degrees[t],
                    degrees[t + 1],
                    correlation,
                    neighbors,
                    [radial, *radial_layers],
                    residual=t > 0 or first_layer == "residual",
                    mixing=t == 0 and first_layer == "mixing",
                    generator=generator,
                )
                for t in range(layers)
            )
            self.readouts = nn.ModuleList(
                _Readout(
                    channels,
                    hidden=hidden_readout if t == layers - 1 and not linear_readout else 0,
                    generator=generator,
                )
                for t in range(layers)
            )

    def forward(self, graph: PointGraph) -> Float[Tensor, " nodes"]:
        """The energy of every atom."""
        distance = graph.distances()
        window = polynomial_window(distance, self.cutoff, power=self.window_power)
        basis = bessel(distance, self.radial, self.cutoff) * window[:, None]
        harmonics = spherical_harmonics(graph.vectors, self.lmax, normalization="component")
        features = self.element[graph.kind][..., None]
        energy = self.constant[graph.kind]
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            features = layer(graph, features, basis, harmonics)
            energy = energy + readout(features[..., 0])
        return energy


class _Layer(nn.Module):
    """One round of messages, channels first."""

    def __init__(
        self,
        kinds: int,
        channels: int,
        lmax: int,
        degree_in: int,
        degree_out: int,
        correlation: int,
        neighbors: float,
        radial_sizes: list[int],
        *,
        residual: bool,
        mixing: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.lmax, self.neighbors = lmax, neighbors
        self.send = DegreeLinear(channels, channels, degree_in, bias=False, generator=generator)
        self.product = DepthwiseTensorProduct(
            Irreps.spherical(degree_in, multiplicity=channels), Irreps.spherical(lmax), keep=Irreps.spherical(lmax)
        )
        paths = self.product.weight_shape[0]
        self.radial = Perceptron([*radial_sizes, paths * channels], generator=generator)
        self.gather = EquivariantLinear(
            self.product.irreps_out, Irreps.spherical(lmax, multiplicity=channels), bias=False, generator=generator
        )
        self.mix = _ElementLinear(kinds, channels, lmax, generator) if mixing else None
        self.contract = SymmetricContraction(
            lmax,
            Irreps.spherical(degree_out),
            channels=channels,
            species=kinds,
            correlation=correlation,
            generator=generator,
        )
        self.update = DegreeLinear(channels, channels, degree_out, bias=False, generator=generator)
        shared = min(degree_in, degree_out)
        self.residual = _ElementLinear(kinds, channels, shared, generator) if residual else None

    def forward(self, graph: PointGraph, features: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
        sent = channels_to_flat(self.send(features)).index_select(0, graph.edge_index[0])
        weights = self.radial(basis).view(len(basis), *self.product.weight_shape)
        received = self.product(sent, harmonics, weights, gather=graph.sum_messages) / self.neighbors
        atomic = flat_to_channels(self.gather(received), self.lmax)
        if self.mix is not None:
            atomic = self.mix(atomic, graph.kind)
        out = self.update(self.contract(atomic, graph.kind))
        if self.residual is None:
            return out
        kept = self.residual(features, graph.kind)
        return out + nn.functional.pad(kept, (0, out.shape[-1] - kept.shape[-1]))


class _ElementLinear(nn.Module):
    """Equivariant linear maps, one for every element, of the degrees that input and output share."""

    def __init__(self, kinds: int, channels: int, degree: int, generator: torch.Generator) -> None:
        super().__init__()
        self.degree = degree
        self.maps = nn.ModuleList(
            DegreeLinear(channels, channels, degree, bias=False, generator=generator) for _ in range(kinds)
        )

    def forward(self, features: Tensor, kind: Int[Tensor, " nodes"]) -> Tensor:
        features = features[..., : (self.degree + 1) ** 2]
        out = torch.zeros_like(features)
        for number, mapping in enumerate(self.maps):
            members = torch.nonzero(kind == number)[:, 0]
            out = out.index_copy(0, members, mapping(features.index_select(0, members)))
        return out


class _Readout(nn.Module):
    """Scalars to an energy: linear, or with one hidden layer."""

    def __init__(self, channels: int, *, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [channels, hidden, 1] if hidden else [channels, 1]
        self.network = Perceptron(sizes, generator=generator)

    def forward(self, scalars: Tensor) -> Tensor:
        return self.network(scalars)[:, 0]

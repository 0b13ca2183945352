"""MACE against a layer written out atom by atom, and its body order by inclusion and exclusion."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.mace import MACE
from polyad.materials.structures import Structures
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule


def network(**options: object) -> MACE:
    chosen = {
        "kinds": 3,
        "cutoff": CUTOFF,
        "neighbors": 2.0,
        "channels": 3,
        "lmax": 2,
        "radial_layers": (8, 8),
        **options,
    }
    return MACE(**chosen).double()  # type: ignore[arg-type]


def atomic_basis_by_loops(net: MACE, graph: PointGraph, features: list[Tensor], number: int) -> Tensor:
    """A of one layer: every edge, path and channel in turn; features (channels, (L + 1)^2) an atom."""
    layer = net.layers[number]
    degree_in = math.isqrt(features[0].shape[1]) - 1
    channels, size = features[0].shape[0], (net.lmax + 1) ** 2
    paths = [
        (path.first, path.second, layer.product.products.terms[path.product][1].degree) for path in layer.product.paths
    ]
    count = [sum(l3 == degree for *_, l3 in paths) for degree in range(net.lmax + 1)]
    sums = [[torch.zeros(2 * l3 + 1, channels, dtype=torch.float64) for *_, l3 in paths] for _ in features]
    for e, (j, i) in enumerate(graph.edge_index.T.tolist()):
        d = graph.vectors[e].norm()
        u, p = d / CUTOFF, 5
        window = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
        orders = torch.arange(1, 9, dtype=torch.float64)
        basis = math.sqrt(2 / CUTOFF) * torch.sin(orders * math.pi * d / CUTOFF) / d * window
        radial = layer.radial(basis[None]).view(len(paths), channels)
        y = spherical_harmonics(graph.vectors[e], net.lmax, normalization="component")
        sent = torch.cat(
            [
                layer.send.weight[degree] @ features[j][:, degree**2 : (degree + 1) ** 2] / math.sqrt(channels)
                for degree in range(degree_in + 1)
            ],
            dim=1,
        )
        for number_of_path, (l1, l2, l3) in enumerate(paths):
            coupling = clebsch_gordan(l1, l2, l3)
            for k in range(channels):
                x, z = sent[k, l1**2 : (l1 + 1) ** 2], y[l2**2 : (l2 + 1) ** 2]
                value = torch.einsum("abc,a,b->c", coupling, x, z)
                sums[i][number_of_path][:, k] += radial[number_of_path, k] * value
    basis_of_atoms = []
    for i in range(len(features)):
        blocks = []
        for degree in range(net.lmax + 1):
            stacked = torch.cat([sums[i][n] for n, (*_, l3) in enumerate(paths) if l3 == degree], dim=1)
            name = f"{degree}{'e' if degree % 2 == 0 else 'o'}"
            weight = layer.gather.weights[name] / math.sqrt(count[degree] * channels)
            blocks.append((stacked @ weight.T).T / net.layers[number].neighbors)
        basis_of_atoms.append(torch.cat(blocks, dim=1))
    assert basis_of_atoms[0].shape == (channels, size)
    return torch.stack(basis_of_atoms)


def test_equals_two_layers_written_out() -> None:
    net, graph = network(message_degree=1, correlation=2), graph_of(molecule(atoms=4))
    kinds = graph.kind.tolist()
    features = [net.element[z][:, None] for z in kinds]
    energy = torch.zeros(4, dtype=torch.float64)
    for number, layer in enumerate(net.layers):
        product = layer.contract(atomic_basis_by_loops(net, graph, features, number), graph.kind)
        new = []
        for i, z in enumerate(kinds):
            degrees = math.isqrt(product.shape[2])
            mixed = [
                layer.update.weight[degree] @ product[i][:, degree**2 : (degree + 1) ** 2] / math.sqrt(3)
                for degree in range(degrees)
            ]
            if number:
                mixed[0] = mixed[0] + layer.residual.maps[z].weight[0] @ features[i][:, :1] / math.sqrt(3)
            new.append(torch.cat(mixed, dim=1))
        features = new
        scalars = torch.stack([h[:, 0] for h in features])
        energy = energy + net.readouts[number].network(scalars)[:, 0]
    assert float((net(graph) - energy).abs().max()) < 1e-12


@pytest.mark.parametrize(("correlation", "order"), [(1, 2), (2, 3), (3, 4)])
def test_body_order_of_one_layer(correlation: int, order: int) -> None:
    """Inclusion and exclusion over subsets of a cluster: terms of nu + 1 bodies are there, terms of more are not."""
    net = network(layers=1, correlation=correlation, linear_readout=True, channels=4)
    positions = 0.9 * torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    species = torch.tensor([1, 6, 8, 1, 6])

    def energy(atoms: tuple[int, ...]) -> float:
        chosen = list(atoms)
        return float(net(graph_of(Structures.from_arrays(positions[chosen], species[chosen]))).detach().sum())

    def bodies(size: int) -> float:
        cluster = tuple(range(size))
        subsets = [subset for count in range(1, size + 1) for subset in combinations(cluster, count)]
        return sum((-1) ** (size - len(subset)) * energy(subset) for subset in subsets)

    scale = abs(energy(tuple(range(5))))
    assert abs(bodies(order)) > 1e-8 * scale
    for size in range(order + 1, 6):
        assert abs(bodies(size)) < 1e-12 * max(scale, 1e-3)


def test_hidden_readout_mixes_body_orders() -> None:
    """The same inclusion and exclusion sees five bodies once the readout is a perceptron: the test above is sharp."""
    linear, hidden = (network(layers=1, linear_readout=flag, channels=4) for flag in (True, False))
    with torch.no_grad():
        for net in (linear, hidden):
            for weight in net.layers[0].radial.weights:
                weight.mul_(2.5)
    positions = 0.9 * torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def five(net: MACE) -> float:
        total = 0.0
        for count in range(1, 6):
            for subset in combinations(range(5), count):
                data = Structures.from_arrays(positions[list(subset)], [1] * count)
                total += (-1) ** (5 - count) * float(net(graph_of(data)).detach().sum())
        return total

    assert abs(five(linear)) < 1e-10
    assert abs(five(hidden)) > 1e-8


def test_constants_belong_to_elements() -> None:
    net, graph = network(), graph_of(molecule(atoms=4))
    before = net(graph).detach()
    with torch.no_grad():
        net.constant.copy_(torch.arange(1.0, len(net.constant) + 1))
    assert len(graph.kind.unique()) > 1
    assert float((net(graph).detach() - before - (graph.kind + 1)).abs().max()) < 1e-12


def test_second_layer_needs_vectors_to_see_angles_of_neighbours() -> None:
    """Messages with L = 1 and with L = 0 are different networks with different numbers of paths."""
    paths = [network(message_degree=degree).layers[1].product.weight_shape[0] for degree in (0, 1, 2)]
    # l1 x l2 -> l3 <= 2 of natural parity: 3; + (1,0,1) (1,1,0) (1,1,2) (1,2,1); + (2,0,2) (2,1,1) (2,2,0) (2,2,2)
    assert paths == [3, 7, 11]


def test_bad_options_are_refused() -> None:
    for options in ({"neighbors": 0.0}, {"message_degree": 3}, {"channels": 0}, {"correlation": 0}, {"layers": 0}):
        with pytest.raises(InputError):
            network(**options)

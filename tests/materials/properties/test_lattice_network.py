"""The network's layer is its formula in loops, parities are right, and sizes that cannot be are refused."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.lattice_network import EnergyEquivGNN
from polyad.materials.structures import Structures
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from tests.materials.properties.lattices import batch_of, cells, model_of


def network(**options: object) -> EnergyEquivGNN:
    sizes = {"kinds": 2, "cutoff": 2.0, "out": Irreps("2x0e+2x2e+1x4e"), "channels": 2, "hidden": 4, "readout": 3}
    return EnergyEquivGNN(**{**sizes, **options}).double()  # type: ignore[arg-type]


def crystal() -> PointGraph:
    generator = torch.Generator().manual_seed(0)
    positions = 2.2 * torch.rand(5, 3, generator=generator, dtype=torch.float64)
    data = Structures.from_arrays(positions, [1, 6, 1, 6, 1]).with_neighbors(2.0)
    return PointGraph(
        edge_index=data.edge_index,
        vectors=data.edge_vectors(),
        kind=torch.tensor([0, 1, 0, 1, 0]),
        structure=data.structure,
        num_structures=1,
        positions=positions,
        edge_scalars=positions.new_zeros(data.num_edges, 0),
    )


def test_messages_are_their_formula() -> None:
    layer, graph = network(neighbors=3.0).layers[0], crystal()
    features = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    basis = torch.rand(len(graph.vectors), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    harmonics = spherical_harmonics(graph.vectors, 4, normalization="component")
    weights = layer.weights(basis).view(-1, *layer.product.weight_shape)
    sent = features @ layer.send.weights["0e"].T / 2**0.5
    # scalars times harmonics: the coupling 0 x l -> l in the layer's normalisation is the identity
    assert torch.allclose(clebsch_gordan(0, 2, 2)[0], clebsch_gordan(0, 2, 2)[0, 0, 0] * torch.eye(5).double())
    received = torch.zeros(5, 2, 25, dtype=torch.float64)
    for edge, (source, target) in enumerate(graph.edge_index.T.tolist()):
        for degree in range(5):
            part = slice(degree**2, (degree + 1) ** 2)
            factor = float(clebsch_gordan(0, degree, degree)[0, 0, 0])
            message = weights[edge, degree, :, None] * sent[source][:, None] * harmonics[edge, part] * factor / 3.0
            mixing = layer.gather.weights[f"{degree}{'eo'[degree % 2]}"] / 2**0.5
            received[target, :, part] += mixing @ message
    contracted = layer.contract(received, graph.kind)
    found = layer(graph, features, basis, harmonics)
    updated = torch.einsum("wu,nu->nw", layer.update.weights["0e"] / 2**0.5, contracted[..., 0])
    assert torch.allclose(found[:, :2], updated, atol=1e-12)


def test_atoms_need_no_radius_and_nothing_jumps_at_the_cutoff() -> None:
    model, found = network(cutoff=1.5), []
    for distance in (1.5 - 1e-7, 1.5 + 1e-7):
        positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -distance]], dtype=torch.float64)
        data = Structures.from_arrays(positions, [1, 1, 1, 1]).with_neighbors(1.5)
        graph = PointGraph(
            edge_index=data.edge_index,
            vectors=data.edge_vectors(),
            kind=torch.tensor([0, 1, 0, 1]),
            structure=data.structure,
            num_structures=1,
            positions=positions,
            edge_scalars=positions.new_zeros(data.num_edges, 0),
        )
        found.append(model(graph).detach())
    assert float((found[0] - found[1]).abs().max()) < 1e-9 * float(found[0].abs().max())


def test_second_layer_is_a_residual() -> None:
    model, graph = network(neighbors=3.0), crystal()
    features = torch.randn(5, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    basis = torch.zeros(len(graph.vectors), 6, dtype=torch.float64)  # no weight, so no message
    harmonics = spherical_harmonics(graph.vectors, 4, normalization="component")
    out = model.layers[1](graph, features, basis, harmonics)
    kept = Irreps("2x0e+2x1o+2x2e+2x3o+2x4e").split(features)
    assert torch.equal(out, torch.cat([kept[degree].flatten(1) for degree in (0, 2, 4)], dim=1))


def test_irreps_of_both_parities_come_out() -> None:
    assert network(out=Irreps("2x1o+1x2o+1x3o"), correlation=2)(crystal()).detach().abs().min() > 0
    with pytest.raises(InputError, match="2o"):
        network(out=Irreps("2o"), correlation=1)


def test_gradients_reach_positions_and_radii() -> None:
    model, data = model_of("lattice"), batch_of(cells())
    positions = data.positions.clone().requires_grad_()
    radius = data.edge_features["radius"].clone().requires_grad_()
    weight = torch.randn(len(data), 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value(x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return (model(data.replace(positions=x, edge_features={"radius": r})) * weight).sum()

    slopes = torch.autograd.grad(value(positions, radius), (positions, radius))
    for k, slope in enumerate(slopes):
        inputs, step = [positions.detach(), radius.detach()], 1e-4
        move = torch.randn(inputs[k].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        move = move * inputs[k].abs().mean()
        both = [value(*(x + sign * step * move if n == k else x for n, x in enumerate(inputs))) for sign in (1, -1)]
        expected = float((both[0] - both[1]).detach()) / (2 * step)
        size = float((slope * move).norm())
        assert size > 1e-6
        assert float((slope * move).sum()) == pytest.approx(expected, abs=1e-4 * size)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 0}, "give at least 1"),
        ({"basis": 1}, "2 of basis"),
        ({"neighbors": 0.0}, "must be positive"),
        ({"lmax": 3}, "below degree 4"),
    ],
)
def test_sizes_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        network(**options)


def test_a_graph_without_radii_is_refused() -> None:
    with pytest.raises(InputError, match="edges have no radius"):
        network(radius=0.1)(crystal())

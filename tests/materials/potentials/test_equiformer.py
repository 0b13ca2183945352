"""EquiformerV2 as a network: symmetry of energy and force heads, exact with gates, what its options change."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.equiformer import EquiformerV2, FeedForward
from polyad.symmetry.separable import SeparableActivation
from tests.materials.potentials.test_escn import SMALL, errors, graph_of
from tests.materials.potentials.test_tensornet import molecule, rotation


def network(**options: object) -> EquiformerV2:
    small = {**SMALL, "lmax": 2, "layers": 2, "heads": 2, "head_invariants": 4}
    return EquiformerV2(**{**small, **options}).double()


@pytest.mark.parametrize("lmax", [2, 3])
def test_heads_turn_with_the_molecule_ever_better_on_finer_grids(lmax: int) -> None:
    found = [
        errors(network(lmax=lmax, grid_degree=degree, direct_forces=True), rotation(2, improper=False))
        for degree in (2 * lmax, 6 * lmax, 12 * lmax)
    ]
    for kind in zip(*found, strict=True):
        assert kind[0] > 1e-4
        assert kind[1] < kind[0] / 10
        assert kind[2] < 1e-5


@pytest.mark.parametrize("norm", ["separable", "degree"])
@pytest.mark.parametrize("mmax", [1, 2])
def test_gates_are_exact_on_any_grid(norm: str, mmax: int) -> None:
    net = network(activation="gate", norm=norm, mmax=mmax, direct_forces=True)
    assert max(errors(net, rotation(2, improper=False))) < 1e-11
    assert max(errors(net, rotation(2, improper=True))) > 1e-4
    mirrored = network(activation="gate", norm=norm, mmax=mmax, direct_forces=True, reflections=True)
    assert max(errors(mirrored, rotation(2, improper=True))) < 1e-11


def test_every_part_of_the_paper_changes_the_result() -> None:
    graph = graph_of(molecule())
    plain = network()(graph)
    for options in ({"activation": "gate"}, {"norm": "degree"}, {"renormalize": False}, {"heads": 1}, {"layers": 1}):
        assert float((network(**options)(graph) - plain).abs().max()) > 1e-4


def test_energy_is_that_of_the_plain_call_and_forces_are_vectors_in_x_y_z() -> None:
    """All atoms on the x axis: forces along x, as no other direction is there."""
    data = molecule(atoms=4)
    line = torch.tensor([[0.0, 0, 0], [1.1, 0, 0], [2.5, 0, 0], [3.2, 0, 0]], dtype=torch.float64)
    net = network(direct_forces=True, activation="gate")
    graph = graph_of(data.replace(positions=line))
    energy, force = net.energies_and_forces(graph)
    assert torch.equal(energy, net(graph))
    assert float(force[:, 0].abs().max()) > 1e-4
    assert float(force[:, 1:].abs().max()) < 1e-12


def test_start_counts_what_is_around_an_atom() -> None:
    """The embedding of degrees sums over edges: two like neighbours on opposite sides leave even degrees only."""
    net = network(layers=1)
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]], dtype=torch.float64)
    data = molecule(atoms=3).replace(positions=positions, species=torch.tensor([6, 1, 1]))
    graph = graph_of(data)
    frames, edges, window = net._edges(graph)
    zonal = net.start(edges)
    entries = {}
    net.blocks[0].forward = lambda features, *_: entries.setdefault("features", features)
    net(graph)
    found = entries["features"][0]
    incoming = graph.edge_index[1] == 0
    expected = (zonal[incoming] * window[incoming, None, None]).sum(0) / 2.0**0.5
    torch.testing.assert_close(found[0], expected[0] + net.element[1])
    torch.testing.assert_close(found[1:4], torch.zeros_like(found[1:4]), rtol=0, atol=1e-13)
    torch.testing.assert_close(found[6], expected[2])  # degree 2, order 0, along z
    assert len(frames.blocks) == 3


def test_feed_forward_takes_scalars_from_degree_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = FeedForward(3, 2, 2, activation=SeparableActivation(4, 2, degree=8), width=4, generator=generator).double()
    features = torch.randn(5, 9, 3, generator=generator, dtype=torch.float64)
    found = layer(features)
    scalars = torch.nn.functional.silu(layer.scalars(features[:, 0]))
    expected = scalars @ layer.second.weight[0].T / 2 + layer.second.bias
    torch.testing.assert_close(found[:, 0], expected)


def test_what_makes_no_network_is_refused() -> None:
    with pytest.raises(InputError, match="mmax 3"):
        network(mmax=3)
    with pytest.raises(InputError, match="'relu'"):
        network(activation="relu")
    with pytest.raises(InputError, match="'batch'"):
        network(norm="batch")
    with pytest.raises(InputError, match="neighbors"):
        network(neighbors=-1.0)
    with pytest.raises(InputError, match="direct_forces=True"):
        network().energies_and_forces(graph_of(molecule()))


def test_seed_makes_the_weights() -> None:
    graph: PointGraph = graph_of(molecule())
    assert torch.equal(network(seed=3)(graph), network(seed=3)(graph))
    assert not torch.equal(network(seed=3)(graph), network(seed=4)(graph))

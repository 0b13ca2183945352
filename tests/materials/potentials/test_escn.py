"""eSCN as a network: forces read out directly turn with the molecule, options do what they say, nonsense is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.escn import ESCN
from polyad.materials.structures import Structures
from tests.materials.potentials.test_tensornet import CUTOFF, molecule, rotation, turned

SMALL = {"kinds": 3, "cutoff": CUTOFF, "neighbors": 2.0, "channels": 4, "radial": 6, "edge_channels": 8}


def graph_of(data: Structures) -> PointGraph:
    data = data.with_neighbors(CUTOFF)
    vectors = data.edge_vectors()
    kind = torch.bucketize(data.species, torch.tensor([1, 6, 8]))
    none = vectors.new_zeros(len(vectors), 0)
    return PointGraph(data.edge_index, vectors, kind, data.structure, len(data), data.positions, none)


def network(**options: object) -> ESCN:
    return ESCN(**{**SMALL, "lmax": 2, **options}).double()


def errors(net: torch.nn.Module, q: Tensor) -> tuple[float, float]:
    with torch.no_grad():
        energy, force = net.energies_and_forces(graph_of(molecule()))
        other, moved = net.energies_and_forces(graph_of(turned(molecule(), q)))
    size = float(force.abs().max())
    return float((other - energy).abs().max() / energy.abs().max()), float((moved - force @ q.T).abs().max()) / size


@pytest.mark.parametrize("lmax", [2, 3])
def test_direct_forces_turn_with_the_molecule_ever_better_on_finer_grids(lmax: int) -> None:
    found = [
        errors(network(lmax=lmax, grid_degree=degree, direct_forces=True), rotation(2, improper=False))
        for degree in (2 * lmax, 6 * lmax, 12 * lmax)
    ]
    for kind in zip(*found, strict=True):
        assert kind[0] > 1e-4
        assert kind[1] < kind[0] / 10
        assert kind[2] < 1e-5


def test_mirror_images_have_one_energy_only_when_reflections_are_kept() -> None:
    q = rotation(2, improper=True)
    options = {"grid_degree": 40, "mmax": 1, "direct_forces": True}
    assert max(errors(network(**options, reflections=True), q)) < 1e-9
    assert max(errors(network(**options), q)) > 1e-3


def test_energies_are_those_of_the_plain_call_and_kinds_matter() -> None:
    net, graph = network(direct_forces=True), graph_of(molecule())
    energy, force = net.energies_and_forces(graph)
    assert torch.equal(energy, net(graph))
    assert force.shape == (7, 3)
    swapped = PointGraph(
        graph.edge_index, graph.vectors, graph.kind.flip(0), graph.structure, 1, graph.positions, graph.edge_scalars
    )
    assert float((net(swapped) - energy).abs().max()) > 1e-3


def test_the_seed_makes_the_weights_and_options_their_number() -> None:
    one, same, other = (network(seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.element, other.element)

    def count(**options: object) -> int:
        return sum(p.numel() for p in network(**options).parameters())

    assert count() < count(layers=3)
    assert count(mmax=1) < count(mmax=2)
    assert count(reflections=True) < count() < count(hidden=8)


def test_what_makes_no_network_is_refused() -> None:
    with pytest.raises(InputError, match="mmax 3"):
        network(mmax=3)
    with pytest.raises(InputError, match="0 channels"):
        network(channels=0)
    with pytest.raises(InputError, match="neighbors"):
        network(neighbors=0.0)
    with pytest.raises(InputError, match="need at least 4"):
        network(grid_degree=3)
    with pytest.raises(InputError, match="direct_forces=True"):
        network().energies_and_forces(graph_of(molecule()))

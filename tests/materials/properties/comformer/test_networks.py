"""What the networks keep and tell apart: crystals, not their descriptions; hands, and sets with equal distances."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.learning.properties import new_property
from polyad.materials.properties.comformer import (
    EComFormer,
    IComFormer,
    crystal_edges,
    crystal_graph,
    lattice_triples,
    nearest_neighbors,
    networks,
)
from polyad.materials.structures import Structures, read_structures
from tests.materials.properties.comformer.samples import (
    FCC,
    HEXAGONAL,
    ORTHORHOMBIC,
    crystal,
    descriptions,
    mirrored,
    noisy,
    quartz,
    triclinic,
    with_cell,
)

SPECIES = torch.tensor([1, 2, 3, 8, 14])
SMALL = {"kinds": 5, "cutoff": 6.0, "channels": 8, "bins": 24, "scale": 6.0}
MAKERS = {
    "iComFormer": partial(IComFormer, **SMALL, angle_bins=12, out="2x0e"),
    "eComFormer": partial(EComFormer, **SMALL, width=4, out="2x0e"),
}
every = pytest.mark.parametrize("name", list(MAKERS))

# a crystal of each system with ties, with a hand or a shape that a wrong choice of frame would change
DEGENERATE = {
    "fcc": (FCC, [[0, 0, 0], [0.31, 0.12, 0.77]]),
    "hcp": (HEXAGONAL, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]),
    "orthorhombic": (ORTHORHOMBIC, [[0, 0, 0], [0.31, 0.22, 0.4]]),
}


def settled(network: nn.Module) -> nn.Module:
    """Double precision, norms with statistics of some crystals, so that no part of the network is idle."""
    network = network.double().train()
    data = Structures.concatenate([triclinic(seed) for seed in range(20, 30)])
    for _ in range(30):
        network(graph(data))
    return network.eval()


def graph(data: Structures, neighbors: int = 12) -> PointGraph:
    return crystal_graph(crystal_edges(data, neighbors), SPECIES)


@pytest.fixture(scope="module")
def trained() -> dict[str, nn.Module]:
    with torch.no_grad():
        return {name: settled(make(seed=0)) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def distances() -> nn.Module:
    with torch.no_grad():
        return settled(IComFormer(**SMALL, edge_layers=0))


@torch.no_grad()
def gap(network: nn.Module, one: Structures, other: Structures) -> float:
    return float((network(graph(one)) - network(graph(other))).abs().max())


@every
def test_prediction_does_not_know_the_description(name: str, trained: dict[str, nn.Module]) -> None:
    network = trained[name]
    assert gap(network, triclinic(0), triclinic(1)) > 1e-3
    for one in (triclinic(0), triclinic(1), quartz()):
        for how, other in descriptions(one).items():
            assert gap(network, one, other) < 1e-10, how


@every
def test_graphs_of_supercells_give_the_same(name: str, trained: dict[str, nn.Module]) -> None:
    """The network finds the primitive lattice by itself, where edges come from a neighbour list of the supercell."""
    one = triclinic(0)
    large = with_cell(one, [[1, 1, 0], [0, 2, 0], [1, 0, 2]])
    small, big = (crystal_graph(x.with_neighbors(5.0), SPECIES) for x in (one, large))
    with torch.no_grad():
        assert float((trained[name](small) - trained[name](big)).abs().max()) < 1e-10


@every
def test_crystals_of_a_batch_do_not_see_one_another(name: str, trained: dict[str, nn.Module]) -> None:
    parts = [triclinic(0), crystal(*DEGENERATE["hcp"], [3, 8]), quartz(), triclinic(1)]
    with torch.no_grad():
        together = trained[name](graph(Structures.concatenate(parts)))
        alone = torch.cat([trained[name](graph(part)) for part in parts])
    assert float((together - alone).abs().max()) < 1e-10


# ------------------------------------------------------------------ completeness


@pytest.mark.parametrize("one", [quartz(), triclinic(0), triclinic(3)], ids=["quartz", "P1", "another P1"])
def test_hands_are_told_apart_by_angles_alone(
    one: Structures, trained: dict[str, nn.Module], distances: nn.Module
) -> None:
    other = mirrored(one)
    assert gap(distances, one, other) < 1e-12
    assert gap(trained["iComFormer"], one, other) > 1e-6
    # vectors of equal length are alike to eComFormer, which takes the hand from the frame
    assert (gap(trained["eComFormer"], one, other) < 1e-10) == (one.num_nodes == 9)
    network = trained["iComFormer"]
    assert isinstance(network, IComFormer)
    with torch.no_grad():
        features = [network.node_features(graph(x)) for x in (one, other)]
    if one.num_nodes == 9:  # the atoms of an element of quartz are alike
        features = [x[:1] for x in features]
    assert float((features[0] - features[1]).abs().max()) > 1e-6


def homometric(places: list[int]) -> Structures:
    """A periodic set on a line, lifted to three dimensions by two general lattice vectors."""
    cell = torch.tensor([[12.0, 0, 0], [1.3, 5.1, 0.4], [2.2, 0.7, 6.3]], dtype=torch.float64)
    return crystal(cell, [[x / 12, 0, 0] for x in places], [1] * 5)


def test_sets_with_equal_distances_are_told_apart(trained: dict[str, nn.Module]) -> None:
    one, other = homometric([0, 1, 2, 4, 7]), homometric([0, 1, 3, 5, 6])
    lengths = [x.with_neighbors(13.0).edge_vectors().norm(dim=1).sort().values for x in (one, other)]
    assert torch.allclose(*lengths, atol=1e-12)
    for network in trained.values():
        assert gap(network, one, other) > 1e-4


# ------------------------------------------------------------------ ties


@every
@pytest.mark.parametrize("system", list(DEGENERATE))
def test_noise_in_degenerate_lattices_changes_nothing(
    name: str, system: str, trained: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = crystal(*DEGENERATE[system], [3, 8])
    clean = graph(one, 14)
    shaken = [crystal_graph(nearest_neighbors(noisy(one, 1e-9, seed), 14), SPECIES) for seed in range(6)]
    with torch.no_grad():
        expected = trained[name](clean)
        for other in shaken:
            assert float((trained[name](other) - expected).abs().max()) < 1e-6
        # one triple alone, the one that the noise happens to put first
        monkeypatch.setattr(networks, "lattice_triples", partial(lattice_triples, tolerance=1e-14))
        picked = torch.cat([trained[name](other) for other in shaken])
    alike = (name, system) == ("eComFormer", "hcp")  # its symmetry carries every triple to every other
    assert (float((picked - picked[:1]).abs().max()) > 1e-5) == (not alike)


@every
def test_training_draws_one_triple(name: str) -> None:
    network = MAKERS[name](seed=0).double()
    with torch.no_grad():
        network(graph(Structures.concatenate([triclinic(seed) for seed in range(4)])))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.eval()  # so that nothing but the draw differs
    tied, generic = graph(crystal(*DEGENERATE["orthorhombic"], [3, 8])), graph(triclinic(1))

    def drawn(sample: PointGraph, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return network(sample).detach()

    found = torch.cat([drawn(tied, seed) for seed in range(40)])
    different = torch.unique((found * 1e9).round(), dim=0) / 1e9
    assert torch.equal(drawn(tied, 3), drawn(tied, 3))
    assert torch.equal(drawn(generic, 0), drawn(generic, 1))
    assert 1 < len(different) <= 4
    if len(different) == 4:
        assert float((network.eval()(tied).detach() - different.mean(0)).abs().max()) < 1e-8


# ------------------------------------------------------------------ options


@every
def test_given_features_of_elements(name: str) -> None:
    features = [[float(k), 1.0, float(k == 2)] for k in range(5)]
    network = MAKERS[name](element_features=features).double().eval()
    embedding = network.element.embedding
    expected = torch.tensor(features, dtype=torch.float64) @ embedding.weight.T + embedding.bias
    assert torch.allclose(network.element(torch.arange(5)), expected)
    with pytest.raises(InputError, match="one row"):
        MAKERS[name](element_features=features[:4])


def test_scale_is_the_unit_of_lengths() -> None:
    one = triclinic(0)
    large = one.replace(positions=2 * one.positions, cell=2 * one.cell)
    for make in (partial(IComFormer, angle_bins=12), partial(EComFormer, width=4)):
        small_unit, large_unit = (make(**{**SMALL, "scale": scale}).double().eval() for scale in (3.0, 6.0))
        with torch.no_grad():
            assert float((small_unit(graph(one)) - large_unit(graph(large))).abs().max()) < 1e-10
            assert float((small_unit(graph(one)) - large_unit(graph(one))).abs().max()) > 1e-6


def test_further_edge_layers() -> None:
    one, other = (IComFormer(**SMALL, angle_bins=12, layers=3, edge_layers=count).double().eval() for count in (1, 2))
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in other.parameters())
    with torch.no_grad():
        assert other(graph(triclinic(0))).shape == (1, 1)


@every
def test_gradients_reach_every_weight(name: str) -> None:
    network = MAKERS[name]().double()
    data = Structures.concatenate([triclinic(seed) for seed in range(6)] + [quartz()])
    network(graph(data)).square().sum().backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)]
    assert idle == []


@pytest.mark.parametrize("name", ["icomformer", "ecomformer"])
def test_property_models_give_the_networks_their_cells(name: str) -> None:
    data = Structures.concatenate([triclinic(seed) for seed in range(3)])
    data = data.replace(targets={"energy": torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)})
    model, _ = new_property(data, name, target="energy", options={"channels": 8})
    large = with_cell(triclinic(0), [[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    with torch.no_grad():
        one, other = (model.double().eval()(x) for x in (data[0], large))
    assert float((one - other).abs().max()) < 1e-10
    with pytest.raises(InputError, match="0e"):
        new_property(
            data.replace(targets={"dielectric": torch.eye(3).double().expand(3, 3, 3)}), name, target="dielectric"
        )


def test_bad_input_is_refused() -> None:
    for make, bad in ((IComFormer, {"edge_layers": 4}), (EComFormer, {"layers": 1}), (IComFormer, {"channels": 0})):
        with pytest.raises(InputError, match=make.__name__):
            make(kinds=2, cutoff=5.0, **bad)
    for make, out in ((IComFormer, "1x1o"), (EComFormer, "1x0o"), (EComFormer, "")):
        with pytest.raises(InputError, match="out"):
            make(kinds=2, cutoff=5.0, out=out)
    data = triclinic(0).with_neighbors(5.0)
    molecule = PointGraph(
        data.edge_index, data.edge_vectors(), data.species * 0, data.structure, 1, data.positions,
        torch.zeros(data.num_edges, 0, dtype=torch.float64),
    )  # fmt: skip
    for make in MAKERS.values():
        with pytest.raises(InputError, match="cell"):
            make().double()(molecule)
    assert IComFormer(**SMALL, edge_layers=0).double().eval()(molecule).shape == (1, 1)


@pytest.mark.parametrize("name", ["perov_5_val", "carbon_24_val"])
def test_real_crystals_do_not_know_their_cell(shared_data: object, name: str) -> None:
    data = read_structures(f"{shared_data}/crystals/{name}.csv.gz", limit=6)
    species = data.species.unique()
    network = IComFormer(**{**SMALL, "kinds": len(species)}, angle_bins=12).double().eval()
    moved = Structures.concatenate([with_cell(data[b], [[1, 1, 0], [0, 2, 0], [0, 0, 1]]) for b in range(len(data))])
    with torch.no_grad():
        one, other = (network(crystal_graph(crystal_edges(x, 12), species)) for x in (data, moved))
    assert float(one.std()) > 1e-4
    assert float((one - other).abs().max()) < 1e-8

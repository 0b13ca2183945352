"""Random lattices for data sets: deterministic, varied, valid."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice.nets.generators import LEVELS, perturbed, random_lattice
from polyad.materials.lattice.nets.named import named_cell


def test_perturbation_has_one_length_and_keeps_density():
    lattice = named_cell("kelvin").tile(2)
    moved = perturbed(lattice, 0.05, seed=4)
    steps = torch.linalg.vector_norm(moved.positions - lattice.positions, dim=1)
    assert torch.allclose(steps, 0.05 * lattice.edge_lengths.mean().expand_as(steps))
    assert float(moved.relative_density) == pytest.approx(float(lattice.relative_density))
    assert perturbed(lattice, 0.0, seed=4) is lattice
    with pytest.raises(InputError, match="level"):
        perturbed(lattice, -0.1, seed=4)


def test_random_lattices():
    records = [random_lattice(seed) for seed in range(60)]
    kinds = {record.base_name.split("_")[0] for record in records}
    assert {"net", "voronoi", "delaunay"} < kinds
    assert len(kinds) > 6
    assert {record.metadata["imperfection_level"] for record in records} == set(LEVELS)
    for record in records:
        lattice = record.lattice
        assert float(lattice.relative_density) == pytest.approx(record.density)
        assert record.density <= 0.03
        assert float((lattice.radius / lattice.edge_lengths).max()) <= 0.2 * (1 + 1e-9)
        assert 3 in periodic_components(lattice.num_nodes, lattice.edge_index, lattice.edge_shift).dimension.tolist()


def test_same_seed_same_lattice():
    for seed in (0, 5, 2**40):
        first, again = random_lattice(seed), random_lattice(seed)
        assert first.name == again.name
        assert torch.equal(first.lattice.positions, again.lattice.positions)
        assert torch.equal(first.lattice.radius, again.lattice.radius)


@pytest.mark.parametrize(("kind", "starts"), [("named", None), ("nets", "net_"), ("foams", ("voronoi_", "delaunay_"))])
def test_kinds(kind, starts):
    names = [random_lattice(seed, kinds=kind).base_name for seed in range(6)]
    assert all(starts is None or name.startswith(starts) for name in names)
    assert starts is not None or not any(name.startswith(("net_", "voronoi_", "delaunay_")) for name in names)


def test_refused():
    with pytest.raises(InputError, match="density"):
        random_lattice(0, density=(0.1, 0.01))
    with pytest.raises(InputError, match="kinds"):
        random_lattice(0, kinds="foam")

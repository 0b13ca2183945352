"""A batch is its structures: whatever is done to it equals what is done to each alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, named_cell
from polyad.materials.structures import Structures


def random_structures(sizes: list[int], seed: int = 0) -> Structures:
    generator = torch.Generator().manual_seed(seed)
    nodes = sum(sizes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Structures.from_arrays(
        3 * torch.rand(nodes, 3, generator=generator, dtype=torch.float64),
        torch.randint(1, 9, (nodes,), generator=generator),
        sizes=sizes,
        cell=3 * torch.eye(3, dtype=torch.float64) + 0.2 * normal(len(sizes), 3, 3),
        targets={"energy": normal(len(sizes)), "stiffness": normal(len(sizes), 6, 6)},
        node_targets={"forces": normal(nodes, 3)},
        names=[f"s{k}" for k in range(len(sizes))],
    )


def assert_same(a: Structures, b: Structures) -> None:
    for name in ("positions", "species", "node_start", "cell", "periodic", "edge_index", "edge_shift", "edge_start"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name in ("targets", "node_targets", "edge_features"):
        mine, other = getattr(a, name), getattr(b, name)
        assert list(mine) == list(other)
        assert all(torch.equal(mine[key], other[key]) for key in mine)
    assert a.names == b.names


def test_choosing_and_concatenating_are_inverse() -> None:
    batch = random_structures([4, 1, 6, 3]).with_neighbors(2.5)
    assert_same(Structures.concatenate([batch[k] for k in range(4)]), batch)
    assert_same(batch[:], batch)
    assert_same(batch[[2, 0]], Structures.concatenate([batch[2], batch[0]]))
    assert_same(batch[torch.tensor([3, 3])][1], batch[-1])
    assert len(batch[1:1]) == 0


def test_neighbors_of_the_batch_are_those_of_each() -> None:
    batch = random_structures([4, 2, 6])
    assert_same(batch.with_neighbors(2.5)[2], batch[2].with_neighbors(2.5))
    vectors = batch.with_neighbors(2.5).edge_vectors()
    assert float(vectors.norm(dim=1).max()) < 2.5
    alone = torch.cat([batch[k].with_neighbors(2.5).edge_vectors() for k in range(3)])
    assert torch.allclose(vectors, alone, rtol=0, atol=1e-14)


def test_lattices_have_every_strut_in_both_directions() -> None:
    lattices = LatticeBatch.from_lattices([named_cell("kelvin", density=0.02), named_cell("octet", density=0.05)])
    density = torch.tensor([0.02, 0.05], dtype=torch.float64)
    batch = Structures.from_lattices(lattices, targets={"density": density}, names=["kelvin", "octet"])
    vectors = batch.edge_vectors()
    assert batch.num_edges == 2 * lattices.edge_index.shape[1]
    assert torch.equal(vectors[0::2], lattices.edge_vectors)
    assert torch.equal(vectors[1::2], -lattices.edge_vectors)
    assert torch.equal(batch.edge_features["radius"][1::2], lattices.radius)
    assert bool((batch.species == 0).all())
    # the second structure's own edges, counted from its own nodes
    alone = Structures.from_lattices(LatticeBatch.from_lattices([lattices[1]]))
    assert torch.equal(batch[1].edge_index, alone.edge_index)


def test_structure_numbers_and_dtypes() -> None:
    batch = random_structures([2, 0, 3])
    assert batch.structure.tolist() == [0, 0, 2, 2, 2]
    single = batch.to(torch.float32)
    assert (
        single.positions.dtype == single.targets["energy"].dtype == single.node_targets["forces"].dtype == torch.float32
    )
    assert single.species.dtype == torch.int64
    assert single.periodic.dtype == torch.bool


def test_molecules_do_not_repeat() -> None:
    positions = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [0, 0, 5.0]], dtype=torch.float64)
    water = Structures.from_arrays(positions, [8, 1, 1]).with_neighbors(1.0)
    assert water.edge_index.tolist() == [[0, 1], [1, 0]]
    assert not bool(water.periodic.any())


def test_bad_input_is_refused() -> None:
    batch = random_structures([4, 2])
    with pytest.raises(InputError, match=r"targets\['energy'\] has 3 rows, 2 are needed"):
        batch.replace(targets={"energy": torch.zeros(3)})
    with pytest.raises(InputError, match=r"node_targets\['forces'\] has 5 rows, 6 are needed"):
        batch.replace(node_targets={"forces": torch.zeros(5, 3)})
    with pytest.raises(InputError, match="names has 1 rows"):
        batch.replace(names=("one",))
    with pytest.raises(InputError, match="add up to 7"):
        Structures.from_arrays(batch.positions, batch.species, sizes=[4, 3])
    with pytest.raises(InputError, match="targets differ"):
        Structures.concatenate([batch, batch.replace(targets={})])
    with pytest.raises(InputError, match="list is empty"):
        Structures.concatenate([])
    with pytest.raises(IndexError):
        batch[2]

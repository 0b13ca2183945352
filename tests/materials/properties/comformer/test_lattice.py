"""Triples of a lattice are those of plain enumeration and do not know the cell; ties list all of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.comformer import (
    Triples,
    crystal_edges,
    lattice_triples,
    primitive_cells,
    vectors_from_features,
)
from polyad.materials.structures import Structures, read_structures
from tests.materials.properties.comformer.samples import (
    BCC,
    CUBIC,
    FCC,
    HEXAGONAL,
    ORTHORHOMBIC,
    crystal,
    descriptions,
    noisy,
    quartz,
    triclinic,
    with_cell,
)


def triples_of(one: Structures, **options: float) -> Triples:
    return lattice_triples(one.positions, one.species, one.structure, one.cell, **options)


def all_vectors(cell: Tensor, reach: int = 3) -> Tensor:
    steps = torch.cartesian_prod(*[torch.arange(-reach, reach + 1, dtype=torch.float64)] * 3)
    vectors = steps[steps.abs().sum(1) > 0] @ cell
    return vectors[vectors.norm(dim=1).argsort(stable=True)]


def enumerated(cell: Tensor, tolerance: float = 1e-6) -> set[tuple[float, ...]]:
    """All triples that satisfy the rules, from all lattice vectors there are, in one loop."""
    vectors = [v for v in all_vectors(cell) if v.norm() <= cell.norm(dim=1).max() * 1.01]
    rows = torch.stack(vectors)
    shortest = float(rows[0].norm())
    found = set()
    for e1 in (v for v in rows if v.norm() < shortest + tolerance):
        free = rows[torch.linalg.cross(e1.expand_as(rows), rows).norm(dim=1) > 1e-6]
        second = float(free[0].norm())
        for e2 in (v for v in free if v.norm() < second + tolerance):
            spatial = rows[(rows @ torch.linalg.cross(e1, e2)).abs() > 1e-6]
            third = float(spatial[0].norm())
            for e3 in (v for v in spatial if v.norm() < third + tolerance):
                right = float(torch.linalg.det(torch.stack([e1, e2, e3]))) > 0
                if right and float(e1 @ e2) > -tolerance and float(e1 @ e3) > -tolerance:
                    found.add(as_key(torch.stack([e1, e2, e3])))
    return found


def as_key(triple: Tensor) -> tuple[float, ...]:
    return tuple((triple.flatten() * 1e5).round().add(0.0).tolist())


def test_triples_of_generic_lattices_are_unique_and_those_of_enumeration() -> None:
    for seed in range(10):
        one = triclinic(seed, atoms=3)
        found = triples_of(one, tolerance=1e-9)
        assert len(found) == 1
        assert {as_key(found.vectors[0])} == enumerated(one.cell[0])


@pytest.mark.parametrize(
    ("cell", "count"),
    [(CUBIC, 24), (FCC, 144), (BCC, 24), (HEXAGONAL, 12), (ORTHORHOMBIC, 4)],
    ids=["cubic", "fcc", "bcc", "hexagonal", "orthorhombic"],
)
def test_ties_list_every_admissible_triple(cell: list[list[float]], count: int) -> None:
    one = crystal(cell, [[0.1, 0.2, 0.3]], [1])
    found = triples_of(one)
    keys = {as_key(x) for x in found.vectors}
    assert len(found) == len(keys) == count
    assert keys == enumerated(one.cell[0])
    for seed in range(5):
        assert len(triples_of(noisy(one, 1e-9, seed))) == count


def test_each_rule_of_signs_is_needed() -> None:
    vectors = triples_of(triclinic(1)).vectors[0]
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=3)), dtype=torch.float64)
    triples = signs[:, :, None] * vectors
    first = (triples[:, 0] * triples[:, 1]).sum(1) > 0
    second = (triples[:, 0] * triples[:, 2]).sum(1) > 0
    third = torch.linalg.det(triples) > 0
    assert torch.nonzero(first & second & third).tolist() == [[0]]
    assert int((first & second).sum()) == int((first & third).sum()) == 2


def test_triples_do_not_know_the_description_of_the_crystal() -> None:
    for seed in range(5):
        one = triclinic(seed)
        expected = triples_of(one).vectors[0]
        for name, other in descriptions(one, seed).items():
            found = triples_of(other)
            assert len(found) == 1
            assert int(found.order[0]) == (4 if name == "supercell" else 1), name
            gram, wanted = found.vectors[0] @ found.vectors[0].T, expected @ expected.T
            assert float((gram - wanted).abs().max()) < 1e-10, name
            assert float(torch.linalg.det(found.vectors[0])) > 0
            if name != "rotation":
                assert float((found.vectors[0] - expected).abs().max()) < 1e-10, name


def test_images_in_a_supercell_span_another_lattice() -> None:
    one = triclinic(2)
    other = with_cell(one, [[1, 1, 0], [0, 2, 0], [1, 0, 2]])
    marked = other.replace(species=torch.arange(1, other.num_nodes + 1))  # nothing repeats inside the cell any more
    assert int(triples_of(marked).order[0]) == 1
    lengths = [triples_of(x).vectors[0].norm(dim=1) for x in (one, marked)]
    assert float((lengths[0] - lengths[1]).abs().max()) > 0.5


def test_several_crystals_at_once_and_one_triple_of_each() -> None:
    parts = [triclinic(0), crystal(CUBIC, [[0, 0, 0]], [1]), crystal(ORTHORHOMBIC, [[0, 0, 0]], [1])]
    both = triples_of(Structures.concatenate(parts))
    assert torch.bincount(both.structure).tolist() == [1, 24, 4]
    assert torch.equal(both.vectors, torch.cat([triples_of(x).vectors for x in parts]))
    picked = both.chosen(torch.tensor([7, 25, 2]))
    assert torch.equal(picked.vectors, both.vectors[[0, 2, 27]])
    assert picked.structure.tolist() == [0, 1, 2]


def test_triples_move_with_the_cell() -> None:
    one = with_cell(triclinic(3), [[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    cell = one.cell.clone().requires_grad_()
    found = lattice_triples(one.positions, one.species, one.structure, cell).vectors
    (slope,) = torch.autograd.grad(found.square().sum(), cell)
    step = 1e-6 * torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sizes = []
    for sign in (1, -1):
        deform = torch.linalg.solve(one.cell[0], one.cell[0] + sign * step[0])
        moved = one.replace(cell=one.cell @ deform, positions=one.positions @ deform)
        sizes.append(float(triples_of(moved).vectors.square().sum()))
    assert abs((sizes[0] - sizes[1]) / 2 - float((slope * step).sum())) < 1e-9


# ------------------------------------------------------------------ primitive cells


def assert_same_atoms(found: Structures, expected: Structures) -> None:
    """Every atom of one is an atom of the other, modulo the lattice of the other."""
    assert found.species.sort().values.tolist() == expected.species.sort().values.tolist()
    for position, kind in zip(found.positions, found.species, strict=True):
        delta = torch.linalg.solve(expected.cell[0].T, (position - expected.positions).T).T
        distance = ((delta - delta.round()) @ expected.cell[0]).norm(dim=1)
        distance[expected.species != kind] = torch.inf
        assert float(distance.min()) < 1e-8


@pytest.mark.parametrize("change", [[[2, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [0, 2, 0], [1, 0, 2]]])
def test_primitive_cell_is_the_crystal_that_was_repeated(change: list[list[int]]) -> None:
    for seed in range(4):
        one = triclinic(seed)
        large = with_cell(one, change).replace(names=("repeated",), targets={"energy": torch.tensor([2.5])})
        found = primitive_cells(large)
        assert (found.names, float(found.targets["energy"])) == (("repeated",), 2.5)
        assert_same_atoms(found, one)
        assert abs(float(torch.linalg.det(found.cell[0])) - abs(float(torch.linalg.det(one.cell[0])))) < 1e-9
        alone = primitive_cells(one)
        assert torch.equal(alone.positions, one.positions)


def test_copies_are_averaged() -> None:
    one = triclinic(5)
    large = with_cell(one, [[2, 0, 0], [0, 2, 0], [0, 0, 1]])
    move = 1e-5 * torch.randn(large.num_nodes, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = primitive_cells(large.replace(positions=large.positions + move))
    assert found.num_nodes == one.num_nodes
    for position, kind in zip(found.positions, found.species, strict=True):
        delta = torch.linalg.solve(found.cell[0].T, (large.positions - position).T).T
        offset = (delta - delta.round()) @ found.cell[0]
        same = (offset.norm(dim=1) < 1e-3) & (large.species == kind)
        assert int(same.sum()) == 4
        assert float((offset[same].mean(0) + move[same].mean(0)).abs().max()) < 1e-12


def test_primitive_cells_agree_with_spglib() -> None:
    spglib = pytest.importorskip("spglib")
    diamond = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    diamond += [[x + 0.25 for x in place] for place in diamond]
    samples = [
        crystal(CUBIC, diamond, [14] * 8),
        crystal(CUBIC, diamond, [30] * 4 + [16] * 4),
        crystal(CUBIC, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 55]),
        crystal(CUBIC, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17]),
        with_cell(quartz(), [[1, 0, 0], [0, 1, 0], [0, 0, 3]]),
        with_cell(triclinic(1), [[2, 1, 0], [0, 1, 0], [0, 1, 2]]),
    ]
    found = primitive_cells(Structures.concatenate(samples))
    for b, sample in enumerate(samples):
        fractional = torch.linalg.solve(sample.cell[0].T, sample.positions.T).T
        cell, _, numbers = spglib.find_primitive(
            (sample.cell[0].tolist(), fractional.tolist(), sample.species.tolist())
        )
        assert int(found.node_start.diff()[b]) == len(numbers)
        volume = abs(float(torch.linalg.det(torch.as_tensor(cell))))
        assert abs(float(torch.linalg.det(found.cell[b])) - volume) < 1e-6


@pytest.mark.parametrize("name", ["perov_5_test", "carbon_24_test"])
def test_real_crystals_agree_with_spglib(shared_data: object, name: str) -> None:
    spglib = pytest.importorskip("spglib")
    data = read_structures(f"{shared_data}/crystals/{name}.csv.gz", limit=60)
    found = primitive_cells(data)
    for b in range(len(data)):
        one = data[b]
        fractional = torch.linalg.solve(one.cell[0].T, one.positions.T).T
        _, _, numbers = spglib.find_primitive(
            (one.cell[0].tolist(), fractional.tolist(), one.species.tolist()), symprec=1e-4
        )
        assert int(found.node_start.diff()[b]) == len(numbers)


# ------------------------------------------------------------------ completeness


def test_features_of_one_atom_determine_its_surroundings() -> None:
    for seed in range(5):
        edges = crystal_edges(triclinic(seed), 25)
        triple = triples_of(edges).vectors[0]
        vectors = edges.edge_vectors()[edges.edge_index[1] == 0]
        distances, lengths = vectors.norm(dim=1), triple.norm(dim=1)
        cosines = (vectors / distances[:, None]) @ (triple / lengths[:, None]).T
        lattice, rebuilt = vectors_from_features(lengths, distances, cosines)
        turn = torch.linalg.solve(lattice, triple)  # the rotation between the two frames, if it is one
        assert float((turn @ turn.T - torch.eye(3)).abs().max()) < 1e-9
        assert float(torch.linalg.det(turn)) > 0
        assert float((rebuilt @ turn - vectors).square().mean().sqrt()) < 1e-9


# ------------------------------------------------------------------ bad input


def test_bad_input_is_refused() -> None:
    one = triclinic(0)
    with pytest.raises(InputError, match="tolerance"):
        triples_of(one, tolerance=0.5)
    with pytest.raises(InputError, match="volume"):
        triples_of(one.replace(cell=torch.ones(1, 3, 3, dtype=torch.float64)))
    with pytest.raises(InputError, match="finite"):
        triples_of(one.replace(positions=one.positions * torch.nan))
    with pytest.raises(InputError, match="no atom"):
        lattice_triples(one.positions, one.species, one.structure, one.cell.expand(2, 3, 3))
    with pytest.raises(InputError, match="fit"):
        lattice_triples(one.positions, one.species, one.structure + 1, one.cell)
    with pytest.raises(InputError, match="repeat"):
        primitive_cells(one.replace(periodic=torch.tensor([[True, True, False]])))
    cosines = torch.rand(5, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="determine"):
        vectors_from_features(torch.ones(3, dtype=torch.float64), torch.ones(5, dtype=torch.float64), cosines)


def test_atoms_on_top_of_one_another_are_no_translation() -> None:
    one = crystal(ORTHORHOMBIC, [[0, 0, 0], [0, 0, 0], [0.5, 0.5, 0.5]], [1, 1, 1])
    assert int(triples_of(one).order[0]) == 1

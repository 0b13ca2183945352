"""Neighbour lists against a brute force over images, matscipy and ASE, and against what a list must not depend on."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.neighbors import NeighborList, edge_vectors, neighbor_list, neighbor_lists


def random_points(nodes: int, size: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(nodes, 3, generator=generator, dtype=torch.float64) * size


SKEW = torch.tensor([[3.0, 0.2, -0.4], [1.1, 2.5, 0.3], [-0.7, 0.6, 2.8]], dtype=torch.float64)


def brute_force(positions: Tensor, cutoff: float, cell: Tensor, periodic: tuple[bool, ...]) -> set[tuple[int, ...]]:
    reach = [4 if flag else 0 for flag in periodic]
    found = set()
    for shift in itertools.product(*(range(-r, r + 1) for r in reach)):
        move = torch.tensor(shift, dtype=torch.float64) @ cell
        distance = torch.linalg.vector_norm(positions[None] + move - positions[:, None], dim=-1)
        for i, j in torch.nonzero((distance < cutoff) & (distance > 0)).tolist():
            found.add((i, j, *shift))
    return found


def as_tuples(edges: NeighborList) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.cat([edges.edge_index.T, edges.edge_shift], dim=1).tolist()]


@pytest.mark.parametrize("periodic", list(itertools.product([True, False], repeat=3)))
def test_list_equals_brute_force_over_images(periodic: tuple[bool, ...]) -> None:
    positions = random_points(6, 4.0, 0) - 1.5  # not inside the cell
    edges = neighbor_list(positions, 3.7, cell=SKEW, periodic=torch.tensor(periodic))
    found = as_tuples(edges)
    assert found == sorted(found)
    assert len(set(found)) == len(found) > 20
    assert set(found) == brute_force(positions, 3.7, SKEW, periodic)


def test_zero_rows_of_a_cell_are_fine_where_nothing_repeats() -> None:
    positions = random_points(6, 4.0, 1)
    slab = SKEW.clone()
    slab[2] = 0
    flags = torch.tensor([True, True, False])
    edges = neighbor_list(positions, 3.0, cell=slab, periodic=flags)
    assert set(as_tuples(edges)) == brute_force(positions, 3.0, slab, (True, True, False))


def test_list_equals_matscipy() -> None:
    neighbours = pytest.importorskip("matscipy.neighbours")
    positions = random_points(300, 9.0, 2)
    cell = SKEW * 3
    edges = neighbor_list(positions, 2.5, cell=cell)
    i, j, shift = neighbours.neighbour_list(
        "ijS", cutoff=2.5, positions=positions.numpy(), cell=cell.numpy(), pbc=[True] * 3
    )
    assert sorted(zip(i, j, *shift.T, strict=True)) == as_tuples(edges)


def test_vectors_are_closer_than_the_cutoff_and_come_in_pairs() -> None:
    positions = random_points(40, 5.0, 3)
    edges = neighbor_list(positions, 2.0, cell=SKEW)
    vectors = edge_vectors(positions, edges.edge_index, edges.edge_shift, SKEW[None])
    length = torch.linalg.vector_norm(vectors, dim=1)
    assert float(length.max()) < 2.0
    assert float(vectors.sum(0).abs().max()) < 1e-10
    backward = {(j, i, -a, -b, -c) for i, j, a, b, c in as_tuples(edges)}
    assert backward == set(as_tuples(edges))


def test_close_packing_has_twelve_neighbours() -> None:
    fcc = torch.tensor([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    edges = neighbor_list(torch.zeros(1, 3, dtype=torch.float64), 0.75, cell=fcc)
    vectors = edge_vectors(torch.zeros(1, 3, dtype=torch.float64), edges.edge_index, edges.edge_shift, fcc[None])
    assert len(edges) == 12
    assert torch.allclose(vectors.norm(dim=1), torch.full((12,), math.sqrt(0.5), dtype=torch.float64))


def test_batch_is_the_lists_one_after_another() -> None:
    sizes, cells = [5, 0, 9, 1], torch.stack([SKEW, SKEW, SKEW * 1.3, SKEW])
    points = [random_points(n, 4.0, seed) for seed, n in enumerate(sizes)]
    start = torch.tensor([0, *itertools.accumulate(sizes)])
    batch = neighbor_lists(torch.cat(points), start, 3.2, cells=cells)
    assert batch.edge_start[-1] == len(batch)
    for b, x in enumerate(points):
        alone = neighbor_list(x, 3.2, cell=cells[b])
        mine = slice(int(batch.edge_start[b]), int(batch.edge_start[b + 1]))
        assert torch.equal(batch.edge_index[:, mine], alone.edge_index + start[b])
        assert torch.equal(batch.edge_shift[mine], alone.edge_shift)
    structure = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    vectors = edge_vectors(torch.cat(points), batch.edge_index, batch.edge_shift, cells, structure)
    assert float(vectors.norm(dim=1).max()) < 3.2


def test_gradients_flow_into_positions_and_cell() -> None:
    positions = random_points(5, 3.0, 4).requires_grad_()
    cells = SKEW[None].clone().requires_grad_()
    edges = neighbor_list(positions, 2.5, cell=cells[0])

    def energy(x: Tensor, h: Tensor) -> Tensor:
        return (edge_vectors(x, edges.edge_index, edges.edge_shift, h).square().sum(1) - 1).square().sum()

    assert torch.autograd.gradcheck(energy, (positions, cells))


def test_dtype_and_far_positions() -> None:
    positions = random_points(12, 3.0, 5)
    far = positions + torch.tensor([7.0, -9.0, 4.0], dtype=torch.float64).round() @ SKEW
    edges, moved = neighbor_list(positions, 2.0, cell=SKEW), neighbor_list(far, 2.0, cell=SKEW)
    assert as_tuples(edges) == as_tuples(moved)
    single = neighbor_list(positions.float(), 2.0, cell=SKEW.float())
    assert abs(len(single) - len(edges)) <= 2  # pairs right at the cutoff may differ


def test_positions_scattered_over_huge_shifts_are_still_sorted() -> None:
    generator = torch.Generator().manual_seed(6)
    cells = torch.randint(-900_000, 900_000, (30, 3), generator=generator).double()
    positions = random_points(30, 3.0, 6) + cells @ SKEW.round()
    found = as_tuples(neighbor_list(positions, 1.5, cell=SKEW.round()))
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoff": 0.0}, "cutoff: must be a positive length"),
        ({"cutoff": math.nan}, "cutoff: must be a positive length"),
        ({"periodic": True}, "periodic: needs a cell"),
        ({"cell": torch.zeros(3, 3, dtype=torch.float64)}, "dependent or zero vectors"),
        ({"cell": SKEW[[0, 1, 1]]}, "dependent or zero vectors"),
        ({"cell": SKEW, "cutoff": 1e4}, "lower the cutoff"),
        ({"cell": SKEW, "maximum_edges": 10}, "more than 10"),
        ({"cell": SKEW * math.inf}, "must be finite"),
    ],
)
def test_bad_input_is_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        neighbor_list(random_points(6, 3.0, 7), **{"cutoff": 2.5, **options})


def test_coincident_points_are_named() -> None:
    positions = random_points(6, 3.0, 8)
    positions[4] = positions[1] + SKEW[0]
    with pytest.raises(InputError, match="nodes 1 and 4 lie"):
        neighbor_list(positions, 2.0, cell=SKEW)
    with pytest.raises(InputError, match="structure 1: nodes 1 and 4"):
        neighbor_lists(torch.cat([positions[:3], positions]), torch.tensor([0, 3, 9]), 2.0, cells=SKEW.expand(2, 3, 3))


def test_bad_starts_are_refused() -> None:
    with pytest.raises(InputError, match="node_start"):
        neighbor_lists(random_points(6, 3.0, 9), torch.tensor([0, 4]), 2.0)
    with pytest.raises(InputError, match="one a structure"):
        neighbor_lists(random_points(6, 3.0, 9), torch.tensor([0, 4, 6]), 2.0, cells=SKEW[None])


def test_positions_beyond_the_range_of_shifts_are_refused() -> None:
    positions = random_points(6, 3.0, 10)
    positions[2] += 2e6 * SKEW[1]
    with pytest.raises(InputError, match="wrap them into the cell"):
        neighbor_list(positions, 2.0, cell=SKEW)

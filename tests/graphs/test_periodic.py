"""Components of periodic graphs: nets of known dimension, and sublattices against an independent Hermite form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components, periodic_components_batched

IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def graph(num_nodes, edges):
    """(nodes, edge_index, edge_shift) from a list of (i, j, shift)."""
    index = torch.tensor([[i, j] for i, j, _ in edges], dtype=torch.int64).reshape(-1, 2).T.contiguous()
    return num_nodes, index, torch.tensor([s for *_, s in edges], dtype=torch.int64).reshape(-1, 3)


def is_member(vector, rows):
    """Whether an integer vector lies in the lattice of the independent rows (by a rational solve)."""
    rows = rows[(rows != 0).any(1)]
    coefficients, *_ = np.linalg.lstsq(rows.T, vector, rcond=None)
    return np.allclose(rows.T @ np.round(coefficients), vector)


NETS = {
    "cubic": (graph(1, [(0, 0, row) for row in IDENTITY]), [3], [1]),
    "two interpenetrating": (
        graph(2, [(n, n, row) for n in (0, 1) for row in IDENTITY]),
        [3, 3],
        [1, 1],
    ),
    "bcc steps alone": (graph(1, [(0, 0, s) for s in ([1, 1, 1], [1, -1, 1], [1, 1, -1])]), [3], [4]),
    "doubled cell": (graph(1, [(0, 0, [2, 0, 0]), (0, 0, [0, 1, 0]), (0, 0, [0, 0, 1])]), [3], [2]),
    "sheet": (graph(2, [(0, 1, [0, 0, 0]), (0, 1, [1, 0, 0]), (0, 1, [0, 1, 0])]), [2], None),
    "oblique sheet": (graph(1, [(0, 0, [1, 1, 0]), (0, 0, [0, 1, 1]), (0, 0, [1, 0, -1])]), [2], None),
    "chain": (graph(3, [(0, 1, [0, 0, 0]), (1, 2, [4, 0, 0]), (2, 0, [-3, 2, 0])]), [1], None),
    "island through the face": (graph(2, [(0, 1, [0, 7, 0]), (1, 0, [0, -7, 0])]), [0], None),
    "loose node": (graph(3, [(0, 2, [5, 5, 5])]), [0, 0], None),
    "chain and island": (graph(3, [(2, 2, [0, 0, 3]), (0, 1, [0, 0, 0])]), [0, 1], None),
}


@pytest.mark.parametrize("name", NETS)
def test_dimension_and_copies(name):
    net, dimension, copies = NETS[name]
    found = periodic_components(*net)
    assert found.dimension.tolist() == dimension
    assert len(found) == len(dimension)
    assert (found.directions != 0).any(2).sum(1).tolist() == dimension
    if copies is not None:
        assert torch.linalg.det(found.directions).round().long().tolist() == copies


def test_labels_follow_the_first_node():
    found = periodic_components(*graph(5, [(4, 1, [0, 0, 0]), (3, 2, [0, 0, 1]), (2, 4, [0, 0, 0])]))
    assert found.label.tolist() == [0, 1, 1, 1, 1]


def test_chain_direction_is_primitive_to_its_own_steps():
    found = periodic_components(*NETS["chain"][0])
    assert found.directions[0].tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]


def random_graphs(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        nodes = int(rng.integers(1, 9))
        edges = int(rng.integers(0, 14))
        yield graph(
            nodes,
            [(*rng.integers(0, nodes, 2).tolist(), rng.integers(-4, 5, 3).tolist()) for _ in range(edges)],
        )


def brute_cycles(num_nodes, index, shift, label, component):
    """Cycle vectors of a component by breadth-first search from its first node."""
    steps = [(i, j, s) for (i, j), s in zip(index.T.tolist(), shift.numpy(), strict=True)]
    start = label.tolist().index(component)
    place, queue = {start: np.zeros(3, int)}, [start]
    while queue:
        node = queue.pop(0)
        for i, j, s in steps:
            for a, b, t in ((i, j, s), (j, i, -s)):
                if a == node and b not in place:
                    place[b] = place[a] + t
                    queue.append(b)
    return set(place), [place[i] + s - place[j] for i, j, s in steps if i in place]


def test_random_graphs_against_search():
    for num_nodes, index, shift in random_graphs(0, 150):
        found = periodic_components(num_nodes, index, shift)
        for component in range(len(found)):
            members, cycles = brute_cycles(num_nodes, index, shift, found.label, component)
            assert members == set(np.flatnonzero(found.label.numpy() == component).tolist())
            rows = found.directions[component].numpy()
            rank = np.linalg.matrix_rank(np.array(cycles)) if cycles else 0
            assert int(found.dimension[component]) == rank
            assert all(is_member(c, rows) for c in cycles if c.any())
            if rank == 3:  # same lattice, not only a finer one: index is the gcd of all 3x3 minors
                minors = [round(np.linalg.det(np.array(c))) for c in itertools.combinations(cycles, 3)]
                assert round(abs(np.linalg.det(rows))) == np.gcd.reduce(minors)


def test_batch_equals_one_by_one():
    nets = list(random_graphs(1, 40))
    node_start = torch.tensor([0] + [n for n, *_ in nets]).cumsum(0)
    edge_start = torch.tensor([0] + [s.shape[0] for *_, s in nets]).cumsum(0)
    index = torch.cat([e + b for (_, e, _), b in zip(nets, node_start, strict=False)], dim=1)
    shift = torch.cat([s for *_, s in nets])
    batch = periodic_components_batched(node_start, edge_start, index, shift)
    for b, net in enumerate(nets):
        alone = periodic_components(*net)
        first, last = batch.component_start[b : b + 2].tolist()
        assert torch.equal(batch.dimension[first:last], alone.dimension)
        assert torch.equal(batch.directions[first:last], alone.directions)
        assert torch.equal(batch.label[node_start[b] : node_start[b + 1]] - first, alone.label)


def test_wide_shifts_stay_exact():
    """Consecutive Fibonacci numbers: Euclid's worst case; determinant +-1 must come out as 1 exactly."""
    a, b = 10946, 17711
    steps = [[a, b, 0], [b, a + b, 0], [2**19 - 1, 2**20 - 1, 1]]
    found = periodic_components(*graph(1, [(0, 0, s) for s in steps]))
    assert found.directions[0].tolist() == IDENTITY


def test_far_images_of_nodes_do_not_matter():
    rng = np.random.default_rng(3)
    far = rng.integers(-(2**19), 2**19, (4, 3))
    ring = [(0, 1, [0, 0, 0]), (1, 2, [1, 0, 0]), (2, 3, [0, 1, 0]), (3, 0, [0, 0, 1]), (0, 2, [2, 0, 0])]
    moved = [(i, j, (np.array(s) + far[i] - far[j]).tolist()) for i, j, s in ring]
    near, away = periodic_components(*graph(4, ring)), periodic_components(*graph(4, moved))
    assert torch.equal(near.directions, away.directions)


def test_bad_input_is_refused():
    index, shift = torch.tensor([[0], [2]]), torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(InputError, match="edge_index"):
        periodic_components(2, index, shift)
    with pytest.raises(InputError, match="edge_index"):
        periodic_components(3, index - 1, shift)
    with pytest.raises(InputError, match="edge_shift"):
        periodic_components(3, index, shift + 2**62)
    with pytest.raises(InputError, match="one shift an edge"):
        periodic_components_batched(torch.tensor([0, 3]), torch.tensor([0, 2]), index, shift)
    with pytest.raises(InputError, match="its own graph"):
        periodic_components_batched(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), index, shift)

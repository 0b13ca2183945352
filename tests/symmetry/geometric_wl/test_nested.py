"""GWL against nested objects compared as written, and its laws: symmetry, refinement, known iterations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import GeometricGraph, geometric_graph, gwl, k_chains

Array = np.ndarray


def moved(graph: GeometricGraph, *, seed: int, determinant: int = 1) -> tuple[GeometricGraph, Tensor]:
    """The graph turned, shifted and renumbered, and the old number of every node."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    q = q * determinant * torch.linalg.det(q).sign()
    order = torch.randperm(graph.num_nodes, generator=generator)
    return geometric_graph(
        graph.positions[order] @ q.T + 5.0,
        order.argsort()[graph.edge_index],
        scalars=graph.scalars[order],
        vectors=graph.vectors[order] @ q.T,
    ), order


def lattice_graph(seed: int, *, nodes: int = 5, vectors: bool = False) -> GeometricGraph:
    """A random tree, one more edge, on points of a small grid: many coincidences."""
    generator = np.random.default_rng(seed)
    points = generator.permutation(np.array(list(itertools.product(range(2), range(2), range(3)))))[:nodes]
    edges = [(int(generator.integers(0, node)), node) for node in range(1, nodes)] + [(0, nodes - 1)]
    kept = torch.tensor([pair for pair in edges if pair[0] != pair[1]]).T
    own = torch.from_numpy(generator.integers(0, 2, (nodes, 1, 3)) * 1.0) if vectors else None
    kinds = torch.from_numpy(generator.integers(0, 2, nodes)) if seed % 2 else None
    return geometric_graph(torch.from_numpy(points * 1.0), kept, scalars=kinds, vectors=own)


class Oracle:
    """Nested objects compared recursively, under every orthogonal map between any vectors of two neighbourhoods."""

    def __init__(self, first: GeometricGraph, second: GeometricGraph, group: str) -> None:
        self.graphs, self.group = (first, second), group

    def neighbours(self, which: int, node: int) -> list[tuple[int, Array]]:
        graph = self.graphs[which]
        edges = (graph.edge_index[1] == node).nonzero()[:, 0].tolist()
        return [(int(graph.edge_index[0, edge]), graph.edge_vectors[edge].numpy()) for edge in edges]

    def vectors(self, which: int, node: int, depth: int) -> list[Array]:
        found = list(self.graphs[which].vectors[node].numpy())
        if depth:
            for other, edge in self.neighbours(which, node):
                found += [edge, *self.vectors(which, other, depth - 1)]
        return found

    def equal(self, q: Array, i: int, j: int, depth: int, memo: dict[Any, bool]) -> bool:
        if (i, j, depth) not in memo:
            memo[i, j, depth] = self.compare(q, i, j, depth, memo)
        return memo[i, j, depth]

    def compare(self, q: Array, i: int, j: int, depth: int, memo: dict[Any, bool]) -> bool:
        a, b = self.graphs
        if depth == 0:
            same = torch.equal(a.scalars[i], b.scalars[j])
            return same and np.allclose(a.vectors[i].numpy() @ q.T, b.vectors[j].numpy(), atol=1e-6)
        ours, theirs = self.neighbours(0, i), self.neighbours(1, j)
        if len(ours) != len(theirs) or not self.equal(q, i, j, depth - 1, memo):
            return False
        return any(
            all(
                np.allclose(q @ x, y, atol=1e-6) and self.equal(q, u, w, depth - 1, memo)
                for (u, x), (w, y) in zip(ours, order, strict=True)
            )
            for order in itertools.permutations(theirs)
        )

    def same(self, i: int, j: int, depth: int) -> bool:
        a = np.unique(np.array(self.vectors(0, i, depth)).reshape(-1, 3), axis=0)
        b = np.unique(np.array(self.vectors(1, j, depth)).reshape(-1, 3), axis=0)
        basis: list[Array] = []
        for vector in a:
            if np.linalg.matrix_rank(np.array([*basis, vector])) > len(basis):
                basis.append(vector)
        chosen = np.array(basis).reshape(-1, 3)
        seen = set()
        for image in itertools.product(b, repeat=len(chosen)):
            target = np.array(image).reshape(-1, 3)
            if not np.allclose(target @ target.T, chosen @ chosen.T):
                continue
            left, _, right = np.linalg.svd(target.T @ chosen)
            if self.group == "SO(3)" and np.linalg.det(left @ right) < 0:
                if len(chosen) == 3:
                    continue
                left[:, 2] *= -1
            q = left @ right
            if q.round(6).tobytes() not in seen and self.equal(q, i, j, depth, {}):
                return True
            seen.add(q.round(6).tobytes())
        return False


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("seed", range(4))
def test_colours_are_orbits_of_nested_objects(group: Any, seed: int) -> None:
    first = lattice_graph(seed, vectors=seed > 1)
    second = moved(first, seed=seed, determinant=-1)[0] if seed % 2 else lattice_graph(seed + 10, vectors=seed > 1)
    steps = 3 if seed < 2 else 2
    one, other = gwl([first, second], steps, group=group)
    oracle, equal, different = Oracle(first, second, group), 0, 0
    for step in range(steps):
        for i, j in itertools.product(range(first.num_nodes), range(second.num_nodes)):
            expected = oracle.same(i, j, step)
            assert bool(one[step, i] == other[step, j]) is expected
            equal, different = equal + expected, different + (not expected)
    assert equal > 5
    assert different > 5


@pytest.mark.parametrize("k", range(2, 7))
def test_chains_are_separated_after_the_known_iterations(k: int) -> None:
    one, other = gwl(k_chains(k), k)
    moment = k // 2 + 1
    for step in range(k + 1):
        same = one[step].sort().values.equal(other[step].sort().values)
        assert same is (step < moment)


@pytest.mark.parametrize("determinant", [1, -1])
def test_invariant_under_motions_and_numbering_and_never_coarser(determinant: int) -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    edges = (torch.cdist(positions, positions) < 1.6).fill_diagonal_(False).nonzero().T
    graph = geometric_graph(positions, edges, vectors=torch.randn(12, 2, 3, generator=generator, dtype=torch.float64))
    turned, order = moved(graph, seed=1, determinant=determinant)
    for group in ("O(3)", "SO(3)"):
        one, other = gwl([graph, turned], 3, group=group)
        connected = edges.unique()  # a node without edges, of two vectors, has no hand
        if determinant == 1 or group == "O(3)":
            assert torch.equal(one[:, order], other)
        else:
            assert not set(one[3, connected].tolist()) & set(other[3].tolist())
        for coarse, fine in itertools.pairwise(one):
            assert len(torch.stack([coarse, fine]).unique(dim=1)[0]) == len(fine.unique())


def test_a_cubic_cluster_has_the_colours_of_its_symmetry() -> None:
    points = torch.cartesian_prod(*[torch.arange(3.0)] * 3).double()
    edges = (torch.cdist(points, points) < 1.1).fill_diagonal_(False).nonzero().T
    (colours,) = gwl([geometric_graph(points, edges)], 4)
    kind = (points == 1).sum(1)  # corner, edge, face, centre
    assert [len(step.unique()) for step in colours] == [1, 4, 4, 4, 4]
    assert torch.equal(colours[4], torch.unique_consecutive(colours[4][kind.argsort(stable=True)])[kind])


def test_scalars_vectors_and_edge_scalars_separate() -> None:
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    edge, zero = torch.tensor([[0], [1]]), torch.zeros(2, 1, 3)

    def differ(*graphs: GeometricGraph, group: Any = "O(3)") -> list[bool]:
        one, other = gwl(graphs, 1, group=group)
        return [not a.sort().values.equal(b.sort().values) for a, b in zip(one, other, strict=True)]

    plain = geometric_graph(positions, edge, scalars=torch.tensor([0, 1]))
    assert differ(plain, geometric_graph(positions, edge, scalars=torch.tensor([1, 1]))) == [True, True]
    assert differ(plain, geometric_graph(positions, edge, scalars=torch.tensor([1, 0]))) == [False, False]
    assert differ(plain, geometric_graph(1.1 * positions, edge, scalars=torch.tensor([0, 1]))) == [False, True]
    along, across, back = zero.clone(), zero.clone(), zero.clone()
    along[0, 0, 0], across[0, 0, 1], back[0, 0, 0] = 1.0, 1.0, -1.0
    graphs = [geometric_graph(positions, edge, vectors=v) for v in (along, across, back)]
    assert differ(graphs[0], graphs[1]) == [False, True]  # only with the edge does the angle show
    assert differ(graphs[0], graphs[2]) == [False, True]
    wide = [
        GeometricGraph(g.positions, g.edge_index, g.edge_vectors, g.scalars, g.vectors, torch.full((2, 1), width))
        for g, width in ((plain, 1.0), (plain, 2.0))
    ]
    assert differ(*wide) == [False, True]


def test_bad_input_is_refused() -> None:
    one, other = k_chains(2)
    with_vectors = geometric_graph(other.positions, other.edge_index, vectors=other.positions[:, None])
    for call in (
        lambda: gwl([], 1),
        lambda: gwl([one, with_vectors], 1),
        lambda: gwl([one], -1),
        lambda: gwl([one], 1, tolerance=0.0),
    ):
        with pytest.raises(InputError):
            call()

"""Graphs: counts from the literature, one of each class, files, and pairs that colour refinement cannot separate."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.problems.graphs import canonical_codes, connected_graphs, cover_pairs, read_graph6


def connected(matrices: Tensor) -> Tensor:
    reach = torch.linalg.matrix_power(matrices + torch.eye(matrices.shape[-1], dtype=torch.float64), matrices.shape[-1])
    return (reach > 0).flatten(1).all(1)


@pytest.mark.parametrize(("nodes", "count"), list(enumerate([1, 1, 2, 6, 21, 112, 853, 11117], start=1)))
def test_counts_are_those_of_oeis_a001349(nodes: int, count: int) -> None:
    graphs = connected_graphs(nodes)
    assert graphs.shape == (count, nodes, nodes)
    assert bool(connected(graphs).all())
    assert torch.equal(graphs, graphs.mT)
    assert float(graphs.diagonal(dim1=1, dim2=2).abs().max()) == 0
    assert len(set(canonical_codes(graphs))) == count


@pytest.mark.parametrize("nodes", [4, 5])
def test_each_class_is_met_once_by_trying_all_labelled_graphs(nodes: int) -> None:
    """Classes by the smallest matrix over all permutations, without refinement."""
    pairs = list(itertools.combinations(range(nodes), 2))
    orders = list(itertools.permutations(range(nodes)))

    def form(edges: frozenset[tuple[int, int]]) -> tuple[int, ...]:
        return min(tuple(int((min(p[i], p[j]), max(p[i], p[j])) in edges) for i, j in pairs) for p in orders)

    forms = set()
    for bits in itertools.product((0, 1), repeat=len(pairs)):
        edges = frozenset(pair for pair, bit in zip(pairs, bits, strict=True) if bit)
        matrix = torch.zeros(1, nodes, nodes, dtype=torch.float64)
        for i, j in edges:
            matrix[0, i, j] = matrix[0, j, i] = 1
        if bool(connected(matrix)):
            forms.add(form(edges))
    listed = [form(frozenset((i, j) for i, j in pairs if graph[i, j])) for graph in connected_graphs(nodes)]
    assert len(listed) == len(set(listed))
    assert set(listed) == forms


def test_against_the_atlas_of_graphs() -> None:
    networkx = pytest.importorskip("networkx", reason="networkx is not installed (peers group)")
    atlas = networkx.graph_atlas_g()
    for nodes in (6, 7):
        named = [g for g in atlas if g.number_of_nodes() == nodes and networkx.is_connected(g)]
        codes = canonical_codes(torch.stack([torch.from_numpy(networkx.to_numpy_array(g)) for g in named]))
        assert sorted(codes) == sorted(canonical_codes(connected_graphs(nodes)))


def test_codes_do_not_depend_on_the_labelling() -> None:
    graphs = connected_graphs(8)[::50]
    for seed in range(5):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        assert canonical_codes(graphs[:, order][:, :, order]) == canonical_codes(graphs)


def test_files_in_graph6(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx", reason="networkx is not installed (peers group)")
    path = tmp_path / "graphs.g6"
    graphs = [networkx.gnm_random_graph(7, 9, seed=s) for s in range(5)]
    path.write_bytes(b"".join(networkx.to_graph6_bytes(g, header=s == 0) for s, g in enumerate(graphs)))
    for matrix, graph in zip(read_graph6(path), graphs, strict=True):
        assert torch.equal(matrix, torch.from_numpy(networkx.to_numpy_array(graph, nodelist=range(7))))
    assert connected_graphs(7, file=path).shape == (5, 7, 7)
    with pytest.raises(InputError):
        connected_graphs(6, file=path)
    path.write_text("F\x7f~~~\n")
    with pytest.raises(FileFormatError):
        read_graph6(path)
    path.write_text("F?\n")
    with pytest.raises(FileFormatError):
        read_graph6(path)


def refined(matrices: Tensor) -> list[tuple[int, ...]]:
    """Colours after refinement, numbered alike in all matrices."""
    colours = [[0] * matrices.shape[1] for _ in matrices]
    for _ in range(matrices.shape[1]):
        seen = [
            [(c[i], tuple(sorted(c[j] for j in range(len(c)) if m[i, j]))) for i in range(len(c))]
            for c, m in zip(colours, matrices, strict=True)
        ]
        names = {x: k for k, x in enumerate(sorted({x for row in seen for x in row}))}
        colours = [[names[x] for x in row] for row in seen]
    return [tuple(sorted(c)) for c in colours]


def test_covers_look_alike_and_are_not() -> None:
    pairs = cover_pairs(8, seed=0, nodes=9)
    assert pairs.shape == (8, 2, 18, 18)
    assert bool(connected(pairs.flatten(0, 1)).all())
    for first, second in pairs:
        one, other = refined(torch.stack([first, second]))
        assert one == other
        spectra = torch.linalg.eigvalsh(torch.stack([first, second]))
        laplace = torch.linalg.eigvalsh(torch.stack([torch.diag(x.sum(1)) - x for x in (first, second)]))
        assert max(float((s[0] - s[1]).abs().max()) for s in (spectra, laplace)) > 1e-6
    assert torch.equal(cover_pairs(8, seed=0, nodes=9), pairs)
    assert not torch.equal(cover_pairs(8, seed=1, nodes=9), pairs)


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: connected_graphs(0),
        lambda: connected_graphs(9),
        lambda: canonical_codes(torch.eye(3, dtype=torch.float64)[None]),
        lambda: canonical_codes(torch.zeros(1, 11, 11, dtype=torch.float64)),
        lambda: cover_pairs(0, seed=0),
        lambda: cover_pairs(1, seed=0, degree=1.0),
    ):
        with pytest.raises(InputError):
            call()

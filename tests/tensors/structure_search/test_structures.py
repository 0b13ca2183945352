"""Structures and templates: counts, embeddings of the classical formats, canonical forms, moves that keep weights."""

from __future__ import annotations

from itertools import permutations
from math import prod

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP, TensorNetwork, TensorRing, TensorTrain, Tucker
from polyad.tensors.structure_search import (
    TEMPLATES,
    NetworkStructure,
    complete,
    draw_structure,
    grid,
    grow,
    new_slices,
    path,
    plot_structure,
    ring,
    shrink,
    split,
    splits,
    star,
    structure_from_adjacency,
    structure_of,
    tree,
)
from polyad.tensors.structure_search.plans import to_dense

ADJACENCY = [
    [3, 0, 0, 3, 0, 2],
    [0, 3, 2, 0, 2, 0],
    [0, 2, 3, 4, 0, 0],
    [3, 0, 4, 3, 0, 0],
    [0, 2, 0, 0, 3, 3],
    [2, 0, 0, 0, 3, 3],
]
"""The published planted instance."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(structure: NetworkStructure, seed: int = 0) -> list[Tensor]:
    return [core[0] for core in structure.random_cores(seeded(seed))]


def dense_of(structure: NetworkStructure, cores: list[Tensor]) -> Tensor:
    return to_dense(structure, [core[None] for core in cores])[0]


TRIANGLE = NetworkStructure.from_edges((3, 4, 2, 5), {(0, 1): 2, (1, 2): 3, (0, 2): 2})


def test_published_instance_has_the_published_count() -> None:
    structure = structure_from_adjacency(ADJACENCY)
    assert structure.parameters == 126
    assert [prod(structure.core_shape(node)) for node in range(6)] == [18, 12, 24, 36, 18, 18]
    assert structure.compression == 126 / 729
    # ring order 0-3-2-1-4-5: mode m at position permutation[m]
    assert ring(6).structure((3,) * 6, (3, 4, 2, 2, 3, 2), (0, 3, 2, 1, 4, 5)) == structure


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_contraction_equals_one_dense_einsum(name: str) -> None:
    """The batched plan, the value's own contraction and torch.einsum over all cores at once agree."""
    template = TEMPLATES[name](4)
    ranks = [2 + k % 2 for k in range(len(template.edges))]
    structure = template.structure((3, 2, 4, 2), ranks, (2, 0, 3, 1) if template.permutes else None)
    cores = structure.random_cores(seeded(), starts=2)
    letters = {
        label: chr(97 + k)
        for k, label in enumerate({n: 0 for i in range(structure.nodes) for n in structure.labels(i)})
    }
    terms = ["".join(letters[label] for label in structure.labels(node)) for node in range(structure.nodes)]
    equation = ",".join(terms) + "->" + "".join(letters[mode] for mode in range(4))
    for start in range(2):
        mine = [core[start] for core in cores]
        wanted = torch.einsum(equation, *mine)
        assert torch.allclose(to_dense(structure, cores)[start], wanted, atol=1e-12)
        assert torch.allclose(structure.network(mine).to_dense(), wanted, atol=1e-12)
        assert structure.network(mine).storage.numbers == structure.parameters


def test_train_ring_and_tucker_reproduce_tensorly() -> None:
    tensorly = pytest.importorskip("tensorly")
    train = path(4).structure((3, 4, 2, 5), (2, 3, 2))
    cores = drawn(train)
    factors = [
        cores[0][None].permute(0, 1, 2),
        cores[1].permute(1, 0, 2),
        cores[2].permute(1, 0, 2),
        cores[3].mT[..., None],
    ]
    wanted = tensorly.tt_to_tensor([f.numpy() for f in factors])
    assert torch.allclose(dense_of(train, cores), torch.from_numpy(wanted), atol=1e-12)

    loop = ring(4).structure((3, 4, 2, 5), (2, 3, 2, 4))
    cores = drawn(loop)  # core 0 has legs (mode, to 1, to 3), core 3 (mode, to 0, to 2)
    factors = [
        cores[0].permute(2, 0, 1),
        cores[1].permute(1, 0, 2),
        cores[2].permute(1, 0, 2),
        cores[3].permute(2, 0, 1),
    ]
    wanted = tensorly.tr_to_tensor([f.numpy() for f in factors])
    assert torch.allclose(dense_of(loop, cores), torch.from_numpy(wanted), atol=1e-12)

    tucker = star(4).structure((3, 4, 2, 5), (2, 3, 2, 4))
    cores = drawn(tucker)
    wanted = tensorly.tucker_to_tensor((cores[4].numpy(), [c.numpy() for c in cores[:4]]))
    assert torch.allclose(dense_of(tucker, cores), torch.from_numpy(wanted), atol=1e-12)


def test_rank_one_structure_is_an_outer_product() -> None:
    structure = NetworkStructure.from_edges((3, 4, 2), {})
    cores = drawn(structure)
    assert structure.parameters == 9
    assert torch.allclose(dense_of(structure, cores), torch.einsum("a,b,c->abc", *cores), atol=1e-13)


def test_formats_become_structures() -> None:
    loop = TensorRing.random((3, 4, 5, 2), (2, 3, 2, 4), generator=seeded()).to_network()
    structure, cores = structure_of(loop)
    assert structure == ring(4).structure((3, 4, 5, 2), (3, 2, 4, 2))
    assert torch.allclose(dense_of(structure, cores), loop.to_dense(), atol=1e-12)
    value = structure.network(cores)
    again, same = structure_of(value)
    assert again == structure
    assert all(torch.equal(a, b) for a, b in zip(cores, same, strict=True))
    x = Tucker.random((3, 4, 5), (2, 3, 2), generator=seeded())
    network = TensorNetwork((x.core, *x.factors), (("a", "b", "c"), (0, "a"), (1, "b"), (2, "c")), (0, 1, 2))
    structure, cores = structure_of(network)
    assert structure.canonical() == star(3).structure((3, 4, 5), (2, 3, 2))
    assert torch.allclose(dense_of(structure, cores), x.to_dense(), atol=1e-12)


def test_parallel_bonds_become_one() -> None:
    a, b = (torch.randn(3, 2, 2, generator=seeded(k), dtype=torch.float64) for k in range(2))
    network = TensorNetwork((a, b), ((0, "x", "y"), (1, "y", "x")), (0, 1))
    structure, cores = structure_of(network)
    assert structure.ranks[0][1] == 4
    assert torch.allclose(dense_of(structure, cores), network.to_dense(), atol=1e-13)


def test_what_is_no_rank_matrix_is_refused() -> None:
    x = CP.random((3, 4, 5), 2, generator=seeded())
    hyper = TensorNetwork((x.weights, *x.factors), (("r",), (0, "r"), (1, "r"), (2, "r")), output=(0, 1, 2))
    with pytest.raises(InputError, match="hyperedges"):
        structure_of(hyper)
    with pytest.raises(InputError, match="symmetric"):
        NetworkStructure((2, 2), ((1, 2), (3, 1)))
    with pytest.raises(InputError, match="symmetric"):
        NetworkStructure((2, 2), ((1, 0), (0, 1)))
    with pytest.raises(InputError, match="permutation"):
        ring(4).structure((2,) * 4, (2,) * 4, (0, 1, 2, 2))
    with pytest.raises(InputError, match="ranks"):
        ring(4).structure((2,) * 4, (2,) * 3)
    with pytest.raises(InputError, match="nodes"):
        NetworkStructure.from_edges((2, 2), {(0, 2): 2})
    with pytest.raises(InputError, match="rows"):
        grid(7, rows=2)


def test_placements_equal_up_to_an_automorphism_are_equal() -> None:
    """A ring of four has 24 placements and 8 automorphisms: 3 structures. A path has 2 automorphisms: 12."""
    shape = (2, 3, 4, 5)
    rings = {ring(4).structure(shape, (2,) * 4, p).canonical() for p in permutations(range(4))}
    paths = {path(4).structure(shape, (2,) * 3, p).canonical() for p in permutations(range(4))}
    trees = {tree(4).structure(shape, (2,) * 5, p).canonical() for p in permutations(range(4))}
    stars = {star(4).structure(shape, (2,) * 4, p).canonical() for p in permutations(range(4))}
    assert (len(rings), len(paths), len(trees), len(stars)) == (3, 12, 3, 1)


def test_templates_are_the_graphs_they_are_called() -> None:
    assert len(ring(5).edges) == 5
    assert ring(2).edges == ((0, 1),)
    assert len(complete(5).edges) == 10
    assert set(grid(6).edges) == {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)}
    for order in range(2, 9):
        binary = tree(order)
        assert len(binary.edges) == binary.nodes - 1  # a tree
        degrees = [sum(node in edge for edge in binary.edges) for node in range(binary.nodes)]
        assert set(degrees[:order]) == {1}
        assert set(degrees[order:]) <= {3}


# ---------------------------------------------------------------- weights kept


@pytest.mark.parametrize("edge", [(0, 1), (0, 3), (2, 1), (3, 2)])
def test_one_zero_slice_changes_nothing_and_has_a_gradient(edge: tuple[int, int]) -> None:
    cores = drawn(TRIANGLE)
    zero, random = new_slices(TRIANGLE, edge, seeded(1), like=cores[0])
    grown, larger = grow(TRIANGLE, cores, edge, (zero[0], random[0]))
    assert grown.ranks[edge[0]][edge[1]] == TRIANGLE.ranks[edge[0]][edge[1]] + 1
    assert [tuple(core.shape) for core in larger] == [grown.core_shape(node) for node in range(4)]
    before, after = dense_of(TRIANGLE, cores), dense_of(grown, larger)
    assert torch.equal(before, after) or torch.allclose(before, after, rtol=0, atol=1e-15)
    target = torch.randn(3, 4, 2, 5, generator=seeded(2), dtype=torch.float64)

    def gradients(slices: tuple[Tensor, Tensor]) -> list[float]:
        free = [s.clone().requires_grad_(True) for s in slices]
        structure, all_cores = grow(TRIANGLE, cores, edge, (free[0], free[1]))
        (dense_of(structure, all_cores) - target).square().sum().backward()
        return [float(s.grad.norm()) for s in free if s.grad is not None]

    assert gradients((zero[0], random[0]))[0] > 1e-3
    assert max(gradients((zero[0], torch.zeros_like(random[0])))) == 0.0  # two zero slices: nothing moves


def test_split_is_exact_at_full_rank_and_saves_where_the_core_is_of_low_rank() -> None:
    tucker = star(4).structure((4, 4, 4, 4), (2, 2, 2, 2))
    cores = drawn(tucker)
    dense = dense_of(tucker, cores)
    # the same tensor with the inner node absorbed into core 0
    centred = NetworkStructure.from_edges((4,) * 4, {(0, 1): 2, (0, 2): 2, (0, 3): 2})
    merged = [torch.einsum("ma,abcd->mbcd", cores[0], cores[4]), *cores[1:4]]
    assert torch.allclose(dense_of(centred, merged), dense, atol=1e-12)
    structure, parts = next(iter(splits(centred, merged, threshold=1e-8)))
    assert structure.canonical() == tucker.canonical()
    assert torch.allclose(dense_of(structure, parts), dense, atol=1e-11)
    full, parts = split(TRIANGLE, drawn(TRIANGLE), 1, [(0, 1), (1, 2)], 4)
    assert full.nodes == 5
    assert torch.allclose(dense_of(full, parts), dense_of(TRIANGLE, drawn(TRIANGLE)), atol=1e-12)
    again, twice = split(full, parts, 0, [(0, 2), (0, 4)], 3)  # neighbours with and without a mode
    assert torch.allclose(dense_of(again, twice), dense_of(TRIANGLE, drawn(TRIANGLE)), atol=1e-12)
    with pytest.raises(InputError, match="moved"):
        split(TRIANGLE, drawn(TRIANGLE), 1, [1], 2)
    with pytest.raises(InputError, match="rank"):
        split(TRIANGLE, drawn(TRIANGLE), 1, [(0, 1), (1, 2)], 5)


def test_shrinking_drops_the_smallest_singular_value() -> None:
    train = TensorTrain.random((4, 5), 3, generator=seeded())
    structure = path(2).structure((4, 5), (3,))
    cores = [train.cores[0][0], train.cores[1][..., 0].mT]
    values = torch.linalg.svdvals(train.to_dense())
    smaller, parts = shrink(structure, cores, (0, 1))
    assert smaller.ranks[0][1] == 2
    error = (dense_of(smaller, parts) - train.to_dense()).norm()
    assert float(error) == pytest.approx(float(values[2]), rel=1e-10)
    one, parts = shrink(smaller, parts, (1, 0))
    assert one.edges == ()
    error = (dense_of(one, parts) - train.to_dense()).norm()
    assert float(error) == pytest.approx(float(values[1:3].norm()), rel=1e-10)
    with pytest.raises(InputError, match="size 1"):
        shrink(one, parts, (0, 1))


# ---------------------------------------------------------------- pictures


def test_text_names_every_bond_and_every_lone_mode() -> None:
    lines = draw_structure(TRIANGLE).splitlines()
    assert lines == ["1 (4) --3-- 2 (2)", "0 (3) --2-- 1 (4)", "0 (3) --2-- 2 (2)", "3 (5)  alone"]


def test_picture_has_a_line_and_a_number_for_every_bond() -> None:
    tucker = star(4).structure((3, 4, 5, 6), (2, 3, 4, 5))
    axes = plot_structure(tucker, title="found").axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert axes.get_title() == "found"
    for wanted in ["2", "3", "4", "5", "6", "0", "1"]:
        assert wanted in texts
    bonds = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() == "0.55"]
    assert len(bonds) == 4

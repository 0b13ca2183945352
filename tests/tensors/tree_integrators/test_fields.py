"""Restricted fields against dense projections, and the two kinds of fields against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import layout
from polyad.tensors.tree_integrators import FunctionField, OperatorField, product_operator
from polyad.tensors.tree_integrators.centres import move_centre
from polyad.tensors.tree_integrators.fields import Field, as_field
from polyad.tensors.tree_integrators.work import Ledger

TREES = [((0, 1), (2, 3)), (0, 1, 2, 3), ((3, 0, 2), 1), (((0, 1), 2), 3), (((2,), 0), (1, 3))]
SHAPE = (3, 2, 4, 3)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def problem(tree: tuple) -> tuple[list[Field], list[Tensor], Tensor]:
    operator = product_operator(tree, [[random(n, n, seed=9 * t + k) for k, n in enumerate(SHAPE)] for t in range(2)])
    generator = torch.Generator().manual_seed(5)
    value = TreeTensorNetwork.random(SHAPE, 2, tree=tree, dtype=torch.complex128, generator=generator).orthogonalise()
    fields = [OperatorField(operator), FunctionField(lambda time, y: operator.apply(y), tree)]
    return fields, value.by_node(), operator.to_dense()


def prolongation(tree: tuple, arrays: dict[int, Tensor], place: int, like: Tensor) -> Tensor:
    """The matrix that takes the numbers of the array at `place` to the entries of the tensor."""
    columns = []
    for k in range(like.numel()):
        unit = torch.zeros_like(like)
        unit.view(-1)[k] = 1
        placed = {**arrays, place: unit}
        nodes = layout(tree)
        factors = {node.mode: placed[p] for p, node in enumerate(nodes) if node.mode is not None}
        cores = tuple(placed[p] for p, node in enumerate(nodes) if node.mode is None)
        columns.append(
            TreeTensorNetwork(tree, tuple(factors[m] for m in range(len(SHAPE))), cores).to_dense().flatten()
        )
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("tree", TREES)
def test_site_equations_are_dense_projections(tree: tuple) -> None:
    fields, arrays, dense = problem(tree)
    nodes = layout(tree)
    found = [move_centre(field, nodes, arrays, Ledger(False)) for field in fields]
    for place, node in enumerate(nodes):
        rates = [
            field.site(place, [old.below[child] for child in node.children], old.above[place])
            for field, old in zip(fields, found, strict=True)
        ]
        x = random(*found[0].centres[place].shape, seed=place)
        others = rates[1].ket  # type: ignore[attr-defined]
        basis = prolongation(tree, others, place, x)
        torch.testing.assert_close(basis.mH @ basis, torch.eye(x.numel(), dtype=x.dtype), rtol=0, atol=1e-12)
        whole = sum(arrays[-1].flatten().abs() ** 2)
        assert abs(float(found[0].centres[place].norm() ** 2 - whole)) < 1e-10
        expected = (basis.mH @ (dense @ (basis @ x.flatten()))).reshape(x.shape)
        for rate in rates:
            torch.testing.assert_close(rate(0.0, x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tree", TREES)
def test_edge_equations_and_mixed_bases_agree(tree: tuple) -> None:
    fields, arrays, _ = problem(tree)
    nodes = layout(tree)
    found = [move_centre(field, nodes, arrays, Ledger(False)) for field in fields]
    for place, node in enumerate(nodes[:-1]):
        s = random(arrays[place].shape[-1], arrays[place].shape[-1], seed=place)[:, : found[0].centres[place].shape[-1]]
        one, two = (f.edge(place, o.below[place], o.above[place])(0.0, s) for f, o in zip(fields, found, strict=True))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)
        if node.children:  # another bra at the first child: three states in place of its own
            values = []
            for field, old in zip(fields, found, strict=True):
                parts = [old.below[child] for child in node.children]
                child = node.children[0]
                bra = random(*arrays[child].shape[:-1], 3, seed=7)
                inner = [old.below[c] for c in nodes[child].children]
                parts[0] = field.below(child, bra, arrays[child], inner)
                values.append(field.site(place, parts, old.above[place])(0.0, old.centres[place]))
            assert values[0].shape[0] == 3
            torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-10)


def test_bad_fields_are_refused() -> None:
    value = TreeTensorNetwork.random((2, 2), 1, tree=(0, 1))
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(InputError, match="one tree for both"):
        as_field(product_operator((1, 0), [[eye, eye]]), value)
    with pytest.raises(InputError, match="needed"):
        as_field(3.0, value)  # type: ignore[arg-type]
    wrong = FunctionField(lambda time, y: 1.0, (0, 1))  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="must return"):
        wrong.site(2, [({0: eye}, {0: eye}), ({1: eye}, {1: eye})], wrong.top())(0.0, torch.ones(2, 2, 1).double())

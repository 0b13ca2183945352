"""Row products against written-out sums, Kronecker products and tensorly's vectorisation."""

from __future__ import annotations

from functools import reduce

import pytest
import torch

from polyad.tensors.formats.row_products import CPRows, TuckerRows


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows_of(sizes: tuple[int, ...], count: int = 6) -> list[torch.Tensor]:
    return [draw(count, size, seed=place + 1) for place, size in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (2, 3, 4), (3, 1, 2, 2)])
def test_tucker_rows_are_kronecker_products(sizes):
    core, rows = draw(*sizes), rows_of(sizes)
    for entry in range(6):
        own = [row[entry] for row in rows]
        whole = core.flatten() @ reduce(torch.kron, own)
        assert float(TuckerRows().contract(core, rows)[entry]) == pytest.approx(float(whole), abs=1e-12)
        for mode in range(len(sizes)):
            others = reduce(torch.kron, [row for k, row in enumerate(own) if k != mode], torch.ones(1).double())
            expected = core.movedim(mode, 0).flatten(1) @ others if len(sizes) > 1 else core
            found = TuckerRows().contract(core, rows, skip=mode)[entry]
            assert torch.allclose(found, expected, atol=1e-12)


def test_kronecker_order_is_tensorlys():
    tensorly = pytest.importorskip("tensorly")
    sizes = (2, 3, 4)
    core, factors = draw(*sizes), [draw(5 + k, size, seed=k + 1) for k, size in enumerate(sizes)]
    dense = torch.from_numpy(tensorly.tucker_to_tensor((core.numpy(), [factor.numpy() for factor in factors])))
    places = torch.cartesian_prod(*(torch.arange(len(factor)) for factor in factors))
    rows = [factor[places[:, mode]] for mode, factor in enumerate(factors)]
    assert torch.allclose(TuckerRows().contract(core, rows), dense.flatten(), atol=1e-12)


@pytest.mark.parametrize("products", [TuckerRows(), CPRows()], ids=["Tucker", "CP"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_outer_sum_is_the_adjoint(products, order):
    sizes = (2, 3, 4, 2)[:order] if isinstance(products, TuckerRows) else (3,) * order
    core = draw(*(sizes if isinstance(products, TuckerRows) else sizes[:1]))
    rows, weights = rows_of(sizes), draw(6, seed=9)
    left = (products.outer_sum(weights, rows) * core).sum()
    assert float(left) == pytest.approx(float(weights @ products.contract(core, rows)), abs=1e-12)


def test_cp_rows_are_a_superdiagonal_core():
    weights, rows = draw(3), rows_of((3, 3, 3))
    core = torch.zeros(3, 3, 3).double()
    core[torch.arange(3), torch.arange(3), torch.arange(3)] = weights
    for skip in (None, 0, 1, 2):
        assert torch.allclose(
            CPRows().contract(weights, rows, skip=skip), TuckerRows().contract(core, rows, skip=skip), atol=1e-12
        )


@pytest.mark.parametrize("products", [TuckerRows(), CPRows()], ids=["Tucker", "CP"])
def test_pairs_contract_second_moments(products):
    """With rows u u^T flattened, a paired matrix S gives z^T S z, and the outer sum gives sum z z^T."""
    sizes = (2, 3, 2) if isinstance(products, TuckerRows) else (3, 3, 3)
    rows = rows_of(sizes)
    if isinstance(products, TuckerRows):
        vectors = torch.stack([reduce(torch.kron, [row[n] for row in rows]) for n in range(6)])
    else:
        vectors = reduce(torch.mul, rows)
    matrix = draw(vectors.shape[1], vectors.shape[1], seed=11)
    squares = [(row[:, :, None] * row[:, None, :]).flatten(1) for row in rows]
    found = products.contract(products.pair(matrix, sizes), squares)
    assert torch.allclose(found, torch.einsum("np,pq,nq->n", vectors, matrix, vectors), atol=1e-11)
    assert torch.equal(products.unpair(products.pair(matrix, sizes), sizes), matrix)
    total = products.unpair(products.outer_sum(torch.ones(6).double(), squares), sizes)
    assert torch.allclose(total, vectors.mT @ vectors, atol=1e-11)

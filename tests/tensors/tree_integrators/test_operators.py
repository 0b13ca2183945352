"""Operators on trees against Kronecker products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.claims.tensors._tree_problems import kinetic, radiative_transfer, spin_chain
from polyad.errors import InputError
from polyad.tensors.formats import TreeTensorNetwork, balanced_tree, chain_tree
from polyad.tensors.tree_integrators import TreeOperator, pair_operator, product_operator

TREES = [((0, 1), (2, 3)), (0, 1, 2, 3), ((3, 0, 2), 1), (((0, 1), 2), 3), (((2,), 0), (1, 3))]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def kronecker(factors: list[Tensor]) -> Tensor:
    total = factors[0]
    for factor in factors[1:]:
        total = torch.kron(total, factor)
    return total


def dense_pairs(local: Tensor, partners: Tensor, strengths: Tensor) -> Tensor:
    order, size = local.shape[:2]
    eye = torch.eye(size, dtype=local.dtype)

    def at(placed: dict[int, Tensor]) -> Tensor:
        return kronecker([placed.get(site, eye) for site in range(order)])

    total = sum(at({site: local[site]}) for site in range(order))
    for i in range(order):
        for j in range(i + 1, order):
            total = total + strengths[i, j] * at({i: partners[i], j: partners[j]})
    return total


@pytest.mark.parametrize("tree", TREES)
def test_local_and_pair_terms_equal_kronecker_products(tree: tuple) -> None:
    local, partners = random(4, 3, 3, seed=1), random(4, 3, 3, seed=2)
    strengths = random(4, 4, seed=3, dtype=torch.float64)
    strengths = strengths + strengths.mT
    operator = pair_operator(tree, local, partners, strengths)
    torch.testing.assert_close(operator.to_dense(), dense_pairs(local, partners, strengths), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tree", TREES)
def test_sum_of_products_and_its_action(tree: tuple) -> None:
    products = [[random(n, n, seed=10 * term + n) for n in (2, 3, 4, 2)] for term in range(3)]
    operator = product_operator(tree, products)
    dense = sum(kronecker(factors) for factors in products)
    torch.testing.assert_close(operator.to_dense(), dense)
    value = TreeTensorNetwork.random((2, 3, 4, 2), 2, tree=tree, dtype=torch.complex128)
    torch.testing.assert_close(operator.apply(value).to_dense().flatten(), dense @ value.to_dense().flatten())


def test_bonds_are_the_ranks_of_the_strengths() -> None:
    sites = torch.arange(16, dtype=torch.float64)
    distance = (sites[:, None] - sites).abs()
    local = partners = torch.eye(2, dtype=torch.float64).repeat(16, 1, 1)
    exponential = torch.exp(-0.3 * distance) - torch.eye(16, dtype=torch.float64)
    # identity, complete terms, and one open term: the strengths between any two groups of a chain have rank one
    assert set(pair_operator(chain_tree(16), local, partners, exponential).bonds) == {3}
    inside = pair_operator(balanced_tree(16), local, partners, exponential).bonds
    assert max(inside) == 4  # a group in the middle has neighbours on both sides
    far = 1 / distance.clamp_min(1) - torch.eye(16, dtype=torch.float64)
    assert max(pair_operator(balanced_tree(16), local, partners, far, tolerance=1e-6).bonds) <= 2 + 5


def test_arithmetic_of_operators() -> None:
    tree = ((0, 1), (2, 3))
    one = product_operator(tree, [[random(3, 3, seed=k) for k in range(4)]])
    two = one.add(one.scale(-0.5))
    torch.testing.assert_close(two.to_dense(), 0.5 * one.to_dense())
    rounded = two.round(1e-10)
    assert rounded.bonds == (1,) * 6
    torch.testing.assert_close(rounded.to_dense(), 0.5 * one.to_dense())
    assert one.to(torch.complex128).scale(1j).dtype == torch.complex128


@pytest.mark.parametrize("problem", [spin_chain(balanced_tree(5), 5), radiative_transfer(), kinetic(cells=8)])
def test_problems_hold_the_same_operator_twice(problem) -> None:
    dense = torch.from_numpy(problem.matrix.toarray())
    torch.testing.assert_close(problem.operator.to_dense(), dense, rtol=0, atol=1e-12)
    assert abs(float(problem.start.norm()) - 1) < 1e-12


def test_bad_operators_are_refused() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(InputError, match="none was given"):
        product_operator((0, 1), [])
    with pytest.raises(InputError, match="bond, n, n"):
        TreeOperator((0, 1), (torch.zeros(1, 2, 3), torch.zeros(1, 2, 2)), (torch.ones(1, 1, 1),))
    with pytest.raises(InputError, match="symmetric"):
        pair_operator((0, 1), eye.repeat(2, 1, 1), eye.repeat(2, 1, 1), torch.triu(torch.ones(2, 2).double(), 1))
    with pytest.raises(InputError, match="acts on"):
        product_operator((0, 1), [[eye, eye]]).apply(TreeTensorNetwork.random((2, 3), 1, tree=(0, 1)))

"""Generalised couplings: their number by characters, symmetry, independence, and equivariance of the polynomials."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.irreps import Irrep
from polyad.symmetry.symmetric_coupling import count_by_characters, monomials, symmetric_couplings, symmetric_tensors
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations

PUBLISHED = {
    (2, "0e"): (2, 3, 4, 5), (2, "1o"): (1, 2, 3, 4), (2, "2e"): (1, 3, 5, 7),
    (3, "0e"): (2, 5, 8, 14), (3, "1o"): (2, 5, 12, 21), (3, "2e"): (1, 6, 14, 29),
}  # fmt: skip
"""Multiplicities for lmax = 1..4."""


@pytest.mark.parametrize(("order", "irrep"), PUBLISHED)
def test_numbers_of_couplings(order: int, irrep: str) -> None:
    for lmax, expected in enumerate(PUBLISHED[order, irrep], start=1):
        assert len(symmetric_couplings(lmax, order, irrep)) == expected
        assert count_by_characters(lmax, order, irrep) == expected


@pytest.mark.parametrize(
    ("lmax", "order", "irrep"), [(2, 4, "0e"), (2, 4, "1o"), (3, 3, "0o"), (2, 3, "1e"), (1, 5, "1o")]
)
def test_numbers_beyond_the_table_other_parities_too(lmax: int, order: int, irrep: str) -> None:
    assert len(symmetric_couplings(lmax, order, irrep)) == count_by_characters(lmax, order, irrep)


@pytest.mark.parametrize(
    ("lmax", "order", "irrep"), [(2, 3, "0e"), (2, 3, "1o"), (3, 2, "2e"), (1, 4, "0e"), (2, 3, "2o")]
)
def test_tensors_are_symmetric_orthonormal_and_equivariant(lmax: int, order: int, irrep: str) -> None:
    tensors = symmetric_tensors(lmax, order, irrep)
    degree = Irrep.parse(irrep).degree
    for permutation in permutations(range(2, 2 + order)):
        assert torch.equal(tensors, tensors.permute(0, 1, *permutation))
    flat = tensors.flatten(2)
    gram = torch.einsum("aci,bdi->abcd", flat, flat)
    identity = torch.einsum("ab,cd->abcd", torch.eye(len(flat)), torch.eye(2 * degree + 1)).double()
    torch.testing.assert_close(gram, identity, rtol=0, atol=1e-12)
    turn = random_rotations(1, generator=torch.Generator().manual_seed(0))[0]
    for sign in (1, -1):
        turned = tensors
        for axis in range(2, 2 + order):
            turned = rotate(turned.movedim(axis, -1), sign * turn).movedim(-1, axis)
        matrix = Irrep.parse(irrep).matrices(sign * turn)
        torch.testing.assert_close(torch.einsum("dc,ed...->ec...", matrix, tensors), turned, rtol=0, atol=1e-12)


def test_known_couplings() -> None:
    norms = symmetric_tensors(2, 2, "0e")
    for coupling, degree in zip(norms, range(3), strict=True):
        expected = torch.zeros(9, dtype=torch.float64)
        expected[degree**2 : (degree + 1) ** 2] = (2 * degree + 1) ** -0.5
        torch.testing.assert_close(coupling[0], torch.diag(expected))
    assert symmetric_couplings(2, 1, "1o")[0, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert len(symmetric_couplings(2, 1, "1e")) == 0
    assert monomials(3, 2).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    assert monomials(4, 0).shape == (1, 0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="order"):
        symmetric_couplings(2, 0, "0e")

"""The bridge to e3nn: the same functions, the same representation, the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from polyad.symmetry.bridge import e3nn_matrix, from_e3nn, to_e3nn
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.tensors.rotations import random_rotations


@pytest.fixture
def double_precision_peer() -> Iterator[None]:
    """e3nn's matrices come from tables in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_degree_one_renames_the_axes() -> None:
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(e3nn_matrix(1), expected, rtol=0, atol=0)


def test_harmonics_of_one_vector_in_both_libraries() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    vectors = normal(20, 3)
    irreps = Irreps.spherical(8)
    ours = spherical_harmonics(vectors, 8, normalization="component")
    peer = o3.spherical_harmonics(list(range(9)), vectors, True, "component")
    torch.testing.assert_close(to_e3nn(ours, irreps), peer, rtol=0, atol=1e-12)
    torch.testing.assert_close(from_e3nn(peer, irreps), ours, rtol=0, atol=1e-12)
    for degree in range(9):
        place = slice(degree**2, (degree + 1) ** 2)
        torch.testing.assert_close(ours[:, place] @ e3nn_matrix(degree).T, peer[:, place], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("double_precision_peer")
def test_representation_with_reflections() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    irreps = Irreps("2x0e+1x0o+2x1o+1x1e+1x2e+2x3o")
    features = normal(6, irreps.dim)
    turns = random_rotations(6, generator=torch.Generator().manual_seed(1), reflections=True)
    matrices = torch.stack([o3.Irreps(str(irreps)).D_from_matrix(turn) for turn in turns])
    peer = torch.einsum("eij,ej->ei", matrices, to_e3nn(features, irreps))
    torch.testing.assert_close(to_e3nn(irreps.rotate(features, turns), irreps), peer, rtol=0, atol=1e-9)


def test_there_and_back() -> None:
    features = normal(3, 4, 27)
    irreps = Irreps("3x1o+1x2e+1x6e")
    torch.testing.assert_close(from_e3nn(to_e3nn(features, irreps), irreps), features, rtol=0, atol=1e-13)

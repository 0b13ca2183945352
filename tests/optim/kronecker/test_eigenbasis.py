"""Eigenvectors that follow, are repaired after rounding, and why it is they that are rounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.optim.kronecker.eigenbasis import inverse_root, orthonormalize, subspace_iteration
from polyad.optim.kronecker.quantization import dequantize, quantize_blockwise


def orthogonal(order: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(order, order, dtype=torch.float64, generator=generator)).Q


def rounded(basis: Tensor, codebook: str = "linear2") -> Tensor:
    return dequantize(quantize_blockwise(basis.mT, codebook=codebook)).mT


def test_orthogonality_comes_back_after_rounding() -> None:
    basis = rounded(orthogonal(256))
    identity = torch.eye(256, dtype=torch.float64)
    defect = [float((v.mT @ v - identity).norm()) for v in (basis, *(orthonormalize(basis, steps=k) for k in (1, 4)))]
    assert 2.2 < defect[0] < 2.6
    assert 0.3 < defect[1] < 0.5
    assert defect[2] < 1e-8


def test_eigenvectors_are_a_fixed_point_of_the_iteration() -> None:
    basis = orthogonal(20)
    eigenvalues = torch.logspace(0, -3, 20, dtype=torch.float64)
    found, values = subspace_iteration((basis * eigenvalues) @ basis.mT, basis)
    torch.testing.assert_close(found, basis, atol=1e-5, rtol=0)
    torch.testing.assert_close(values, eigenvalues, atol=1e-12, rtol=0)


def test_the_iteration_converges_to_the_decomposition() -> None:
    basis = orthogonal(12)
    matrix = (basis * 0.5 ** torch.arange(12.0, dtype=torch.float64)) @ basis.mT
    values, vectors = torch.linalg.eigh(matrix)
    found = torch.eye(12, dtype=torch.float64)
    for _ in range(60):
        found, diagonal = subspace_iteration(matrix, found)
    torch.testing.assert_close(diagonal, values.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close((found * vectors.flip(-1)).sum(0).abs(), torch.ones(12).double(), atol=1e-5, rtol=0)


def test_inverse_roots() -> None:
    basis, eigenvalues = orthogonal(9), torch.linspace(0.1, 5, 9, dtype=torch.float64)
    root = inverse_root(basis, eigenvalues, eps=1e-3, order=4)
    shifted = (basis * eigenvalues) @ basis.mT + 1e-3 * 5 * torch.eye(9, dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.matrix_power(root, 4) @ shifted, torch.eye(9).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse_root(basis, 0 * eigenvalues), torch.eye(9).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_rounding_eigenvectors_keeps_inverse_roots_where_rounding_the_matrix_loses_them(condition: float) -> None:
    order = 256
    generator = torch.Generator().manual_seed(1)
    spread = torch.rand(order, dtype=torch.float64, generator=generator)
    eigenvalues = condition**-spread
    basis = orthogonal(order)
    exact = inverse_root(basis, eigenvalues, eps=0)

    def error(root: Tensor) -> float:
        return float((root - exact).norm() / exact.norm())

    ours = error(inverse_root(orthonormalize(rounded(basis)), eigenvalues, eps=0))
    tree = error(inverse_root(orthonormalize(rounded(basis, "dynamic_tree")), eigenvalues, eps=0))
    matrix = (basis * eigenvalues) @ basis.mT
    coarse = rounded(matrix - matrix.diagonal().diag())
    values, vectors = torch.linalg.eigh((coarse + coarse.mT) / 2 + matrix.diagonal().diag())
    naive = error(inverse_root(vectors, values.clamp_min(1e-6 * values.max()), eps=0))
    measured = {1e2: (0.041, 2.23, 0.059), 1e4: (0.062, 2.8, 0.085), 1e6: (0.076, 1.13, 0.102)}[condition]
    assert ours == pytest.approx(measured[0], rel=0.2)
    assert naive == pytest.approx(measured[1], rel=0.5)
    assert tree == pytest.approx(measured[2], rel=0.2)
    assert naive >= 10 * ours

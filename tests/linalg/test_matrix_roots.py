"""Inverse roots and polar factors against eigenvalues and singular values."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import ConvergenceError, InputError
from polyad.linalg.matrix_roots import inverse_root, inverse_root_eigh, polar_factor


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(condition: float, size: int = 12, batch: int = 3) -> torch.Tensor:
    q, _ = torch.linalg.qr(normal(batch, size, size))
    return (q * torch.logspace(0, -torch.log10(torch.tensor(condition)), size, dtype=torch.float64)) @ q.mT


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("condition", [10.0, 1e4])
def test_inverse_root_equals_eigenvalues(p: int, condition: float) -> None:
    a = positive(condition)
    found = inverse_root(a, p)
    expected = inverse_root_eigh(a, p)
    assert float((found.root - expected).abs().max()) < 1e-7 * float(expected.abs().max())
    product = torch.linalg.matrix_power(expected, p) @ a
    assert float((product - torch.eye(12, dtype=torch.float64)).abs().max()) < 1e-9


def test_warm_start_saves_iterations() -> None:
    a = positive(100.0)
    cold = inverse_root(a, 4)
    warm = inverse_root(1.01 * a, 4, start=cold.root)
    assert warm.iterations < cold.iterations / 2
    assert torch.allclose(warm.root, inverse_root_eigh(1.01 * a, 4), atol=1e-8)
    # a start of another matrix is recognised and not used
    other = positive(100.0)[:, [*range(1, 12), 0]][:, :, [*range(1, 12), 0]]
    assert torch.allclose(inverse_root(other, 4, start=cold.root).root, inverse_root_eigh(other, 4), atol=1e-8)


def test_singular_matrices_have_pseudo_inverse_roots() -> None:
    g = normal(5, 3)
    root = inverse_root_eigh(g @ g.mT, 4, rank_tolerance=1e-10)
    right = inverse_root_eigh(g.mT @ g, 4)
    assert torch.allclose(root @ g @ right, polar_factor(g), atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (2, 5, 5)])
def test_polar_factor(shape: tuple[int, ...]) -> None:
    g = normal(*shape)
    exact = polar_factor(g)
    left, _, right = torch.linalg.svd(g, full_matrices=False)
    assert torch.allclose(exact, left @ right, atol=1e-12)
    assert torch.allclose(polar_factor(g, method="cubic", steps=40), exact, atol=1e-10)
    values = torch.linalg.svdvals(polar_factor(g, method="quintic", steps=10))
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.16


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="p: must be"):
        inverse_root(positive(10.0), 0)
    with pytest.raises(InputError, match="not finite"):
        inverse_root(torch.full((2, 2), torch.nan), 2)
    with pytest.raises(ConvergenceError, match="must be positive definite"):
        inverse_root(-torch.eye(3, dtype=torch.float64), 2)
    with pytest.raises(InputError, match="not positive"):
        inverse_root_eigh(-torch.eye(3), 2)
    with pytest.raises(InputError, match="method"):
        polar_factor(torch.eye(2), method="qr")
    assert inverse_root(torch.zeros(0, 0), 2).root.shape == (0, 0)

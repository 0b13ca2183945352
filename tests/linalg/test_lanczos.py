"""Ritz pairs against dense eigenpairs."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.linalg.lanczos import extreme_eigenpairs, lanczos


def matrix(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    size = len(values)
    q, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return (q * values) @ q.mT


def test_ten_of_two_hundred() -> None:
    rest = 0.2 * torch.rand(190, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.1
    a = matrix(torch.cat([torch.arange(10.0, 0.0, -1, dtype=torch.float64), rest]))
    values, vectors = torch.linalg.eigh(a)
    found = extreme_eigenpairs(lambda v: a @ v, 200, largest=10, steps=40)
    assert torch.allclose(found.values, values.flip(0)[:10], atol=1e-8)
    overlap = (vectors.flip(1)[:, :10] * found.vectors).sum(0).abs()
    assert float((1 - overlap).abs().max()) < 1e-8
    errors = torch.linalg.vector_norm(a @ found.vectors - found.vectors * found.values, dim=0)
    assert torch.allclose(errors, found.residuals, atol=1e-10)


def test_both_ends_and_residuals_that_bound_the_error() -> None:
    a = matrix(torch.linspace(-2, 3, 60, dtype=torch.float64))
    found = extreme_eigenpairs(lambda v: a @ v, 60, largest=2, smallest=2, steps=25)
    values = torch.linalg.eigvalsh(a)
    nearest = (found.values[:, None] - values).abs().amin(1)
    assert bool((nearest <= found.residuals + 1e-12).all())
    assert found.values.diff().max() < 0


def test_repeated_eigenvalues_are_all_found() -> None:
    a = matrix(torch.tensor([3.0, 3.0, 1.0, 1.0, 1.0, -2.0], dtype=torch.float64))
    found = lanczos(lambda v: a @ v, 6, steps=6)
    assert torch.allclose(found.values, torch.tensor([3.0, 3, 1, 1, 1, -2], dtype=torch.float64), atol=1e-10)
    assert torch.allclose(found.vectors.mT @ found.vectors, torch.eye(6, dtype=torch.float64), atol=1e-10)


def test_isolated_eigenvalues_at_both_ends() -> None:
    values = torch.linspace(1, 2, 60, dtype=torch.float64)
    values[0], values[1], values[-1] = -3, -2, 5
    a = matrix(values, 2)
    pairs = extreme_eigenpairs(lambda v: a @ v, 60, largest=1, smallest=2, steps=25)
    torch.testing.assert_close(pairs.values, torch.tensor([5.0, -2, -3], dtype=torch.float64), atol=1e-7, rtol=0)


def test_the_zero_operator() -> None:
    nothing = lanczos(lambda v: 0 * v, 3, steps=3)
    assert bool((nothing.values == 0).all())
    torch.testing.assert_close(nothing.vectors.mT @ nothing.vectors, torch.eye(3, dtype=torch.float64))


def test_start_and_generator_decide() -> None:
    a = matrix(torch.arange(6, dtype=torch.float64), 5)
    one = lanczos(lambda v: a @ v, 6, steps=1, start=3 * torch.linalg.eigh(a).eigenvectors[:, 2])
    assert one.values.item() == pytest.approx(2.0)
    assert one.residuals.item() < 1e-12
    first, again, other = (
        lanczos(lambda v: a @ v, 6, steps=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)


def test_bad_input_is_refused() -> None:
    for options in ({"steps": 0}, {"steps": 2, "start": torch.zeros(3)}, {"steps": 2, "start": torch.ones(2)}):
        with pytest.raises(InputError):
            lanczos(lambda v: v, 3, **options)
    with pytest.raises(InputError, match="not finite"):
        lanczos(lambda v: v * torch.nan, 3, steps=2)
    with pytest.raises(InputError, match="5 largest"):
        extreme_eigenpairs(lambda v: v, 3, largest=5)
    with pytest.raises(InputError, match="allow more"):
        extreme_eigenpairs(lambda v: v, 9, largest=5, steps=4)

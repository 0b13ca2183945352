"""Test functions: their minima, spectra and derivatives are what is said."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import ConvergenceError, InputError
from polyad.problems import optimisation as functions

DTYPE = torch.float64


def gradient_at(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


def test_quadratics_have_their_spectrum_in_a_random_basis() -> None:
    spectrum = torch.tensor([-1.0, 0.0, 0.5, 2.0, 10.0], dtype=DTYPE)
    f = functions.quadratic(spectrum, seed=3)
    torch.testing.assert_close(torch.linalg.eigvalsh(f.matrix), spectrum, atol=1e-12, rtol=0)
    assert float((f.matrix - torch.diag(f.matrix.diagonal())).abs().max()) > 0.1
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    for one, value, slope in zip(x, f(x), f.gradient(x), strict=True):
        moved = one - f.minimum
        torch.testing.assert_close(value, 0.5 * moved @ f.matrix @ moved)
        torch.testing.assert_close(slope, gradient_at(f, one))
    assert torch.equal(functions.quadratic(spectrum, seed=3).matrix, f.matrix)
    assert not torch.equal(functions.quadratic(spectrum, seed=4).matrix, f.matrix)


def test_orthogonal_matrices_are_uniform() -> None:
    """Entries of uniform orthogonal matrices have mean 0 and mean square 1 / d; QR alone gives a negative mean."""
    found = torch.stack([functions.random_orthogonal(3, seed=seed) for seed in range(600)])
    torch.testing.assert_close(found @ found.mT, torch.eye(3, dtype=DTYPE).expand(600, 3, 3), atol=1e-12, rtol=0)
    assert float(found.mean(0).abs().max()) < 4 * (1 / 3 / 600) ** 0.5
    torch.testing.assert_close(found.square().mean(0), torch.full((3, 3), 1 / 3, dtype=DTYPE), atol=0.06, rtol=0)
    assert 0.4 < float((torch.linalg.det(found) > 0).double().mean()) < 0.6


def test_log_spectrum() -> None:
    spectrum = functions.log_spectrum(5, 1e4)
    torch.testing.assert_close(spectrum, torch.tensor([1e-4, 1e-3, 1e-2, 1e-1, 1.0], dtype=DTYPE))
    with pytest.raises(InputError, match="condition"):
        functions.log_spectrum(3, 0.5)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_chains_have_the_minima_that_are_told(size: int) -> None:
    place = torch.arange(1, size + 1, dtype=DTYPE)
    known = {
        functions.quadratic_chain: (1 - place / (size + 1), (1 / (size + 1) - 1) / 8),
        functions.power_chain: (size + 1 - place, -2 * size / 3),
        functions.chebyshev_rosenbrock: (torch.ones(size, dtype=DTYPE), 0.0),
    }
    for function, (x, value) in known.items():
        assert float(function(x)) == pytest.approx(value, abs=1e-13)
        torch.testing.assert_close(gradient_at(function, x), torch.zeros(size, dtype=DTYPE), atol=1e-13, rtol=0)
        near = x + 0.1 * torch.randn(50, size, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
        assert bool((function(near) > value).all())
    x = size + 1 - place
    assert float(functions.power_chain(x, power=4.0)) == pytest.approx(-size * 3 / 4)


def test_a_bent_valley() -> None:
    x = torch.tensor([-1.0, 1.0, 1.0], dtype=DTYPE)
    assert float(functions.chebyshev_rosenbrock(x)) == pytest.approx(1.0)
    off = torch.tensor([0.5, 0.25], dtype=DTYPE)
    assert float(functions.chebyshev_rosenbrock(off, weight=100.0)) == pytest.approx(0.0625 + 100 * 0.75**2)


def test_logistic_regression() -> None:
    f = functions.logistic_regression(300, 6, seed=1, condition=50.0, noise=0.2)
    x = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    expected = sum(torch.log1p((-y * (a @ x)).exp()) for a, y in zip(f.features, f.labels, strict=True)) / 300
    torch.testing.assert_close(f(x), expected + 0.5 * f.penalty * x @ x)
    torch.testing.assert_close(f.gradient(x), gradient_at(f, x))
    torch.testing.assert_close(f.hessian(x), torch.autograd.functional.hessian(f, x))
    best = f.minimum()
    assert float(f.gradient(best).norm()) < 1e-12
    assert float(f(best)) < float(f(x))
    covariance = torch.linalg.eigvalsh(functions.logistic_regression(60_000, 4, seed=0).features.mT.cov())
    torch.testing.assert_close(covariance, functions.log_spectrum(4, 100.0), rtol=0.03, atol=0)
    agree = (f.features @ f.minimum()).sign() == f.labels
    assert 0.7 < float(agree.double().mean()) < 0.9
    with pytest.raises(ConvergenceError, match="penalty"):
        f.minimum(tolerance=0.0)


def test_bad_numbers_are_refused() -> None:
    for call in (
        lambda: functions.quadratic([], seed=0),
        lambda: functions.quadratic([1.0, float("nan")], seed=0),
        lambda: functions.random_orthogonal(0, seed=0),
        lambda: functions.logistic_regression(10, 3, seed=0, noise=0.6),
        lambda: functions.logistic_regression(0, 3, seed=0),
    ):
        with pytest.raises(InputError):
            call()

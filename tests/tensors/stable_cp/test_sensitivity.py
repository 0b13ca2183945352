"""Sensitivity against the Jacobian and Monte Carlo, balancing against a general minimiser, degeneracy by hand."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polyad.errors import InputError
from polyad.tensors.formats import CP
from polyad.tensors.stable_cp import (
    balance,
    cp_intensity,
    cp_sensitivity,
    diagnose_degeneracy,
    mode_sensitivities,
    term_norms,
)

SHAPES = [(5, 4), (6, 5, 4), (3, 4, 2, 5)]


def random_cp(shape: tuple[int, ...], rank: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> CP:
    generator = torch.Generator().manual_seed(seed)
    drawn = CP.random(shape, rank, generator=generator, dtype=dtype)
    weights = torch.randn(rank, generator=generator, dtype=dtype)
    return CP(weights, drawn.factors)


@pytest.mark.parametrize("shape", SHAPES)
def test_sensitivity_is_the_squared_norm_of_the_jacobian(shape):
    value = random_cp(shape, 3)
    jacobians = torch.autograd.functional.jacobian(
        lambda *factors: CP(value.weights, factors).to_dense(), value.factors
    )
    shares = torch.stack([jacobian.square().sum() for jacobian in jacobians])
    torch.testing.assert_close(mode_sensitivities(value), shares)
    torch.testing.assert_close(cp_sensitivity(value), shares.sum())


def test_sensitivity_of_three_modes_by_the_written_formula():
    value = random_cp((6, 5, 4), 3)
    value = CP(torch.ones(3, dtype=torch.float64), value.factors)
    a, b, c = (factor.square().sum(0) for factor in value.factors)
    expected = 4 * (a * b).sum() + 6 * (b * c).sum() + 5 * (a * c).sum()
    torch.testing.assert_close(cp_sensitivity(value), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_sensitivity_is_what_noise_on_the_factors_does(dtype):
    value, sigma, draws = random_cp((6, 5, 4), 3, dtype=dtype), 1e-4, 4000
    generator = torch.Generator().manual_seed(1)
    noisy = [
        factor + sigma * torch.randn(draws, *factor.shape, generator=generator, dtype=dtype) for factor in value.factors
    ]
    moved = CP(value.weights.expand(draws, -1), tuple(noisy)).to_dense() - value.to_dense()
    simulated = moved.abs().square().sum((1, 2, 3)).mean() / sigma**2
    assert float(simulated) == pytest.approx(float(cp_sensitivity(value)), rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_balancing_keeps_the_tensor_and_reaches_the_least_sensitivity(shape):
    value = random_cp(shape, 2)
    balanced = balance(value)
    torch.testing.assert_close(balanced.to_dense(), value.to_dense())
    assert bool((balanced.weights == 1).all())
    order = len(shape)

    def of_scaling(logarithms: np.ndarray) -> float:
        rows = torch.tensor(logarithms.reshape(order - 1, 2))
        scales = torch.cat([rows, -rows.sum(0, keepdim=True)]).exp()
        return float(
            cp_sensitivity(CP(balanced.weights, tuple(f * s for f, s in zip(value.factors, scales, strict=True))))
        )

    unweighted = CP(balanced.weights, value.factors)
    least = minimize(of_scaling, np.zeros(2 * (order - 1)), tol=1e-12).fun
    assert float(cp_sensitivity(balance(unweighted))) == pytest.approx(least, rel=1e-7)
    shares = mode_sensitivities(balanced)
    torch.testing.assert_close(shares, shares[:1].expand(order))
    power = 2 * (order - 1) / order
    closed = order * prod(shape) ** (1 / order) * (term_norms(value) ** power).sum()
    torch.testing.assert_close(cp_sensitivity(balanced), closed)


def test_balancing_a_zero_term_leaves_zeros():
    value = random_cp((3, 4, 5), 2)
    factors = list(value.factors)
    factors[1] = factors[1] * torch.tensor([1.0, 0.0], dtype=torch.float64)
    balanced = balance(CP(value.weights, tuple(factors)))
    assert all(bool((factor[:, 1] == 0).all()) for factor in balanced.factors)
    assert all(bool(torch.isfinite(factor).all()) for factor in balanced.factors)


def test_complex_weights_move_into_the_factors():
    value = random_cp((3, 4, 5), 3, dtype=torch.complex128)
    torch.testing.assert_close(balance(value).to_dense(), value.to_dense())


def test_intensity_sums_the_squared_norms_of_the_terms():
    value = random_cp((3, 4, 5), 3)
    dense = [CP(value.weights[[r]], tuple(f[:, [r]] for f in value.factors)).to_dense() for r in range(3)]
    norms = torch.stack([torch.linalg.vector_norm(term) for term in dense])
    torch.testing.assert_close(term_norms(value), norms)
    torch.testing.assert_close(cp_intensity(value), norms.square().sum())


def test_degeneracy_finds_the_two_terms_that_cancel():
    a, b = torch.eye(4, dtype=torch.float64)[:2]
    step = 1e-2
    near = (a + step * b) / (1 + step**2) ** 0.5
    factors = torch.stack([a, b, near], dim=1)  # the middle term stands apart
    value = CP(torch.tensor([1.0, 0.1, -1.0], dtype=torch.float64), (factors, factors, factors))
    found = diagnose_degeneracy(value)
    cosine = -((1 + step**2) ** -1.5)
    dense = value.to_dense()
    assert found.pairs() == [(0, 2)]
    assert float(found.worst_cosine) == pytest.approx(cosine, rel=1e-12)
    assert float(found.cancellation) == pytest.approx(2.01 / float(dense.square().sum()), rel=1e-9)
    assert float(found.cancellation) > 50
    apart = diagnose_degeneracy(CP(torch.ones(2, dtype=torch.float64), (torch.eye(4, dtype=torch.float64)[:, :2],) * 3))
    assert apart.pairs() == []
    assert float(apart.cancellation) == pytest.approx(1, rel=1e-12)


def test_batches_are_measured_one_by_one():
    values = [random_cp((3, 4, 5), 2, seed=seed) for seed in range(3)]
    batch = CP(
        torch.stack([v.weights for v in values]),
        tuple(torch.stack([v.factors[k] for v in values]) for k in range(3)),
    )
    torch.testing.assert_close(cp_sensitivity(batch), torch.stack([cp_sensitivity(v) for v in values]))
    torch.testing.assert_close(
        cp_sensitivity(balance(batch)), torch.stack([cp_sensitivity(balance(v)) for v in values])
    )
    together = diagnose_degeneracy(batch)
    torch.testing.assert_close(together.cosines, torch.stack([diagnose_degeneracy(v).cosines for v in values]))
    with pytest.raises(InputError, match="batch shape"):
        together.pairs()


def test_float32_agrees_with_float64():
    value = random_cp((6, 5, 4), 3)
    single = CP(value.weights.float(), tuple(factor.float() for factor in value.factors))
    assert cp_sensitivity(single).dtype == torch.float32
    assert float(cp_sensitivity(single)) == pytest.approx(float(cp_sensitivity(value)), rel=1e-5)

"""Matern state space: matrices against the matrix exponential, quadrature of the noise, and the kernel itself."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.linalg.matern import Matern

KERNELS = ("matern12", "matern32", "matern52")


def process(kernel: str, lengthscale: float = 0.37, variance: float = 1.9) -> Matern:
    return Matern(
        kernel, torch.tensor([lengthscale], dtype=torch.float64), torch.tensor([variance], dtype=torch.float64)
    )


def drift(prior: Matern) -> torch.Tensor:
    """Companion matrix of (s + lambda)^n."""
    order, rate = prior.order, float(prior.rate)
    matrix = torch.diag(torch.ones(order - 1, dtype=torch.float64), 1)
    row = [-math.comb(order, k) * rate ** (order - k) for k in range(order)]
    matrix[-1] = torch.tensor(row, dtype=torch.float64)
    return matrix


@pytest.mark.parametrize("kernel", KERNELS)
def test_transition_is_the_matrix_exponential(kernel):
    prior = process(kernel)
    steps = torch.tensor([0.0, 1e-3, 0.2, 1.7], dtype=torch.float64)
    growth, _ = prior.transition(steps)
    expected = torch.linalg.matrix_exp(drift(prior) * steps[:, None, None])
    assert torch.allclose(growth[0], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_noise_completes_the_stationary_covariance(kernel):
    prior = process(kernel)
    steps = torch.tensor([0.0, 0.05, 0.4, 5.0], dtype=torch.float64)
    growth, noise = prior.transition(steps)
    stationary = prior.stationary_covariance()[:, None]
    error = stationary - growth @ stationary @ growth.mT - noise
    assert error.abs().max() < 1e-11 * stationary.abs().max()
    # the stationary covariance solves F P + P F^T + L q L^T = 0, with q only in the last component
    flow = drift(prior) @ stationary[0, 0] + stationary[0, 0] @ drift(prior).mT
    flow[-1, -1] = 0
    assert flow.abs().max() < 1e-10 * stationary.abs().max()


def test_matern32_closed_form_of_the_paper():
    prior = process("matern32")
    rate, step = float(prior.rate), 0.23
    growth, _ = prior.transition(torch.tensor([step], dtype=torch.float64))
    expected = math.exp(-rate * step) * torch.tensor(
        [[1 + rate * step, step], [-(rate**2) * step, 1 - rate * step]], dtype=torch.float64
    )
    assert torch.allclose(growth[0, 0], expected, rtol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_noise_of_tiny_steps_keeps_its_digits(kernel):
    """Leading order: the response s^p / p! of white noise of density q, where P - A P A^T would be all rounding."""
    prior = process(kernel, 1.0, 1.0)
    last, step = prior.order - 1, 1e-6
    density = (2 * float(prior.rate)) ** (2 * last + 1) * math.factorial(last) ** 2 / math.factorial(2 * last)
    _, noise = prior.transition(torch.tensor([step], dtype=torch.float64))
    expected = density * step ** (2 * last + 1) / ((2 * last + 1) * math.factorial(last) ** 2)
    assert float(noise[0, 0, 0, 0]) == pytest.approx(expected, rel=1e-4)
    assert bool((torch.linalg.eigvalsh(noise / noise.diagonal(dim1=-2, dim2=-1).max()) >= -1e-15).all())


@pytest.mark.parametrize("kernel", KERNELS)
def test_state_space_has_the_kernel(kernel):
    """Cov(f(0), f(s)) is the first entry of A(s) P; variances and lengthscales stay with their function."""
    prior = Matern(kernel, torch.tensor([0.2, 1.5]).double(), torch.tensor([3.0, 0.5]).double())
    steps = torch.linspace(0, 2, 9, dtype=torch.float64)
    growth, _ = prior.transition(steps)
    covariance = (growth @ prior.stationary_covariance()[:, None])[..., 0, 0]
    assert torch.allclose(covariance, prior.covariance(steps), rtol=1e-12)
    assert torch.equal(prior.covariance(steps), prior.covariance(-steps))


def test_covariance_is_scikit_learns():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    distances = torch.linspace(0, 2, 7, dtype=torch.float64)
    for name, smoothness in zip(KERNELS, (0.5, 1.5, 2.5), strict=True):
        peer = 1.9 * kernels.Matern(length_scale=0.37, nu=smoothness)(distances[:, None].numpy())
        assert torch.allclose(process(name).covariance(distances)[0], torch.from_numpy(peer[0]), rtol=1e-12)


def test_bad_input_is_refused():
    one = torch.ones(1)
    for arguments, match in (
        (("rbf", one, one), "kernel"),
        (("matern12", -one, one), "lengthscale"),
        (("matern12", one, one * float("nan")), "variance"),
        (("matern12", one, torch.ones(2)), "shape"),
        (("matern12", torch.ones(1, dtype=torch.int64), one), "lengthscale"),
    ):
        with pytest.raises(InputError, match=match):
            Matern(*arguments)

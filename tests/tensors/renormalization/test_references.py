"""Exact partition functions against enumeration, each other and published constants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    CRITICAL_BETA,
    derivatives,
    kaufman,
    loop_statistics,
    onsager,
    transfer_matrix,
)

BETAS = torch.tensor([0.3, CRITICAL_BETA, 0.6], dtype=torch.float64)


def enumerate_spins(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over bonds and over sites of all spin configurations of a torus."""
    states = np.arange(2 ** (columns * rows))[:, None] >> np.arange(columns * rows)
    spins = (1 - 2 * (states & 1)).reshape(-1, columns, rows)
    bonds = (spins * np.roll(spins, 1, 1)).sum((1, 2)) + (spins * np.roll(spins, 1, 2)).sum((1, 2))
    return bonds, spins.sum((1, 2))


def enumerated_log_z(beta: torch.Tensor, columns: int, rows: int, field: float = 0.0) -> torch.Tensor:
    bonds, spins = (torch.from_numpy(x).double() for x in enumerate_spins(columns, rows))
    return torch.logsumexp(beta.unsqueeze(-1) * bonds + field * spins, -1)


@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (2, 2), (3, 4), (4, 3), (4, 4)])
def test_kaufman_and_transfer_matrix_equal_enumeration(sides: tuple[int, int]) -> None:
    expected = enumerated_log_z(BETAS, *sides)
    torch.testing.assert_close(kaufman(BETAS, *sides), expected, rtol=2e-15, atol=1e-14)
    torch.testing.assert_close(transfer_matrix(BETAS, *sides), expected, rtol=2e-15, atol=1e-14)


@pytest.mark.parametrize("sides", [(2, 3), (3, 4), (1, 4)])
def test_transfer_matrix_in_a_field_equals_enumeration(sides: tuple[int, int]) -> None:
    expected = enumerated_log_z(BETAS, *sides, field=0.2)
    torch.testing.assert_close(transfer_matrix(BETAS, *sides, field=0.2), expected, rtol=1e-14, atol=0)


def test_transfer_matrix_of_width_eight_equals_kaufman() -> None:
    torch.testing.assert_close(transfer_matrix(BETAS, 20, 8), kaufman(BETAS, 20, 8), rtol=1e-13, atol=0)


@pytest.mark.slow
def test_transfer_matrix_of_width_twelve_equals_kaufman() -> None:
    torch.testing.assert_close(transfer_matrix(BETAS[1:2], 12, 14), kaufman(BETAS[1:2], 12, 14), rtol=1e-13, atol=0)


def test_published_values() -> None:
    # 4 x 4 torus at this rounded coupling, 8 x 8 at the exact one
    assert float(kaufman(torch.tensor(0.44068679, dtype=torch.float64), 4, 4)) == pytest.approx(
        15.521915370835575, abs=1e-13
    )
    assert float(kaufman(BETAS[1], 8, 8)) / 64 == pytest.approx(0.93971532483, abs=5e-12)
    catalan = 0.915965594177219015
    assert float(onsager(BETAS[1])) == pytest.approx(math.log(2) / 2 + 2 * catalan / math.pi, abs=1e-15)


def test_onsager_is_the_limit_of_kaufman() -> None:
    beta = torch.tensor([0.1, 0.3, 0.43, 0.45, 0.7], dtype=torch.float64)
    size = 2048
    degenerate = torch.where(beta > CRITICAL_BETA, math.log(2.0), 0.0)  # two ordered phases
    torch.testing.assert_close(
        (kaufman(beta, size, size) - degenerate) / size**2, onsager(beta), rtol=1e-14, atol=1e-15
    )


def test_derivatives_at_criticality_equal_moments_of_the_enumeration() -> None:
    bonds = torch.from_numpy(enumerate_spins(4, 4)[0]).double()
    weight = torch.softmax(BETAS.unsqueeze(-1) * bonds, -1)
    mean = (weight * bonds).sum(-1)
    variance = (weight * (bonds - mean.unsqueeze(-1)).square()).sum(-1)
    _, first, second = derivatives(lambda b: kaufman(b, 4, 4), BETAS)
    torch.testing.assert_close(first, mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(second, variance, rtol=1e-12, atol=0)


def test_loop_statistics_equal_enumeration_of_the_two_by_two_torus() -> None:
    links = (np.arange(2**8)[:, None] >> np.arange(8)) & 1
    image = links.reshape(-1, 2, 2, 2)
    degree = image.sum(1) + np.roll(image[:, 0], 1, 1) + np.roll(image[:, 1], 1, 2)
    number = torch.from_numpy(links.sum(1)[(degree % 2 == 0).all((1, 2))]).double()
    weight = torch.tanh(BETAS).unsqueeze(-1) ** number
    weight = weight / weight.sum(-1, keepdim=True)
    mean = (weight * number).sum(-1)
    variance = (weight * number.square()).sum(-1) - mean.square()
    found_mean, found_variance = loop_statistics(BETAS, 2, 2)
    torch.testing.assert_close(found_mean, mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(found_variance, variance, rtol=1e-12, atol=0)


def test_link_variance_at_known_temperatures() -> None:
    temperature = torch.tensor([2.0, 1 / CRITICAL_BETA, 3.0], dtype=torch.float64)
    expected = {  # Var N / (2 V)
        8: (None, 0.764693, None),
        16: (0.6018, 0.978366, 0.1572),
        32: (0.6014, 1.195499, 0.1554),
        64: (0.6014, 1.414260, 0.1554),
    }
    for size, values in expected.items():
        found = loop_statistics(1 / temperature, size, size)[1] / (2 * size**2)
        for value, reference in zip(found.tolist(), values, strict=True):
            assert reference is None or value == pytest.approx(reference, rel=3e-4)


def test_peaks_of_variance_and_of_specific_heat() -> None:
    temperature = torch.linspace(2.25, 2.40, 1501, dtype=torch.float64)
    variance = {8: 2.2977, 16: 2.2973, 32: 2.2877, 64: 2.2799}
    heat = {8: 2.3620, 16: 2.3175, 32: 2.2939, 64: 2.28173}
    for size in variance:
        links = loop_statistics(1 / temperature, size, size)[1]
        curvature = derivatives(lambda b, size=size: kaufman(b, size, size), 1 / temperature)[2]
        assert float(temperature[links.argmax()]) == pytest.approx(variance[size], abs=1.5e-4)
        assert float(temperature[(curvature / temperature**2).argmax()]) == pytest.approx(heat[size], abs=1.5e-4)


def test_no_overflow_on_a_large_torus_and_any_batch_shape() -> None:
    beta = torch.tensor([[0.2, 0.44], [0.5, 3.0]], dtype=torch.float64)
    value = kaufman(beta, 4096, 4096)
    assert value.shape == (2, 2)
    torch.testing.assert_close(value / 4096**2, onsager(beta), rtol=0, atol=1e-7)


@pytest.mark.parametrize("beta", [0.0, -0.3, math.nan, math.inf])
def test_bad_temperatures_are_refused(beta: float) -> None:
    bad = torch.tensor([0.4, beta], dtype=torch.float64)
    for function in (onsager, lambda b: kaufman(b, 4, 4), lambda b: transfer_matrix(b, 4, 4)):
        with pytest.raises(InputError, match="beta must be positive and finite"):
            function(bad)


def test_bad_sides_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        kaufman(BETAS, 0, 4)
    with pytest.raises(InputError, match="one side <= 12"):
        transfer_matrix(BETAS, 13, 13)

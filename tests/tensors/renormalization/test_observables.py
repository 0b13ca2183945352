"""Energy, heat, magnetisation: three ways of differentiating, against exact derivatives."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    derivatives,
    kaufman,
    log_z,
    magnetism,
    thermodynamics,
    transfer_matrix,
)
from polyad.tensors.renormalization.study import accuracy

BETAS = torch.tensor([0.3, 0.42, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("by", ["autograd", "difference", "impurity"])
@pytest.mark.parametrize("method", ["pair", "svd_pair", "hotrg"])
def test_without_truncation_all_ways_are_exact(by: str, method: str) -> None:
    found = thermodynamics(BETAS, 4, 4, bond=16, method=method, by=by)
    value, first, second = derivatives(lambda b: kaufman(b, 4, 4), BETAS)
    torch.testing.assert_close(found.log_z, value / 16, rtol=1e-12, atol=0)
    loose = by == "difference"
    torch.testing.assert_close(found.energy, -first / 16, rtol=1e-6 if loose else 1e-11, atol=0)
    torch.testing.assert_close(found.heat, BETAS**2 * second / 16, rtol=1e-5 if loose else 1e-10, atol=0)


@pytest.mark.parametrize("by", ["autograd", "difference", "impurity"])
def test_magnetisation_in_a_field(by: str) -> None:
    found = magnetism(BETAS, 4, 4, field=0.05, bond=16, by=by)
    value, first, second = derivatives(
        lambda h: transfer_matrix(BETAS, 4, 4, field=h), torch.full((3,), 0.05, dtype=torch.float64)
    )
    torch.testing.assert_close(found.log_z, value / 16, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.magnetization, first / 16, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.susceptibility, second / 16, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", ["pair", "svd_pair", "hotrg", "trg"])
def test_autograd_equals_central_differences_of_the_truncated_flow(method: str) -> None:
    def energy(b: torch.Tensor) -> torch.Tensor:
        return thermodynamics(b, 16, 16, bond=6, method=method).energy

    def per_site(b: torch.Tensor) -> torch.Tensor:
        return log_z(b, 16, 16, bond=6, method=method) / 256

    step = 1e-4
    found = thermodynamics(BETAS, 16, 16, bond=6, method=method)
    # fourth-order differences: their own error is below 1e-9 here
    near, far = (per_site(BETAS + k * step) - per_site(BETAS - k * step) for k in (1, 2))
    torch.testing.assert_close(found.energy, -(8 * near - far) / (12 * step), rtol=0, atol=1e-7)
    near, far = (energy(BETAS + k * step) - energy(BETAS - k * step) for k in (1, 2))
    slope = (8 * near - far) / (12 * step)
    torch.testing.assert_close(found.heat, -(BETAS**2) * slope, rtol=0, atol=1e-7)


def test_energy_of_a_large_lattice_approaches_the_exact_one() -> None:
    size = 256
    exact = -derivatives(lambda b: kaufman(b, size, size), BETAS)[1] / size**2
    errors = [(thermodynamics(BETAS, size, size, bond=d).energy - exact).abs().max() for d in (4, 10)]
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 5
    impurity = thermodynamics(BETAS, size, size, bond=10, by="impurity").energy
    torch.testing.assert_close(impurity, exact, rtol=0, atol=2e-3)


def test_impurities_keep_their_digits_for_any_number_of_sites() -> None:
    # second derivatives of 2^40 sites cancel 24 digits unless the scale is a jet too
    beta = torch.tensor([0.2], dtype=torch.float64)
    small, large = (thermodynamics(beta, n, n, bond=8, by="impurity") for n in (256, 2**20))
    torch.testing.assert_close(large.heat, small.heat, rtol=1e-4, atol=0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="'trg' carries no impurities"):
        thermodynamics(BETAS, 8, 8, method="trg", by="impurity")
    with pytest.raises(InputError, match="carries no impurities"):
        thermodynamics(BETAS, 8, 8, method="exact", by="impurity")
    with pytest.raises(InputError, match="by is 'guess'"):
        thermodynamics(BETAS, 8, 8, by="guess")
    with pytest.raises(InputError, match="step is 0"):
        thermodynamics(BETAS, 8, 8, by="difference", step=0.0)


def test_accuracy_study_reports_the_error_of_each_run() -> None:
    rows = list(
        accuracy(
            BETAS,
            sizes=(8, 32),
            bonds=(2, 6),
            methods=("pair", "trg"),
            parities=(False, True),
            dtypes=(torch.float64, torch.float32),
        )
    )
    assert len(rows) == 2 * 2 * 2 * 2 * 2 - 8  # trg has no parity blocks
    for row in rows:
        expected = log_z(BETAS.to(row.dtype), row.size, row.size, bond=row.bond, method=row.method).double()
        error = (expected / kaufman(BETAS, row.size, row.size) - 1).abs()
        torch.testing.assert_close(row.error, error, rtol=0, atol=1e-12 if row.dtype == torch.float64 else 2e-6)
        assert row.worst == float(row.error.max())
        assert row.seconds > 0
    worst = {(row.method, row.size, row.bond): row.worst for row in rows if row.dtype == torch.float64}
    assert all(worst[m, n, 6] < worst[m, n, 2] for m in ("pair", "trg") for n in (8, 32))

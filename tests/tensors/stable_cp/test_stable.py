"""Stable CP from scratch and inside Tucker-2: targets are met, errors add by Pythagoras, terms do not cancel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import CP, cp_als
from polyad.tensors.stable_cp import balance, channel_ranks, cp_sensitivity, cp_stable, tkd_cpd_epc, tucker2


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def collinear(cosine: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    factors = []
    for _ in range(3):
        basis = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
        apart = basis[:, 1:] @ torch.randn(3, 5, generator=generator, dtype=torch.float64)
        apart = apart / torch.linalg.vector_norm(apart, dim=0)
        factors.append(math.sqrt(cosine) * basis[:, :1] + math.sqrt(1 - cosine) * apart)
    return CP(torch.ones(5, dtype=torch.float64), tuple(factors)).to_dense()


def relative_error(tensor: torch.Tensor, model: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor - model) / torch.linalg.vector_norm(tensor))


def test_target_error_is_met_with_low_sensitivity():
    tensor = collinear(0.99)
    start = CP.random((4, 4, 4), 5, generator=torch.Generator().manual_seed(0)).factors
    found = cp_stable(tensor, 5, error=1e-3, initial=start, tolerance=1e-4)
    assert found.met
    assert relative_error(tensor, found.value.to_dense()) <= 1e-3 * (1 + 1e-8)
    plain = cp_als(tensor, 5, initial=start, sweeps=150, tolerance=0.0)
    assert plain.error < 1e-3
    assert found.sensitivity * 9 < float(cp_sensitivity(balance(plain.value)))
    assert found.sensitivity == pytest.approx(59.803, rel=1e-3)


def test_without_a_target_it_corrects_the_plain_fit():
    tensor = gaussian(4, 5, 6)
    plain = cp_als(tensor, 4)
    found = cp_stable(tensor, 4, slack=0.05)
    assert found.error <= 1.05 * plain.error * (1 + 1e-8)
    assert found.sensitivity < float(cp_sensitivity(balance(plain.value)))


def test_bounded_sensitivity():
    tensor = collinear(0.99)
    bound = 3 * float(torch.linalg.vector_norm(tensor)) ** 2
    found = cp_stable(tensor, 5, sensitivity=bound, starts=2, tolerance=1e-3)
    assert found.met
    assert float(cp_sensitivity(found.value)) <= bound * (1 + 1e-8)
    assert found.error < 1e-3


def test_target_out_of_reach_is_said():
    tensor = gaussian(4, 5, 6)
    found = cp_stable(tensor, 2, error=0.01, rounds=4)
    assert not found.met
    assert found.error > 0.5
    assert found.error == pytest.approx(cp_als(tensor, 2).error, rel=0.02)


def test_reports_and_stops():
    calls: list[tuple[int, int]] = []
    cp_stable(gaussian(4, 5, 6), 2, error=0.01, rounds=3, progress=lambda *call: calls.append(call))
    assert calls[0] == (1, 4)
    assert calls[-1] == (4, 4)
    quick = cp_stable(gaussian(9, 9, 9), 9, error=0.01, rounds=10_000, seconds=0.2)
    assert quick.seconds < 20
    assert not quick.met
    begun = cp_als(gaussian(4, 5, 6), 2, sweeps=5).value
    factors = [begun.factors[0] * begun.weights, *begun.factors[1:]]
    assert cp_stable(gaussian(4, 5, 6), 2, initial=factors).met


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"error": 0.1, "sensitivity": 1.0}, "both were given"),
        ({"error": 1.5}, "between 0 and 1"),
        ({"slack": -1.0}, "slack"),
        ({"error": 0.1, "rounds": 0}, "rounds"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        cp_stable(gaussian(3, 4, 5), 2, **options)


# ---------------------------------------------------------------- Tucker-2 around CP


@pytest.mark.parametrize("shape", [(8, 6, 9), (8, 6, 3, 3)])
def test_errors_of_both_stages_add_by_pythagoras(shape):
    kernel = gaussian(*shape)
    found = tkd_cpd_epc(kernel, 5, ranks=(5, 4), starts=1, sweeps=60, tolerance=1e-5)
    core = torch.einsum("oi...,or,is->rs...", kernel, found.outputs, found.inputs)
    of_core = float(torch.linalg.vector_norm(core - found.core.to_dense()) / torch.linalg.vector_norm(kernel))
    assert found.error == pytest.approx(math.hypot(found.projection_error, of_core), rel=1e-10)
    assert found.error == pytest.approx(relative_error(kernel, found.to_dense()), rel=1e-12)
    assert found.core.shape == (5, 4, *shape[2:])
    for basis in (found.outputs, found.inputs):
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1], dtype=torch.float64))
    plain = cp_als(core, 5, starts=1, sweeps=60)
    assert float(cp_sensitivity(found.core)) <= float(cp_sensitivity(balance(plain.value))) * (1 + 1e-9)


def test_error_of_the_whole_is_spent_on_the_core():
    kernel = gaussian(8, 6, 9)
    tight = tkd_cpd_epc(kernel, 9, ranks=(7, 6), starts=1, sweeps=60, tolerance=1e-4)
    found = tkd_cpd_epc(kernel, 9, ranks=(7, 6), error=1.1 * tight.error, starts=1, sweeps=60)
    assert found.fit.met
    assert found.error == pytest.approx(1.1 * tight.error, rel=1e-6)
    assert found.fit.sensitivity < 0.9 * tight.fit.sensitivity


def test_ranks_are_chosen_from_the_error():
    generator = torch.Generator().manual_seed(0)
    exact = CP.random((10, 8, 9), 3, generator=generator).to_dense()
    noise = gaussian(10, 8, 9, seed=1)
    kernel = exact + 1e-3 * noise * torch.linalg.vector_norm(exact) / torch.linalg.vector_norm(noise)
    assert channel_ranks(kernel, 0.01) == (3, 3)
    found = tkd_cpd_epc(kernel, 3, error=0.02)
    assert found.core.shape[:2] == (3, 3)
    assert found.error <= 0.02 * (1 + 1e-8)


def test_tucker_of_two_modes_is_the_best_projection_for_a_matrix():
    kernel = gaussian(7, 5, 1)
    found = tucker2(kernel, (3, 3))
    values = np.linalg.svd(kernel[:, :, 0].numpy(), compute_uv=False)
    assert relative_error(kernel, found.to_dense()) == pytest.approx(
        np.linalg.norm(values[3:]) / np.linalg.norm(values), rel=1e-10
    )


def test_bad_kernels_are_refused():
    with pytest.raises(InputError, match="neither"):
        tkd_cpd_epc(gaussian(4, 4, 9), 3)
    with pytest.raises(InputError, match="three"):
        tkd_cpd_epc(gaussian(4, 4), 3, ranks=(2, 2))
    with pytest.raises(InputError, match="channels"):
        tkd_cpd_epc(gaussian(4, 4, 9), 3, ranks=(5, 2))
    with pytest.raises(InputError, match="between 0 and 1"):
        tkd_cpd_epc(gaussian(4, 4, 9), 3, error=2.0)

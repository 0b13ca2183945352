"""HaLRTC: the minimum that a general optimiser finds, exact recovery, constraints, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

from polyad.errors import InputError
from polyad.tensors.completion import halrtc


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def nuclear(values, weights):
    return sum(
        weight * np.linalg.svd(np.moveaxis(values, mode, 0).reshape(values.shape[mode], -1), compute_uv=False).sum()
        for mode, weight in enumerate(weights)
    )


@pytest.mark.parametrize(("shape", "weights"), [((3, 4), (0.5, 0.5)), ((3, 3, 2), (0.6, 0.1, 0.3))])
def test_it_is_the_minimum_of_the_nuclear_norms(shape, weights):
    tensor, mask = gaussian(*shape) + 1, torch.ones(shape, dtype=torch.bool)
    for place in ((0, 1), (2, 2 % shape[1]), (1, 0)):
        mask[(*place, *([0] * (len(shape) - 2)))] = False
    fit = halrtc(tensor, mask, weights=weights, rho=0.3, growth=1.0, iterations=4000, tolerance=1e-10)
    free = np.nonzero(~mask.numpy())

    def objective(unknown):
        values = tensor.numpy().copy()
        values[free] = unknown
        return nuclear(values, weights)

    best = scipy.optimize.minimize(
        objective, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}
    )
    assert fit.stopped_by == "tolerance"
    assert nuclear(fit.value.numpy(), weights) == pytest.approx(best.fun, rel=1e-8)
    np.testing.assert_allclose(fit.value.numpy()[free], best.x, atol=1e-4)


def test_low_rank_is_recovered_and_observed_entries_stay():
    core = gaussian(2, 2, 2)
    tensor = torch.einsum(
        "abc,ia,jb,kc->ijk", core, gaussian(15, 2, seed=1), gaussian(14, 2, seed=2), gaussian(13, 2, seed=3)
    )
    mask = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(4)) < 0.6
    spoiled = torch.where(mask, tensor, torch.nan)
    before = spoiled.clone()
    fit = halrtc(spoiled, mask)
    assert float((fit.value - tensor).norm() / tensor.norm()) < 1e-3
    assert torch.equal(fit.value[mask], tensor[mask])
    assert torch.equal(torch.isnan(spoiled), torch.isnan(before))
    assert fit.history[-1] < fit.history[0]


def test_size_does_not_matter_and_float32_stays():
    tensor, mask = gaussian(5, 6, 4), torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    one, other = halrtc(tensor, mask), halrtc(1e6 * tensor, mask)
    torch.testing.assert_close(1e6 * one.value, other.value)
    single = halrtc(tensor.float(), mask).value
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), one.value, rtol=1e-3, atol=1e-3)


def test_stops_and_progress():
    tensor, mask = gaussian(5, 6, 4), torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    seen = []
    fit = halrtc(tensor, mask, iterations=7, tolerance=0.0, progress=lambda *at: seen.append(at))
    assert (fit.stopped_by, seen[-1], len(fit.history)) == ("iterations", (7, 7), 7)
    assert halrtc(tensor, mask, seconds=1e-9, tolerance=0.0).stopped_by == "seconds"


def test_bad_input_is_refused():
    tensor, mask = gaussian(3, 3), torch.ones(3, 3, dtype=torch.bool)
    for arguments, options in (
        ((tensor, mask[:2]), {}),
        ((tensor, ~mask), {}),
        ((tensor / 0, mask), {}),
        ((0 * tensor, mask), {}),
        ((tensor[0], mask[0]), {}),
        ((tensor, mask), {"weights": (0.5, 0.6)}),
        ((tensor, mask), {"rho": 0.0}),
        ((tensor, mask), {"growth": 0.5}),
        ((tensor, mask), {"iterations": 0}),
    ):
        with pytest.raises(InputError):
            halrtc(*arguments, **options)

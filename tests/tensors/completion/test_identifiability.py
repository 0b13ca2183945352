"""What cannot be told is seen: separable detection, constant detection, too few rows; the best scalar."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.tensors.completion import CountObservations, best_scale, separable_share
from polyad.tensors.completion.identifiability import assess
from tests.support.count_problems import cells


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(shape=(9, 8, 7), share=0.7, seed=0):
    indices = cells(shape)
    chosen = torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))[: round(share * len(indices))]
    return CountObservations(shape, indices[chosen], torch.ones(len(chosen)).double())


def test_share_is_the_adjusted_r_squared_of_mode_dummies():
    observations = rows()
    values = normal(9)[observations.indices[:, 0]] + 0.8 * normal(len(observations), seed=1)
    columns = [torch.nn.functional.one_hot(observations.indices[:, k], n).double() for k, n in enumerate((9, 8, 7))]
    design = torch.cat(columns, dim=1).numpy()
    residual = values.numpy() - design @ np.linalg.lstsq(design, values.numpy(), rcond=None)[0]
    count, terms = len(values), 9 + 8 + 7 - 2
    expected = 1 - (residual**2).sum() / (count - terms) / values.numpy().var(ddof=1)
    assert separable_share(observations, values) == pytest.approx(expected, rel=1e-7)


def test_sums_of_one_term_a_mode_are_recognised_and_products_are_not():
    observations = rows()
    one, two = normal(9)[observations.indices[:, 0]], normal(7, seed=1)[observations.indices[:, 2]]
    assert separable_share(observations, one + two) == pytest.approx(1)
    assert separable_share(observations, one * two) < 0.5
    assert abs(separable_share(observations, normal(len(observations), seed=2))) < 0.1
    assert separable_share(rows(share=0.05), normal(25)) is None


def test_each_doubt_has_its_sentence():
    observations = rows()
    count = len(observations)
    curved = -normal(count, seed=3).square()
    gains = 5 + normal(60, seed=4)
    clear = assess(observations, curved, 2, "max", gains=gains)
    assert clear.warnings == ()
    assert not clear.doubtful
    assert clear.gain == pytest.approx(float(gains.mean()))
    assert clear.gain_error == pytest.approx(float(gains.std()) / 60**0.5)
    useless = assess(observations, curved, 2, "max", gains=normal(60, seed=4))
    assert "do not improve" in useless.warnings[0]
    constant = assess(observations, 0 * curved - 0.7, 2, "max")
    assert "no anchors" in constant.warnings[0]
    assert constant.separable_share is None
    assert assess(observations, 0 * curved - 0.7, 2, "anchor").warnings == ()
    separable = assess(observations, normal(9)[observations.indices[:, 0]], 2, "anchor")
    assert "sum of one term a mode" in separable.warnings[0]
    assert "arbitrary" in assess(observations, curved, 2, "none", gains=gains).warnings[0]
    assert "unknowns" in assess(observations, curved, 20, "max", gains=gains).warnings[0]
    assert assess(observations, curved, 2, "max", gains=gains, further=("x",)).warnings == ("x",)


def test_best_scale_is_least_squares():
    estimate, truth = normal(50), normal(50, seed=1)
    scale = best_scale(estimate, truth)
    assert scale == pytest.approx(np.linalg.lstsq(estimate.numpy()[:, None], truth.numpy(), rcond=None)[0][0])

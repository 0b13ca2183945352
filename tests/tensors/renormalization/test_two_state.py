"""The two-state tensor renormalisation group against its published exponents."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    ising_tensor,
    link_occupation,
    two_state_fixed_point,
    two_state_step,
    two_state_tensor,
)


def test_tensor_is_the_ising_tensor_over_its_even_component() -> None:
    beta = torch.tensor([0.2, 0.44], dtype=torch.float64)
    tensor = ising_tensor(beta)
    torch.testing.assert_close(two_state_tensor(beta), tensor / tensor[:, :1, :1, :1, :1])


@pytest.mark.parametrize(("blocking", "published"), [("anisotropic", 0.964), ("isotropic", 0.987), ("transfer", 0.993)])
def test_exponent_equals_the_published_one(blocking: str, published: float) -> None:
    found = two_state_fixed_point(blocking)
    assert found.nu == pytest.approx(published, abs=0.003)
    torch.testing.assert_close(two_state_step(found.tensor, blocking), found.tensor, rtol=0, atol=1e-11)
    assert abs(found.nu - math.log(2) / math.log(float(found.eigenvalues[0].abs()))) < 1e-12
    turned = found.tensor.permute(1, 0, 3, 2)
    assert torch.allclose(turned, found.tensor, atol=1e-9) == (blocking != "anisotropic")


def test_eigenvalue_is_the_rate_at_which_the_flow_leaves_criticality() -> None:
    found = two_state_fixed_point("anisotropic")
    assert found.beta == pytest.approx(0.39942, abs=1e-5)
    distance = 1e-9
    flows = [two_state_tensor(torch.tensor(found.beta + x, dtype=torch.float64)) for x in (-distance, distance)]
    gaps = []
    for _ in range(22):
        flows = [two_state_step(flow) for flow in flows]
        gaps.append(float((flows[1] - flows[0])[0, 1, 0, 1]))
    assert gaps[-1] / gaps[-2] == pytest.approx(float(found.eigenvalues[0].real), rel=2e-3)


def test_phases_flow_apart() -> None:
    occupations = []
    for beta in (0.3, 0.5):
        tensor = two_state_tensor(torch.tensor(beta, dtype=torch.float64))
        for _ in range(14):
            tensor = two_state_step(tensor)
        occupations.append(float(link_occupation(tensor)))
    assert occupations[0] < 1e-3  # no odd links far above the critical temperature
    assert occupations[1] == pytest.approx(0.5, abs=1e-3)  # both parities alike far below


def test_occupation_of_one_site_is_the_share_of_odd_loops_around_the_torus() -> None:
    t = math.tanh(0.4)
    # closed on itself, a site has four loop states: none, either direction, both
    expected = (t + t**2) / (1 + t) ** 2
    found = float(link_occupation(two_state_tensor(torch.tensor(0.4, dtype=torch.float64))))
    assert found == pytest.approx(expected, rel=1e-12)


def test_unknown_blockings_are_refused() -> None:
    with pytest.raises(InputError, match="allowed are anisotropic, isotropic, transfer"):
        two_state_step(two_state_tensor(torch.tensor(0.4, dtype=torch.float64)), "diagonal")

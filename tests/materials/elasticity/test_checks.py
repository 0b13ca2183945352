"""What is refused as a stiffness, and the compliance."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.elasticity import check_stiffness, compliance_of


def test_symmetric_finite_matrices_pass(random_stiffness):
    check_stiffness(random_stiffness(3, 2), positive=True)
    check_stiffness(-random_stiffness(3))
    check_stiffness(torch.zeros(6, 6))
    check_stiffness(random_stiffness(0), positive=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c + 1e-5 * torch.eye(6, dtype=c.dtype).roll(1, 0), "not symmetric, max .* is 5"),
        (lambda c: c * torch.tensor([1.0, float("nan")]).repeat(3), "1 of its matrices hold NaN"),
        (lambda c: c - 1e3 * torch.eye(6, dtype=c.dtype), "not positive definite, smallest eigenvalue is -"),
        (lambda c: c * torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 0])), "not positive definite"),
    ],
)
def test_the_message_names_what_is_wrong(random_stiffness, change, message):
    stiffness = random_stiffness()
    stiffness = 0.2 * stiffness / stiffness.abs().max() if "symmetric" in message else stiffness
    with pytest.raises(InputError, match=f"^tensor: .*{message}"):
        check_stiffness(change(stiffness), positive=True, name="tensor")


def test_compliance_is_the_inverse(random_stiffness):
    stiffness = random_stiffness(4)
    identity = torch.eye(6, dtype=torch.float64).expand(4, 6, 6)
    torch.testing.assert_close(compliance_of(stiffness) @ stiffness, identity, rtol=0, atol=1e-9)

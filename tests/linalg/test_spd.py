"""Logarithm of SPD matrices: against SciPy, and its gradient where eigenvalues repeat."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.testing import assert_gradient_matches


def spd(*shape: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


def test_logarithm_agrees_with_scipy_and_inverts_the_exponential():
    matrices = spd(5, 6)
    logarithm = spd_logarithm(matrices)
    for matrix, ours in zip(matrices, logarithm, strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(scipy.linalg.logm(matrix.numpy())), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.matrix_exp(logarithm), matrices)


@pytest.mark.parametrize("spectrum", ["simple", "repeated", "nearly repeated", "wide"])
def test_gradient_at_any_spectrum(spectrum):
    values = {
        "simple": [1.0, 2.0, 3.0, 4.0],
        "repeated": [2.0, 2.0, 2.0, 5.0],
        "nearly repeated": [2.0, 2.0 + 1e-9, 2.0 + 1e-13, 5.0],
        "wide": [1e-4, 1e-2, 1.0, 100.0],
    }[spectrum]
    turn = torch.linalg.qr(spd(4, seed=3)).Q
    diagonal = torch.diag(torch.tensor(values, dtype=torch.float64))

    def shifted(shift: torch.Tensor) -> torch.Tensor:
        return spd_logarithm(turn @ (diagonal + shift) @ turn.T)

    assert_gradient_matches(shifted, torch.zeros(4, 4, dtype=torch.float64), step=1e-3, tolerance=1e-6)
    # log(a M) = log M + log(a) 1: the derivative at a = 1 is the unit matrix
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    weights = spd(4, seed=5)
    (gradient,) = torch.autograd.grad((weights * spd_logarithm(scale * turn @ diagonal @ turn.T)).sum(), scale)
    torch.testing.assert_close(gradient, weights.trace(), rtol=1e-9, atol=0)


def test_what_is_not_positive_is_refused():
    with pytest.raises(InputError, match="smallest eigenvalue is -1, must be positive"):
        spd_logarithm(torch.diag(torch.tensor([1.0, -1.0])))

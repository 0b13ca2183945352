"""The public assertions: each accepts what is right, and refuses what is wrong naming the measured figure."""

from __future__ import annotations

import re

import pytest
import torch

from polyad import testing


def turn(rotation: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return vectors @ rotation.T


def keep(rotation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return value


VECTORS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equivariance_of_a_covariant_function():
    testing.assert_rotation_covariant(
        lambda x: x * x.norm(dim=-1, keepdim=True), VECTORS, act_on_input=turn, act_on_output=turn
    )
    testing.assert_rotation_covariant(
        lambda x, y: x @ y.T, (VECTORS, VECTORS[:2]), act_on_input=turn, act_on_output=keep
    )
    one_each = (turn, keep)
    testing.assert_rotation_covariant(
        lambda x, s: x * s, (VECTORS, VECTORS[:, :1]), act_on_input=one_each, act_on_output=turn
    )


def test_a_function_that_is_not_equivariant_is_refused_with_its_error():
    with pytest.raises(AssertionError, match=r"not equivariant: relative error \d\.\d+e[-+]\d+ for element \d"):
        testing.assert_rotation_covariant(torch.abs, VECTORS, act_on_input=turn, act_on_output=turn)
    # one part in 10^9 is above the default tolerance
    with pytest.raises(AssertionError, match="e-09"):
        testing.assert_rotation_covariant(
            lambda x: x + 2e-9 * x.norm() * torch.eye(3, dtype=x.dtype)[0],
            VECTORS,
            act_on_input=turn,
            act_on_output=turn,
        )


def test_reflections_tell_vectors_from_axial_vectors():
    def cross(x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.cross(x[:-1], x[1:])

    testing.assert_rotation_covariant(cross, VECTORS, act_on_input=turn, act_on_output=turn, reflections=False)
    with pytest.raises(AssertionError, match="not equivariant"):
        testing.assert_rotation_covariant(cross, VECTORS, act_on_input=turn, act_on_output=turn)


def test_empty_proofs_are_refused():
    for function, words in ((torch.zeros_like, "identically zero"), (lambda x: x / 0 * 0, "NaN or infinite")):
        with pytest.raises(AssertionError, match=words):
            testing.assert_rotation_covariant(function, VECTORS, act_on_input=turn, act_on_output=turn)
    with pytest.raises(AssertionError, match="nothing was checked"):
        testing.assert_equivariant(lambda x: x, VECTORS, act_on_input=turn, act_on_output=turn, elements=[])
    with pytest.raises(AssertionError, match="shape is"):
        testing.assert_equivariant(
            lambda x: x[: len(x) - int(x[0, 0] > 1e3)],
            VECTORS,
            act_on_input=lambda g, x: x + g,
            act_on_output=keep,
            elements=[1e6],
        )


def test_positive_semidefinite():
    root = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    testing.assert_positive_semidefinite(root @ root.mT)  # of rank 3
    with pytest.raises(AssertionError, match=r"smallest eigenvalue is -5\.000e-01 of the largest"):
        testing.assert_positive_semidefinite(torch.diag(torch.tensor([2.0, 1.0, -1.0])))
    with pytest.raises(AssertionError, match=r"not symmetric: relative difference 4\.000e-01"):
        testing.assert_positive_semidefinite(torch.tensor([[2.0, 1.0], [0.0, 2.0]]))  # eigenvalues 2 +- 1/2


def test_convergence_order():
    steps = [0.1, 0.05, 0.025, 0.0125]
    testing.assert_convergence_order([3 * step**2 for step in steps], steps, 2)
    testing.assert_convergence_order([step**4 * (1 + step) for step in steps], steps, 4)
    with pytest.raises(AssertionError, match=r"convergence order is 1\.000, expected 2"):
        testing.assert_convergence_order(steps, steps, 2)
    with pytest.raises(AssertionError, match="at least 3"):
        testing.assert_convergence_order([1.0, 0.5], [1.0, 0.5], 1)
    with pytest.raises(AssertionError, match="positive and finite"):
        testing.assert_convergence_order([1.0, 0.5, 0.0], [1.0, 0.5, 0.25], 1)


def test_gradient():
    def quartic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x**4 * y).sum(-1) + x.exp().prod(-1)

    testing.assert_gradient_matches(quartic, (VECTORS, VECTORS[:1] + 2), tolerance=1e-9)
    testing.assert_gradient_matches(lambda x: x.exp(), VECTORS.T, tolerance=1e-9)  # any strides

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 1.5

    with pytest.raises(AssertionError, match=re.escape("gradient of input 0 is wrong: relative error 5.000e-01")):
        testing.assert_gradient_matches(Halved.apply, VECTORS)
    with pytest.raises(AssertionError, match="gradient of input 1 is wrong"):
        testing.assert_gradient_matches(lambda x, y: x * y.detach(), (VECTORS, VECTORS + 1))
    with pytest.raises(AssertionError, match="float64"):
        testing.assert_gradient_matches(torch.exp, VECTORS.float())

"""Known values, derivatives that join, evenness about the saddle, and curvature there."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from polyad.errors import InputError
from polyad.problems import saddles
from polyad.problems.saddles import SaddleProblem

PROBLEMS = [
    saddles.strict_saddle_quartic(5),
    saddles.cubic_regularized_quadratic(5),
    saddles.matrix_factorization(6, 2),
    saddles.phase_retrieval(5),
    saddles.octopus(4),
]
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


@every_problem
def test_start_is_a_strict_saddle_about_which_the_function_is_even(problem: SaddleProblem) -> None:
    x = problem.saddle.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.function(x), x)
    hessian = torch.autograd.functional.hessian(problem.function, problem.saddle)
    assert float(gradient.norm()) == 0
    assert float(torch.linalg.eigvalsh(hessian)[0]) < -0.3
    moves = torch.randn(3, 7, problem.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ahead, behind = problem.function(problem.saddle + moves), problem.function(problem.saddle - moves)
    assert ahead.shape == (3, 7)
    assert torch.equal(ahead, behind)
    assert torch.allclose(ahead[1, 2], problem.function(moves[1, 2]))


@every_problem
def test_descent_that_is_kicked_where_it_stalls_ends_in_the_minimum(problem: SaddleProblem) -> None:
    """Without kicks it ends in the octopus' second saddle: while the first is left, the others run down to 0."""
    generator = torch.Generator().manual_seed(0)
    x = problem.saddle.clone().requires_grad_()
    values = []
    for number in range(1500):
        value = problem.function(x)
        (gradient,) = torch.autograd.grad(value, x)
        values.append(value.item())
        with torch.no_grad():
            x -= gradient / problem.lipschitz
            if float(gradient.norm()) < 1e-4 and number < 1000:
                x += 1e-4 * torch.randn(problem.dimension, dtype=torch.float64, generator=generator)
    assert values[-1] == pytest.approx(problem.minimum, abs=1e-8)
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(values))


def test_matrix_factorization_is_its_definition() -> None:
    problem = saddles.matrix_factorization(6, 2, seed=3)
    hessian = torch.autograd.functional.hessian(problem.function, problem.saddle)  # -4 M in every column of U
    target = -hessian.reshape(6, 2, 6, 2)[:, 0, :, 0] / 4
    assert torch.allclose(target @ target, target)
    assert float(target.trace()) == pytest.approx(2.0)
    factors = torch.randn(3, 4, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (factors @ factors.mT - target).square().sum((-2, -1))
    assert torch.allclose(problem.function(factors.flatten(-2)), expected)


def test_octopus_joins_its_pieces_with_two_derivatives() -> None:
    problem = saddles.octopus(3, lipschitz=1.3, negative=0.4, length=0.7)
    base = torch.tensor([0.9, 0.3, 0.2], dtype=torch.float64)
    for place, corner in ((0, 0.7), (0, 1.4), (1, 0.7), (1, 1.4)):
        sides = []
        for side in (-1e-8, 1e-8):
            x = base.clone()
            x[place] = corner + side
            x.requires_grad_()
            value = problem.function(x)
            (gradient,) = torch.autograd.grad(value, x)
            hessian = torch.autograd.functional.hessian(problem.function, x.detach())
            sides.append(torch.cat([value.detach()[None], gradient, hessian.flatten()]))
        torch.testing.assert_close(sides[0], sides[1], atol=1e-5, rtol=0)


def test_octopus_has_the_values_of_its_definition_on_the_path() -> None:
    large, small, tau = 1.3, 0.4, 0.7
    problem = saddles.octopus(4, lipschitz=large, negative=small, length=tau)
    g1 = -small * 4 * tau**2 + (-14 * large + 10 * small) / 3 * tau**2 + (5 * large - 3 * small) / 2 * tau**2
    depth = 4 * large * tau**2 - g1
    assert problem.minimum == pytest.approx(-4 * depth)
    x = torch.tensor([2.5, 1.6, 0.5, -0.3], dtype=torch.float64)  # two have left, the third is on its way
    path = large * ((2.5 - 4 * tau) ** 2 + (1.6 - 4 * tau) ** 2) - small * 0.5**2 + large * 0.3**2 - 2 * depth
    assert float(problem.function(x)) == pytest.approx(path, rel=1e-12)
    x[2] = 1.1  # between tau and 2 tau: the fourth turns unstable
    shift = (1.1 - tau) / tau
    curvature = large - (large + small) * (10 * shift**3 - 15 * shift**4 + 6 * shift**5)
    g1 = -small * 1.1**2 + (10 * small - 14 * large) / (3 * tau) * 0.4**3
    g1 += (5 * large - 3 * small) / (2 * tau**2) * 0.4**4
    path = large * ((2.5 - 4 * tau) ** 2 + (1.6 - 4 * tau) ** 2) + g1 + curvature * 0.09 - 2 * depth
    assert float(problem.function(x)) == pytest.approx(path, rel=1e-12)


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: saddles.octopus(0),
        lambda: saddles.octopus(3, negative=2.0),
        lambda: saddles.matrix_factorization(1, 2),
        lambda: saddles.phase_retrieval(3, measurements=0),
        lambda: saddles.cubic_regularized_quadratic(3, negative=-1.0),
    ):
        with pytest.raises(InputError):
            call()

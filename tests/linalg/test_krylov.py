"""Conjugate gradients against dense solves, and their behaviour at the edges."""

import pytest
import torch

from polyad.errors import ConvergenceError
from polyad.linalg.krylov import conjugate_gradients


def spd(size, condition, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    return (q * torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), size, dtype=torch.float64)) @ q.T


def random(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 3), (10, 4, 5), (40, 1)])
def test_solves_every_column(shape):
    size = torch.Size(shape[:-1]).numel()
    matrix, b = spd(size, 1e3), random(*shape)
    answer = conjugate_gradients(lambda x: (matrix @ x.reshape(size, -1)).reshape(shape), b, tolerance=1e-12)
    expected = torch.linalg.solve(matrix, b.reshape(size, -1)).reshape(shape)
    torch.testing.assert_close(answer.solution, expected, rtol=1e-8, atol=1e-8)
    assert bool((answer.residual <= 2e-12).all())


def test_a_preconditioner_equal_to_the_inverse_needs_one_step():
    matrix, b = spd(30, 1e6), random(30, 2)
    inverse = torch.linalg.inv(matrix)
    answer = conjugate_gradients(lambda x: matrix @ x, b, preconditioner=lambda r: inverse @ r, tolerance=1e-9)
    assert answer.iterations <= 2


def test_iterations_are_bounded_by_the_number_of_distinct_eigenvalues():
    q, _ = torch.linalg.qr(random(50, 50))
    values = torch.tensor([1.0, 2.0, 5.0, 9.0], dtype=torch.float64).repeat_interleave(torch.tensor([20, 20, 5, 5]))
    matrix = (q * values) @ q.T
    assert conjugate_gradients(lambda x: matrix @ x, random(50, 3), tolerance=1e-12).iterations <= 5


def test_columns_of_zero_and_columns_of_different_speed():
    matrix = torch.diag(torch.linspace(1, 100, 60, dtype=torch.float64))
    b = random(60, 3)
    b[:, 1] = 0
    b[:, 2] = 0
    b[5, 2] = 1.0  # an eigenvector: converges at once and must then stand still
    answer = conjugate_gradients(lambda x: matrix @ x, b, tolerance=1e-13)
    torch.testing.assert_close(answer.solution, torch.linalg.solve(matrix, b), rtol=1e-10, atol=1e-12)
    assert not bool(answer.solution[:, 1].any())


def test_consistent_singular_system():
    laplacian = 2 * torch.eye(20, dtype=torch.float64) - torch.roll(torch.eye(20, dtype=torch.float64), 1, 0)
    laplacian = laplacian - torch.roll(torch.eye(20, dtype=torch.float64), -1, 0)
    b = random(20, 2)
    b = b - b.mean(0)
    answer = conjugate_gradients(lambda x: laplacian @ x, b, tolerance=1e-11)
    torch.testing.assert_close(laplacian @ answer.solution, b, rtol=0, atol=1e-9)


def test_start_near_the_solution_saves_iterations_and_input_stays_untouched():
    matrix, b = spd(50, 1e4), random(50, 2)
    near = torch.linalg.solve(matrix, b) * (1 + 1e-9)
    kept, start = b.clone(), near.clone()
    warm = conjugate_gradients(lambda x: matrix @ x, b, start=near, tolerance=1e-8)
    cold = conjugate_gradients(lambda x: matrix @ x, b, tolerance=1e-8)
    assert warm.iterations < cold.iterations
    assert torch.equal(b, kept)
    assert torch.equal(near, start)


def test_failure_names_the_residual():
    matrix = spd(80, 1e10)
    with pytest.raises(ConvergenceError, match=r"residual of .* in 5 iterations"):
        conjugate_gradients(lambda x: matrix @ x, random(80, 1), max_iterations=5)


def test_progress_counts_up_to_its_total():
    seen = []
    matrix = spd(200, 1e6)
    conjugate_gradients(
        lambda x: matrix @ x, random(200, 2), tolerance=1e-10, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1

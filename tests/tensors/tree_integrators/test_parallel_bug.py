"""The parallel integrator against exponentials, tabulated errors, the matrix integrator, and its own laws."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import log2

import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import expm_multiply
from torch import Tensor

from polyad.claims.tensors._tree_problems import LinearProblem, kinetic, radiative_transfer, spin_chain
from polyad.errors import ConvergenceError, InputError
from polyad.executors import local_executor
from polyad.tensors.formats import TreeTensorNetwork, balanced_tree, chain_tree
from polyad.tensors.tree_integrators import (
    MatrixFactors,
    OperatorField,
    ParallelBUG,
    integrate,
    matrix_parallel_bug,
    product_operator,
)
from polyad.tensors.tree_integrators.flows import rk4
from polyad.tensors.tree_integrators.frames import is_orthonormal
from polyad.testing import assert_convergence_order

# largest published digits; balanced trees, all spins up, tol 1e-8, 4 sub-steps; by step h = 2^-k
TABLE = {
    (4, "F0"): {6: 4.72e-3, 7: 1.18e-3, 8: 3.1e-4},
    (4, "K"): {6: 7.88e-4, 7: 1.97e-4, 8: 4.9e-5},
    (8, "F0"): {5: 8.5e-2, 6: 2.17e-2, 7: 5.5e-3},
    (8, "K"): {5: 6.9e-3, 6: 1.69e-3, 7: 4.3e-4},
}


def flat(value: TreeTensorNetwork) -> Tensor:
    return value.to_dense().flatten()


def exact(problem: LinearProblem, time: float = 1.0) -> Tensor:
    start = flat(problem.start).to(problem.operator.dtype)
    return torch.from_numpy(expm_multiply(problem.matrix * time, start.numpy()))


def error(problem: LinearProblem, reference: Tensor, steps: int, **options: object) -> float:
    settings = {"tol": 1e-8, "substeps": 4, **options}
    found = integrate(ParallelBUG(problem.operator, **settings), problem.start, steps=steps)  # type: ignore[arg-type]
    return float(torch.linalg.vector_norm(flat(found.value) - reference))


@pytest.mark.parametrize("augment", ["F0", "K"])
def test_tabulated_error_of_four_spins(augment: str) -> None:
    problem = spin_chain(balanced_tree(4), 4)
    reference = torch.linalg.matrix_exp(problem.operator.to_dense()) @ flat(problem.start)
    torch.testing.assert_close(reference, exact(problem))
    assert error(problem, reference, 2**6, augment=augment) == pytest.approx(TABLE[4, augment][6], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "augment"), TABLE)
def test_tabulated_errors_at_all_three_steps(order: int, augment: str) -> None:
    problem = spin_chain(balanced_tree(order), order)
    reference = exact(problem)
    for power, value in TABLE[order, augment].items():
        # with tol 1e-8 truncation shows at the smallest step of four spins and F0
        tol = 1e-9 if order == 4 else 1e-8
        assert error(problem, reference, 2**power, augment=augment, tol=tol) == pytest.approx(value, rel=0.1)


def test_tabulated_error_of_eight_spins() -> None:
    problem = spin_chain(balanced_tree(8), 8)
    for augment in ("F0", "K"):
        assert error(problem, exact(problem), 2**5, augment=augment) == pytest.approx(TABLE[8, augment][5], rel=0.1)


@pytest.mark.parametrize("augment", ["F0", "K"])
@pytest.mark.parametrize("tree", [((0, 1, 2), (3, 4, 5)), (0, 1, (2, 3), (4, 5))])
def test_second_order_on_the_spin_chain_of_other_trees(tree: tuple, augment: str) -> None:
    problem = spin_chain(tree, 6)
    reference = exact(problem)
    errors = [error(problem, reference, 2**k, augment=augment, tol=1e-10, substeps=2) for k in (4, 5, 6)]
    assert min(slopes(errors)) >= 1.8


def test_first_order_where_bases_must_follow_the_solution() -> None:
    """On a chain of spins every bond stays narrower than its subtree, so bases turn in every step: order 1, no more."""
    problem = spin_chain(chain_tree(4), 4)
    reference = exact(problem)
    errors = [error(problem, reference, n, augment="K") for n in (16, 32, 64)]
    assert_convergence_order(errors, [1 / 16, 1 / 32, 1 / 64], 1, tolerance=0.2)
    assert error(problem, reference, 16, augment="F0") > 5 * errors[0]


@pytest.mark.parametrize("augment", ["F0", "K"])
@pytest.mark.parametrize("make", [radiative_transfer, kinetic])
def test_transport_with_uncertain_data(make, augment: str) -> None:
    problem = make()
    reference = exact(problem)
    steps = (8, 16, 32)
    plain = [error(problem, reference, n, augment=augment, tol=1e-7, substeps=2) for n in steps]
    assert_convergence_order(plain, [1 / n for n in steps], 1.0, tolerance=0.25)
    better = error(problem, reference, 8, augment=augment, tol=1e-7, substeps=2, rejections=10)
    assert better < 0.5 * plain[0]


def test_full_ranks_give_the_underlying_method() -> None:
    tree, shape = ((0, 1), (2, 3)), (2, 3, 2, 3)
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(shape, dtype=torch.complex128, generator=generator)
    value = TreeTensorNetwork.from_dense(dense, tree=tree, ranks=99)
    assert value.ranks == (2, 3, 6, 2, 3, 6)
    matrices = [torch.randn(n, n, dtype=torch.complex128, generator=generator) for n in shape]
    operator = product_operator(tree, [matrices])
    field = OperatorField(operator)
    expected = rk4(lambda t, x: operator.to_dense() @ x, dense.flatten(), 0.0, 0.01, 3)
    for integrator in (ParallelBUG(field, tol=0.0, substeps=3), ParallelBUG(operator, tol=1e-13, substeps=3)):
        torch.testing.assert_close(flat(integrator.step(value, 0.0, 0.01).value), expected, rtol=0, atol=1e-10)
    flow = torch.linalg.matrix_exp(0.01 * operator.to_dense()) @ dense.flatten()
    fine = ParallelBUG(operator, tol=0.0, substeps=40).step(value, 0.0, 0.01).value
    torch.testing.assert_close(flat(fine), flow, rtol=0, atol=1e-8)


def test_curves_of_fixed_rank_converge_at_least_with_first_order() -> None:
    """F(t, Y) = A'(t) for A(t) = a fixed network with a rotation on every mode."""
    tree, shape = ((0, 1), 2), (6, 5, 6)
    generator = torch.Generator().manual_seed(3)
    fixed = TreeTensorNetwork.random(shape, 2, tree=tree, generator=generator)
    turns = [torch.randn(n, n, dtype=torch.float64, generator=generator) / n**0.5 for n in shape]
    turns = [turn - turn.mT for turn in turns]

    def value(time: float) -> TreeTensorNetwork:
        moved = fixed
        for mode, turn in enumerate(turns):
            moved = moved.mode_product(torch.linalg.matrix_exp(time * turn), mode)
        return moved

    def rate(time: float, _: TreeTensorNetwork) -> TreeTensorNetwork:
        here = value(time)
        total = here.mode_product(turns[0], 0)
        for mode in range(1, len(shape)):
            total = total.add(here.mode_product(turns[mode], mode))
        return total

    for augment in ("F0", "K"):
        errors = []
        for steps in (4, 8, 16):
            integrator = ParallelBUG(rate, tol=1e-10, augment=augment, substeps=1)  # type: ignore[arg-type]
            found = integrate(integrator, value(0.0), interval=(0.0, 0.5), steps=steps).value
            errors.append(float((found.to_dense() - value(0.5).to_dense()).norm()))
        assert min(slopes(errors)) >= 0.9


def slopes(errors: list[float]) -> list[float]:
    return [log2(coarse / fine) for coarse, fine in pairwise(errors)]


def planted(singular: float, outside: float = 0.0) -> LinearProblem:
    """Y' = W_1 Y + Y W_2^T (+ outside A Y B^T) from a matrix with singular values 1, 1/2 and this one."""
    generator = torch.Generator().manual_seed(3)

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, dtype=torch.float64, generator=generator)

    m, n = 16, 14
    turns = [normal(k, k) / (2 * k**0.5) for k in (m, n)]
    turns = [turn - turn.mT for turn in turns]
    eyes = [torch.eye(k, dtype=torch.float64) for k in (m, n)]
    products = [[turns[0], eyes[1]], [eyes[0], turns[1]]]
    if outside:
        products.append([outside * normal(m, m) / m**0.5, normal(n, n) / n**0.5])
    operator = product_operator((0, 1), products)
    core = torch.diag(torch.tensor([1, 0.5, singular], dtype=torch.float64))[..., None]
    start = TreeTensorNetwork((0, 1), tuple(torch.linalg.qr(normal(k, 3)).Q for k in (m, n)), (core,))
    return LinearProblem(operator, start, scipy.sparse.csr_array(operator.to_dense().numpy()))


@pytest.mark.parametrize(("augment", "spread"), [("K", 0.03), ("F0", 0.10)])
def test_errors_do_not_depend_on_small_singular_values(augment: str, spread: float) -> None:
    for power in (2, 3, 4, 5):
        errors = []
        for singular in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10):
            problem = planted(singular)
            errors.append(error(problem, exact(problem), 2**power, augment=augment, tol=1e-12, substeps=2))
        assert max(errors) <= (1 + spread) * min(errors)


def test_naive_alternating_integration_blows_up_where_the_projected_one_does_not() -> None:
    def naive(problem: LinearProblem) -> float:
        """Factors A B^T, A by least squares with B fixed, B by what is left of F: inverses of A^T A and B^T B."""
        operator = problem.operator.to_dense()
        u, s, vh = torch.linalg.svd(problem.start.to_dense())
        state = torch.cat([u[:, :3] * s[:3].sqrt(), vh[:3].mT * s[:3].sqrt()])

        def change(time: float, x: Tensor) -> Tensor:
            a, b = x[:16], x[16:]
            f = (operator @ (a @ b.mT).flatten()).reshape(16, 14)
            on_a = f @ b @ torch.linalg.pinv(b.mT @ b, rtol=0.0)
            return torch.cat([on_a, (f - on_a @ b.mT).mT @ a @ torch.linalg.pinv(a.mT @ a, rtol=0.0)])

        for step in range(16):
            state = rk4(change, state, step / 16, 1 / 16, 2)
            if not float(state.norm()) < 1e6:
                return float("inf")
        return float(((state[:16] @ state[16:].mT).flatten() - exact(problem)).norm())

    mild, hard = planted(0.5, outside=0.1), planted(1e-10, outside=0.1)
    assert naive(mild) < 0.5
    assert naive(hard) > 10  # times the norm of the solution
    errors = [error(problem, exact(problem), 16, augment="K", r_max=3) for problem in (mild, hard)]
    assert max(errors) < 0.5


@pytest.mark.parametrize("augment", ["F0", "K"])
@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_two_leaves_equal_the_matrix_integrator(augment: str, tol: float) -> None:
    generator = torch.Generator().manual_seed(1)
    m, n = 9, 7
    terms = [[torch.randn(k, k, dtype=torch.complex128, generator=generator) / 4 for k in (m, n)] for _ in range(2)]
    operator = product_operator((0, 1), terms)
    value = TreeTensorNetwork.random((m, n), 3, tree=(0, 1), dtype=torch.complex128, generator=generator)
    u, s, vh = torch.linalg.svd(value.to_dense(), full_matrices=False)
    factors = MatrixFactors(u[:, :3], torch.diag(s[:3]).to(u.dtype), vh[:3].mH)

    def rate(time: float, y: Tensor) -> Tensor:
        return sum(a @ y @ b.mT for a, b in terms)

    network = value
    for step in range(3):
        network = ParallelBUG(operator, tol=tol, augment=augment, substeps=2).step(network, step * 0.1, 0.1).value  # type: ignore[arg-type]
        factors = matrix_parallel_bug(rate, factors, step * 0.1, 0.1, tol=tol, augment=augment, substeps=2)  # type: ignore[arg-type]
        torch.testing.assert_close(network.to_dense(), factors.to_dense(), rtol=0, atol=1e-12)
        assert network.ranks == (factors.core.shape[0],) * 2


def test_values_stay_orthonormal_and_norms_drift_little() -> None:
    problem = spin_chain(balanced_tree(6), 6)
    drifts = []
    for steps in (8, 16, 32):
        found = integrate(ParallelBUG(problem.operator, substeps=4), problem.start, steps=steps)
        assert is_orthonormal(found.value.by_node(), 1e-12)
        assert len(found.norms) == steps
        assert found.norms[-1] == pytest.approx(float(found.value.to_dense().norm()), abs=1e-12)
        drifts.append(max(abs(norm - 1) for norm in found.norms))
    assert drifts[2] < drifts[1] < drifts[0]
    assert drifts[2] <= drifts[0] / 4 * 1.3  # at least first order: a factor 4 over two halvings


def test_rejection_repeats_in_the_augmented_bases() -> None:
    problem = spin_chain(balanced_tree(8), 8, rank=1)  # ranks double at once
    reference = exact(problem, 0.1)
    plain, richer, capped = (
        ParallelBUG(problem.operator, tol=1e-6, augment="K", **options).step(problem.start, 0.0, 0.1)  # type: ignore[arg-type]
        for options in ({}, {"rejections": 20}, {"rejections": 20, "r_max": 3})
    )
    assert plain.rejected == 0
    assert set(plain.value.ranks) == {2}
    assert 1 < richer.rejected < 20
    assert max(richer.value.ranks) > 4
    assert 0.1 * richer.estimate <= 10 * 1e-6
    errors = [float((flat(step.value) - reference).norm()) for step in (plain, richer)]
    assert errors[1] < 0.05 * errors[0]
    assert max(capped.value.ranks) == 3
    assert capped.truncation_error > 1e-6


def test_the_estimate_is_the_neglected_part_of_the_field() -> None:
    """F(Y_0) outside of both old bases, in what the sub-flows found: dense formulas for the two-leaf tree."""
    generator = torch.Generator().manual_seed(1)
    terms = [[torch.randn(k, k, dtype=torch.float64, generator=generator) for k in (9, 7)] for _ in range(2)]
    value = TreeTensorNetwork.random((9, 7), 2, tree=(0, 1), generator=generator)
    u, _, vh = torch.linalg.svd(value.to_dense(), full_matrices=False)
    u, v, rate = u[:, :2], vh[:2].mT, sum(a @ value.to_dense() @ b.mT for a, b in terms)
    h = 1e-5  # the fresh directions are then those of F(Y_0) V and F(Y_0)^T U
    fresh = [torch.linalg.qr(x - y @ (y.mT @ x)).Q for x, y in ((rate @ v, u), (rate.mT @ u, v))]
    expected = float((fresh[0].mT @ rate @ fresh[1]).norm())
    found = ParallelBUG(product_operator((0, 1), terms), tol=0.0, rejections=0, augment="F0").step(value, 0.0, h)
    assert found.estimate == pytest.approx(expected, rel=1e-3)
    again = ParallelBUG(product_operator((0, 1), terms), tol=h * expected / 20, rejections=1).step(value, 0.0, h)
    assert again.rejected == 1
    calm = ParallelBUG(product_operator((0, 1), terms), tol=h * expected / 5, rejections=1, r_max=2)
    assert calm.step(value, 0.0, h).rejected == 0


def test_executors_change_nothing() -> None:
    problem = spin_chain(balanced_tree(5), 5)
    alone = ParallelBUG(problem.operator, count=True).step(problem.start, 0.0, 0.1)
    with ThreadPoolExecutor(2) as threads:
        together = ParallelBUG(problem.operator, executor=threads).step(problem.start, 0.0, 0.1)
    with local_executor(1) as processes:
        apart = ParallelBUG(problem.operator, executor=processes, count=True).step(problem.start, 0.0, 0.1)
    torch.testing.assert_close(flat(together.value), flat(alone.value), rtol=0, atol=1e-14)
    torch.testing.assert_close(flat(apart.value), flat(alone.value), rtol=0, atol=1e-14)
    assert apart.work == alone.work
    assert 1 < alone.work.parallelism <= 9  # nodes of the tree
    assert alone.work.largest_flow <= alone.work.critical < alone.work.flops


def test_history_progress_and_limits() -> None:
    problem = spin_chain(balanced_tree(4), 4)
    calls: list[tuple[int, int]] = []
    integrator = ParallelBUG(problem.operator)
    found = integrate(integrator, problem.start, interval=(0.0, 0.5), steps=4, progress=lambda *c: calls.append(c))
    assert calls == [(k, 4) for k in range(1, 5)]
    assert found.time == pytest.approx(0.5)
    assert len(found.largest_ranks) == len(found.rejected) == 4
    assert max(found.truncation_errors) <= 1e-8
    stopped = integrate(integrator, problem.start, steps=100, seconds=0.0)
    assert stopped.time == pytest.approx(0.01)
    full = integrate(integrator, problem.start, interval=(0.0, 0.5), steps=16).value
    back = integrate(integrator, full, interval=(0.5, 0.0), steps=16).value
    assert float((flat(back) - flat(problem.start)).norm()) < 0.05


def test_bad_input_is_refused() -> None:
    problem = spin_chain(balanced_tree(4), 4)
    for options, match in [
        ({"tol": -1.0}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"r_max": 0}, "r_max"),
        ({"substeps": 0}, "substeps"),
        ({"stiffness": 3.0}, "stiffness"),
        ({"rejections": -1}, "rejections"),
    ]:
        with pytest.raises(InputError, match=match):
            ParallelBUG(problem.operator, **options)  # type: ignore[arg-type]
    batched = TreeTensorNetwork.random((2,) * 4, 2, tree=balanced_tree(4), batch_shape=(2,))
    with pytest.raises(InputError, match="batch"):
        ParallelBUG(problem.operator).step(batched, 0.0, 0.1)
    wide = TreeTensorNetwork.random((3,) * 4, 2, tree=balanced_tree(4))
    with pytest.raises(InputError, match="acts on"):
        ParallelBUG(problem.operator).step(wide, 0.0, 0.1)
    with pytest.raises(InputError, match="two different times"):
        integrate(ParallelBUG(problem.operator), problem.start, steps=0)
    with pytest.raises(ConvergenceError, match="overflowed"):
        ParallelBUG(problem.operator.scale(1e100), substeps=1).step(problem.start, 0.0, 1.0)

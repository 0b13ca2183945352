"""Sequential BUG, fixed-rank BUG and projector splitting: exactness, order, and the matrix formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy.sparse.linalg import expm_multiply
from torch import Tensor

from polyad.claims.tensors._tree_problems import spin_chain
from polyad.errors import InputError
from polyad.tensors.formats import TreeTensorNetwork, balanced_tree, chain_tree
from polyad.tensors.tree_integrators import (
    FunctionField,
    MatrixFactors,
    ParallelBUG,
    ProjectorSplitting,
    SequentialBUG,
    integrate,
    matrix_parallel_bug,
    product_operator,
)
from polyad.tensors.tree_integrators.flows import rk4
from polyad.testing import assert_convergence_order

TREES = [((0, 1), (2, 3)), (0, 1, 2, 3), chain_tree(4), ((3, 0, 2), 1)]


def curve(tree: tuple):
    """A(t) = fixed network with a polynomial matrix on every mode: ranks stay, and A'(t) is cubic in time."""
    generator = torch.Generator().manual_seed(2)
    shape = (5, 4, 6, 5)
    fixed = TreeTensorNetwork.random(shape, 2, tree=tree, generator=generator)
    fixed = fixed.scale(1 / fixed.norm())
    turns = [torch.randn(n, n, dtype=torch.float64, generator=generator) / n for n in shape]

    def value(time: float) -> TreeTensorNetwork:
        moved = fixed
        for mode, turn in enumerate(turns):
            moved = moved.mode_product(torch.eye(shape[mode], dtype=torch.float64) + time * turn, mode)
        return moved

    def rate(time: float, _: TreeTensorNetwork) -> TreeTensorNetwork:
        total = None
        for changed, turn in enumerate(turns):
            moved = fixed.mode_product(turn, changed)
            for mode, other in enumerate(turns):
                if mode != changed:
                    moved = moved.mode_product(torch.eye(shape[mode], dtype=torch.float64) + time * other, mode)
            total = moved if total is None else total.add(moved)
        return total

    return value, rate


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("kind", ["adaptive", "fixed", "splitting"])
def test_curves_of_these_ranks_are_reproduced(tree: tuple, kind: str) -> None:
    value, rate = curve(tree)
    # A' is a cubic polynomial of time, which one step of RK4 integrates without error
    integrator = {
        "adaptive": SequentialBUG(rate, tol=1e-11, substeps=1),
        "fixed": SequentialBUG(rate, adaptive=False, substeps=1),
        "splitting": ProjectorSplitting(rate, substeps=1),
    }[kind]
    found = integrate(integrator, value(0.0), steps=3)
    exact = value(1.0)
    torch.testing.assert_close(found.value.to_dense(), exact.to_dense(), rtol=0, atol=1e-10)
    assert max(found.value.ranks) <= max(exact.ranks)


def test_adaptive_bug_is_nearly_of_order_four_once_ranks_saturate() -> None:
    problem = spin_chain(balanced_tree(4), 4)
    exact = torch.from_numpy(expm_multiply(problem.matrix, problem.start.to_dense().flatten().numpy()))
    errors = []
    for power in (4, 5, 6):
        found = integrate(SequentialBUG(problem.operator, tol=1e-11, substeps=4), problem.start, steps=2**power).value
        errors.append(float((found.to_dense().flatten() - exact).norm()))
    assert min(coarse / fine for coarse, fine in pairwise(errors)) >= 2**3.3
    assert errors[-1] < 2e-6


def matrices() -> tuple[list[list[Tensor]], TreeTensorNetwork, MatrixFactors]:
    generator = torch.Generator().manual_seed(1)
    terms = [[torch.randn(k, k, dtype=torch.complex128, generator=generator) / 4 for k in (9, 7)] for _ in range(2)]
    value = TreeTensorNetwork.random((9, 7), 3, tree=(0, 1), dtype=torch.complex128, generator=generator)
    u, s, vh = torch.linalg.svd(value.to_dense(), full_matrices=False)
    return terms, value, MatrixFactors(u[:, :3], torch.diag(s[:3]).to(u.dtype), vh[:3].mH)


def test_two_leaves_equal_the_matrix_formulas() -> None:
    """K-, L- and S-steps written out with dense matrices."""
    terms, value, (u, s, v) = matrices()

    def f(y: Tensor) -> Tensor:
        return sum(a @ y @ b.mT for a, b in terms)

    def solve(rate, start: Tensor, sign: float = 1.0) -> Tensor:
        return rk4(lambda t, x: rate(x), start, 0.0, 0.1, 2, sign=sign)

    operator = product_operator((0, 1), terms)
    k, l_ = solve(lambda x: f(x @ v.mH) @ v, u @ s), solve(lambda x: f(u @ x.mH).mH @ u, v @ s.mH)
    for adaptive in (True, False):
        left = torch.linalg.qr(torch.cat([u, k], 1) if adaptive else k).Q
        right = torch.linalg.qr(torch.cat([v, l_], 1) if adaptive else l_).Q
        start = left.mH @ u @ s @ v.mH @ right
        core = solve(lambda x, p=left, q=right: p.mH @ f(p @ x @ q.mH) @ q, start)
        found = SequentialBUG(operator, tol=1e-13, adaptive=adaptive, substeps=2).step(value, 0.0, 0.1).value
        torch.testing.assert_close(found.to_dense(), left @ core @ right.mH, rtol=0, atol=1e-12)
    # splitting: K forward, S backward, L forward, S backward, S forward; the last two cancel in exact flows
    left, triangle = torch.linalg.qr(k)
    back = solve(lambda x: left.mH @ f(left @ x @ v.mH) @ v, triangle, sign=-1.0)
    l_ = solve(lambda x: f(left @ x.mH).mH @ left, v @ back.mH)
    fine = ProjectorSplitting(operator, substeps=2).step(value, 0.0, 0.1).value.to_dense()
    torch.testing.assert_close(fine, left @ l_.mH, rtol=0, atol=1e-5)


def test_splitting_has_first_order() -> None:
    """Against itself at half the step: at fixed rank the distance to the solution does not go to zero."""
    terms, value, _ = matrices()
    ends = [
        integrate(ProjectorSplitting(product_operator((0, 1), terms), substeps=1), value, steps=steps).value.to_dense()
        for steps in (16, 32, 64, 128)
    ]
    differences = [float((fine - coarse).norm()) for coarse, fine in pairwise(ends)]
    assert_convergence_order(differences, [1 / 16, 1 / 32, 1 / 64], 1, tolerance=0.15)


def test_operators_and_functions_give_the_same_steps() -> None:
    problem = spin_chain(balanced_tree(4), 4)
    function = FunctionField(lambda time, y: problem.operator.apply(y), problem.operator.tree)
    for make in (ProjectorSplitting, SequentialBUG, ParallelBUG):
        one, two = (make(f, substeps=2).step(problem.start, 0.0, 0.1) for f in (problem.operator, function))
        torch.testing.assert_close(one.value.to_dense(), two.value.to_dense(), rtol=0, atol=1e-10)


def test_matrix_integrator_converges_and_refuses() -> None:
    terms, _, factors = matrices()

    def rate(time: float, y: Tensor) -> Tensor:
        return sum(a @ y @ b.mT for a, b in terms)

    exact = torch.linalg.matrix_exp(sum(torch.kron(a, b) for a, b in terms)) @ factors.to_dense().flatten()
    for augment in ("F0", "K"):
        errors = []
        for steps in (16, 32, 64):
            now = factors
            for number in range(steps):
                now = matrix_parallel_bug(rate, now, number / steps, 1 / steps, tol=1e-10, augment=augment)  # type: ignore[arg-type]
            errors.append(float((now.to_dense().flatten() - exact).norm()))
        assert min(coarse / fine for coarse, fine in pairwise(errors)) >= 2**0.9
    capped = matrix_parallel_bug(rate, factors, 0.0, 0.1, tol=0.0, r_max=2)
    assert capped.core.shape == (2, 2)
    with pytest.raises(InputError, match="tol"):
        SequentialBUG(rate, tol=-1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stiffness"):
        ProjectorSplitting(rate, stiffness=0.0)  # type: ignore[arg-type]

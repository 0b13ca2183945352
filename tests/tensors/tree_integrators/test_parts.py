"""Sub-flows, frames and counts."""

from __future__ import annotations

import pickle

import pytest
import scipy.linalg
import torch
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.tensors.formats import TreeTensorNetwork, balanced_tree
from polyad.tensors.formats.tree_layout import layout
from polyad.tensors.tree_integrators.contractions import bracket, close, push
from polyad.tensors.tree_integrators.fields import LegRate
from polyad.tensors.tree_integrators.flows import SubFlow, derivative_norm, rk4
from polyad.tensors.tree_integrators.frames import extend_basis, is_orthonormal, pad, split, truncate_orthonormal
from polyad.tensors.tree_integrators.work import FlopCount, Ledger, Work
from polyad.testing import assert_convergence_order


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_kernel_equals_einsum() -> None:
    x, gate = random(2, 3, 4, 5, seed=1), random(6, 7, 8, 4, seed=2)
    legs = [random(2, 4, 2, seed=3), random(3, 5, 3, seed=4)]
    expected = torch.einsum("abtx,cpa,dqb,cdeft->pqefx", x, *legs, gate.reshape(2, 3, 7, 8, 4))
    pushed = push(x, legs, gate)
    torch.testing.assert_close(pushed, expected)
    last = random(7, 9, 5, seed=5)
    torch.testing.assert_close(close(pushed, last), torch.einsum("pqefx,eyx->pqyf", expected, last))
    bra = random(4, 5, 8, 2, seed=6)
    torch.testing.assert_close(bracket(bra, pushed), torch.einsum("pqfy,pqefx->eyx", bra.conj(), expected))


def test_rk4_has_order_four_and_solves_backwards() -> None:
    matrix = random(5, 5, seed=1)
    start = random(5, 1, seed=2)
    exact = torch.linalg.matrix_exp(matrix) @ start
    steps = [8, 16, 32, 64]
    errors = [float((rk4(lambda t, x: matrix @ x, start, 0.0, 1.0, n) - exact).norm()) for n in steps]
    assert_convergence_order(errors, [1 / n for n in steps], 4)
    cubic = rk4(lambda t, x: torch.full_like(x, 4 * t**3), start, 1.0, 1.0, 1)  # Simpson's rule, exact
    torch.testing.assert_close(cubic, start + 15)
    there = rk4(lambda t, x: matrix @ x, start, 0.0, 1.0, 64)
    back = SubFlow(lambda t, x: matrix @ x, there, 0.0, 1.0, substeps=64, sign=-1.0).solve()
    torch.testing.assert_close(back, start, rtol=0, atol=1e-4)


def test_substeps_follow_the_norm_of_the_derivative() -> None:
    hermitian = random(20, 20, seed=3)
    hermitian = 30 * (hermitian + hermitian.mH)
    norm = float(torch.linalg.matrix_norm(hermitian, 2))
    start = random(20, 2, seed=4)

    def rate(time: float, x: Tensor) -> Tensor:
        return -1j * hermitian @ x

    estimate = derivative_norm(rate, 0.0, start)
    assert 0.75 * norm <= estimate <= norm * (1 + 1e-9)
    exact = torch.from_numpy(scipy.linalg.expm(-0.1j * hermitian.numpy())) @ start
    torch.testing.assert_close(SubFlow(rate, start, 0.0, 0.1, stiffness=0.1).solve(), exact, rtol=0, atol=1e-4)
    assert derivative_norm(lambda t, x: torch.ones_like(x), 0.0, start) == 0.0
    with pytest.raises(ConvergenceError, match="overflowed"):
        SubFlow(rate, start, 0.0, 1e40, substeps=20).solve()


def test_subflows_travel() -> None:
    rate = LegRate((random(2, 4, 4, seed=1),), random(1, 2, 3, 3, seed=2))
    flow = SubFlow(rate, random(4, 3, seed=3).mH.mH, 0.0, 0.1, substeps=3)
    torch.testing.assert_close(pickle.loads(pickle.dumps(flow)).solve(), flow.solve())  # noqa: S301


def test_split_and_extend() -> None:
    core = random(3, 4, 2, seed=1)
    for child in range(2):
        frame, matrix = split(core, child)
        flat = frame.movedim(child, 0).flatten(1)
        torch.testing.assert_close(flat @ flat.mH, torch.eye(len(flat), dtype=flat.dtype))
        torch.testing.assert_close(torch.tensordot(matrix, frame, dims=([1], [child])).movedim(0, child), core)
    old = torch.linalg.qr(random(10, 3, seed=2)).Q
    tiny = old @ random(3, 3, seed=3) + 1e-9 * random(10, 3, seed=4) @ torch.diag(torch.tensor([1, 1, 0])).to(old.dtype)
    total, remainder = extend_basis(old, tiny)
    assert torch.equal(total[:, :3], old)
    assert total.shape[1] == 5  # two directions are new, however small
    torch.testing.assert_close(total.mH @ total, torch.eye(5, dtype=old.dtype), rtol=0, atol=1e-13)
    torch.testing.assert_close(total @ (total.mH @ tiny), tiny, rtol=0, atol=1e-14)
    torch.testing.assert_close(remainder, total[:, 3:].mH @ tiny)
    assert extend_basis(old, old @ random(3, 3, seed=5))[0].shape[1] == 3
    full = torch.linalg.qr(random(3, 3, seed=6)).Q
    assert extend_basis(full, random(3, 3, seed=7))[0].shape[1] == 3
    assert float(pad(core, (4, 4, 3)).norm()) == pytest.approx(float(core.norm()))


@pytest.mark.parametrize("tree", [balanced_tree(6), ((0, 1, 2), 3, (4, 5)), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
def test_rounding_keeps_the_tolerance(tree: tuple, tolerance: float) -> None:
    value = TreeTensorNetwork.random((3, 4, 3, 2, 4, 3), 8, tree=tree, dtype=torch.complex128)
    # singular values that fall: entries of a smooth function plus small noise
    grids = torch.meshgrid(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in value.shape), indexing="ij")
    dense = 1 / (1 + sum((k + 1) * g for k, g in enumerate(grids))) + 0j
    value = TreeTensorNetwork.from_dense(dense, tree=tree, tolerance=1e-14).add(value.scale(1e-5)).orthogonalise()
    arrays = value.by_node()
    assert is_orthonormal(arrays, 1e-12)
    cut, bound = truncate_orthonormal(layout(tree), arrays, tolerance=tolerance, r_max=None, ledger=Ledger(False))
    rounded = value.with_nodes(cut)
    error = float((rounded.to_dense() - value.to_dense()).norm())
    assert error <= bound * (1 + 1e-9) + 1e-14 <= tolerance * (1 + 1e-9) + 2e-14
    assert is_orthonormal(cut, 1e-12)
    peer = value.truncate(tolerance=tolerance / float(value.norm())).value
    assert rounded.storage.numbers == peer.storage.numbers
    capped, _ = truncate_orthonormal(layout(tree), arrays, tolerance=0.0, r_max=2, ledger=Ledger(False))
    assert max(array.shape[-1] for array in capped) == 2


def test_counts_are_those_of_the_formulas() -> None:
    with FlopCount() as count:
        random(3, 4) @ random(4, 5)
    assert count.flops == 8 * 3 * 4 * 5
    with FlopCount() as count:
        random(2, 3, 4, dtype=torch.float64) @ random(2, 4, 5, dtype=torch.float64)
    assert count.flops == 2 * 2 * 3 * 4 * 5
    with FlopCount() as count:
        torch.linalg.qr(random(6, 3, dtype=torch.float64), mode="r")
    assert count.flops == 2 * (6 * 9 - 9)
    with FlopCount() as count:
        random(7, dtype=torch.float64) + random(7, dtype=torch.float64)
    assert count.flops == 7


def test_critical_path_is_the_longest_chain() -> None:
    ledger = Ledger()
    for place, (flops, after) in enumerate([(5, []), (7, []), (2, [0, 1]), (4, [0]), (1, [2, 3])]):
        ledger.record("core", place, flops, after=[("core", k) for k in after])
    work = ledger.work()
    assert (work.flops, work.critical, work.largest_flow) == (19, 10, 7)
    assert work.parallelism == pytest.approx(1.9)
    assert (work + work).critical == 20
    assert Work().parallelism == 1.0
    assert ledger.run("round", 0, lambda: 3) == 3
    assert ledger.work().kinds == {"core": 19, "round": 0}
    silent = Ledger(False)
    assert silent.run("core", 0, lambda: 4) == 4
    assert silent.work() == Work()


def test_bad_substeps_are_refused() -> None:
    with pytest.raises(InputError, match="substeps"):
        rk4(lambda t, x: x, torch.ones(1), 0.0, 1.0, 0)

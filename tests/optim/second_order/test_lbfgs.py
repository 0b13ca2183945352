"""L-BFGS: finite termination, Rosenbrock beside scipy and torch, blocks, batches with overlaps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.second_order.lbfgs import LBFGS


def closure_of(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def spectrum_matrix(values: Tensor, seed: int = 0) -> Tensor:
    noise = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = torch.linalg.qr(noise)[0]
    return (basis * values) @ basis.mT


def test_quadratics_are_solved_in_as_many_steps_as_unknowns() -> None:
    matrix = spectrum_matrix(torch.logspace(0, 2, 20, dtype=torch.float64))
    target = torch.randn(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = nn.Parameter(torch.zeros(20, dtype=torch.float64))
    optimizer = LBFGS([x], curvature=1e-9, sufficient_decrease=1e-10, evaluations=60, full_batch=True)
    closure = closure_of(optimizer, lambda: 0.5 * x @ matrix @ x - target @ x)
    for _ in range(21):
        optimizer.step(closure)
    torch.testing.assert_close(matrix @ x.detach(), target, atol=1e-7, rtol=0)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("full_batch", [True, False])
def test_rosenbrock_ends_where_scipy_and_torch_end(full_batch: bool) -> None:
    start = torch.tensor([-1.2, 1.0, -0.5, 0.8, 1.3, 0.2], dtype=torch.float64)
    x, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = LBFGS([x], history=10, full_batch=full_batch)
    for _ in range(100):
        optimizer.step(closure_of(optimizer, lambda: rosenbrock(x)))
        if optimizer.stalled:
            break
    peer = torch.optim.LBFGS(
        [other], max_iter=300, history_size=10, line_search_fn="strong_wolfe", tolerance_change=0, tolerance_grad=1e-12
    )
    peer.step(closure_of(peer, lambda: rosenbrock(other)))

    def value_and_gradient(array: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(array).requires_grad_()
        value = rosenbrock(point)
        return float(value.detach()), torch.autograd.grad(value, point)[0].numpy()

    _, least, _ = scipy.optimize.fmin_l_bfgs_b(value_and_gradient, start.numpy(), factr=10.0, pgtol=1e-10)
    ours, theirs = float(rosenbrock(x.detach())), float(rosenbrock(other.detach()))
    assert ours == pytest.approx(least, abs=1e-8)
    assert ours == pytest.approx(theirs, abs=1e-8)
    assert optimizer.calls < 300


def test_calls_are_counted_and_full_batches_spare_one_a_step() -> None:
    for full_batch in (True, False):
        calls = 0
        x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        optimizer = LBFGS([x], full_batch=full_batch)

        def closure(x: Tensor = x, optimizer: LBFGS = optimizer) -> Tensor:
            nonlocal calls
            calls += 1
            return closure_of(optimizer, lambda: (x**4).sum() + x.square().sum())()

        trace = []
        for _ in range(5):
            before = calls
            optimizer.step(closure)
            trace.append(calls - before)
        assert calls == optimizer.calls
        assert min(trace[1:]) == (1 if full_batch else 2)


def test_blocks_have_histories_of_their_own() -> None:
    """Two problems with diagonal Hessians far apart: in two blocks each is minimised as it would be alone."""
    scales = torch.tensor([[1.0, 3.0, 9.0], [100.0, 500.0, 2500.0]], dtype=torch.float64)
    steps = {}
    for blocks in (1, 2):
        x = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
        optimizer = LBFGS([x], blocks=blocks, history=3, full_batch=True)
        closure = closure_of(optimizer, lambda x=x: (scales * x**2).sum())
        for steps[blocks] in range(1, 100):
            optimizer.step(closure)
            if float((scales * x.detach() ** 2).sum()) < 1e-12:
                break
    assert steps[2] < 20 < 90 < steps[1]
    with pytest.raises(InputError, match="leading dimension"):
        LBFGS([nn.Parameter(torch.ones(3, 2))], blocks=2)


def regression(samples: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(samples, 8, generator=generator, dtype=torch.float64) * torch.logspace(0, 1.5, 8)
    truth = torch.randn(8, generator=generator, dtype=torch.float64)
    return inputs, inputs @ truth, truth


def test_pairs_from_overlaps_are_those_of_one_function() -> None:
    """Consistent regression: batches have one minimum, overlapping batches of 40 reach it with fixed steps; a pair made
    of gradients of two batches has no reason to satisfy y = A s, those of an overlap do."""
    inputs, targets, truth = regression(400)
    x = nn.Parameter(torch.zeros(8, dtype=torch.float64))
    optimizer = LBFGS([x], line_search=False, lr=0.5, history=8)

    def loss_on(rows: slice) -> Callable[[], Tensor]:
        return lambda: 0.5 * (inputs[rows] @ x - targets[rows]).square().mean()

    for step in range(300):
        start = 20 * step % 360
        batch, shared = slice(start, start + 40), slice(start + 20, start + 40)
        optimizer.step(closure_of(optimizer, loss_on(batch)), overlap=closure_of(optimizer, loss_on(shared)))
        pairs = optimizer.state_dict()["state"]["lbfgs"]["pairs"]
        hessian = inputs[shared].mT @ inputs[shared] / 20
        place = min(step, (pairs["oldest"] - 1) % 8) if pairs["steps"].shape[1] == 8 else step
        if step < 8:
            torch.testing.assert_close(pairs["differences"][0, place], hessian @ pairs["steps"][0, place])
    assert optimizer.calls == 300
    assert float((x.detach() - truth).norm()) < 1e-3 * float(truth.norm())


def test_a_fixed_step_without_overlap_takes_the_pair_from_the_batch_itself() -> None:
    scale = torch.tensor([1.0, 10.0], dtype=torch.float64)
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = LBFGS([x], line_search=False, lr=0.05)
    optimizer.step(closure_of(optimizer, lambda: 0.5 * (scale * x**2).sum()))
    pairs = optimizer.state_dict()["state"]["lbfgs"]["pairs"]
    torch.testing.assert_close(pairs["steps"][0, 0], -0.05 * scale)
    torch.testing.assert_close(pairs["differences"][0, 0], -0.05 * scale**2)
    assert optimizer.calls == 2


def test_it_stalls_at_the_minimum_and_says_so() -> None:
    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = LBFGS([x], full_batch=True)
    closure = closure_of(optimizer, lambda: (x - 3).square().sum() + 7)
    for _ in range(30):
        optimizer.step(closure)
    assert optimizer.stalled
    torch.testing.assert_close(x.detach(), torch.full((2,), 3.0, dtype=torch.float64), atol=1e-7, rtol=0)


def test_bad_input_is_refused() -> None:
    x = nn.Parameter(torch.ones(3))
    for options in ({"history": 0}, {"evaluations": 0}, {"blocks": 0}, {"curvature": 1.5}):
        with pytest.raises(InputError):
            LBFGS([x], **options)
    with pytest.raises(InputError, match="history"):
        LBFGS([x]).load_state_dict(torch.optim.SGD([x], lr=0.1).state_dict())

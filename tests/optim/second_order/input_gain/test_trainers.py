"""Trainers: what one step does, that the error never rises, states, limits, and what they refuse."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.input_gain import BP, HWO, LM, MOLF, OIGBP, OIGHWO, BypassNetwork, TwoStageTrainer
from tests.optim.second_order.input_gain.small import loss_of, network, patterns

TRAINERS: tuple[type[TwoStageTrainer], ...] = (BP, HWO, MOLF, OIGBP, OIGHWO, LM)
every_trainer = pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.__name__)

PARTS = {
    BP: (False, "one"),
    HWO: (True, "one"),
    MOLF: (False, "unit"),
    OIGBP: (False, "input"),
    OIGHWO: (True, "input"),
}


@every_trainer
def test_error_falls_at_every_step_and_is_that_of_the_network(trainer: type[TwoStageTrainer]) -> None:
    net, data = network(), patterns()
    optimizer = trainer(net)
    errors = [optimizer.step(lambda: data) for _ in range(8)]
    assert all(after <= before for before, after in pairwise(errors))
    assert errors[-1] < 0.98 * errors[0]
    assert optimizer.error == errors[-1] == pytest.approx(float(loss_of(net, net.inward.detach(), data)), rel=1e-12)
    assert optimizer.steps == 8


@pytest.mark.parametrize("trainer", PARTS, ids=lambda trainer: trainer.__name__)
def test_a_step_is_the_direction_with_its_gains_written_out(trainer: type[TwoStageTrainer]) -> None:
    """All by autograd and matrix products: no function of the package but the network."""
    data = patterns()
    net, other = network(), network()
    trainer(net, halvings=30).step(lambda: data)
    features = other.augmented(data[0])
    solve_outputs(other, features, data[1])
    inward = other.inward.detach().clone().requires_grad_()
    start = loss_of(other, inward, data)
    (gradient,) = torch.autograd.grad(start, inward)
    before = start.item()
    whiten, kind = PARTS[trainer]
    moments = features.mT @ features / len(features)
    direction = -gradient @ torch.linalg.inv(moments) if whiten else -gradient
    count = {"one": 1, "unit": 5, "input": 4}[kind]
    zero = torch.zeros(count, dtype=torch.float64)

    def change(r: Tensor) -> Tensor:
        return torch.diag(r) @ direction if kind == "unit" else direction * r

    def outputs(r: Tensor) -> Tensor:
        units = other.activation(features @ (inward.detach() + change(r)).mT)
        return torch.cat([features, units], 1) @ other.output_weights.mT

    slopes: Tensor = torch.autograd.functional.jacobian(outputs, zero)
    flat, rest = slopes.flatten(0, 1), (data[1] - outputs(zero)).flatten()
    gains = torch.linalg.solve(flat.mT @ flat, flat.mT @ rest)
    for halved in range(31):
        with torch.no_grad():
            other.inward.copy_(inward + 0.5**halved * change(gains))
        solve_outputs(other, features, data[1])
        if float(loss_of(other, other.inward.detach(), data)) <= before:
            break
    torch.testing.assert_close(net.inward, other.inward, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(net.output_weights, other.output_weights, atol=1e-7, rtol=1e-7)


def solve_outputs(net: BypassNetwork, features: Tensor, targets: Tensor) -> None:
    basis = torch.cat([features, net.activation(features @ net.inward.detach().mT)], 1)
    net.set_output_weights(torch.linalg.lstsq(basis, targets).solution.mT)


def test_with_a_matrix_of_gains_whitening_does_not_matter() -> None:
    data = patterns(inputs=2)
    plain, white = network(inputs=2, hidden=4), network(inputs=2, hidden=4)
    OIGBP(plain, gains="matrix").step(lambda: data)
    OIGHWO(white, gains="matrix").step(lambda: data)
    torch.testing.assert_close(plain.inward, white.inward, atol=1e-7, rtol=1e-7)


def test_a_step_too_long_is_halved_or_else_given_up_with_all_weights_as_they_were() -> None:
    """A whole matrix of gains soon overreaches on this network; which step does is found, not assumed."""
    net, data = network(), patterns()
    optimizer = OIGBP(net, gains="matrix", halvings=0)
    for _ in range(10):
        before, error = {name: value.clone() for name, value in net.state_dict().items()}, optimizer.error
        optimizer.step(lambda: data)
        if optimizer.stalled:
            break
    assert optimizer.stalled
    assert optimizer.error == pytest.approx(error, rel=1e-12)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    optimizer.halvings = 20
    assert optimizer.step(lambda: data) < error
    assert not optimizer.stalled


@every_trainer
def test_a_saved_state_goes_on_to_the_bit(trainer: type[TwoStageTrainer]) -> None:
    data = patterns()
    first = network()
    optimizer = trainer(first)
    for _ in range(3):
        optimizer.step(lambda: data)
    second = network()
    second.load_state_dict(first.state_dict())
    resumed = trainer(second)
    resumed.load_state_dict(optimizer.state_dict())
    for _ in range(3):
        assert optimizer.step(lambda: data) == resumed.step(lambda: data)
    assert optimizer.state_dict() == resumed.state_dict()
    with pytest.raises(InputError, match="state_dict"):
        resumed.load_state_dict({"error": 1.0})


def test_fit_stops_by_steps_tolerance_budget_and_time() -> None:
    data, seen = patterns(), list[tuple[int, int]]()
    history = OIGHWO(network()).fit(lambda: data, iterations=4, progress=lambda *at: seen.append(at))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    counted = [record.multiplies for record in history]
    assert counted == sorted(set(counted))
    assert len(OIGHWO(network()).fit(lambda: data, iterations=50, budget=counted[1])) == 2
    assert len(OIGHWO(network()).fit(lambda: data, iterations=50, tolerance=0.999)) == 2  # the first has no before
    assert OIGHWO(network()).fit(lambda: data, seconds=-1.0) == []


def test_float32_trains() -> None:
    x, t = patterns()
    net = BypassNetwork(3, 4, 2, dtype=torch.float32)
    optimizer = OIGHWO(net)
    errors = [optimizer.step(lambda: (x.float(), t.float())) for _ in range(5)]
    assert errors[-1] < errors[0]
    assert net.inward.dtype == torch.float32


def test_bad_patterns_are_refused_and_nothing_changes() -> None:
    net, (x, t) = network(), patterns()
    optimizer = BP(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    hole = x.clone()
    hole[3, 1] = math.nan
    for given, match in (
        (None, "NoneType"),
        ((x[:, :2], t), "fit the network"),
        ((x, t[:, 0]), "fit the network"),
        ((x[:5], t), "5 inputs"),
        ((x[:0], t[:0]), "0 inputs"),
        ((x.float(), t), "float32"),
        ((hole, t), "NaN"),
    ):
        with pytest.raises(InputError, match=match):
            optimizer.step(lambda given=given: given)  # type: ignore[misc]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert optimizer.steps == optimizer.multiplies == 0
    with pytest.raises(InputError, match="gains"):
        BP(net, gains="both")
    with pytest.raises(InputError, match="halvings"):
        BP(net, halvings=-1)
    with pytest.raises(InputError, match="iterations"):
        optimizer.fit(lambda: (x, t), iterations=0)

"""Counts against torch's own counter of matrix products, against sums by hand, and in a trainer."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from polyad.optim.second_order.input_gain import HWO, LM, OIGHWO, multiplies
from polyad.optim.second_order.input_gain.directions import jacobian, negative_gradient
from polyad.optim.second_order.input_gain.multiplies import Sizes
from tests.optim.second_order.input_gain.small import network, patterns, swept

SIZES = Sizes(patterns=40, features=4, hidden=5, outputs=2)


def counted(call: object) -> int:
    assert callable(call)
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def test_products_are_those_that_torch_counts() -> None:
    net, data = network(), patterns()
    sweep = swept(net, data)
    assert sweep.sizes == SIZES
    assert multiplies.sweep(SIZES) == counted(lambda: swept(net, data))
    elementwise = 40 * 5  # slopes, which torch does not count
    assert multiplies.gradient(SIZES) == counted(lambda: negative_gradient(sweep)) + elementwise
    direction = negative_gradient(sweep)
    for kind, count in (("one", 1), ("unit", 5), ("input", 4), ("matrix", 16)):
        built = counted(lambda kind=kind: jacobian(sweep, direction, kind))
        rows = 80
        entrywise = {"one": 200, "unit": 200 + 400, "input": 400 + 320, "matrix": 400 + 1280}[kind]
        rest = rows * count + rows * count * count + multiplies.solve(count) + 20 * (4 if count == 16 else 1)
        assert multiplies.gains(SIZES, kind) == built + entrywise + rest


def test_sums_by_hand() -> None:
    assert multiplies.gram(10, 3) == 90
    assert multiplies.solve(3, 2) == 9 + 18
    assert (SIZES.basis, SIZES.weights) == (9, 20 + 18)
    assert multiplies.output_stage(SIZES) == 40 * 81 + 2 * 40 * 9 * 2 + 243 + 81 * 2
    assert multiplies.whitening(SIZES) == 40 * 16 + 64 // 3 + 16 * 5
    assert multiplies.levenberg_system(SIZES) == 80 * 5 * 5 + 80 * 38 + 80 * 38 * 38


def test_trainers_count_their_parts() -> None:
    data = patterns()
    for trainer, kind in ((HWO, "one"), (OIGHWO, "input")):
        optimizer = trainer(network(), halvings=0)
        optimizer.step(lambda: data)
        first = optimizer.multiplies
        rounds = multiplies.sweep(SIZES) + multiplies.output_stage(SIZES)  # at the start, and once for the trial
        parts = multiplies.gradient(SIZES) + multiplies.whitening(SIZES) + multiplies.gains(SIZES, kind)
        assert first == 2 * rounds + parts
        optimizer.step(lambda: data)
        assert optimizer.multiplies - first == rounds + multiplies.sweep(SIZES) + parts
    levenberg = LM(network(), damping=1.0)
    levenberg.step(lambda: data)
    expected = 2 * multiplies.sweep(SIZES) + multiplies.output_stage(SIZES)
    assert levenberg.multiplies == expected + multiplies.levenberg_system(SIZES) + multiplies.solve(38)


def test_a_gain_an_input_costs_far_less_than_all_weights() -> None:
    wide = Sizes(patterns=500, features=11, hidden=20, outputs=1)
    step = multiplies.gradient(wide) + multiplies.whitening(wide) + multiplies.gains(wide, "input")
    step += 2 * multiplies.sweep(wide) + multiplies.output_stage(wide)
    dense = multiplies.levenberg_system(wide) + multiplies.solve(wide.weights) + 2 * multiplies.sweep(wide)
    assert step < 0.1 * dense

"""The master theorem: averages of finite programs against limits, and limits against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.theory.width_limits import Machine, TensorProgram
from polyad.theory.width_limits.tensor_program import FiniteMachine, LimitMachine


def back_and_forth(machine: Machine) -> dict[str, Tensor]:
    """W, then W^T, then W again, each of a nonlinear function of what came before."""
    x, weight = machine.vector(), machine.matrix()
    y = machine.apply(torch.relu, machine.matmul(weight, x))
    z = machine.matmul(weight, y, transpose=True)
    again = machine.matmul(weight, machine.apply(torch.tanh, z))
    back = machine.matmul(weight, machine.apply(torch.sign, again), transpose=True)
    return {"xz": x.bra(z), "zz": z.bra(z), "y again": y.bra(again), "z back": z.bra(back), "back": back.bra(back)}


def sign_step(machine: Machine) -> dict[str, Tensor]:
    """A hidden layer's step by signs in muP, W - (eta / n) sign(dh x^T), seen at another input."""
    x, other, out, weight = machine.vector(), machine.vector(), machine.vector(), machine.matrix(variance=2.0)
    seen = machine.apply(lambda a, b: 0.6 * a + 0.8 * b, x, other)
    h, watched = machine.matmul(weight, x), machine.matmul(weight, seen)
    dh = machine.apply(lambda v, h: v * (1 - torch.tanh(h) ** 2), out, h)
    change = machine.outer(lambda dh, x, z: torch.sign(dh * x) * z, (dh,), (x, seen))
    moved = machine.apply(lambda h, step: torch.tanh(h - 0.5 * step), watched, change)
    return {"f": out.bra(moved), "dh change": dh.bra(change), "norm": moved.bra(moved), "hh": h.bra(watched)}


def test_limits_are_the_closed_forms() -> None:
    found = TensorProgram(back_and_forth).limit(samples=400_000)
    assert found["xz"] == pytest.approx(0.5, abs=0.01)  # E relu'
    assert found["zz"] == pytest.approx(0.75, abs=0.01)  # E relu^2 + (E relu')^2
    found = TensorProgram(sign_step).limit(samples=50_000)
    assert found["hh"] == pytest.approx(2 * 0.6, abs=0.04)
    nodes = torch.linspace(-8, 8, 4001, dtype=torch.float64) * math.sqrt(2)
    density = torch.exp(-(nodes**2) / 4) / math.sqrt(4 * math.pi)
    slope = float(torch.trapezoid(density * (1 - torch.tanh(nodes) ** 2), nodes))
    expected = 0.6 * (2 / math.pi) * slope  # E|v| E tanh' times E[z sign x] = 0.6 E|x|
    assert found["dh change"] == pytest.approx(expected, rel=0.08)


def rms_errors(program: TensorProgram, limit: dict[str, float], width: int, seeds: int) -> dict[str, float]:
    runs = [program.simulate(width=width, seed=seed) for seed in range(seeds)]
    return {name: math.sqrt(sum((run[name] - value) ** 2 for run in runs) / seeds) for name, value in limit.items()}


@pytest.mark.parametrize("body", [back_and_forth, sign_step])
def test_finite_programs_converge(body: object) -> None:
    program = TensorProgram(body)  # type: ignore[arg-type]
    limit = program.limit(samples=100_000)
    narrow, wide = rms_errors(program, limit, 50, 30), rms_errors(program, limit, 800, 10)
    for name, value in limit.items():
        assert wide[name] < 0.12 * max(abs(value), 0.5), name
        assert wide[name] < 0.5 * narrow[name], name


def test_the_correction_for_the_transpose_is_needed() -> None:
    program = TensorProgram(back_and_forth)
    right, wrong = program.limit(), program.limit(corrections=False)
    finite = [program.simulate(width=800, seed=seed) for seed in range(5)]
    for name in ("xz", "zz", "y again", "z back", "back"):
        mean = sum(run[name] for run in finite) / len(finite)
        assert abs(mean - wrong[name]) > 5 * abs(mean - right[name]), name


def test_the_same_product_twice_is_the_same() -> None:
    def twice(machine: Machine) -> dict[str, Tensor]:
        x, weight = machine.vector(), machine.matrix()
        first, second = machine.matmul(weight, x), machine.matmul(weight, x)
        gap = machine.apply(lambda a, b: a - b, first, second)
        return {"gap": gap.bra(gap), "first": first.bra(first)}

    found = TensorProgram(twice).limit()
    assert found["gap"] < 1e-20
    assert found["first"] == pytest.approx(1, abs=0.02)


def test_seeds_decide() -> None:
    program = TensorProgram(back_and_forth)
    assert program.simulate(width=20, seed=3) == program.simulate(width=20, seed=3)
    assert program.limit(samples=100, seed=3) != program.limit(samples=100, seed=4)


def test_bad_input_is_refused() -> None:
    program = TensorProgram(back_and_forth)
    with pytest.raises(InputError, match="width"):
        program.simulate(width=0)
    with pytest.raises(InputError, match="samples"):
        program.limit(samples=1)
    finite, limit = FiniteMachine(4), LimitMachine(4)
    with pytest.raises(InputError, match="matrix"):
        limit.matmul(finite.matrix(), limit.vector())
    with pytest.raises(InputError, match="matrix"):
        finite.matmul(limit.matrix(), finite.vector())

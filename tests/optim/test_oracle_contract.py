"""One contract for all methods by oracle: how they repeat, resume, and answer oracles that do not."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch

from polyad.errors import NumericalWarning
from tests.optim.oracle_contract import (
    METHODS,
    OTHER_START,
    START,
    Method,
    another_shape,
    follow,
    nothing,
    refused,
    same,
    scribbling,
    spoiled,
    value,
)

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def assert_untouched(method: Method, place: torch.Tensor, before: torch.Tensor) -> None:
    """To the bit, or up to rounding where the point itself is moved to and fro."""
    tolerance = 1e-14 if method.in_place else 0.0
    torch.testing.assert_close(place, before, rtol=0, atol=tolerance)


@every_method
@every_dtype
def test_values_fall_in_the_dtype_of_the_start_or_in_double(method: Method, dtype: torch.dtype) -> None:
    running = method.make(dtype=dtype)
    assert torch.equal(method.place(running), START.to(method.dtype or dtype))
    places = follow(method, running, method.steps)
    assert all(place.dtype == (method.dtype or dtype) for place in places)
    assert float(value(places[-1])) < 0.2 * float(value(START))


@every_method
def test_the_same_seed_gives_the_same_bits_and_no_global_randomness(method: Method) -> None:
    state = torch.get_rng_state()
    one, two, other = (follow(method, method.make(seed=seed), 4) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(one[-1], other[-1]) is not method.seeded or method.name.endswith("kwsa")


@every_method
def test_the_start_is_left_alone(method: Method) -> None:
    start = START.double()
    running = method.build(start, **method.defaults)
    follow(method, running, 3)
    assert torch.equal(start, START.double()) is not (method.in_place and method.name == "MeZO")


@pytest.mark.parametrize("method", [method for method in METHODS if method.scribble], ids=lambda method: method.name)
def test_an_oracle_may_write_into_points_and_use_the_memory_of_its_answers_again(method: Method) -> None:
    """Points are filled with NaN at every call anyway."""
    clean = follow(method, method.make(), 4)
    assert torch.equal(follow(method, method.make(), 4, scribbling(same))[-1], clean[-1])


@every_method
@every_dtype
def test_a_saved_run_goes_on_to_the_bit(method: Method, dtype: torch.dtype, tmp_path: Path) -> None:
    running = method.make(dtype=dtype)
    follow(method, running, 2)
    method.save(running, tmp_path / "state")
    wanted = follow(method, running, 3)
    other = method.make(OTHER_START, seed=8, dtype=dtype)
    follow(method, other, 1)
    method.load(tmp_path / "state", other)
    assert all(torch.equal(a, b) for a, b in zip(follow(method, other, 3), wanted, strict=True))


@every_method
def test_the_state_of_something_else_is_refused_and_changes_nothing(method: Method, tmp_path: Path) -> None:
    running, clean, small = method.make(), method.make(), method.make(START[:2])
    for one in (running, clean):
        follow(method, one, 2)
    method.save(small, tmp_path / "small")
    assert "state" in refused(lambda: method.load(tmp_path / "small", running))
    for foreign in method.foreign:
        assert "state" in refused(lambda foreign=foreign: running.load_state_dict(foreign))
    assert torch.equal(follow(method, running, 2)[-1], follow(method, clean, 2)[-1])


@every_method
@pytest.mark.parametrize("answer", [nothing, another_shape], ids=["None", "shape"])
def test_what_is_no_answer_is_refused_and_the_step_can_be_taken_again(method: Method, answer: object) -> None:
    running, clean = method.make(), method.make()
    for one in (running, clean):
        follow(method, one, 2)
    before = method.place(running)
    assert "must" in refused(lambda: method.ask(running, answer))
    assert_untouched(method, method.place(running), before)
    assert_untouched(method, follow(method, running, 1)[0], follow(method, clean, 1)[0])
    assert running.skipped_steps == 0


@every_method
def test_errors_of_the_oracle_pass_through_and_the_step_can_be_taken_again(method: Method) -> None:
    running, clean = method.make(), method.make()

    def broken(answer: object) -> None:
        raise ZeroDivisionError("of the oracle")

    with pytest.raises(ZeroDivisionError, match="of the oracle"):
        method.ask(running, broken)
    assert_untouched(method, method.place(running), START.double())
    assert_untouched(method, follow(method, running, 1)[0], follow(method, clean, 1)[0])


@every_method
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_answers_that_are_not_finite_are_skipped_counted_and_reported(
    method: Method, bad: float, tmp_path: Path
) -> None:
    running = method.make()
    follow(method, running, 2)
    before = method.place(running)
    with pytest.warns(NumericalWarning, match="not finite; such steps are skipped"):
        method.ask(running, lambda answer: spoiled(answer, bad))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.ask(running, lambda answer: spoiled(answer, bad))
    assert running.skipped_steps == 2
    assert_untouched(method, method.place(running), before)
    method.save(running, tmp_path / "state")
    resumed = method.make(OTHER_START)
    method.load(tmp_path / "state", resumed)
    assert resumed.skipped_steps == 2
    assert not torch.equal(follow(method, running, 2)[-1], before)


@every_method
def test_an_answer_that_is_not_finite_later_in_a_step_does_no_harm(method: Method) -> None:
    """The step is skipped, or tried again nearer."""
    running, calls = method.make(), 0

    def second(answer: object) -> object:
        nonlocal calls
        calls += 1
        return spoiled(answer, math.nan) if calls == 2 else answer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        method.ask(running, second)
    place = method.place(running)
    assert bool(place.isfinite().all())
    if running.skipped_steps:
        assert_untouched(method, place, START.double())
    else:
        assert calls != 2
        assert not torch.equal(place, START.double())


@pytest.mark.parametrize(
    ("method", "options"),
    [pytest.param(method, bad, id=f"{method.name}-{next(iter(bad))}") for method in METHODS for bad in method.bad],
)
def test_options_that_cannot_be_used_are_refused(method: Method, options: dict[str, object]) -> None:
    assert next(iter(options)) in refused(lambda: method.make(**options))


@every_method
def test_starts_that_cannot_be_used_are_refused(method: Method) -> None:
    """Parameters in place may hold anything real, as in torch.optim; elsewhere annotations speak of complex ones."""
    starts = [START.to(torch.complex64)] if method.in_place else [START * math.nan, torch.zeros(0)]
    for start in starts:
        message = refused(lambda start=start: method.build(start, **method.defaults))
        assert "complex" in message or message.startswith(("start", "point"))

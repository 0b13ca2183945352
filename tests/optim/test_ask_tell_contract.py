"""The contract of ask and tell: asking changes nothing, what is told is checked, and runs go on to the bit."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution import NEAT, Settings, forward
from polyad.problems.control import XOR_INPUTS, xor_fitness

SIZE = 24
SETTINGS = Settings(activations=("steep_sigmoid", "tanh"), threshold=1.0, add_node=0.3, add_connection=0.5)


def evolution(engine: str, *, seed: int = 3, size: int = SIZE, dtype: torch.dtype = torch.float64, **more: Any) -> NEAT:
    return NEAT(2, 1, **{"size": size, "settings": SETTINGS, "seed": seed, "dtype": dtype, "engine": engine, **more})


METHODS = {engine: (lambda engine=engine, **options: evolution(engine, **options)) for engine in ("torch", "compiled")}
"""How a method of ask and tell is built; options `seed`, `size` and `dtype` are common to all."""

every_method = pytest.mark.parametrize("build", METHODS.values(), ids=METHODS.keys())
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def fitness(method: Any) -> Tensor:
    population = method.ask()
    return xor_fitness(forward(population, torch.tensor(XOR_INPUTS, dtype=population.nodes.dtype)))


def run(method: Any, generations: int) -> list[Tensor]:
    found = []
    for _ in range(generations):
        found.append(fitness(method))
        method.tell(found[-1])
    return found


def same(one: Any, other: Any) -> bool:
    """States to the bit; rows without a gene are NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(nan=-7), other.nan_to_num(nan=-7))
    return bool(one == other)


def tell(method: Any, answer: Any) -> None:
    """As a user's call is, without the checks of annotations that tests switch on."""
    inspect.unwrap(type(method).tell)(method, answer)


@every_method
@every_dtype
def test_the_best_gets_better_in_the_dtype_asked_for(build: Callable[..., Any], dtype: torch.dtype) -> None:
    method = build(size=60, dtype=dtype)
    assert method.best_fitness == -math.inf
    found = run(method, 6)
    tops = [float(values.max()) for values in found]
    assert method.best_fitness == max(tops) > tops[0]
    assert method.ask().nodes.dtype == method.best.nodes.dtype == found[-1].dtype == dtype


@every_method
def test_asking_changes_nothing_and_what_is_told_is_left_alone(build: Callable[..., Any]) -> None:
    method = build()
    before = method.state_dict()
    assert same(vars(method.ask()), vars(method.ask()))
    assert same(method.state_dict(), before)
    told = fitness(method).requires_grad_()
    copy = told.detach().clone()
    method.tell(told)
    assert torch.equal(told, copy)
    assert not same(method.state_dict(), before)
    assert not any(value.requires_grad for value in method.state_dict()["tensors"].values())


@every_method
def test_the_same_seed_gives_the_same_bits_and_no_global_randomness(build: Callable[..., Any]) -> None:
    state = torch.get_rng_state()
    one, two, other = build(), build(), build(seed=4)
    for method in (one, two, other):
        run(method, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one.state_dict(), two.state_dict())
    assert not same(one.state_dict()["tensors"], other.state_dict()["tensors"])


@every_method
@every_dtype
def test_a_saved_run_goes_on_to_the_bit(build: Callable[..., Any], dtype: torch.dtype, tmp_path: Path) -> None:
    method = build(dtype=dtype)
    run(method, 3)
    torch.save(method.state_dict(), tmp_path / "state")
    wanted = run(method, 3)
    other = build(seed=9, dtype=dtype)
    run(other, 1)
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert same(run(other, 3)[-1], wanted[-1])
    assert same(other.state_dict(), method.state_dict())


@every_method
def test_the_state_of_something_else_is_refused_and_changes_nothing(build: Callable[..., Any]) -> None:
    method = build()
    run(method, 2)
    before = method.state_dict()
    partial = {**before, "tensors": {name: value for name, value in before["tensors"].items() if name != "membership"}}
    without = {**before, "numbers": {}}
    others = [build(size=SIZE + 2).state_dict(), build(dtype=torch.float32).state_dict()]
    for state in ({}, {"nothing": 1}, partial, without, *others):
        with pytest.raises(InputError, match=r"^state: [^\n]*$"):
            method.load_state_dict(state)
        assert same(method.state_dict(), before)


@every_method
@pytest.mark.parametrize(
    "answer",
    [
        None,
        1.0,
        [0.0] * SIZE,
        torch.zeros(SIZE - 1),
        torch.zeros(SIZE, 1),
        torch.zeros(SIZE, dtype=torch.complex64),
        torch.zeros(SIZE, dtype=torch.long),
        torch.full((SIZE,), math.nan),
        torch.full((SIZE,), math.inf),
    ],
    ids=lambda answer: type(answer).__name__ + (f"{list(answer.shape)}" if isinstance(answer, Tensor) else ""),
)
def test_what_is_no_fitness_is_refused_and_changes_nothing(build: Callable[..., Any], answer: Any) -> None:
    method, clean = build(), build()
    before = method.state_dict()
    with pytest.raises(InputError, match=r"^fitness: [^\n]*$"):
        tell(method, answer)
    assert same(method.state_dict(), before)
    assert same(run(method, 2)[-1], run(clean, 2)[-1])


@every_method
@pytest.mark.parametrize(
    "options",
    [{"size": 1}, {"dtype": torch.long}, {"settings": Settings(maximum_connections=1)}],
    ids=lambda o: next(iter(o)),
)
def test_options_that_cannot_be_used_are_refused(build: Callable[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^{next(iter(options))}: [^\n]*$"):
        build(**options)


def test_both_engines_evolve_alike() -> None:
    one, two = (build() for build in METHODS.values())
    run(one, 4)
    run(two, 4)
    assert same(one.state_dict(), two.state_dict())

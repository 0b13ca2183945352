"""One test a kind over all its members: what `polyad.protocols` promises."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.protocols import KINDS, Generator, Solver
from tests.contract_members import GENERATORS, SOLVERS, GeneratorMember, SolverMember

every_solver = pytest.mark.parametrize("member", SOLVERS, ids=lambda member: member.name)
every_generator = pytest.mark.parametrize("member", GENERATORS, ids=lambda member: member.name)


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every number in a value by its path: tensors, arrays and scalars in dataclasses, mappings and sequences."""
    if isinstance(value, torch.Tensor):
        yield path, value.detach()
    elif isinstance(value, (np.ndarray, float, int)):
        yield path, torch.as_tensor(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from tensors_in(item, f"{path}[{number}]")


def snapshot(value: Any) -> dict[str, torch.Tensor]:
    return {path: tensor.clone() for path, tensor in tensors_in(value)}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """Bit for bit: same paths, dtypes, shapes and values."""
    return one.keys() == two.keys() and all(
        one[path].dtype == two[path].dtype and torch.equal(one[path], two[path]) for path in one
    )


def refusal_line(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


# ---------------------------------------------------------------- solvers


@every_solver
def test_solver_is_deterministic_and_leaves_its_problem_alone(member: SolverMember) -> None:
    problem = member.problem(torch.float64)
    before = snapshot(problem)
    first = snapshot(member.solve(problem))
    assert first, "a solver returns numbers"
    assert same(snapshot(problem), before), "the problem was changed"
    assert same(snapshot(member.solve(problem)), first)
    assert same(snapshot(member.solve(member.problem(torch.float64))), first)


@every_solver
def test_solver_keeps_the_dtype_and_float32_agrees(member: SolverMember) -> None:
    exact = snapshot(member.solve(member.problem(torch.float64)))
    single = snapshot(member.solve(member.problem(torch.float32)))
    assert exact.keys() == single.keys()
    for path, value in exact.items():
        if value.is_floating_point():
            assert value.dtype == torch.float64, path
            assert single[path].dtype == torch.float32, path
            assert single[path].shape == value.shape, path
            difference = (single[path].double() - value).abs()
            assert bool((difference <= member.float32_tolerance * value.abs().max()).all()), path
        else:
            assert torch.equal(single[path], value), path


@every_solver
def test_solver_is_of_its_kind_and_refuses_what_is_ill_posed(member: SolverMember) -> None:
    assert isinstance(member.solve, Solver)
    assert member.refused, "name at least one ill-posed problem"
    for call in member.refused:
        assert "\n" not in refusal_line(call).strip()


# ---------------------------------------------------------------- generators


@every_generator
def test_generator_follows_its_seed_alone(member: GeneratorMember) -> None:
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global generator is what must stay untouched)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = snapshot(member.draw(member.source(), 7))
    assert first, "a generator returns numbers"
    assert torch.equal(torch.get_rng_state(), states[0]), "torch's global generator was moved"
    assert np.array_equal(np.random.get_state()[1], states[1]), "NumPy's global generator was moved"  # noqa: NPY002
    assert random.getstate() == states[2], "Python's global generator was moved"
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    random.seed(2)
    assert same(snapshot(member.draw(member.source(), 7)), first), "one seed, two results"
    assert not same(snapshot(member.draw(member.source(), 8)), first), "two seeds, one result"


@every_generator
def test_generator_leaves_its_input_alone(member: GeneratorMember) -> None:
    source = member.source()
    before = snapshot(source)
    member.draw(source, 7)
    assert same(snapshot(source), before)


@every_generator
def test_generator_refuses_the_impossible(member: GeneratorMember) -> None:
    assert member.refused, "name at least one impossible request"
    for call in member.refused:
        assert "\n" not in refusal_line(call).strip()


# ---------------------------------------------------------------- the harness itself


def test_kinds_have_members() -> None:
    assert {"solver": bool(SOLVERS), "generator": bool(GENERATORS)} == dict.fromkeys(KINDS, True)
    assert not isinstance(3, Generator)


def test_comparison_sees_every_change() -> None:
    value = {"a": [torch.zeros(2)], "b": 1.0}
    assert same(snapshot(value), snapshot({"a": [torch.zeros(2)], "b": 1.0}))
    for other in (
        {"a": [torch.ones(2)], "b": 1.0},
        {"a": [torch.zeros(2)]},
        {"a": [torch.zeros(2).double()], "b": 1.0},
    ):
        assert not same(snapshot(value), snapshot(other))

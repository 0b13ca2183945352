"""What the contract of methods by oracle is tried on: one quadratic, asked for in every way a method asks.

A new method needs its line in `METHODS` alone: how it is built, how it is asked to step, where it is, and with which
options it must not be built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.second_order.accelerated import AcceleratedInexactNewton, AcceleratedInexactTensor
from polyad.optim.second_order.adaptive import AdaptiveCubicNewton, LineSearchGradient, SuperUniversalNewton
from polyad.optim.second_order.gradient_normalized import GradientNormalizedNewton
from polyad.optim.zeroth_order.frank_wolfe import ZerothOrderFrankWolfe
from polyad.optim.zeroth_order.mezo import MeZO
from polyad.optim.zeroth_order.offload import ZO2Trainer
from polyad.optim.zeroth_order.sets import L1Ball
from polyad.optim.zeroth_order.two_point import PerturbedTwoPointZO

CURVATURE = torch.tensor([[2.0, 0.5, 0.0, 0.1], [0.5, 1.5, 0.2, 0.0], [0.0, 0.2, 1.0, 0.3], [0.1, 0.0, 0.3, 0.8]])
LOWEST = torch.tensor([0.5, -0.25, 0.75, -0.5])
START = torch.tensor([-0.4, 0.3, 0.2, 0.5])
OTHER_START = torch.tensor([0.1, -0.6, 0.4, 0.2])

Answer = Callable[[Any], Any]
"""From the answer an oracle would give to the one it gives."""


def same(answer: Any) -> Any:
    """The oracle's own answer."""
    return answer


def nothing(answer: Any) -> None:
    """An oracle that forgot to return."""


def another_shape(answer: Any) -> Any:
    """A gradient, or values, one too few; two values where one is wanted."""
    if isinstance(answer, tuple):
        return (answer[0], answer[1][:-1], *answer[2:])
    return answer[:-1] if answer.ndim else torch.stack([answer, answer])


def spoiled(answer: Any, factor: float) -> Any:
    """All numbers times NaN or infinity."""
    if isinstance(answer, tuple):
        return tuple(part * factor if isinstance(part, Tensor) else part for part in answer)
    return answer * factor


def value(points: Tensor) -> Tensor:
    """(x - x*).A (x - x*)/2 for points (..., 4)."""
    away = points - LOWEST.to(points)
    return (away @ CURVATURE.to(points) * away).sum(-1) / 2


@dataclass(frozen=True)
class Method:
    """One method: build(start, seed=..., **options), and what the contract must know of it.

    Attributes:
        name: in the test's name.
        build: start and options -> method; `seed` among them where it draws numbers.
        ask: method, answers -> one step.
        place: method -> where it is, a copy.
        save: method, path -> None.
        load: path, method -> None; raises what the method raises.
        foreign: states that must be refused, beside those of a point of another size.
        bad: options that must be refused, by the name that the message must hold.
        seeded: whether it draws numbers.
        steps: how many bring the value down to a fifth.
        dtype: of its points, where it is not that of the start.
        in_place: whether it moves the start itself, and comes back from a step not taken up to rounding alone.
        scribble: whether an oracle has points to write into.
    """

    name: str
    build: Callable[..., Any]
    ask: Callable[[Any, Answer], Any]
    bad: tuple[dict[str, Any], ...]
    place: Callable[[Any], Tensor]
    save: Callable[[Any, Path], None]
    load: Callable[[Path, Any], None]
    foreign: tuple[Any, ...] = ({}, {"nothing": 1})
    seeded: bool = True
    steps: int = 5
    dtype: torch.dtype | None = None
    in_place: bool = False
    scribble: bool = True
    defaults: dict[str, Any] = field(default_factory=dict)

    def make(self, start: Tensor = START, *, seed: int = 3, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
        """The method at a copy of the start."""
        seeds = {"seed": seed} if self.seeded else {}
        return self.build(start.to(dtype, copy=True), **{**self.defaults, **seeds, **options})


def _save(method: Any, path: Path) -> None:
    torch.save(method.state_dict(), path)


def _load(path: Path, method: Any) -> None:
    method.load_state_dict(torch.load(path, weights_only=True))


def derivatives(answer: Answer, x: Tensor) -> Any:
    """(value, gradient, Hessian, products of the third derivative)."""
    curvature = CURVATURE.to(x)
    return answer((value(x), curvature @ (x - LOWEST.to(x)), curvature.clone(), lambda h: torch.zeros_like(h)))


def scribbling(answer: Answer) -> Answer:
    """As `answer`; tensors that were given before are filled with NaN, as in memory that is used again."""
    given: list[Tensor] = []

    def call(found: Any) -> Any:
        for old in given:
            old.fill_(torch.nan)
        given[:] = [part for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, Tensor)]
        return answer(found)

    return call


def _by_derivatives(name: str, build: Any, bad: tuple[dict[str, Any], ...], **options: Any) -> Method:
    return Method(
        name,
        build,
        lambda method, answer: method.step(_writing(partial(derivatives, answer))),
        bad,
        place=lambda method: method.x.clone(),
        save=_save,
        load=_load,
        seeded=False,
        dtype=torch.float64,
        defaults=options,
    )


def _writing(oracle: Callable[..., Any]) -> Callable[..., Any]:
    """The oracle, leaving NaN in the points it was given."""

    def call(points: Tensor, *more: Any) -> Any:
        answer = oracle(points, *more)
        points.fill_(torch.nan)
        return answer

    return call


def _by_values(name: str, build: Any, bad: tuple[dict[str, Any], ...], *, steps: int, **options: Any) -> Method:
    return Method(
        name,
        build,
        lambda method, answer: method.step(_writing(lambda points, *seed: answer(value(points)))),
        bad,
        place=lambda method: method.point.clone(),
        save=_save,
        load=_load,
        steps=steps,
        defaults=options,
    )


class _Mezo:
    """The parameter and its optimiser, so that the point is part of the state."""

    def __init__(self, start: Tensor, **options: Any) -> None:
        self.parameter = nn.Parameter(start)
        self.optimizer = MeZO([self.parameter], **options)

    @property
    def skipped_steps(self) -> int:
        return self.optimizer.skipped_steps

    def state_dict(self) -> dict[str, Any]:
        return {"parameter": self.parameter.detach().clone(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state.get("optimizer", {}))
        self.parameter.data.copy_(state["parameter"])


class _Part(nn.Module):
    """Adds its parameter to one half of what comes in."""

    def __init__(self, start: Tensor, first: bool) -> None:
        super().__init__()
        self.part, self.first = nn.Parameter(start), first

    def forward(self, x: Tensor) -> Tensor:
        half = len(self.part)
        here, there = (x[:half], x[half:]) if self.first else (x[-half:], x[:-half])
        parts = (here + self.part, there) if self.first else (there, here + self.part)
        return torch.cat(parts)


class _Offloaded:
    """A trainer of two blocks, each with one half of the point, that travel."""

    def __init__(self, start: Tensor, **options: Any) -> None:
        half = len(start) // 2
        blocks = [_Part(start[:half].clone(), True), _Part(start[half:].clone(), False)]
        self.zeros = torch.zeros_like(start)
        self.trainer = ZO2Trainer(blocks, pinned=(), **{"device_slots": 2, **options})

    @property
    def skipped_steps(self) -> int:
        return self.trainer.skipped_steps


METHODS = [
    _by_derivatives(
        "AcceleratedInexactNewton",
        AcceleratedInexactNewton,
        ({"cubic": 0.0}, {"cubic": torch.nan}, {"radius": -1.0}, {"sigma": -0.1}, {"delta2": torch.inf}),
        cubic=1.0,
        radius=1.0,
    ),
    _by_derivatives(
        "AcceleratedInexactTensor",
        AcceleratedInexactTensor,
        ({"quartic": 0.0}, {"radius": torch.nan}, {"delta3": -1.0}, {"p": 2}),
        quartic=1.0,
        radius=1.0,
        tau=1e-3,
    ),
    _by_derivatives(
        "GradientNormalizedNewton",
        GradientNormalizedNewton,
        ({"gamma": 0.0}, {"least_gamma": torch.nan}, {"tolerance": -1.0}, {"tries": 0}, {"hessian": "bfgs"}),
    ),
    _by_derivatives(
        "SuperUniversalNewton", SuperUniversalNewton, ({"constant": 0.0}, {"power": torch.nan}, {"tries": 0})
    ),
    _by_derivatives("AdaptiveCubicNewton", AdaptiveCubicNewton, ({"constant": torch.inf}, {"tries": -1})),
    _by_derivatives("LineSearchGradient", LineSearchGradient, ({"constant": -2.0}, {"tries": 0})),
    _by_values(
        "PerturbedTwoPointZO",
        PerturbedTwoPointZO,
        ({"lr": 0.0}, {"smoothing": torch.nan}, {"noise": -1.0}, {"count": 0}, {"directions": "cubic"}),
        steps=60,
        lr=0.08,
        noise=1e-3,
    ),
    *(
        _by_values(
            f"ZerothOrderFrankWolfe-{estimator}",
            partial(ZerothOrderFrankWolfe, constraint=L1Ball(2.5), estimator=estimator),
            ({"count": 0}, {"estimator": "spsa"}),
            steps=120,
            **options,
        )
        for estimator, options in (("rdsa", {}), ("irdsa", {"count": 3}), ("kwsa", {}))
    ),
    Method(
        "MeZO",
        _Mezo,
        lambda method, answer: method.optimizer.step(lambda: answer(value(method.parameter))),
        ({"lr": 0.0}, {"lr": torch.nan}, {"eps": -1.0}),
        place=lambda method: method.parameter.detach().clone(),
        save=_save,
        load=_load,
        steps=40,
        in_place=True,
        scribble=False,
        defaults={"lr": 0.08, "eps": 1e-3},
    ),
    Method(
        "ZO2Trainer",
        _Offloaded,
        lambda method, answer: method.trainer.step(method.zeros, lambda x: answer(value(x))),
        ({"lr": 0.0}, {"eps": torch.nan}, {"device_slots": 0}, {"host_dtype": "float64"}),
        place=lambda method: method.trainer.evaluate(method.zeros),
        save=lambda method, path: method.trainer.save(path),
        load=lambda path, method: method.trainer.load(path),
        foreign=(),
        steps=40,
        in_place=True,
        scribble=False,
        defaults={"lr": 0.08, "eps": 1e-3},
    ),
]


def follow(method: Method, running: Any, steps: int, answer: Answer = same) -> list[Tensor]:
    """Places after each of some steps."""
    places = []
    for _ in range(steps):
        method.ask(running, answer)
        places.append(method.place(running))
    return places


def refused(call: Callable[[], Any]) -> str:
    """The message of the `InputError` that the call must raise, which is one line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message

"""Two classical control tasks, their own physics on tensors, any number of copies at once; and episodes of networks.

Cart and pole: a cart of 1 kg on a rail, pushed by +-10 N, carries a pole of 0.1 kg and half length 0.5 m; Euler steps
of 0.02 s; over when the cart leaves +-2.4 m or the pole 12 degrees (Barto, Sutton, Anderson, IEEE Trans. SMC 13, 1983).

Acrobot: two hanging links of 1 m and 1 kg (centres of mass at 0.5 m, moments of inertia 1 kg m^2), a torque of -1, 0 or
1 N m between them; fourth-order Runge-Kutta steps of 0.2 s, speeds within 4 pi and 9 pi per second; over when the tip
is one length above the pivot (Sutton, NIPS 1995; equations of motion as in Sutton and Barto's book).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution import Population, Program, forward, transform
from polyad.optim.neuroevolution.engines import Engine, runs_compiled

GRAVITY = 9.8
"""In m/s^2, of both tasks."""


@final
@dataclass(frozen=True)
class Environment:
    """A task with discrete actions. States, observations and actions have any leading dimensions.

    Attributes:
        name: of the task.
        states, observations, actions: numbers.
        spread: initial states are uniform in +-spread.
        limit: most steps of an episode.
        reward: of every step but the last; the last gets `last_reward`.
        last_reward: of the step that ends the episode before the limit.
        step: (state, action) -> state.
        ended: state -> whether the episode is over.
        observe: state -> observation.
    """

    name: str
    states: int
    observations: int
    actions: int
    spread: float
    limit: int
    reward: float
    last_reward: float
    step: Callable[[Tensor, Tensor], Tensor]
    ended: Callable[[Tensor], Tensor]
    observe: Callable[[Tensor], Tensor]

    def initial_states(
        self, *shape: int, seed: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Tensor:
        """States to start from, (*shape, states)."""
        generator = torch.Generator(device).manual_seed(seed)
        uniform = torch.rand(*shape, self.states, generator=generator, dtype=dtype, device=device)
        return self.spread * (2 * uniform - 1)


def cart_pole_step(state: Float[Tensor, "*copies 4"], action: Int[Tensor, "*copies"]) -> Float[Tensor, "*copies 4"]:
    """State after 0.02 s.

    Args:
        state: position [m], speed [m/s], angle [rad], angular speed [rad/s].
        action: 1 pushes to the right, 0 to the left.
    """
    _, speed, angle, turn = state.unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    # 0.05 kg m is the pole's mass times half its length, 1.1 kg the mass of both
    push = action.to(state.dtype) * (20 / 1.1) - 10 / 1.1
    pull = torch.add(push, turn * turn * sine, alpha=0.05 / 1.1)
    inertia = 2 / 3 - cosine * cosine * (0.05 / 1.1)
    turning = torch.addcmul(GRAVITY * sine, cosine, pull, value=-1) / inertia
    acceleration = torch.addcmul(pull, turning, cosine, value=-0.05 / 1.1)
    return torch.add(state, torch.stack([speed, acceleration, turn, turning], -1), alpha=0.02)


def cart_pole_ended(state: Float[Tensor, "*copies 4"]) -> Bool[Tensor, "*copies"]:
    """Whether the cart has left the rail or the pole has fallen."""
    return (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > math.radians(12))


def acrobot_step(state: Float[Tensor, "*copies 4"], action: Int[Tensor, "*copies"]) -> Float[Tensor, "*copies 4"]:
    """State after 0.2 s.

    Args:
        state: angle of the first link from hanging, angle of the second from the first [rad], their speeds [rad/s].
        action: 0, 1, 2 for a torque of -1, 0, 1 N m.
    """
    torque, step = action.to(state.dtype) - 1, 0.2
    first = _acrobot_rate(state, torque)
    second = _acrobot_rate(state + 0.5 * step * first, torque)
    third = _acrobot_rate(state + 0.5 * step * second, torque)
    fourth = _acrobot_rate(state + step * third, torque)
    moved = state + step / 6 * (first + 2 * second + 2 * third + fourth)
    angles = moved[..., :2]
    angles = angles - 2 * math.pi * torch.round(angles / (2 * math.pi))
    limits = state.new_tensor([4 * math.pi, 9 * math.pi])
    return torch.cat([angles, moved[..., 2:].clamp(-limits, limits)], -1)


def acrobot_ended(state: Float[Tensor, "*copies 4"]) -> Bool[Tensor, "*copies"]:
    """Whether the tip is more than one length above the pivot."""
    return -state[..., 0].cos() - (state[..., 0] + state[..., 1]).cos() > 1


def acrobot_observe(state: Float[Tensor, "*copies 4"]) -> Float[Tensor, "*copies 6"]:
    """Cosine and sine of both angles, and the speeds."""
    angles = state[..., :2]
    return torch.cat([torch.stack([angles.cos(), angles.sin()], -1).flatten(-2), state[..., 2:]], -1)


def _acrobot_rate(state: Tensor, torque: Tensor) -> Tensor:
    angle, bend, turn, bending = state.unbind(-1)
    cosine, sine = bend.cos(), bend.sin()
    inertia = 3.5 + cosine  # 0.25 + (1 + 0.25 + cos) + 1 + 1
    coupling = 1.25 + 0.5 * cosine
    weight_second = 0.5 * GRAVITY * (angle + bend).sin()
    weight_first = -0.5 * bending * sine * (bending + 2 * turn) + 1.5 * GRAVITY * angle.sin() + weight_second
    bending_rate = torque + coupling / inertia * weight_first - 0.5 * turn * turn * sine - weight_second
    bending_rate = bending_rate / (1.25 - coupling * coupling / inertia)
    turn_rate = -(coupling * bending_rate + weight_first) / inertia
    return torch.stack([turn, bending, turn_rate, bending_rate], -1)


CART_POLE = Environment(
    name="cart and pole",
    states=4,
    observations=4,
    actions=2,
    spread=0.05,
    limit=500,
    reward=1.0,
    last_reward=1.0,
    step=cart_pole_step,
    ended=cart_pole_ended,
    observe=lambda state: state,
)
"""One point for each step that the pole stays up, 500 at most."""

ACROBOT = Environment(
    name="acrobot",
    states=4,
    observations=6,
    actions=3,
    spread=0.1,
    limit=500,
    reward=-1.0,
    last_reward=0.0,
    step=acrobot_step,
    ended=acrobot_ended,
    observe=acrobot_observe,
)
"""Minus one point for each step until the tip is up."""


@torch.no_grad()
def returns(
    environment: Environment,
    networks: Population | Program,
    initial_states: Float[Tensor, "*genomes episodes states"],
    *,
    engine: Engine = "auto",
) -> Float[Tensor, "genomes episodes"]:
    """Sum of rewards of each network in each episode; the action is the number of the largest output.

    Networks whose episodes are all over are dropped whenever they are half of those still there.

    Args:
        environment: the task.
        networks: with its observations as inputs and its actions as outputs.
        initial_states: the same episodes for all networks, or episodes of their own.
        engine: array operations, or loops on a processor (whole episodes for cart and pole, networks for others).

    Raises:
        InputError: networks with other numbers of inputs or outputs.
    """
    program = transform(networks, engine=engine) if isinstance(networks, Population) else networks
    if (program.inputs, program.output.shape[1]) != (environment.observations, environment.actions):
        raise InputError(
            f"networks: {program.inputs} inputs and {program.output.shape[1]} outputs, {environment.name} has "
            f"{environment.observations} observations and {environment.actions} actions"
        )
    state = initial_states.expand(program.genomes, -1, -1).contiguous()
    if environment.step is cart_pole_step and program.rounds == 1 and runs_compiled(engine, state):
        return _cart_pole_by_loops(environment, program, state)
    place = torch.arange(program.genomes, device=state.device)
    total = state.new_zeros(state.shape[:2])
    steps = torch.zeros_like(total)
    running = torch.ones_like(total, dtype=torch.bool)
    for number in range(1, environment.limit + 1):
        action = forward(program, environment.observe(state), engine=engine).argmax(-1)
        state = environment.step(state, action)
        steps += running
        running &= ~environment.ended(state)
        if number % _LOOK != 0 and number != environment.limit:
            continue
        busy = running.any(1)
        count = int(busy.sum())
        if 2 * count <= len(busy) or number == environment.limit:
            total[place] = steps * environment.reward + ~running * (environment.last_reward - environment.reward)
            if count == 0:
                break
            kept = busy.nonzero().flatten()
            program, place, state = program[kept], place[kept], state[kept]
            steps, running = steps[kept], running[kept]
    return total


_LOOK = 8
"""Steps from one look at who has finished to the next."""


def _cart_pole_by_loops(environment: Environment, program: Program, states: Tensor) -> Tensor:
    from polyad.problems._control_kernels import cart_pole_episodes

    counts = torch.bincount(program.genome, minlength=program.genomes).cumsum(0)
    steps = torch.zeros_like(states[..., 0])
    states = states.clone()
    cart_pole_episodes(
        program.genome.argsort(stable=True).numpy(),
        torch.cat([counts.new_zeros(1), counts]).numpy(),
        *program.arrays,
        program.output.numpy(),
        states.numpy(),
        environment.limit,
        steps.numpy(),
    )
    ended = environment.ended(states)
    return steps * environment.reward + ended * (environment.last_reward - environment.reward)


def xor_fitness(outputs: Float[Tensor, "genomes 4 1"]) -> Float[Tensor, " genomes"]:
    """Minus the mean squared error of outputs at `XOR_INPUTS`."""
    targets = outputs.new_tensor(XOR_TARGETS)[:, None]
    return -(outputs - targets).square().mean((1, 2))


XOR_INPUTS: list[list[float]] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
"""The four points of exclusive or."""

XOR_TARGETS: list[float] = [0.0, 1.0, 1.0, 0.0]
"""Its values there."""

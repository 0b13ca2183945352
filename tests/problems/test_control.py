"""Control tasks: their physics against gymnasium's step by step, and episodes of networks against loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from neat_populations import grown

from polyad.errors import InputError
from polyad.optim.neuroevolution import Population, forward
from polyad.problems.control import ACROBOT, CART_POLE, Environment, returns, xor_fitness


@pytest.mark.parametrize(("environment", "name"), [(CART_POLE, "CartPole-v1"), (ACROBOT, "Acrobot-v1")])
def test_physics_equals_gymnasium_step_by_step(environment: Environment, name: str) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    peer = gymnasium.make(name).unwrapped
    generator = torch.Generator().manual_seed(0)
    copies = 25
    state = environment.initial_states(copies, seed=1)
    ended_somewhere = False
    peers = state.clone()
    for step in range(120):
        # random pushes, and pushes that pump energy, so that large angles and speeds occur
        drawn = torch.randint(0, environment.actions, (copies,), generator=generator)
        pumping = (state[:, 3] > 0).long() * (environment.actions - 1)
        action = torch.where(torch.arange(copies) % 2 == 0, drawn, pumping)
        state = environment.step(state, action)
        for k in range(copies):
            peer.reset(seed=0)
            peer.state = peers[k].numpy().copy()
            observation, reward, ended, _, _ = peer.step(int(action[k]))
            peers[k] = torch.tensor(peer.state)
            if step % 10 == 0:
                ours = environment.observe(state[k]).numpy()
                assert abs(ours - observation).max() < 1e-5  # theirs are float32
            assert bool(environment.ended(state[k])) == bool(ended)
            assert reward == (environment.last_reward if ended else environment.reward)
            ended_somewhere |= bool(ended)
        gap = (state - peers).abs()
        assert float(gap.max()) < 1e-10
        peers = state.clone()
    assert ended_somewhere


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("environment", [CART_POLE, ACROBOT])
def test_returns_equal_those_of_a_loop(environment: Environment, engine: str) -> None:
    environment = replace(environment, limit=20 if environment.name == CART_POLE.name else 70)
    if environment.name == "acrobot":  # nearer to its end, so that some episodes are over before the limit
        environment = replace(environment, spread=2.0)
    networks = grown(60, 4, inputs=environment.observations, outputs=environment.actions, seed=2)
    states = environment.initial_states(60, 2, seed=3)
    before = states.clone()
    found = returns(environment, networks, states, engine=engine)
    assert torch.equal(states, before)
    for k in range(0, 60, 6):
        for episode in range(2):
            state, total = states[k, episode], 0.0
            for _ in range(environment.limit):
                action = forward(networks[k : k + 1], environment.observe(state)[None])[0, 0].argmax()
                state = environment.step(state, action)
                if bool(environment.ended(state)):
                    total += environment.last_reward
                    break
                total += environment.reward
            assert float(found[k, episode]) == total
    assert len(found.unique()) > 5
    assert int((found.abs() == environment.limit).sum()) > 0


def test_episodes_given_once_are_the_same_for_all() -> None:
    networks = grown(40, 3, inputs=4, outputs=2, seed=4)
    states = CART_POLE.initial_states(3, seed=5)
    alone = returns(CART_POLE, networks, states.expand(40, -1, -1).contiguous())
    assert torch.equal(returns(CART_POLE, networks, states), alone)
    assert float(states.abs().max()) <= 0.05
    assert torch.equal(states, CART_POLE.initial_states(3, seed=5))


def test_a_good_controller_holds_the_pole_to_the_limit() -> None:
    # push where the pole falls: angle plus half the angular speed, a little of position and speed
    nodes = torch.tensor([[4.0, 0, 1, 0, 3], [5, 0, 1, 0, 3]], dtype=torch.float64)
    links = [[0.0, 5, 0.1, 1], [1, 5, 0.2, 1], [2, 5, 1, 1], [3, 5, 0.5, 1]]
    network = Population(nodes[None], torch.tensor(links, dtype=torch.float64)[None], 4, 2)
    assert returns(CART_POLE, network, CART_POLE.initial_states(20, seed=0)).unique().tolist() == [500]


def test_whole_episodes_by_loops_and_by_array_operations() -> None:
    networks = grown(200, 8, inputs=4, outputs=2, seed=9)
    states = CART_POLE.initial_states(3, seed=1)
    task = replace(CART_POLE, reward=2.0, last_reward=-1.0)
    one, two = (returns(task, networks, states, engine=engine) for engine in ("torch", "compiled"))
    assert torch.equal(one, two)
    assert len(one.unique()) > 10
    single = Population(networks.nodes.float(), networks.connections.float(), 4, 2)
    close = returns(task, single, states.float()) == two.float()
    assert float(close.double().mean()) > 0.9


def test_xor_fitness_by_hand() -> None:
    outputs = torch.tensor([[[0.0], [1.0], [0.5], [0.2]]], dtype=torch.float64)
    assert float(xor_fitness(outputs)) == pytest.approx(-(0.25 + 0.04) / 4)


def test_networks_of_another_task_are_refused() -> None:
    with pytest.raises(InputError, match="6 observations and 3 actions"):
        returns(ACROBOT, grown(2, 0, inputs=4, outputs=2), ACROBOT.initial_states(1, seed=0))

"""Compiled episodes of cart and pole, one network after the other, for processors."""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np

from polyad.optim.neuroevolution._kernels import compute_node


@numba.njit(cache=True, nogil=True)
@no_type_check
def cart_pole_episodes(
    order, first_node, starts, source, weight, bias, response, aggregation, activation, output, states, limit, steps
):
    """Steps until the pole falls, at most `limit`, of every network from every one of its states.

    Args:
        order: nodes by genome, those of a genome in the order of their computation.
        first_node: place in `order` of each genome's first node, and the number of nodes.
        states: (genomes, episodes, 4), changed in place.
        steps: (genomes, episodes), the result.
    """
    genomes, episodes = states.shape[:2]
    first = 4 * genomes
    values = np.zeros((first + len(bias), 1), states.dtype)
    for genome in range(genomes):
        for episode in range(episodes):
            state = states[genome, episode]
            while steps[genome, episode] < limit:
                values[4 * genome : 4 * genome + 4, 0] = state
                for k in range(first_node[genome], first_node[genome + 1]):
                    node = order[k]
                    values[first + node, 0] = compute_node(
                        node, starts, source, weight, bias, response, aggregation, activation, values, 0
                    )
                right = values[output[genome, 1], 0] > values[output[genome, 0], 0]
                steps[genome, episode] += 1
                if _move(state, right):
                    break


@numba.njit(cache=True, nogil=True)
@no_type_check
def _move(state, right):
    """One step, in place; whether it ends the episode."""
    speed, angle, turn = state[1], state[2], state[3]
    cosine, sine = np.cos(angle), np.sin(angle)
    push = 10 / 1.1 if right else -10 / 1.1
    pull = push + turn * turn * sine * (0.05 / 1.1)
    turning = (9.8 * sine - cosine * pull) / (2 / 3 - cosine * cosine * (0.05 / 1.1))
    state[0] += 0.02 * speed
    state[1] += 0.02 * (pull - turning * cosine * (0.05 / 1.1))
    state[2] += 0.02 * turn
    state[3] += 0.02 * turning
    return abs(state[0]) > 2.4 or abs(state[2]) > 12 * math.pi / 180

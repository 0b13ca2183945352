"""Compiled worm moves: see `polyad.tensors.renormalization.loops`.

Random numbers are those of splitmix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014), one draw a move: two bits for
the direction, 53 others for the acceptance.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
@no_type_check
def _draw(state):
    """The next 64 random bits; `state` moves on."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _unit(bits):
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, nogil=True)
@no_type_check
def walk(links, worm, tanh, visits, most_moves, state):
    """Move until the worm has closed `visits` times or has made `most_moves` moves.

    Args:
        links: (2, L, L) occupation 0 or 1 of the links from (x, y) to (x + 1, y) and to (x, y + 1); changed.
        worm: x and y of the head, then of the tail; changed.
        tanh: weight of an occupied link.
        state: one uint64, the state of the random numbers; changed.

    Returns:
        How often the worm closed, and the moves made.
    """
    size = links.shape[1]
    x, y, tail_x, tail_y = worm[0], worm[1], worm[2], worm[3]
    closed, moves = 0, 0
    while closed < visits and moves < most_moves:
        bits = _draw(state)
        direction = bits & np.uint64(3)
        axis = np.int64(direction & np.uint64(1))
        new_x, new_y, link_x, link_y = x, y, x, y
        if direction == 0:
            new_x = x + 1 if x + 1 < size else 0
        elif direction == 1:
            new_y = y + 1 if y + 1 < size else 0
        elif direction == 2:
            new_x = x - 1 if x > 0 else size - 1
            link_x = new_x
        else:
            new_y = y - 1 if y > 0 else size - 1
            link_y = new_y
        occupied = links[axis, link_x, link_y]
        if occupied == 1 or _unit(bits) < tanh:
            links[axis, link_x, link_y] = 1 - occupied
            x, y = new_x, new_y
        moves += 1
        if x == tail_x and y == tail_y:
            closed += 1
            site = np.int64(_unit(_draw(state)) * size * size)
            x, y = site // size, site % size
            tail_x, tail_y = x, y
    worm[0], worm[1], worm[2], worm[3] = x, y, tail_x, tail_y
    return closed, moves


@numba.njit(cache=True, nogil=True)
@no_type_check
def sample(images, links, worm, tanh, skip, state):
    """Fill `images` (samples, 2, L, L) with closed configurations, one every `skip` visits; returns the moves made."""
    moves = 0
    endless = np.int64(2**62)
    for k in range(images.shape[0]):
        moves += walk(links, worm, tanh, skip, endless, state)[1]
        images[k] = links
    return moves

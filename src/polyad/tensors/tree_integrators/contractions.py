"""Products of small tensors with the legs of an operator: the kernel of every restricted field.

An operator at a node is a gate G and one leg L_k[b_k] (r_k', r_k) a child. `push` computes

    Y[r_1' .. r_m', c, t', x] = sum G[(b_1 .. b_m), c, t', t] L_1[b_1] .. L_m[b_m] X[r_1 .. r_m, t, x]

as one matrix product a leg and one for the gate; the index x rides along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import no_type_check

from torch import Tensor


@no_type_check  # called for every stage of every sub-flow: checks under test would take longer than the work
def push(tensor: Tensor, legs: Sequence[Tensor], gate: Tensor) -> Tensor:
    """Y of the module for X with dimensions (one a leg, top, rider), legs (bond, rows, columns), gate (b, c, t', t)."""
    top, rider = tensor.shape[-2:]
    states, moved = 1, tensor.reshape(1, -1)
    rows = []
    for leg in legs:
        bond, out, size = leg.shape
        moved = leg.reshape(1, bond * out, size) @ moved.reshape(states, size, -1)
        moved = moved.reshape(states, bond, out, -1).transpose(2, 3)
        states *= bond
        rows.append(out)
    outs, tops = gate.shape[1:3]
    flat = gate.permute(1, 2, 0, 3).reshape(outs * tops, states * top) @ moved.reshape(states * top, -1)
    flat = flat.reshape(outs, tops, rider, *rows)
    return flat.permute(*range(3, 3 + len(rows)), 0, 1, 2)


@no_type_check
def close(pushed: Tensor, leg: Tensor) -> Tensor:
    """Contract (c, x) of a pushed tensor with a last leg: dimensions (r_1' .. , rows, t')."""
    bond, out, size = leg.shape
    rows, top = pushed.shape[:-3], pushed.shape[-2]
    flat = pushed.movedim(-2, 0).reshape(top, -1, bond * size) @ leg.permute(0, 2, 1).reshape(bond * size, out)
    return flat.reshape(top, *rows, out).movedim(0, -1)


@no_type_check
def bracket(bra: Tensor, pushed: Tensor) -> Tensor:
    """Contract conj(bra) (r_1' .. r_m', t', y) with a pushed tensor: (c, y, x)."""
    count = pushed.ndim - 3
    flat = pushed.movedim(count, 0).flatten(1, count + 1)
    return bra.flatten(0, count).mH @ flat

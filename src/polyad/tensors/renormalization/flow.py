"""The driver that all coarse-graining rules share: ln Z of a torus from its site tensor.

Directions alternate, the shorter side first, until one side is at most 2; what is left is a power of one matrix, which
is exact. Every step divides the tensor by its norm and adds the logarithm, times the tensors that are left, to ln Z.

The state is a *jet* [T, T', T''] of derivatives by a parameter (impurity tensors). Products follow Leibniz' rule, the
isometries come from T alone and are not differentiated, and the scale that is divided out is a jet too,
exp(c x + c2 x^2 / 2), so that the derivatives of ln Z keep their digits for any number of sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.blocking import ISOMETRIES, merge_rows, split_and_join
from polyad.tensors.renormalization.ising import ising_tensor
from polyad.tensors.renormalization.parity import ParityTensor, parity_step
from polyad.tensors.renormalization.references import check_sides, transfer_matrix

METHODS = ("pair", "svd_pair", "hotrg", "trg", "exact")
"""Rules that `log_z` knows."""

Jet = list[Tensor]


def log_z(
    beta: Float[Tensor, "*batch"],
    columns: int,
    rows: int,
    *,
    bond: int = 16,
    method: str = "hotrg",
    field: float | Tensor = 0.0,
    threshold: float = 0.0,
    parity: bool = False,
) -> Float[Tensor, "*batch"]:
    """ln Z of the Ising model on a torus of columns x rows spins, both powers of two.

    Args:
        beta: inverse temperatures; their dtype is that of the whole run.
        bond: the largest dimension D of a leg.
        method: 'pair', 'svd_pair', 'hotrg', 'trg', or 'exact' (transfer matrix, one side at most 12, any sides).
        field: enters as exp(field * spin).
        threshold: drop singular values of a cut below this part of the largest (the bond stays the upper limit).
        parity: keep even and odd states of the legs in blocks: a quarter of the work ('pair' and 'hotrg', no field).

    Raises:
        InputError: an unknown method, sides, bond, threshold or beta out of range, parity with a field or another rule.
    """
    if method == "exact":
        return transfer_matrix(beta, columns, rows, field=field)
    tensor = ising_tensor(beta, field)
    if not parity:
        return log_partition(tensor, columns, rows, bond=bond, method=method, threshold=threshold)
    if bool((torch.as_tensor(field) != 0).any()):
        raise InputError("parity blocks were asked for in a field, which breaks the symmetry; use parity=False")
    return log_partition(tensor, columns, rows, bond=bond, method=method, threshold=threshold, even_states=(1, 1))


def log_partition(
    tensor: Float[Tensor, "*batch v h v h"],
    columns: int,
    rows: int,
    *,
    bond: int = 16,
    method: str = "hotrg",
    threshold: float = 0.0,
    even_states: tuple[int, int] | None = None,
) -> Float[Tensor, "*batch"]:
    """ln of the contraction of a torus of equal tensors (legs up, left, down, right), both sides powers of two.

    Args:
        tensor: the site tensor of any model.
        bond: the largest dimension of a leg.
        method: 'pair', 'svd_pair', 'hotrg' or 'trg'.
        threshold: drop singular values of a cut below this part of the largest.
        even_states: the numbers of even states, which come first, of vertical and horizontal legs, where the tensor
            conserves parity: the contraction then runs in blocks, one element of the batch after the other.

    Raises:
        InputError: an argument out of range, a tensor that does not conserve parity, or a contraction that is not
            positive.
    """
    if even_states is None:
        return log_partition_jet([tensor], columns, rows, bond=bond, method=method, threshold=threshold)[0]
    check_torus(columns, rows, bond, method, threshold)
    if method not in ("pair", "hotrg"):
        raise InputError(f"parity blocks need method 'pair' or 'hotrg', not {method!r}")
    step = partial(parity_step, bond=bond, both_sides=method == "hotrg", threshold=threshold)
    found = []
    for single in tensor.reshape(-1, *tensor.shape[-4:]):
        blocks = ParityTensor.from_dense(single, even_states)
        blocks, total, columns_left, rows_left = _halve_parity(blocks, columns, rows, step)
        found.append(total + _close([blocks.to_dense()], columns_left, rows_left)[0])
    return torch.stack(found).reshape(tensor.shape[:-4])


def log_partition_jet(
    jet: Sequence[Tensor], columns: int, rows: int, *, bond: int, method: str, threshold: float = 0.0
) -> list[Tensor]:
    """ln Z and its derivatives, from a site tensor and its derivatives up to second order.

    Raises:
        InputError: an argument out of range, `trg` with derivatives, or a contraction that is not positive.
    """
    check_torus(columns, rows, bond, method, threshold)
    state = list(jet)
    if method == "trg":
        if len(state) > 1:
            raise InputError("'trg' carries no impurities; use 'hotrg', or by='autograd' or 'difference'")
        return _levin_nave(state, columns, rows, bond, threshold)
    isometry_of = ISOMETRIES[method]

    def step(state: Jet) -> Jet:
        isometry = isometry_of(state[0], bond, threshold)
        return _product(lambda upper, lower: merge_rows(upper, lower, isometry), state, state)

    state, total = _normalise(state, columns * rows)
    for halve_rows in _directions(columns, rows):
        if halve_rows:
            state, rows = step(state), rows // 2
        else:
            state, columns = [_swap(x) for x in step([_swap(x) for x in state])], columns // 2
        state, more = _normalise(state, columns * rows)
        total = _plus(total, more)
    return _plus(total, _close(state, columns, rows))


def check_torus(columns: int, rows: int, bond: int, method: str, threshold: float) -> None:
    """Refuse sides, a bond, a method or a threshold that no coarse-graining rule takes."""
    check_sides(columns, rows)
    if columns & (columns - 1) or rows & (rows - 1):
        raise InputError(f"the torus is {columns} x {rows}; both sides must be powers of two, see `transfer_matrix`")
    if method not in (*ISOMETRIES, "trg"):
        raise InputError(f"method is {method!r}; allowed are {', '.join(METHODS)} ('exact' in `log_z` only)")
    if bond < 1 or not 0 <= threshold < 1:
        raise InputError(f"bond is {bond} and threshold {threshold}; allowed are bond >= 1 and 0 <= threshold < 1")


def _halve_parity(
    blocks: ParityTensor, columns: int, rows: int, step: Callable[[ParityTensor], ParityTensor]
) -> tuple[ParityTensor, Tensor, int, int]:
    blocks, logarithm = blocks.normalise()
    total = logarithm * (columns * rows)
    for halve_rows in _directions(columns, rows):
        if halve_rows:
            blocks, rows = step(blocks), rows // 2
        else:
            blocks, columns = step(blocks.swap()).swap(), columns // 2
        blocks, logarithm = blocks.normalise()
        total = total + logarithm * (columns * rows)
    return blocks, total, columns, rows


def _directions(columns: int, rows: int) -> list[bool]:
    """Which steps halve the rows: in turn, the shorter side first, until one side is at most 2."""
    steps, halve_rows = [], rows <= columns
    while min(columns, rows) > 2:
        steps.append(halve_rows)
        columns, rows = (columns, rows // 2) if halve_rows else (columns // 2, rows)
        halve_rows = not halve_rows
    return steps


def _levin_nave(state: Jet, columns: int, rows: int, bond: int, threshold: float) -> list[Tensor]:
    state, total = _normalise(state, columns * rows)
    while min(columns, rows) > 2:
        turned, more = _normalise([split_and_join(state[0], bond, threshold)], columns * rows / 2)
        columns, rows = columns // 2, rows // 2
        # the second step turns by another 45 degrees: its first leg points left
        back = split_and_join(turned[0], bond, threshold)
        state, last = _normalise([back.movedim(-1, -4)], columns * rows)
        total = _plus(_plus(total, more), last)
    return _plus(total, _close(state, columns, rows))


def _swap(tensor: Tensor) -> Tensor:
    """The tensor of the lattice reflected at its diagonal: up and left, down and right change places."""
    return tensor.transpose(-4, -3).transpose(-2, -1)


def _product(multiply: Callable[[Tensor, Tensor], Tensor], first: Jet, second: Jet) -> Jet:
    """Leibniz' rule for a bilinear product."""
    result = []
    for order in range(len(first)):
        terms = [math.comb(order, k) * multiply(first[k], second[order - k]) for k in range(order + 1)]
        result.append(torch.stack(terms).sum(0) if order else terms[0])
    return result


def _plus(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    return [x + y for x, y in zip(first, second, strict=True)]


def _normalise(state: Jet, count: float) -> tuple[Jet, list[Tensor]]:
    """The jet divided by the norm of its tensor and by exp(c x + c2 x^2 / 2), and what that adds to the jet of ln Z."""
    norm = state[0].detach().flatten(-4).norm(dim=-1)
    scaled = [x / norm[..., None, None, None, None] for x in state]
    logs = [torch.log(norm)]
    tensor = scaled[0]
    if len(scaled) > 1:
        first = (tensor * scaled[1]).flatten(-4).sum(-1)
        c = first[..., None, None, None, None]
        slope = scaled[1] - c * tensor
        logs.append(first)
        if len(scaled) > 2:
            bend = scaled[2] - 2 * c * scaled[1] + c.square() * tensor
            second = (tensor * bend).flatten(-4).sum(-1)
            scaled[2] = bend - second[..., None, None, None, None] * tensor
            logs.append(second)
        scaled[1] = slope
    return scaled, [count * x for x in logs]


def _close(state: Jet, columns: int, rows: int) -> list[Tensor]:
    """Jet of the logarithm of the exact contraction of a torus of one or two rows (or columns)."""
    if rows > columns:
        state, columns, rows = [_swap(x) for x in state], rows, columns
    if rows == 1:
        column = [torch.einsum("...ulur->...lr", x) for x in state]
    else:
        column = _product(lambda a, b: torch.einsum("...ulmr,...mkus->...lkrs", a, b), state, state)
        column = [x.flatten(-2).flatten(-3, -2) for x in column]
    total = [torch.zeros_like(x[..., 0, 0]) for x in column]
    while columns > 2:
        column, columns = _product(torch.matmul, column, column), columns // 2
        scale = column[0].detach().flatten(-2).norm(dim=-1)
        column = [x / scale[..., None, None] for x in column]
        total[0] = total[0] + columns * torch.log(scale)
    if columns == 2:
        values = _product(lambda a, b: (a * b.mT).flatten(-2).sum(-1), column, column)
    else:
        values = [x.diagonal(0, -2, -1).sum(-1) for x in column]
    if not bool((values[0] > 0).all()):
        raise InputError("the contraction is not positive, so it has no logarithm; raise the bond or mend the tensor")
    logs = [torch.log(values[0])]
    if len(values) > 1:
        logs.append(values[1] / values[0])
    if len(values) > 2:
        logs.append(values[2] / values[0] - logs[1].square())
    return _plus(total, logs)

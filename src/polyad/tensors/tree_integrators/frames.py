"""Orthonormal frames of a tree: moving the centre, extending a basis, truncating.

A tree tensor network is *orthonormal* when every node but the root is an isometry towards it. Moving the centre from
a node to its child splits the node's tensor X into an isometry Q (towards the child) and a matrix S:

    Mat_child(X) = S Q,    Q Q^H = 1;     the child's tensor becomes U_child S

Extending a basis keeps its columns first and unchanged, and adds an orthonormal basis of what is new in other columns,
after projecting twice; new directions below rounding are left out, so that there may be none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.subspace import dominant_basis, triangular_root
from polyad.tensors.formats.tree_layout import Node
from polyad.tensors.formats.tucker import multiply_modes
from polyad.tensors.tree_integrators.work import Key, Ledger


def split(core: Num[Tensor, "..."], child: int) -> tuple[Num[Tensor, "..."], Num[Tensor, "r q"]]:
    """Q, shaped as the core with the child's dimension q, and S (r, q)."""
    moved = core.movedim(child, 0)
    orthonormal, triangle = torch.linalg.qr(moved.flatten(1).mH)
    frame = orthonormal.mH.reshape(-1, *moved.shape[1:]).movedim(0, child)
    return frame, triangle.mH


def extend_basis(
    old: Num[Tensor, "rows r"], new: Num[Tensor, "rows q"]
) -> tuple[Num[Tensor, "rows total"], Num[Tensor, "fresh q"]]:
    """[old, fresh] with orthonormal columns, and fresh^H new."""
    size = torch.linalg.vector_norm(new)
    rest = new - old @ (old.mH @ new)
    rest = rest - old @ (old.mH @ rest)
    left, values, _ = torch.linalg.svd(rest, full_matrices=False)
    room = old.shape[0] - old.shape[1]
    # what two projections leave of a dependent column is rounding of the whole column
    noise = 4 * max(new.shape) ** 0.5 * torch.finfo(new.dtype).eps * size
    count = min(int((values > noise).sum()), room)
    fresh = left[:, :count]
    fresh = fresh - old @ (old.mH @ fresh)  # small directions are amplified, and so is their overlap with the old ones
    fresh = torch.linalg.qr(fresh).Q
    return torch.cat([old, fresh], dim=1), fresh.mH @ new


def pad(array: Num[Tensor, "..."], shape: Sequence[int]) -> Num[Tensor, "..."]:
    """The array in the leading corner of zeros."""
    padded = array.new_zeros(tuple(shape))
    padded[tuple(slice(0, size) for size in array.shape)] = array
    return padded


def is_orthonormal(arrays: Sequence[Tensor], tolerance: float) -> bool:
    """Whether every array but the last is an isometry of its last dimension."""
    for array in arrays[:-1]:
        tall = array.flatten(0, -2)
        if tall.shape[0] < tall.shape[1]:
            return False
        eye = torch.eye(tall.shape[1], dtype=tall.dtype, device=tall.device)
        if float((tall.mH @ tall - eye).abs().max()) > tolerance:
            return False
    return True


def truncate_orthonormal(
    nodes: Sequence[Node],
    arrays: Sequence[Tensor],
    *,
    tolerance: float,
    r_max: int | None,
    ledger: Ledger,
    after: Sequence[Key] = (),
) -> tuple[list[Tensor], float]:
    """Smaller ranks for an orthonormal tree, and a bound on the error.

    From the root down, S of every split gives the weight of a node's directions; from the leaves up, every node is cut
    in that metric. The squared errors add, and each node may use an equal share of what is left of tolerance^2, so
    that the total stays within the (absolute) tolerance, unless `r_max` forbids it.
    """
    last = len(arrays) - 1
    weights: list[Tensor] = list(arrays)
    for place in range(last, -1, -1):
        node = nodes[place]
        centre = arrays[place] if place == last else arrays[place] @ weights[place]
        done = [("weigh", place)] if place < last else after
        for number, child in enumerate(node.children):
            weights[child] = ledger.run("weigh", child, _weight, centre, number, after=done)
    carry, result = list(arrays), list(arrays)
    spent = torch.zeros((), dtype=arrays[-1].real.dtype, device=arrays[-1].device)
    for place, node in enumerate(nodes):
        waits = [("round", child) for child in node.children] + [("weigh", place)]
        budget = (tolerance**2 - spent).clamp_min(0) / max(last - place, 1)
        matrices = [carry[child] for child in node.children]
        weight = None if place == last else weights[place]
        result[place], carry[place], lost = ledger.run(
            "round", place, _cut, arrays[place], matrices, weight, budget, r_max, after=waits
        )
        spent = spent + lost
    return result, float(spent.sqrt())


def _weight(centre: Tensor, number: int) -> Tensor:
    moved = centre.movedim(number, 0).flatten(1)
    return triangular_root(moved.mH).mH


def _cut(
    array: Tensor, matrices: Sequence[Tensor], weight: Tensor | None, budget: Tensor, r_max: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    moved = multiply_modes(array, dict(enumerate(matrices)), len(matrices) + 1) if matrices else array
    if weight is None:
        return moved, array, torch.zeros_like(budget)
    tall = moved.flatten(0, -2)
    basis, lost = dominant_basis(tall, budget=budget, cap=r_max or tall.shape[1], root=weight)
    return basis.reshape(*moved.shape[:-1], -1), basis.mH @ tall, lost

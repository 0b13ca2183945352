"""An order of the modes that keeps related modes close: for chains and trees of low rank.

Two modes are related as far as the singular values of the unfolding that puts both on one side fall faster than those
of each mode alone would allow: with the entropy H of the squared singular values, I(a, b) = H(a) + H(b) - H(a, b). The
order is a path through all modes that collects much of I, grown greedily from the most related pair at either end.

Source of the measure: mutual information as used to order orbitals, J. Rissler, R. M. Noack, S. R. White, Chem. Phys.
323 (2006) 519.
"""

from __future__ import annotations

from itertools import combinations

import torch
from jaxtyping import Float, Num
from torch import Tensor


def order_modes(tensor: Num[Tensor, "..."]) -> tuple[int, ...]:
    """The modes in the order of the greedy path; reversed if needed so that the lower mode number is first."""
    order = tensor.ndim
    if order < 3:
        return tuple(range(order))
    shared = mutual_information(tensor)
    first, second = max(combinations(range(order), 2), key=lambda pair: float(shared[pair]))
    path = [first, second]
    while len(path) < order:
        rest = [mode for mode in range(order) if mode not in path]
        choices = [(float(shared[path[end], mode]), end, mode) for end in (0, -1) for mode in rest]
        _, end, mode = max(choices)
        path = [mode, *path] if end == 0 else [*path, mode]
    return tuple(path if path[0] < path[-1] else path[::-1])


def mutual_information(tensor: Num[Tensor, "..."]) -> Float[Tensor, "order order"]:
    """I(a, b) for all pairs of modes, in natural units; zero on the diagonal."""
    order = tensor.ndim
    alone = [_entropy(tensor, (mode,)) for mode in range(order)]
    shared = torch.zeros(order, order, dtype=alone[0].dtype, device=tensor.device)
    for a, b in combinations(range(order), 2):
        shared[a, b] = shared[b, a] = alone[a] + alone[b] - _entropy(tensor, (a, b))
    return shared


def _entropy(tensor: Tensor, modes: tuple[int, ...]) -> Tensor:
    """Of the squared singular values of an unfolding, from the smaller Gram matrix."""
    matrix = tensor.movedim(modes, tuple(range(len(modes)))).flatten(0, len(modes) - 1).flatten(1)
    gram = matrix @ matrix.mH if matrix.shape[0] <= matrix.shape[1] else matrix.mH @ matrix
    weights = torch.linalg.eigvalsh(gram).clamp_min(0)
    weights = weights / weights.sum()
    return -torch.special.xlogy(weights, weights).sum()

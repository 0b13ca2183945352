"""The tensor renormalisation group with two states a leg: its fixed point and the exponent nu in closed dimensions.

A parity-conserving tensor T_{uldr} with one even and one odd state a leg has eight components. A blocking by a factor
of two in both directions keeps one even and one odd state of each doubled leg; since parity fixes the sectors, the only
freedom is an angle in the even and one in the odd sector. With all components divided by T_0000 the map has a fixed
point between the high- and the low-temperature phases; the leading eigenvalue of its derivative gives nu = ln 2 / ln
lambda.

* `anisotropic`: rows, then columns, each with its own isometry, from the Gram matrix of the pair (HOTRG);
* `isotropic`: four tensors at once, all legs with the isometry from the Gram matrix of a pair;
* `transfer`: the same with the leading eigenvectors of the pair's transfer matrix, its other legs traced.

Source: Y. Meurice, Phys. Rev. B 87 (2013) 064422 (anisotropic: nu = 0.964; two isotropic procedures: 0.987, 0.993).

When not to use it: for numbers of the Ising model itself; two states are a caricature that keeps the fixed point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.tensors.renormalization.blocking import merge_rows, pair_gram
from polyad.tensors.renormalization.gradients import leading_isometry

_EVEN = [legs for legs in product((0, 1), repeat=4) if sum(legs) % 2 == 0]
_COMPONENTS = tuple(torch.tensor(leg) for leg in zip(*_EVEN, strict=True))  # 0000 comes first


@final
@dataclass(frozen=True)
class TwoStateFixedPoint:
    """A fixed point: its tensor, critical coupling, eigenvalues of the map's derivative, and the exponent nu."""

    tensor: Tensor
    beta: float
    eigenvalues: Tensor
    nu: float


def two_state_tensor(beta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2 2 2"]:
    """The Ising tensor divided by T_0000: t^{(u+l+d+r)/2}, t = tanh beta, where u + l + d + r is even, else 0."""
    legs = torch.arange(2, dtype=beta.dtype, device=beta.device)
    odd = legs.view(2, 1, 1, 1) + legs.view(2, 1, 1) + legs.view(2, 1) + legs
    return torch.where(odd % 2 == 0, torch.tanh(beta)[..., None, None, None, None] ** (odd / 2), 0.0)


def two_state_step(tensor: Float[Tensor, "2 2 2 2"], blocking: str = "anisotropic") -> Float[Tensor, "2 2 2 2"]:
    """The tensor of a 2 x 2 block, truncated to one even and one odd state a leg, divided by its component 0000.

    Raises:
        InputError: an unknown blocking.
    """
    if blocking not in _BLOCKINGS:
        raise InputError(f"blocking is {blocking!r}; allowed are {', '.join(_BLOCKINGS)}")
    block = _BLOCKINGS[blocking](tensor)
    return block / block[0, 0, 0, 0]


def link_occupation(tensor: Float[Tensor, "2 2 2 2"]) -> Float[Tensor, ""]:
    """Share of odd links when the network is closed on a single site: how occupied links are at this scale."""
    loops = torch.einsum("ulul->ul", tensor)
    weight = loops.sum()
    return (loops[1].sum() + loops[:, 1].sum()) / (2 * weight)


def two_state_fixed_point(blocking: str = "anisotropic", *, tolerance: float = 1e-12) -> TwoStateFixedPoint:
    """Critical coupling by bisection of the flow, the fixed point by Newton's method from there, and nu.

    Raises:
        InputError: an unknown blocking.
        ConvergenceError: Newton's method does not reach the tolerance.
    """
    low, high = 0.3, 0.5
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (low, middle) if _is_ordered(middle, blocking) else (middle, high)
    critical = (low + high) / 2
    nearest, smallest = two_state_tensor(torch.tensor(critical, dtype=torch.float64)), float("inf")
    tensor = nearest
    for _ in range(40):
        following = two_state_step(tensor, blocking)
        change = float((following - tensor).abs().max())
        if change < smallest:
            nearest, smallest = following, change
        tensor = following
    point = nearest[_COMPONENTS][1:]

    def map_of(x: Tensor) -> Tensor:
        return two_state_step(_tensor_of(x), blocking)[_COMPONENTS][1:]

    for _ in range(30):
        residual = map_of(point) - point
        if float(residual.abs().max()) < tolerance:
            break
        derivative = torch.autograd.functional.jacobian(map_of, point)
        identity = torch.eye(len(point), dtype=point.dtype)
        point = point + torch.linalg.lstsq(identity - derivative, residual.unsqueeze(1)).solution.squeeze(1)
    else:
        raise ConvergenceError(f"no fixed point of {blocking!r}: residual {float(residual.abs().max()):.1e}")
    eigenvalues = torch.linalg.eigvals(torch.autograd.functional.jacobian(map_of, point))
    eigenvalues = eigenvalues[eigenvalues.abs().argsort(descending=True)]
    nu = float(torch.log(torch.tensor(2.0, dtype=torch.float64)) / torch.log(eigenvalues[0].abs()))
    return TwoStateFixedPoint(_tensor_of(point), critical, eigenvalues, nu)


def _anisotropic(tensor: Tensor) -> Tensor:
    for _ in range(2):
        tensor = merge_rows(tensor, tensor, _parity_isometry(pair_gram(tensor)))
        tensor = tensor.permute(1, 0, 3, 2)
    return tensor


def _isotropic(tensor: Tensor) -> Tensor:
    return _block_of_four(tensor, _parity_isometry(pair_gram(tensor)))


def _transfer(tensor: Tensor) -> Tensor:
    traced = torch.einsum("ulmr,mkus->lkrs", tensor, tensor).reshape(4, 4)
    return _block_of_four(tensor, _parity_isometry((traced + traced.T) / 2))


_BLOCKINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "anisotropic": _anisotropic,
    "isotropic": _isotropic,
    "transfer": _transfer,
}


def _block_of_four(tensor: Tensor, isometry: Tensor) -> Tensor:
    """Four tensors as one, every doubled outer leg truncated by the same isometry; the inner ones are whole."""
    column = torch.einsum("ulmr,mkds->ulkdrs", tensor, tensor)
    block = torch.einsum("ulkdxy,vxyers->uvlkders", column, column).reshape(4, 4, 4, 4)
    u = isometry.flatten(0, 1)
    return torch.einsum("ulmr,ua,lb,mc,rd->abcd", block, u, u, u, u)


def _parity_isometry(gram: Tensor) -> Tensor:
    """The leading even and the leading odd state of a doubled leg (00, 11 and 01, 10), with a fixed sign."""
    isometry = gram.new_zeros(4, 2)
    columns = []
    for sector in ([0, 3], [1, 2]):
        vector = leading_isometry(gram[sector][:, sector], 1)[:, 0]
        vector = vector * torch.sign(vector.detach()[vector.detach().abs().argmax()])
        columns.append(isometry[:, 0].index_put((torch.tensor(sector),), vector))
    return torch.stack(columns, -1).unflatten(0, (2, 2))


def _tensor_of(components: Tensor) -> Tensor:
    values = torch.cat([components.new_ones(1), components])
    return components.new_zeros(2, 2, 2, 2).index_put(_COMPONENTS, values)


def _is_ordered(beta: float, blocking: str) -> bool:
    """Whether the flow from this coupling ends with odd links alive (below the critical temperature)."""
    tensor = two_state_tensor(torch.tensor(beta, dtype=torch.float64))
    for _ in range(60):
        tensor = two_state_step(tensor, blocking)
        if float(tensor[0, 1, 0, 1]) < 1e-3:
            return False
        if float(tensor[0, 1, 0, 1]) > 0.999:
            return True
    return bool(tensor[0, 1, 0, 1] > 0.5)

"""The square-lattice Ising model as a network of one tensor a site, and its derivatives (impurities).

The bond weight exp(b s s') = (W W^T)_{s s'} with W = [[sqrt cosh b, sqrt sinh b], [sqrt cosh b, -sqrt sinh b]] gives

    T_{uldr} = sum_s e^{h s} W_su W_sl W_sd W_sr = cosh(b)^{(4-k)/2} sinh(b)^{k/2} * (2 cosh h or 2 sinh h),

k the number of odd (second) states among the legs up, left, down, right, and cosh h for even k: without a field the
parity of the legs is conserved. An impurity is a derivative of T by b (bond energy) or h (spin).

When not to use it: for antiferromagnets (b < 0) or b = 0, where W is not real or not differentiable.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.references import check_beta


def ising_tensor(beta: Float[Tensor, "*batch"], field: float | Tensor = 0.0) -> Float[Tensor, "*batch 2 2 2 2"]:
    """The site tensor with legs up, left, down, right; the field enters as exp(field * spin).

    Raises:
        InputError: beta not positive and finite.
    """
    return ising_jet(beta, field, order=0)[0]


def ising_jet(
    beta: Float[Tensor, "*batch"],
    field: float | Tensor = 0.0,
    *,
    by: str = "beta",
    order: int = 2,
) -> list[Tensor]:
    """The site tensor and its derivatives up to `order` <= 2 by the inverse temperature or the field.

    Raises:
        InputError: beta not positive and finite, an unknown variable, or an order outside 0..2.
    """
    check_beta(beta)
    if by not in ("beta", "field") or order not in (0, 1, 2):
        raise InputError(f"by is {by!r} and order {order}; allowed are 'beta' or 'field', and orders 0, 1, 2")
    strength = torch.as_tensor(field, dtype=beta.dtype, device=beta.device)
    beta, strength = torch.broadcast_tensors(beta, strength)
    legs = torch.arange(2, dtype=beta.dtype, device=beta.device)
    odd = legs.view(2, 1, 1, 1) + legs.view(2, 1, 1) + legs.view(2, 1) + legs
    sinh_power, cosh_power = odd / 2, 2 - odd / 2
    b = beta[..., None, None, None, None]
    h = strength[..., None, None, None, None]
    even, uneven = 2 * torch.cosh(h), 2 * torch.sinh(h)
    spin = torch.where(odd % 2 == 0, even, uneven)
    bonds = torch.cosh(b) ** cosh_power * torch.sinh(b) ** sinh_power
    tanh = torch.tanh(b)
    slope = cosh_power * tanh + sinh_power / tanh
    if by == "beta":
        curvature = slope.square() + (cosh_power - sinh_power / tanh.square()) * (1 - tanh.square())
        jet = [bonds * spin, bonds * slope * spin, bonds * curvature * spin]
    else:
        jet = [bonds * spin, bonds * torch.where(odd % 2 == 0, uneven, even), bonds * spin]
    return jet[: order + 1]

"""A network with one hidden layer and a bypass, what one pass over the data shows of it, and its exact output weights.

    x_a = [x, 1],   n = W x_a,   O = f(n),   y = W_oi x_a + W_oh O
    E = 1/N_v sum_p |t_p - y_p|^2

E is quadratic in W_o = [W_oi, W_oh]; its minimiser solves the normal equations of the basis [x_a, O].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.second_order.input_gain.multiplies import Sizes

Activation = Callable[[Tensor], Tensor]
"""An elementwise function with a derivative in forward mode, such as `torch.sigmoid`."""


@final
class BypassNetwork(nn.Module):
    """One hidden layer, and weights from the inputs straight to the outputs.

    Args:
        inputs: N.
        hidden: N_h, units.
        outputs: M.
        activation: f; elementwise.
        bias: append 1 to the inputs; without it x_a = x.
        dtype: of the weights; float32 leaves the output weights about three digits of accuracy where units are alike.
        device: of the weights.
        seed: of W, normal with variance 1 / (columns of W); the other weights start at 0.

    Attributes:
        inward: W, N_h rows.
        bypass: W_oi, M rows.
        outward: W_oh, M rows.

    Raises:
        InputError: sizes below 1, or a dtype that is not float32 or float64.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        activation: Activation = torch.tanh,
        bias: bool = True,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        seed: int = 0,
    ) -> None:
        checks.check_positive(inputs=inputs, hidden=hidden, outputs=outputs)
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype: must be float32 or float64, got {dtype}; least squares need the digits")
        super().__init__()
        self.inputs, self.bias, self.activation = inputs, bias, activation
        columns = inputs + bias
        drawn = torch.randn(hidden, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.inward = nn.Parameter((drawn / columns**0.5).to(device=device, dtype=dtype))
        self.bypass = nn.Parameter(torch.zeros(outputs, columns, dtype=dtype, device=device))
        self.outward = nn.Parameter(torch.zeros(outputs, hidden, dtype=dtype, device=device))

    def forward(self, inputs: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
        """y."""
        features = self.augmented(inputs)
        return features @ self.bypass.mT + self.activation(features @ self.inward.mT) @ self.outward.mT

    def augmented(self, inputs: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch c"]:
        """x_a: the inputs, and 1 where there is a bias."""
        if not self.bias:
            return inputs
        return torch.cat([inputs, inputs.new_ones(*inputs.shape[:-1], 1)], -1)

    @torch.no_grad()
    def sweep(self, features: Float[Tensor, "p c"], targets: Float[Tensor, "p m"]) -> Sweep:
        """One pass over patterns, which holds all that directions need; weights are those of now.

        Args:
            features: x_a.
            targets: t.
        """
        net = features @ self.inward.mT
        units, slopes = torch.func.jvp(self.activation, (net,), (torch.ones_like(net),))[:2]
        basis = torch.cat([features, units], -1)
        residual = targets - basis @ self.output_weights.mT
        return Sweep(features, basis, slopes, targets, residual, self.outward.detach().clone())

    @property
    def output_weights(self) -> Float[Tensor, "m c_and_h"]:
        """W_o = [W_oi, W_oh], a copy."""
        return torch.cat([self.bypass.detach(), self.outward.detach()], -1)

    @torch.no_grad()
    def set_output_weights(self, weights: Float[Tensor, "m c_and_h"]) -> None:
        """Put W_o in place."""
        bypass, outward = weights.split([self.bypass.shape[1], self.outward.shape[1]], -1)
        self.bypass.copy_(bypass)
        self.outward.copy_(outward)

    @torch.no_grad()
    def solve_outputs(self, sweep: Sweep) -> Sweep:
        """Put the output weights in place that minimise E on the patterns of a sweep; the sweep with them."""
        weights = least_squares(sweep.basis, sweep.targets).mT
        self.set_output_weights(weights)
        residual = sweep.targets - sweep.basis @ weights.mT
        outward = self.outward.detach().clone()
        return Sweep(sweep.features, sweep.basis, sweep.slopes, sweep.targets, residual, outward)


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """One pass of a network over N_v patterns.

    Args:
        features: x_a.
        basis: [x_a, O].
        slopes: f'(n).
        targets: t.
        residual: t - y.
        outward: W_oh, of this pass.

    Attributes:
        error: E.
    """

    features: Float[Tensor, "p c"]
    basis: Float[Tensor, "p c_and_h"]
    slopes: Float[Tensor, "p h"]
    targets: Float[Tensor, "p m"]
    residual: Float[Tensor, "p m"]
    outward: Float[Tensor, "m h"]
    error: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", float(self.residual.square().sum() / len(self.residual)))

    @property
    def sizes(self) -> Sizes:
        """What the multiplies of a step depend on."""
        (patterns, features), hidden = self.features.shape, self.slopes.shape[1]
        return Sizes(patterns, features, hidden, self.targets.shape[1])

    @property
    def sensitivity(self) -> Float[Tensor, "p m h"]:
        """dy_i / dn_k = W_oh_ik f'(n_k)."""
        return self.outward * self.slopes[:, None, :]


def least_squares(basis: Float[Tensor, "p b"], targets: Float[Tensor, "p m"]) -> Float[Tensor, "b m"]:
    """The least of all minimisers of |targets - basis w|, in units in which the columns of the basis have length 1.

    An orthogonal basis (QR), then the singular values of its small triangle, of which those at rounding's level are
    left out: so columns may depend on each other, as the units of a wide layer do, and the residual stays orthogonal
    to all of them. It runs on any device.
    """
    length = torch.linalg.vector_norm(basis, dim=0)
    length = torch.where(length > 0, length, torch.ones_like(length))
    orthogonal, triangle = torch.linalg.qr(basis / length)
    left, values, right = torch.linalg.svd(triangle, full_matrices=False)
    kept = values > max(basis.shape) * torch.finfo(basis.dtype).eps * values[:1]
    inverse = torch.where(kept, 1 / torch.where(kept, values, torch.ones_like(values)), torch.zeros_like(values))
    return (right.mT * inverse) @ (left.mT @ (orthogonal.mT @ targets)) / length[:, None]


def solve_normal(matrix: Float[Tensor, "n n"], right: Float[Tensor, "n *m"]) -> Float[Tensor, "n *m"]:
    """A minimiser x of |matrix x - right| for a symmetric matrix without negative eigenvalues, such as a Gram matrix.

    The least of all in units in which the diagonal is 1; eigenvalues at rounding's level are left out.
    """
    unit = matrix.diagonal().clamp_min(0).sqrt()
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    values, vectors = torch.linalg.eigh(matrix / (unit * unit[:, None]))
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1:]
    inverse = torch.where(kept, 1 / torch.where(kept, values, torch.ones_like(values)), torch.zeros_like(values))
    columns = right.reshape(len(values), -1) / unit[:, None]
    return ((vectors * inverse) @ (vectors.mT @ columns) / unit[:, None]).reshape(right.shape)

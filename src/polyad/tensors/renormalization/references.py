"""Exact partition functions of the square-lattice Ising model: Kaufman's torus, Onsager's limit, transfer matrices.

With s = sinh 2b and sinh^2(g_k / 2) = (s - 1)^2 / (2 s) + sin^2(pi k / (2 Lx)), which is Kaufman's
cosh g_k = cosh 2b coth 2b - cos(pi k / Lx) without its cancellation near criticality,

    Z = (2 s)^{Lx Ly / 2} / 2 [ prod 2cosh(Ly g/2) + prod 2sinh(Ly g/2) over odd k
                              + prod 2cosh(Ly g/2) + prod 2sinh(Ly g/2) over even k ],

k = 0 .. 2 Lx - 1, where g_0 = 2b + ln tanh b keeps its sign (negative above T_c). In the limit
ln Z / N = ln(2 s) / 2 + 1/(2 pi) int_0^pi g(w) dw. All products are formed in logarithms, and all functions are twice
differentiable in the inverse temperature, at T_c too.

In the loop expansion Z = 2^V cosh(b)^{2V} S(t), t = tanh b, S = sum over closed loops of t^N, the links N of a
loop configuration have <N> = t d/dt ln S and Var N = (t d/dt)^2 ln S, with t d/dt = sinh(2b)/2 d/db.

Sources: L. Onsager, Phys. Rev. 65 (1944) 117; B. Kaufman, Phys. Rev. 76 (1949) 1232.

When not to use it: with a field (only `transfer_matrix` takes one) or unequal couplings.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

CRITICAL_BETA = math.log(1 + math.sqrt(2)) / 2
"""Inverse critical temperature of the infinite lattice, ln(1 + sqrt 2) / 2."""

WIDEST = 12
"""Largest width that `transfer_matrix` accepts: a dense matrix of 4096 rows."""


def kaufman(beta: Float[Tensor, "*batch"], columns: int, rows: int) -> Float[Tensor, "*batch"]:
    """ln Z of a torus of columns x rows spins at inverse temperature beta > 0 (coupling 1, no field).

    Raises:
        InputError: beta not positive and finite, or a side below 1.
    """
    check_beta(beta)
    check_sides(columns, rows)
    s = torch.sinh(2 * beta)
    mass = (s - 1) / torch.sqrt(2 * s)
    k = torch.arange(1, 2 * columns, dtype=beta.dtype, device=beta.device)
    gap = mass.unsqueeze(-1).square() + torch.sin(torch.pi * k / (2 * columns)).square()
    half = rows * torch.asinh(torch.sqrt(gap))
    zero = rows * torch.asinh(mass)
    log_cosh = half + torch.log1p(torch.exp(-2 * half))
    log_sinh = half + torch.log1p(-torch.exp(-2 * half))
    odd, even = slice(0, None, 2), slice(1, None, 2)
    even_sinh = log_sinh[..., even].sum(-1)
    logs = torch.stack(
        [
            log_cosh[..., odd].sum(-1),
            log_sinh[..., odd].sum(-1),
            log_cosh[..., even].sum(-1) + torch.logaddexp(zero, -zero),
            even_sinh + zero,
            even_sinh - zero,
        ],
        -1,
    )
    largest = logs.detach().amax(-1, keepdim=True)
    signs = logs.new_tensor([1.0, 1.0, 1.0, 1.0, -1.0])
    bracket = torch.log((signs * torch.exp(logs - largest)).sum(-1)) + largest.squeeze(-1)
    return columns * rows / 2 * torch.log(2 * s) + bracket - math.log(2)


def onsager(beta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """ln Z per site of the infinite lattice, by double exponential quadrature.

    Raises:
        InputError: beta not positive and finite.
    """
    check_beta(beta)
    s = torch.sinh(2 * beta)
    u = torch.linspace(-4.0, 4.0, 513, dtype=beta.dtype, device=beta.device)
    z = torch.pi * torch.sinh(u)
    angle = torch.pi * torch.sigmoid(z)
    weight = torch.pi**2 * torch.sigmoid(z) * torch.sigmoid(-z) * torch.cosh(u) * (u[1] - u[0])
    gap = ((s - 1).square() / (2 * s)).unsqueeze(-1) + torch.sin(angle / 2).square()
    integral = (2 * torch.asinh(torch.sqrt(gap)) * weight).sum(-1)
    return torch.log(2 * s) / 2 + integral / (2 * torch.pi)


def transfer_matrix(
    beta: Float[Tensor, "*batch"], columns: int, rows: int, *, field: float | Tensor = 0.0
) -> Float[Tensor, "*batch"]:
    """ln Z of a torus with one side of at most 12, in a field (weight exp(field * spin)), from all eigenvalues.

    Raises:
        InputError: beta not positive and finite, a side below 1, or both sides above 12.
    """
    check_beta(beta)
    check_sides(columns, rows)
    width, length = min(columns, rows), max(columns, rows)
    if width > WIDEST:
        raise InputError(
            f"the torus is {columns} x {rows}; a transfer matrix needs one side <= {WIDEST}, see `kaufman`"
        )
    states = torch.arange(2**width, device=beta.device)
    bits = (states.unsqueeze(-1) >> torch.arange(width, device=beta.device)) & 1
    spins = (1 - 2 * bits).to(beta.dtype)
    strength = torch.as_tensor(field, dtype=beta.dtype, device=beta.device)[..., None]
    along = beta.unsqueeze(-1) * (spins * spins.roll(1, -1)).sum(-1) + strength * spins.sum(-1)
    exponent = (along.unsqueeze(-1) + along.unsqueeze(-2)) / 2 + beta[..., None, None] * (spins @ spins.T)
    shift = exponent.detach().amax((-2, -1), keepdim=True)
    values = torch.linalg.eigvalsh(torch.exp(exponent - shift)).clamp(min=torch.finfo(beta.dtype).tiny)
    return torch.logsumexp(length * torch.log(values), -1) + length * shift[..., 0, 0]


def derivatives(function: Callable[[Tensor], Tensor], point: Float[Tensor, "*batch"]) -> tuple[Tensor, Tensor, Tensor]:
    """Value, first and second derivative of a function that acts on each element of its argument by itself."""
    with torch.enable_grad():
        x = point.detach().clone().requires_grad_()
        value = function(x)
        (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    return value.detach(), first.detach(), second.detach()


def loop_statistics(
    beta: Float[Tensor, "*batch"], columns: int, rows: int
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Exact mean and variance of the number of links of the closed loops of the torus.

    Raises:
        InputError: beta not positive and finite, or a side below 1.
    """

    def log_loops(b: Tensor) -> Tensor:
        sites = columns * rows
        return kaufman(b, columns, rows) - sites * math.log(2) - 2 * sites * torch.log(torch.cosh(b))

    _, first, second = derivatives(log_loops, beta)
    factor = torch.sinh(2 * beta) / 2
    return factor * first, factor * (torch.cosh(2 * beta) * first + factor * second)


def check_beta(beta: Tensor) -> None:
    """Refuse an inverse temperature that is not positive and finite."""
    if not bool(((beta > 0) & torch.isfinite(beta)).all()):
        raise InputError("beta must be positive and finite everywhere (a ferromagnet at a finite temperature)")


def check_sides(columns: int, rows: int) -> None:
    """Refuse a torus without sites."""
    if columns < 1 or rows < 1:
        raise InputError(f"the torus is {columns} x {rows}; both sides must be at least 1")

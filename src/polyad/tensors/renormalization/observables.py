"""Energy, specific heat, magnetisation and susceptibility from a coarse-grained partition function, in three ways.

* `autograd`: derivatives of the computed ln Z, through the contraction and its truncations;
* `difference`: central differences of the computed ln Z;
* `impurity`: one and two impurity tensors carried through the flow with the isometries of the pure tensor.

The first two agree to rounding and to the step. Impurities are biased by the truncation, which knows nothing of them:
little in first derivatives, strongly in second ones, whose pairs of impurities need states that ln Z does not.

Per site, with ln Z a function of the inverse temperature b and of the field h (weight exp(h * spin)):
energy = - d ln Z / db, heat = b^2 d^2 ln Z / db^2, magnetisation = d ln Z / dh, susceptibility = d^2 ln Z / dh^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.flow import log_partition_jet, log_z
from polyad.tensors.renormalization.ising import ising_jet
from polyad.tensors.renormalization.references import derivatives


@final
@dataclass(frozen=True)
class Thermodynamics:
    """Per site, over the batch of temperatures: ln Z, energy and specific heat."""

    log_z: Tensor
    energy: Tensor
    heat: Tensor


@final
@dataclass(frozen=True)
class Magnetism:
    """Per site, over the batch: ln Z, magnetisation and susceptibility (its second derivative by the field)."""

    log_z: Tensor
    magnetization: Tensor
    susceptibility: Tensor


def thermodynamics(
    beta: Float[Tensor, "*batch"],
    columns: int,
    rows: int,
    *,
    bond: int = 16,
    method: str = "hotrg",
    field: float = 0.0,
    by: str = "autograd",
    step: float = 1e-4,
) -> Thermodynamics:
    """ln Z, energy and specific heat of the Ising model on a torus whose sides are powers of two.

    Args:
        beta: inverse temperatures.
        bond: the largest dimension of a leg.
        method: a rule of `log_z`.
        field: enters as exp(field * spin).
        by: the way to take derivatives: 'autograd', 'difference' or 'impurity'.
        step: of the central differences in beta.

    Raises:
        InputError: an unknown way, impurities with 'trg' or 'exact', or what `log_z` refuses.
    """
    jet = lambda: ising_jet(beta, field, by="beta")  # noqa: E731
    function = lambda b: log_z(b, columns, rows, bond=bond, method=method, field=field)  # noqa: E731
    value, first, second = _derivatives(function, beta, jet, (columns, rows, bond, method), by, step)
    sites = columns * rows
    return Thermodynamics(value / sites, -first / sites, beta.square() * second / sites)


def magnetism(
    beta: Float[Tensor, "*batch"],
    columns: int,
    rows: int,
    *,
    field: float,
    bond: int = 16,
    method: str = "hotrg",
    by: str = "autograd",
    step: float = 1e-4,
) -> Magnetism:
    """ln Z, magnetisation and susceptibility in a field; arguments and errors are those of `thermodynamics`.

    The torus is finite: without a field the magnetisation is zero.
    """
    fields = torch.full_like(beta, field)
    jet = lambda: ising_jet(beta, fields, by="field")  # noqa: E731
    function = lambda h: log_z(beta, columns, rows, bond=bond, method=method, field=h)  # noqa: E731
    value, first, second = _derivatives(function, fields, jet, (columns, rows, bond, method), by, step)
    sites = columns * rows
    return Magnetism(value / sites, first / sites, second / sites)


def _derivatives(
    function: Callable[[Tensor], Tensor],
    point: Tensor,
    jet: Callable[[], list[Tensor]],
    arguments: tuple[int, int, int, str],
    by: str,
    step: float,
) -> tuple[Tensor, Tensor, Tensor]:
    if by == "autograd":
        return derivatives(function, point)
    if by == "difference":
        if not step > 0:
            raise InputError(f"step is {step}; it must be positive")
        above, here, below = function(point + step), function(point), function(point - step)
        return here, (above - below) / (2 * step), (above - 2 * here + below) / step**2
    if by != "impurity":
        raise InputError(f"by is {by!r}; allowed are 'autograd', 'difference', 'impurity'")
    columns, rows, bond, method = arguments
    if method == "exact":
        raise InputError("the transfer matrix carries no impurities; use by='autograd'")
    value, first, second = log_partition_jet(jet(), columns, rows, bond=bond, method=method)
    return value, first, second

"""Tensor programs: one text, run at a finite width or in the limit of infinite width.

A program is a function of a machine. Its vectors, written |x> here and `Ket` in code, have n coordinates that are in
the limit draws of one random variable Z^x; the machine has four instructions,

    vector       initial, i.i.d. normal
    matmul       |W x> or |W^T x>, W with i.i.d. N(0, variance / n) entries
    apply        |psi(x; c)>, coordinate by coordinate
    outer        y_a = (1 / n) sum_b psi(x_a; x_b; c) (OuterNonlin)

and scalars <x|y> = (1 / n) sum_a x_a y_a. In the limit <x|y> = E[Z^x Z^y], y of `outer` is the mean over an independent
copy in the second place, and Z^{W x} has two parts (the master theorem),

    a Gaussian one, with covariance variance E[Z^x Z^y] to that of W y and independent of all others,
    variance sum_y Z^y E[dZ^x / dG^{W^T y}]    over the earlier |W^T y>, G its Gaussian part,

of which the second one is there since W and W^T are correlated. By Stein's lemma its derivatives are the coefficients
of the regression of Z^x on the G^{W^T y}, so psi may have jumps. `LimitMachine` has samples for distributions.

    def body(machine):
        x, weight = machine.vector(), machine.matrix()
        y = machine.apply(torch.relu, machine.matmul(weight, x))
        return {"overlap": x.bra(machine.matmul(weight, y, transpose=True))}

    TensorProgram(body).limit()    # {"overlap": 0.5} up to scatter; without the correction it would be 0

Source: Yang and Littwin, Tensor Programs IVb, 2023, arXiv:2308.01814; Yang, Tensor Programs III, 2020,
arXiv:2009.10685.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

ROWS_AT_ONCE = 1024
"""Of the first place in `outer`, to bound memory."""


@final
@dataclass(frozen=True)
class Ket:
    """A vector of a program: n coordinates, or as many samples of its limit.

    Args:
        values: of the coordinates.
    """

    values: Float[Tensor, "n"]

    def bra(self, other: Ket) -> Tensor:
        """<self|other>, the mean of the product of coordinates."""
        return (self.values * other.values).mean()


@final
@dataclass
class Weight:
    """A matrix of a program, and what the machine keeps of it: entries, or the products made so far.

    Args:
        variance: n times that of an entry.
        entries: at finite width.
        products: in the limit, by whether transposed: the factors and the Gaussian parts.
    """

    variance: float
    entries: Tensor | None = None
    products: dict[bool, tuple[list[Tensor], list[Tensor]]] = field(default_factory=dict)


@runtime_checkable
class Machine(Protocol):
    """What a program may ask for; see the module."""

    def vector(self) -> Ket:
        """Initial, with standard normal coordinates."""

    def matrix(self, *, variance: float = 1.0) -> Weight:
        """Initial, with normal entries of variance `variance / n`."""

    def matmul(self, matrix: Weight, ket: Ket, *, transpose: bool = False) -> Ket:
        """|W x>, or |W^T x>."""

    def apply(self, function: Callable[..., Tensor], *kets: Ket) -> Ket:
        """|psi(x, y, ...)>, coordinate by coordinate; scalars may be bound by a closure."""

    def outer(self, function: Callable[..., Tensor], here: tuple[Ket, ...], there: tuple[Ket, ...]) -> Ket:
        """The mean over b of psi(x_a, ..., y_b, ...), `here` with index a and `there` with b."""


@final
@dataclass(frozen=True)
class TensorProgram:
    """A program and its two readings.

    Args:
        body: makes scalars by name on a machine.
    """

    body: Callable[[Machine], Mapping[str, Tensor]]

    def simulate(self, *, width: int, seed: int = 0) -> dict[str, float]:
        """Scalars at a finite width.

        Raises:
            InputError: a width below 1.
        """
        if width < 1:
            raise InputError(f"width: 1 or more, got {width}")
        return _numbers(self.body(FiniteMachine(width, seed)))

    def limit(self, *, samples: int = 100_000, seed: int = 0, corrections: bool = True) -> dict[str, float]:
        """Scalars in the limit, up to the scatter of samples.

        Args:
            samples: of every Z.
            seed: of the draws.
            corrections: keep the part of Z^{W x} for the reuse of W^T; without it the limit is wrong.

        Raises:
            InputError: fewer than 2 samples.
        """
        if samples < 2:
            raise InputError(f"samples: 2 or more, got {samples}")
        return _numbers(self.body(LimitMachine(samples, seed, corrections=corrections)))


@final
class FiniteMachine:
    """Runs a program as it is written.

    Args:
        width: n.
        seed: of the draws.
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        self.width = width
        self._generator = torch.Generator().manual_seed(seed)

    def vector(self) -> Ket:
        """Initial, with standard normal coordinates."""
        return Ket(torch.randn(self.width, generator=self._generator, dtype=torch.float64))

    def matrix(self, *, variance: float = 1.0) -> Weight:
        """Initial, with normal entries of variance `variance / n`."""
        entries = torch.randn(self.width, self.width, generator=self._generator, dtype=torch.float64)
        return Weight(variance, entries * (variance / self.width) ** 0.5)

    def matmul(self, matrix: Weight, ket: Ket, *, transpose: bool = False) -> Ket:
        """|W x>, or |W^T x>."""
        if matrix.entries is None:
            raise InputError("matrix: made by a machine of the limit, give one of this machine")
        return Ket((matrix.entries.T if transpose else matrix.entries) @ ket.values)

    def apply(self, function: Callable[..., Tensor], *kets: Ket) -> Ket:
        """|psi(x, y, ...)>, coordinate by coordinate."""
        return Ket(function(*(ket.values for ket in kets)))

    def outer(self, function: Callable[..., Tensor], here: tuple[Ket, ...], there: tuple[Ket, ...]) -> Ket:
        """The mean over b of psi(x_a, ..., y_b, ...)."""
        return _outer(function, here, [ket.values for ket in there])


@final
class LimitMachine:
    """Runs a program on samples of the limits Z.

    Args:
        samples: of every Z.
        seed: of the draws.
        corrections: keep the part of Z^{W x} for the reuse of W^T.
        copies: samples that stand for the independent copy in `outer`.
    """

    def __init__(self, samples: int, seed: int = 0, *, corrections: bool = True, copies: int = 1024) -> None:
        self.samples = samples
        self.corrections = corrections
        self._generator = torch.Generator().manual_seed(seed)
        self._copies = torch.randperm(samples, generator=self._generator)[:copies]

    def vector(self) -> Ket:
        """Samples of a standard normal variable."""
        return Ket(torch.randn(self.samples, generator=self._generator, dtype=torch.float64))

    def matrix(self, *, variance: float = 1.0) -> Weight:
        """A matrix that no product was made with."""
        return Weight(variance, products={False: ([], []), True: ([], [])})

    def matmul(self, matrix: Weight, ket: Ket, *, transpose: bool = False) -> Ket:
        """Samples of Z^{W x}: the Gaussian part given the earlier ones, and the correction."""
        if not matrix.products:
            raise InputError("matrix: made by a machine of finite width, give one of this machine")
        factors, gaussians = matrix.products[transpose]
        target = ket.values
        part = self.vector().values
        if factors:
            earlier, drawn = torch.stack(factors, 1), torch.stack(gaussians, 1)
            coefficients = _regression(earlier, target)
            residual = (target - earlier @ coefficients).square().mean()
            part = drawn @ coefficients + (matrix.variance * residual).sqrt() * part
        else:
            part = (matrix.variance * target.square().mean()).sqrt() * part
        factors.append(target)
        gaussians.append(part)
        factors, gaussians = matrix.products[not transpose]
        if gaussians and self.corrections:
            derivatives = _regression(torch.stack(gaussians, 1), target)
            return Ket(part + matrix.variance * torch.stack(factors, 1) @ derivatives)
        return Ket(part)

    def apply(self, function: Callable[..., Tensor], *kets: Ket) -> Ket:
        """Samples of psi(Z^x, Z^y, ...)."""
        return Ket(function(*(ket.values for ket in kets)))

    def outer(self, function: Callable[..., Tensor], here: tuple[Ket, ...], there: tuple[Ket, ...]) -> Ket:
        """Samples of E[psi(z, ..., Z^y, ...)] at z = Z^x, the mean over some samples of the second place."""
        return _outer(function, here, [ket.values[self._copies] for ket in there])


def _outer(function: Callable[..., Tensor], here: tuple[Ket, ...], there: list[Tensor]) -> Ket:
    rows = zip(*(ket.values.split(ROWS_AT_ONCE) for ket in here), strict=True)
    return Ket(torch.cat([function(*(part[:, None] for part in row), *there).mean(1) for row in rows]))


def _regression(variables: Tensor, target: Tensor) -> Tensor:
    """Coefficients of least squares, the shortest where variables repeat."""
    moments = variables.T @ variables
    return torch.linalg.pinv(moments, rtol=1e-12, hermitian=True) @ (variables.T @ target)


def _numbers(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in scalars.items()}

"""The Chebyshev-Tucker format: a function of few variables as a small core and one Chebyshev series a column.

    f(x) = sum_{r1..rd} g_{r1..rd} v^1_{r1}(x_1) ... v^d_{rd}(x_d),
    v^k_r(x) = sum_i V^k_{i r} T_i(2 (x - a_k) / (b_k - a_k) - 1)

on the box of all (a_k, b_k), that is, a Tucker tensor of Chebyshev coefficients. No grid is involved: values,
derivatives and integrals come from the series, and a Tucker tensor on any grid from the series' values there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev.transforms import (
    Interval,
    antiderivative_matrix,
    chebyshev_basis,
    check_interval,
    derivative_matrix,
    integral_weights,
    multiply_columns,
)
from polyad.tensors.formats import Storage, Tucker
from polyad.tensors.formats.base import check_mode

POINTS_AT_ONCE = 2**14
NUMBERS_AT_ONCE = 2**24

Box = Sequence[Interval]


@final
@dataclass(frozen=True, eq=False, repr=False)
class ChebyshevTucker:
    """A function on a box.

    Args:
        coefficients: Tucker tensor of Chebyshev coefficients, mode k of variable k, without batch dimensions.
        box: (lower, upper) of every variable.

    Sums and products with another function on the same box, and with numbers, are written with + - *; they keep every
    rank. `add`, `multiply` and `round` with a tolerance bring the ranks down: it bounds the relative Frobenius error of
    the coefficients, hence the error of the function by sqrt(product of counts) times that (|T_k| <= 1).
    """

    coefficients: Tucker
    box: tuple[Interval, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", check_box(self.box, self.coefficients.order))
        if self.coefficients.batch_shape:
            raise InputError(
                f"coefficients: a batch {self.coefficients.batch_shape} was given; keep one ChebyshevTucker a function"
            )

    @property
    def order(self) -> int:
        """Number of variables."""
        return self.coefficients.order

    @property
    def counts(self) -> tuple[int, ...]:
        """Chebyshev coefficients a variable, degree + 1."""
        return self.coefficients.shape

    @property
    def ranks(self) -> tuple[int, ...]:
        """Tucker ranks."""
        return self.coefficients.ranks

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers."""
        return self.coefficients.dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.coefficients.device

    @property
    def storage(self) -> Storage:
        """Numbers and bytes held."""
        return self.coefficients.storage

    def evaluate(self, points: Float[Tensor, "... order"]) -> Inexact[Tensor, "..."]:
        """Values at points of the box; differentiable with respect to points and coefficients.

        Raises:
            InputError: a point of other dimension, outside the box, or NaN.
        """
        if points.shape[-1] != self.order:
            raise InputError(f"points: they have {points.shape[-1]} coordinates, the function has {self.order}")
        flat = points.reshape(-1, self.order)
        values = [self._evaluate(part) for part in flat.split(POINTS_AT_ONCE)]
        return torch.cat(values).reshape(points.shape[:-1])

    def _evaluate(self, points: Tensor) -> Tensor:
        rows = tuple(self._values(points[:, mode], mode) for mode in range(self.order))
        place = torch.arange(len(points), device=points.device)
        return Tucker(self.coefficients.core, rows).entries(place[:, None].expand(-1, self.order))

    def _values(self, coordinates: Tensor, mode: int) -> Tensor:
        """The functions of one variable at these coordinates: (points, rank)."""
        basis = chebyshev_basis(coordinates, self.counts[mode], interval=self.box[mode])
        return basis.to(self.dtype) @ self.coefficients.factors[mode]

    def on_grid(self, coordinates: Sequence[Float[Tensor, " _"] | int]) -> Tucker:
        """The values on a product grid as a Tucker tensor with orthonormal factors; the grid tensor is not formed.

        Args:
            coordinates: of every variable, or a number of equally spaced points from end to end.
        """
        if len(coordinates) != self.order:
            raise InputError(f"coordinates: {len(coordinates)} were given, {self.order} are needed, one a variable")
        factors = []
        for mode, given in enumerate(coordinates):
            if isinstance(given, int):
                real = self.coefficients.core.real.dtype
                given = torch.linspace(*self.box[mode], given, dtype=real, device=self.device)
            factors.append(self._values(given, mode))
        return Tucker(self.coefficients.core, tuple(factors)).orthogonalise()

    def derivative(self, mode: int) -> ChebyshevTucker:
        """The partial derivative with respect to one variable."""
        return self._mapped(derivative_matrix, mode)

    def antiderivative(self, mode: int) -> ChebyshevTucker:
        """The integral along one variable from the lower face of the box to x."""
        return self._mapped(antiderivative_matrix, mode)

    def _mapped(self, build: Callable[..., Tensor], mode: int) -> ChebyshevTucker:
        mode = check_mode(mode, self.order)
        matrix = build(self.counts[mode], interval=self.box[mode], dtype=self.dtype, device=self.device)
        return ChebyshevTucker(self.coefficients.mode_product(matrix, mode).orthogonalise(), self.box)

    def integral(self) -> Inexact[Tensor, ""]:
        """The integral over the box."""
        weights = self._integral_weights(range(self.order))
        return self.coefficients.contract(weights)  # type: ignore[return-value]

    def integrate(self, modes: Sequence[int]) -> ChebyshevTucker:
        """The integral over these variables, as a function of the others; at least one is left."""
        gone = {check_mode(mode, self.order) for mode in modes}
        if len(gone) == self.order:
            raise InputError(f"modes: {tuple(modes)} are all variables; leave one out, or take integral()")
        left = self.coefficients.contract(self._integral_weights(gone))
        assert isinstance(left, Tucker)
        return ChebyshevTucker(left, tuple(ends for mode, ends in enumerate(self.box) if mode not in gone))

    def _integral_weights(self, modes: Iterable[int]) -> dict[int, Tensor]:
        return {
            mode: integral_weights(self.counts[mode], interval=self.box[mode], dtype=self.dtype, device=self.device)
            for mode in modes
        }

    def scale(self, factor: Inexact[Tensor, ""] | complex) -> ChebyshevTucker:
        """The function times a number."""
        return ChebyshevTucker(self.coefficients.scale(factor), self.box)

    def add(self, other: ChebyshevTucker, *, tolerance: float | None = None) -> ChebyshevTucker:
        """The sum; the shorter series is filled up with zeros, ranks add unless a tolerance is given."""
        self._check_same(other)
        counts = [max(pair) for pair in zip(self.counts, other.counts, strict=True)]
        total = ChebyshevTucker(_padded(self.coefficients, counts).add(_padded(other.coefficients, counts)), self.box)
        return total if tolerance is None else total.round(tolerance)

    def multiply(self, other: ChebyshevTucker, *, tolerance: float | None = None) -> ChebyshevTucker:
        """The product, of counts m + n - 1: exact, ranks as rounding leaves them unless a tolerance is given.

        The product of two columns is a series again, and all products of a variable span few series, so the core of
        r s times the ranks is never formed whole.
        """
        self._check_same(other)
        bases, roots = [], []
        for mine, others in zip(self.coefficients.factors, other.coefficients.factors, strict=True):
            products = multiply_columns(mine, others)
            basis, triangle = torch.linalg.qr(products.flatten(1))
            bases.append(basis)
            roots.append(triangle.unflatten(1, products.shape[1:]))
        core = _product_core(self.coefficients.core, other.coefficients.core, roots)
        product = ChebyshevTucker(Tucker(core, tuple(bases)), self.box)
        return product if tolerance is None else product.round(tolerance)

    def round(self, tolerance: float) -> ChebyshevTucker:
        """Lower ranks; |coefficients - result| <= tolerance |coefficients| in the Frobenius norm."""
        if not bool(self.coefficients.core.detach().abs().max() > 0):
            return ChebyshevTucker(self.coefficients, self.box)
        return ChebyshevTucker(self.coefficients.round(tolerance=tolerance), self.box)

    def _check_same(self, other: ChebyshevTucker) -> None:
        if not isinstance(other, ChebyshevTucker):
            raise InputError(f"other: {type(other).__name__} was given, a ChebyshevTucker on the same box is needed")
        if self.box != other.box:
            raise InputError(f"other: its box {other.box} is not {self.box}; approximate both on one box")

    def __add__(self, other: ChebyshevTucker) -> ChebyshevTucker:
        return self.add(other)

    def __sub__(self, other: ChebyshevTucker) -> ChebyshevTucker:
        return self.add(other.scale(-1.0))

    def __neg__(self) -> ChebyshevTucker:
        return self.scale(-1.0)

    def __mul__(self, other: ChebyshevTucker | Tensor | complex) -> ChebyshevTucker:
        return self.multiply(other) if isinstance(other, ChebyshevTucker) else self.scale(other)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        numbers = self.storage.numbers
        return (
            f"ChebyshevTucker(counts={self.counts}, ranks={self.ranks}, box={self.box}, "
            f"numbers={numbers}, {self.dtype})"
        )


def check_box(box: Box, order: int) -> tuple[Interval, ...]:
    """One interval a variable."""
    if len(box) != order:
        raise InputError(f"box: {len(box)} intervals were given, {order} are needed, (lower, upper) of every variable")
    return tuple(check_interval(interval) for interval in box)


def _padded(tensor: Tucker, counts: Sequence[int]) -> Tucker:
    factors = (
        torch.nn.functional.pad(factor, (0, 0, 0, count - factor.shape[0]))
        for factor, count in zip(tensor.factors, counts, strict=True)
    )
    return Tucker(tensor.core, tuple(factors))


def _product_core(one: Tensor, two: Tensor, roots: Sequence[Tensor]) -> Tensor:
    """sum over a, b of one_a two_b prod_k roots^k_{i_k a_k b_k}, some i_1 at a time."""
    rest = prod(one.shape[1:]) * prod(two.shape[1:])
    parts = []
    for root in roots[0].split(max(1, NUMBERS_AT_ONCE // rest)):
        part = torch.einsum("iab,ax,by->ixy", root, one.reshape(one.shape[0], -1), two.reshape(two.shape[0], -1))
        for mode in range(1, one.ndim):
            a, b = one.shape[mode], two.shape[mode]
            part = part.reshape(len(part), a, part.shape[1] // a, b, part.shape[2] // b)
            part = torch.einsum("xacbd,jab->xjcd", part, roots[mode]).flatten(0, 1)
        parts.append(part.reshape(root.shape[0], *(r.shape[0] for r in roots[1:])))
    return torch.cat(parts)

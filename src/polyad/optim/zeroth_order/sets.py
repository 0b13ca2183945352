"""Convex sets through their linear minimisation oracles: argmin of <v, cost> over the set, no projection needed.

A set knows how many of a tensor's last dimensions make up one of its points (`event_dimensions`: 1 for vectors, 2 for
matrices); all dimensions before are a batch. `vertex(cost)` is an extreme point that minimises <v, cost> and refuses,
with `InputError`, a cost that is not finite; `violation(point)` is how far a point lies outside, measured by what
defines the set; `diameter(shape)` is the largest distance of two of its points.

Source: M. Jaggi, 'Revisiting Frank-Wolfe: projection-free sparse convex optimization', ICML 2013, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import check_positive


@runtime_checkable
class ConvexSet(Protocol):
    """What Frank-Wolfe methods ask of a set; see the module."""

    @property
    def event_dimensions(self) -> int:
        """How many of the last dimensions make up one point."""

    def vertex(self, cost: Tensor) -> Tensor:
        """An extreme point that minimises <v, cost>, in the shape of `cost`."""

    def violation(self, point: Tensor) -> Tensor:
        """How far each point of a batch lies outside; 0 inside."""

    def diameter(self, shape: Sequence[int]) -> float:
        """The largest distance of two points of this shape."""


@final
@dataclass(frozen=True)
class L1Ball:
    """sum |x_i| <= radius."""

    radius: float = 1.0
    event_dimensions: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive(radius=self.radius)

    def vertex(self, cost: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """-radius sign(c_i) e_i at the largest |c_i|."""
        _check_finite(cost)
        place = cost.abs().argmax(-1, keepdim=True)
        return torch.zeros_like(cost).scatter(-1, place, self.radius * _against(cost.gather(-1, place)))

    def violation(self, point: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """sum |x_i| - radius, where positive."""
        return (point.abs().sum(-1) - self.radius).clamp_min(0)

    def diameter(self, shape: Sequence[int]) -> float:
        """2 radius."""
        return 2 * self.radius


@final
@dataclass(frozen=True)
class Simplex:
    """x_i >= 0, sum x_i = total."""

    total: float = 1.0
    event_dimensions: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive(total=self.total)

    def vertex(self, cost: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """total e_i at the least c_i."""
        _check_finite(cost)
        return torch.zeros_like(cost).scatter(-1, cost.argmin(-1, keepdim=True), self.total)

    def violation(self, point: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """The larger of |sum - total| and the most negative entry's size."""
        return torch.maximum((point.sum(-1) - self.total).abs(), -point.amin(-1))

    def diameter(self, shape: Sequence[int]) -> float:
        """sqrt(2) total, 0 for a single entry."""
        return 2**0.5 * self.total if shape[-1] > 1 else 0.0


@final
@dataclass(frozen=True)
class L2Ball:
    """||x|| <= radius."""

    radius: float = 1.0
    event_dimensions: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive(radius=self.radius)

    def vertex(self, cost: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """-radius c / ||c||; e_1 of that length where c = 0."""
        _check_finite(cost)
        return -self.radius * _unit(cost)

    def violation(self, point: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """||x|| - radius, where positive."""
        return (torch.linalg.vector_norm(point, dim=-1) - self.radius).clamp_min(0)

    def diameter(self, shape: Sequence[int]) -> float:
        """2 radius."""
        return 2 * self.radius


@final
@dataclass(frozen=True)
class Box:
    """|x_i| <= radius."""

    radius: float = 1.0
    event_dimensions: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive(radius=self.radius)

    def vertex(self, cost: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """-radius sign(c_i), and radius where c_i = 0."""
        _check_finite(cost)
        return self.radius * _against(cost)

    def violation(self, point: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """max |x_i| - radius, where positive."""
        return (point.abs().amax(-1) - self.radius).clamp_min(0)

    def diameter(self, shape: Sequence[int]) -> float:
        """2 radius sqrt(d)."""
        return 2 * self.radius * shape[-1] ** 0.5


@final
@dataclass(frozen=True)
class NuclearBall:
    """Matrices whose singular values sum to radius at most. The oracle is one singular pair, by power iteration.

    Args:
        radius: of the ball.
        iterations: power steps at most, each two products with the matrix.
        tolerance: relative change of the singular value between two steps at which the iteration ends; 0: never.
        seed: of the vector from which it starts.
    """

    radius: float = 1.0
    iterations: int = 100
    tolerance: float = 1e-4
    seed: int = 0
    event_dimensions: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_positive(radius=self.radius, iterations=self.iterations)

    def vertex(self, cost: Float[Tensor, "... n m"]) -> Float[Tensor, "... n m"]:
        """-radius u v' with the pair (u, v) of the largest singular value."""
        _check_finite(cost)
        left, right = top_singular_pair(cost, iterations=self.iterations, tolerance=self.tolerance, seed=self.seed)
        return (-self.radius * left)[..., :, None] * right[..., None, :]

    def violation(self, point: Float[Tensor, "... n m"]) -> Float[Tensor, "..."]:
        """Sum of singular values - radius, where positive."""
        return (torch.linalg.matrix_norm(point, "nuc") - self.radius).clamp_min(0)

    def diameter(self, shape: Sequence[int]) -> float:
        """2 radius."""
        return 2 * self.radius


@final
@dataclass(frozen=True)
class Birkhoff:
    """Doubly stochastic matrices: entries >= 0, rows and columns sum to 1. The oracle is an assignment problem."""

    event_dimensions: ClassVar[int] = 2

    def vertex(self, cost: Float[Tensor, "... n n"]) -> Float[Tensor, "... n n"]:
        """The permutation matrix of least cost."""
        _check_finite(cost)
        order = cost.shape[-1]
        if cost.shape[-2] != order:
            raise InputError(f"cost: doubly stochastic matrices are square, got {cost.shape[-2]} x {order}")
        flat = cost.detach().reshape(-1, order, order).double().cpu().numpy()
        columns = [torch.from_numpy(linear_sum_assignment(matrix)[1]) for matrix in flat]  # scipy: one at a time
        place = torch.stack(columns).reshape(cost.shape[:-1]).to(cost.device)
        return torch.zeros_like(cost).scatter(-1, place[..., None], 1.0)

    def violation(self, point: Float[Tensor, "... n n"]) -> Float[Tensor, "..."]:
        """The largest of |row sum - 1|, |column sum - 1| and the most negative entry's size."""
        sums = torch.cat([point.sum(-1), point.sum(-2)], dim=-1)
        return torch.maximum((sums - 1).abs().amax(-1), -point.amin((-2, -1)))

    def diameter(self, shape: Sequence[int]) -> float:
        """sqrt(2 n), 0 for n = 1."""
        return (2 * shape[-1]) ** 0.5 if shape[-1] > 1 else 0.0


def top_singular_pair(
    matrix: Float[Tensor, "... n m"], *, iterations: int, tolerance: float = 0.0, seed: int = 0
) -> tuple[Float[Tensor, "... n"], Float[Tensor, "... m"]]:
    """Unit vectors u, v with u' A v close to the largest singular value, from below.

    Args:
        matrix: A; of a batch, the iteration ends when all are done.
        iterations: power steps at most, v <- A' A v and normalised.
        tolerance: relative change of the singular value at which to end; 0: never.
        seed: of the vector from which it starts.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(matrix.shape[-1], dtype=torch.float64, generator=generator).to(matrix)
    right = (start / torch.linalg.vector_norm(start)).expand(*matrix.shape[:-2], -1)[..., None]
    largest = matrix.abs().amax((-2, -1), keepdim=True)
    matrix = matrix / torch.where(largest > 0, largest, 1.0)  # the steps square it: neither overflow nor vanish
    square = torch.zeros_like(largest)
    tiny = torch.finfo(matrix.dtype).tiny
    for _ in range(iterations):
        moved = matrix.mT @ (matrix @ right)
        before, square = square, torch.linalg.vector_norm(moved, dim=-2, keepdim=True)
        right = moved / square.clamp_min(tiny)
        if tolerance and bool((square - before <= 2 * tolerance * square).all()):
            break
    return _unit((matrix @ right)[..., 0]), _unit(right[..., 0])


def _check_finite(cost: Tensor) -> None:
    if not all(bool(extreme.isfinite()) for extreme in cost.aminmax()):  # one pass; NaN is an extreme
        raise InputError("cost: holds NaN or infinity; look at the gradient from which it comes")


def _against(cost: Tensor) -> Tensor:
    """-1 where cost is positive, 1 elsewhere."""
    return 1 - 2 * (cost > 0).to(cost.dtype)


def _unit(vector: Tensor) -> Tensor:
    """Vectors divided by their lengths; the first unit vector in the place of zeros."""
    largest = vector.abs().amax(-1, keepdim=True)
    scaled = vector / torch.where(largest > 0, largest, 1.0)  # squares neither overflow nor vanish
    first = torch.zeros_like(vector)
    first[..., 0] = 1.0
    scaled = torch.where(largest > 0, scaled, first)
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)

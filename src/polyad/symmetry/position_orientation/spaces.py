"""The spaces a network lives on: which grid of orientations every node carries, and which invariants its kernels see.

A space says, for a grid o_1..o_K that all nodes share,

    edges(rel, grid)   invariants of (rel, o) for the spatial kernel k1, (edges, K, .)
    fibre(grid)        invariants of (o, o') for the kernel k2 on the grid, (K, K, .), or None without orientations
    axes(grid)         the vectors by which vectors are lifted and read, (K, d), or None without orientations

A translation-invariant kernel on the product is the product of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.position_orientation.grids import circle_grid, repulsion_grid, rotation_grid
from polyad.symmetry.position_orientation.invariants import (
    invariants_r2s1,
    invariants_r3s2,
    invariants_rn,
    invariants_se3,
)
from polyad.tensors.rotations import random_rotations


@runtime_checkable
class Space(Protocol):
    """What a network needs to know of a space; `SPACES` has all of them by name."""

    @property
    def edge_size(self) -> int:
        """Number of invariants of an edge."""

    @property
    def fibre_size(self) -> int:
        """Number of invariants of two orientations."""

    def grid(self, points: int) -> Tensor:
        """A grid of that many orientations."""

    def turned(self, grid: Tensor) -> Tensor:
        """The grid after a random rotation, drawn from torch's own generator as dropout is."""

    def edges(self, relative: Tensor, grid: Tensor, *, smooth: bool) -> Tensor:
        """Invariants of edges and orientations; with `smooth`, those with a kink are squared."""

    def fibre(self, grid: Tensor) -> Tensor | None:
        """Invariants of pairs of orientations."""

    def axes(self, grid: Tensor) -> Tensor | None:
        """Unit vectors of the orientations."""


@final
@dataclass(frozen=True)
class Positions:
    """R^n: no orientations, so a grid of one point without coordinates."""

    edge_size: int = 1
    fibre_size: int = 0

    def grid(self, points: int) -> Float[Tensor, "1 0"]:
        """The empty grid; `points` must be 1."""
        if points != 1:
            raise InputError(f"orientations: space 'rn' has none, {points} were asked for; give 1")
        return torch.zeros(1, 0, dtype=torch.float64)

    def turned(self, grid: Tensor) -> Tensor:
        """Nothing turns."""
        return grid

    def edges(self, relative: Float[Tensor, "edges n"], grid: Tensor, *, smooth: bool) -> Float[Tensor, "edges 1 1"]:
        """|rel|, or |rel|^2 with `smooth`."""
        found = relative.square().sum(-1, keepdim=True) if smooth else invariants_rn(relative)
        return found[:, None]

    def fibre(self, grid: Tensor) -> None:
        """None: there is one orientation."""

    def axes(self, grid: Tensor) -> None:
        """None: there is no direction at a point."""


@final
@dataclass(frozen=True)
class PositionsDirections:
    """R^3 x S^2: a1 and a2 on edges, <o, o'> on the grid; O(3) acts on both."""

    edge_size: int = 2
    fibre_size: int = 1

    def grid(self, points: int) -> Float[Tensor, "K 3"]:
        """Points that repel each other."""
        return repulsion_grid(points)

    def turned(self, grid: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
        """o -> Q o."""
        return grid @ _rotation(grid).T

    def edges(
        self, relative: Float[Tensor, "edges 3"], grid: Float[Tensor, "K 3"], *, smooth: bool
    ) -> Float[Tensor, "edges K 2"]:
        """a1 and a2; with `smooth` a1 and a2^2."""
        if not smooth:
            return invariants_r3s2(relative[:, None], grid, grid, complete=False)[..., :2]
        along = relative @ grid.T
        return torch.stack([along, relative.square().sum(-1, keepdim=True) - along.square()], dim=-1)

    def fibre(self, grid: Float[Tensor, "K 3"]) -> Float[Tensor, "K K 1"]:
        """a3 = <o, o'>."""
        return (grid @ grid.T)[..., None]

    def axes(self, grid: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
        """The orientations themselves."""
        return grid


@final
@dataclass(frozen=True)
class PlaneDirections:
    """R^2 x S^1, which is SE(2): rel in the axes of o on edges, the signed angle on the grid."""

    edge_size: int = 2
    fibre_size: int = 2

    def grid(self, points: int) -> Float[Tensor, "K 2"]:
        """Equal steps on the circle."""
        return circle_grid(points)

    def turned(self, grid: Float[Tensor, "K 2"]) -> Float[Tensor, "K 2"]:
        """All orientations by one angle."""
        angle = 2 * math.pi * torch.rand((), dtype=torch.float64).to(grid)
        return grid @ torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2)

    def edges(
        self, relative: Float[Tensor, "edges 2"], grid: Float[Tensor, "K 2"], *, smooth: bool
    ) -> Float[Tensor, "edges K 2"]:
        """rel along o, and along o turned by a right angle; smooth as it is."""
        return invariants_r2s1(relative[:, None], grid, grid)[..., :2]

    def fibre(self, grid: Float[Tensor, "K 2"]) -> Float[Tensor, "K K 2"]:
        """Cosine and sine of the angle from the receiving to the sending orientation."""
        return invariants_r2s1(torch.zeros_like(grid), grid[:, None], grid)[..., 2:]

    def axes(self, grid: Float[Tensor, "K 2"]) -> Float[Tensor, "K 2"]:
        """The orientations themselves."""
        return grid


@final
@dataclass(frozen=True)
class Motions:
    """SE(3) itself: every node carries a grid of rotations, rel in their axes on edges, R_i' R_j on the grid.

    Eight turns about every direction of the grid of R^3 x S^2.
    """

    edge_size: int = 3
    fibre_size: int = 9

    def grid(self, points: int) -> Float[Tensor, "K 3 3"]:
        """`points` rotations, a multiple of 8: eight turns about each direction."""
        if points % 8:
            raise InputError(f"orientations: {points} rotations in space 'se3'; give 8 for every direction")
        return rotation_grid(repulsion_grid(points // 8), 8)

    def turned(self, grid: Float[Tensor, "K 3 3"]) -> Float[Tensor, "K 3 3"]:
        """R -> Q R."""
        return _rotation(grid) @ grid

    def edges(
        self, relative: Float[Tensor, "edges 3"], grid: Float[Tensor, "K 3 3"], *, smooth: bool
    ) -> Float[Tensor, "edges K 3"]:
        """rel in the axes of R; smooth as it is."""
        return torch.einsum("ei,kij->ekj", relative, grid)

    def fibre(self, grid: Float[Tensor, "K 3 3"]) -> Float[Tensor, "K K 9"]:
        """Entries of the rotation from the receiving to the sending one."""
        nowhere = torch.zeros(3, dtype=grid.dtype, device=grid.device)
        return invariants_se3(nowhere, grid[:, None], grid)[..., 3:]

    def axes(self, grid: Float[Tensor, "K 3 3"]) -> Float[Tensor, "K 3"]:
        """Third axes."""
        return grid[..., 2]


SPACES: dict[str, Space] = {
    "rn": Positions(),
    "r3s2": PositionsDirections(),
    "r2s1": PlaneDirections(),
    "se3": Motions(),
}
"""By name."""


def space_of(name: str) -> Space:
    """The space of this name.

    Raises:
        InputError: an unknown name.
    """
    if name not in SPACES:
        raise InputError(f"space: {name!r} is unknown; there are {', '.join(SPACES)}")
    return SPACES[name]


def dual_axes(axes: Float[Tensor, "K d"]) -> Float[Tensor, "K d"]:
    """Vectors u with mean of <v, o> u = v / d for every v in the span of the axes o; where these are tight, u = o."""
    points, dimension = axes.shape
    return axes @ torch.linalg.pinv(axes.T @ axes * (dimension / points), hermitian=True)


def _rotation(like: Tensor) -> Float[Tensor, "3 3"]:
    return random_rotations(1, generator=torch.default_generator)[0].to(like)

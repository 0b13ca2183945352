"""Grids of orientations: points of the sphere that repel each other, the icosahedron, the circle, rotations of space.

    repulsion_grid    K points of the sphere that minimise the sum over pairs of 1 / |o_k - o_l| (Thomson's problem)
    icosahedron       12 points; the 60 rotations of `icosahedral_rotations`, and -1 times them, permute them exactly
    circle_grid       K points of the circle, permuted by rotations by 2 pi / K
    rotation_grid     rotations: K directions for the third axis, times angles about it

*When not to use it*: as quadrature of known degree; `polyad.symmetry.sphere_grid` has exact weights.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from polyad.errors import InputError

_STARTS = 10


def repulsion_grid(points: int, *, seed: int = 0) -> Float[Tensor, "points 3"]:
    """Unit vectors of least Coulomb energy among the minima found from ten starts, float64.

    For 4, 6 and 12 points these are the vertices of tetrahedron, octahedron and icosahedron.

    Raises:
        InputError: less than one point.
    """
    _check(points)
    return torch.from_numpy(_repelled(points, seed)).clone()


def icosahedron() -> Float[Tensor, "12 3"]:
    """Vertices as unit vectors, float64: cyclic permutations of (0, +-1, +-golden ratio), scaled."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [
        np.roll([0.0, first, second * golden], turn)
        for turn in range(3)
        for first, second in itertools.product((1.0, -1.0), repeat=2)
    ]
    return torch.from_numpy(np.stack(corners) / math.hypot(1, golden))


def icosahedral_rotations() -> Float[Tensor, "60 3 3"]:
    """The rotations that permute the vertices of `icosahedron`, float64."""
    vertices = icosahedron()
    edge = float((vertices[0] - vertices[1:]).square().sum(1).min())
    distances = (vertices[:, None] - vertices).square().sum(-1)
    first, second = ((distances - edge).abs() < 1e-9).nonzero().T  # each edge in both directions: 60
    third = torch.linalg.cross(vertices[first], vertices[second])
    frames = torch.stack([vertices[first], vertices[second], third], dim=-1)
    return frames @ torch.linalg.inv(frames[0])


def circle_grid(points: int) -> Float[Tensor, "points 2"]:
    """(cos, sin) of the angles 2 pi k / K, float64.

    Raises:
        InputError: less than one point.
    """
    _check(points)
    angles = torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotation_grid(directions: Float[Tensor, "points 3"], angles: int = 8) -> Float[Tensor, "rotations 3 3"]:
    """Rotations whose third axes are the directions, each with `angles` equally spaced turns about it.

    Raises:
        InputError: less than one angle.
    """
    _check(angles)
    # any first axis will do: across the coordinate axis that is furthest from the direction
    helper = torch.eye(3, dtype=directions.dtype, device=directions.device)[directions.abs().argmin(-1)]
    across = torch.linalg.cross(helper, directions)
    across = across / torch.linalg.vector_norm(across, dim=-1, keepdim=True)
    frames = torch.stack([across, torch.linalg.cross(directions, across), directions], dim=-1)
    turns = circle_grid(angles).to(directions)
    cosine, sine, zero = turns[:, 0], turns[:, 1], torch.zeros_like(turns[:, 0])
    rows = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, zero + 1]]
    about = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return (frames[:, None] @ about).flatten(0, 1)


def _check(points: int) -> None:
    if points < 1:
        raise InputError(f"grid: {points} points were asked for; give at least 1")


@lru_cache(maxsize=64)
def _repelled(points: int, seed: int) -> np.ndarray:
    if points == 1:
        return np.array([[0.0, 0.0, 1.0]])

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        free = flat.reshape(points, 3)
        length = np.linalg.norm(free, axis=1, keepdims=True)
        place = free / length
        squares = 2 - 2 * place @ place.T
        np.fill_diagonal(squares, np.inf)
        weights = squares**-1.5
        slope = weights @ place - weights.sum(1, keepdims=True) * place
        slope = (slope - (slope * place).sum(1, keepdims=True) * place) / length
        return float((squares**-0.5).sum() / 2), slope.ravel()

    generator = np.random.default_rng(seed)
    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-12}
    found = [
        minimize(energy, generator.standard_normal(3 * points), jac=True, method="L-BFGS-B", options=options)
        for _ in range(_STARTS)
    ]
    best = min(found, key=lambda result: float(result.fun)).x.reshape(points, 3)
    return best / np.linalg.norm(best, axis=1, keepdims=True)

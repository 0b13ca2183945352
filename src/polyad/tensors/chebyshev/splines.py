"""Interpolating splines as matrices: from values on a grid to values at given points, linear and differentiable.

Splines of odd degree p with not-a-knot ends are exact for polynomials of degree p; their error falls like h^(p+1).

Source: C. de Boor, *A Practical Guide to Splines*, Springer 2001, chapters IX and XIII.

When not to use it: for data with noise, which an interpolant follows.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def spline_matrix(
    grid: Float[Tensor, " grid"], points: Float[Tensor, " points"], *, degree: int = 5
) -> Float[Tensor, "points grid"]:
    """S with values at the points = S @ values on the grid: one banded solve, a right-hand side a point.

    Args:
        grid: increasing, more than `degree` coordinates.
        points: between the grid's ends.
        degree: odd.

    Raises:
        InputError: a grid that does not increase or is too short, or points outside it.
    """
    from scipy.interpolate import BSpline
    from scipy.sparse.linalg import splu

    if degree < 1 or degree % 2 == 0:
        raise InputError(f"degree: {degree} was given; splines of odd degree, such as 3 or 5, interpolate at the grid")
    if len(grid) <= degree or not bool((grid.diff() > 0).all()):
        raise InputError(f"grid: {len(grid)} coordinates; more than {degree} that increase strictly are needed")
    if not bool(((points >= grid[0]) & (points <= grid[-1])).all()):
        raise InputError(
            f"grid: it spans [{float(grid[0]):g}, {float(grid[-1]):g}], but values are needed from "
            f"{float(points.min()):g} to {float(points.max()):g}; extend the grid or shrink the box"
        )
    x, at = (part.detach().cpu().double().numpy() for part in (grid, points))
    half = (degree + 1) // 2
    knots = np.concatenate([np.repeat(x[0], degree + 1), x[half:-half], np.repeat(x[-1], degree + 1)])
    collocation = BSpline.design_matrix(x, knots, degree).tocsc()
    wanted = BSpline.design_matrix(at, knots, degree).toarray()
    matrix = splu(collocation).solve(wanted.T.copy(), trans="T").T
    return torch.from_numpy(np.ascontiguousarray(matrix)).to(dtype=grid.dtype, device=grid.device)

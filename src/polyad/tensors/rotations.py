"""Rotations of space: random ones, evenly spread ones, and the exponential map.

A rotation is a (3, 3) matrix Q with Q Q^T = 1 that acts on column vectors; the columns of Q are the turned
coordinate axes.

    exp(w) = exp([w]x),  [w]x v = w x v        (rotation by |w| about w)

Random rotations are uniform (Haar): unit quaternions from normalised Gaussians. Evenly spread ones are the
super-Fibonacci spirals of M. Alexa, "Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3)", CVPR 2022,
algorithm 1: quaternion i of n is

    (r sin a, r cos a, R sin b, R cos b)
    s = i + 1/2,  r = sqrt(s/n),  R = sqrt(1 - s/n),  a = 2 pi s/phi,  b = 2 pi s/psi

with phi = sqrt 2 and psi = 1.533751168755204..., the real root of psi^4 = psi + 4.

When not to use it: for interpolation or averaging of rotations, which needs logarithms and care at the half turn.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def random_rotations(
    count: int, *, generator: torch.Generator, reflections: bool = False, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "count 3 3"]:
    """`count` uniformly distributed rotations; with `reflections`, uniform in O(3) (half of them improper)."""
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64, device=generator.device)
    rotations = quaternion_to_rotation(quaternions / quaternions.norm(dim=-1, keepdim=True))
    if reflections:
        signs = torch.randint(0, 2, (count, 1, 1), generator=generator, device=generator.device) * 2 - 1
        rotations = rotations * signs
    return rotations.to(dtype)


def spread_rotations(
    count: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Float[Tensor, "count 3 3"]:
    """`count` rotations spread evenly over SO(3) (super-Fibonacci spirals); always the same ones."""
    if count < 1:
        raise InputError(f"count: {count} rotations were asked for; give at least 1")
    step = torch.arange(count, dtype=torch.float64, device=device) + 0.5
    inner, outer = (step / count).sqrt(), (1 - step / count).sqrt()
    first, second = 2 * math.pi * step / math.sqrt(2.0), 2 * math.pi * step / _PSI
    quaternions = torch.stack(
        [inner * first.sin(), inner * first.cos(), outer * second.sin(), outer * second.cos()], dim=-1
    )
    return quaternion_to_rotation(quaternions).to(dtype)


def spread_directions(
    count: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Float[Tensor, "count 3"]:
    """`count` unit vectors spread evenly over the half sphere z > 0 (a Fibonacci lattice); always the same ones."""
    if count < 1:
        raise InputError(f"count: {count} directions were asked for; give at least 1")
    step = torch.arange(count, dtype=torch.float64, device=device)
    height = (step + 0.5) / count
    angle = step * math.pi * (3.0 - math.sqrt(5.0))
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1).to(dtype)


def rotation_from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation by |w| radians about the axis w; differentiable everywhere, at w = 0 too."""
    return torch.linalg.matrix_exp(cross_product_matrix(vector))


def cross_product_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The antisymmetric matrix [w]x with [w]x v = w x v."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def quaternion_to_rotation(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a unit quaternion (x, y, z, w), scalar part last."""
    x, y, z, w = quaternion.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def euler_to_rotation(
    alpha: Float[Tensor, "*batch"], beta: Float[Tensor, "*batch"], gamma: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rz(alpha) Ry(beta) Rz(gamma): the z axis goes to the direction with polar angle beta and azimuth alpha."""
    zero = torch.zeros_like(alpha)
    about_z = [rotation_from_vector(torch.stack([zero, zero, angle], dim=-1)) for angle in (alpha, gamma)]
    return about_z[0] @ rotation_from_vector(torch.stack([zero, beta, zero], dim=-1)) @ about_z[1]


def frame_from_axis(axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """A rotation whose first column is the unit vector `axis`; the others are some orthonormal pair (no gradient)."""
    axis = axis.detach()
    smallest = axis.abs().argmin(dim=-1, keepdim=True)
    helper = torch.zeros_like(axis).scatter(-1, smallest, 1.0)
    second = torch.linalg.cross(axis, helper)
    second = second / second.norm(dim=-1, keepdim=True)
    return torch.stack([axis, second, torch.linalg.cross(axis, second)], dim=-1)


_PSI = 1.533751168755204288118041413

"""Functions of distance that networks on points are built of: bases, and windows that end them smoothly at a cutoff.

    bessel                sqrt(2 / c) sin(n pi d / c) / d, n = 1..size: orthonormal on the ball (Gasteiger et al. 2020)
    gaussian              exp(-(d - mu_k)^2 / 2 s^2), centres equally spaced from 0 to c, s their distance
    exponential_normal    exp(-b (exp(-a d) - mu_k)^2), a = 5 / c, centres from exp(-5) to 1 (Unke and Meuwly 2019)

    cosine_window         (cos(pi d / c) + 1) / 2: continuous, with continuous first derivative
    polynomial_window     1 - (p+1)(p+2)/2 u^p + p(p+2) u^(p+1) - p(p+1)/2 u^(p+2), u = d / c: vanishes at c with its
                          first and second derivative (Gasteiger et al. 2020)

All are differentiable, and batched over any shape of distances.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def bessel(distance: Float[Tensor, "*batch"], size: int, cutoff: float) -> Float[Tensor, "*batch size"]:
    """Spherical Bessel functions of order 0; at distance 0 their limit, sqrt(2 / c) n pi / c."""
    _check(size, cutoff)
    order = torch.arange(1, size + 1, dtype=distance.dtype, device=distance.device)
    # torch.sinc(x) = sin(pi x) / (pi x), with the right derivatives at 0
    return math.sqrt(2 / cutoff) * (math.pi / cutoff) * order * torch.sinc(distance[..., None] * (order / cutoff))


def gaussian(
    distance: Float[Tensor, "*batch"], size: int, cutoff: float, *, start: float = 0.0
) -> Float[Tensor, "*batch size"]:
    """Gaussians with centres equally spaced from `start` to the cutoff, as wide as these are apart."""
    _check(size, cutoff)
    if size < 2 or not start < cutoff:
        raise InputError(f"gaussian: {size} centres from {start} to {cutoff}; give at least 2 and start < cutoff")
    centres = torch.linspace(start, cutoff, size, dtype=distance.dtype, device=distance.device)
    step = (cutoff - start) / (size - 1)
    return torch.exp(-0.5 * ((distance[..., None] - centres) / step).square())


def exponential_normal(distance: Float[Tensor, "*batch"], size: int, cutoff: float) -> Float[Tensor, "*batch size"]:
    """Gaussians in exp(-5 d / c): narrow where bonds are, wide far out."""
    _check(size, cutoff)
    if size < 2:
        raise InputError(f"size: {size} was given; this basis needs at least 2 functions")
    first = math.exp(-5.0)
    centres = torch.linspace(first, 1.0, size, dtype=distance.dtype, device=distance.device)
    width = (2 / size * (1 - first)) ** -2
    return torch.exp(-width * (torch.exp(-5.0 / cutoff * distance[..., None]) - centres).square())


def cosine_window(distance: Float[Tensor, "*batch"], cutoff: float) -> Float[Tensor, "*batch"]:
    """Falls from 1 at distance 0 to 0 at the cutoff, and stays 0."""
    _check(1, cutoff)
    inside = 0.5 * (torch.cos(math.pi / cutoff * distance) + 1)
    return torch.where(distance < cutoff, inside, torch.zeros_like(inside))


def polynomial_window(distance: Float[Tensor, "*batch"], cutoff: float, *, power: int = 6) -> Float[Tensor, "*batch"]:
    """Falls from 1 at distance 0 to 0 at the cutoff with two derivatives, and stays 0; a larger power falls later."""
    _check(1, cutoff)
    if power < 2:
        raise InputError(f"power: {power} was given; it must be at least 2 for a smooth window")
    p, u = power, distance / cutoff
    inside = 1 - u**p * (0.5 * (p + 1) * (p + 2) - u * (p * (p + 2) - u * (0.5 * p * (p + 1))))
    return torch.where(distance < cutoff, inside, torch.zeros_like(inside))


def _check(size: int, cutoff: float) -> None:
    if size < 1 or not (math.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"radial basis: {size} functions up to {cutoff}; give at least 1 and a positive cutoff")

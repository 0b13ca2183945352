"""Functions on the sphere as trigonometric polynomials in both angles, and back.

With theta and phi the polar angle and the azimuth, Y_lm = q_l|m|(theta) cos(m phi) or q_l|m|(theta) sin(|m| phi), where
q_lm is a trigonometric polynomial of degree l. So a function of degree L, continued to the torus, is

    f = sum over |u|, |v| <= L of F_uv exp(i (u theta + v phi))
    F_uv = sum over l of T[v, l, u] (c_l,v - i c_l,-v)           (v >= 0; F_-u,-v is the conjugate of F_uv)
    c_l,v = 2 pi Re sum over u of F_uv Z[v, l, u],  c_l,-v = -2 pi Im ...
    Z[v, l, u] = integral over 0..pi of exp(i u theta) q_lv(theta) sin(theta) = sum over w of q^_w k(u + w)
    k(n) = 2 / (1 - n^2) for even n, +-i pi / 2 for n = +-1, 0 for other odd n

with q^_w the Fourier coefficients of q. Both tables join only u and l of the same |m|, which is O(L^3) work.

Source: S. Luo, T. Chen and A. Krishnapriyan, "Enabling efficient equivariant operations in the Fourier basis via Gaunt
tensor products", ICLR 2024, arXiv:2401.10216, section 3.2.

When not to use it: to integrate or to apply activations; the torus covers the sphere twice, with poles crowded
(`polyad.symmetry.sphere_grid` has a quadrature).
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from polyad.symmetry._constants import constant_tables
from polyad.symmetry.orders import by_order, from_order
from polyad.symmetry.spherical_harmonics import degree_of, spherical_harmonics


def to_fourier(coefficients: Float[Tensor, "*batch harmonics"]) -> Complex[Tensor, "*batch azimuth polar"]:
    """F_uv of functions of degree L: v = 0..L on the first axis, u = 0..L, -L..-1 on the second."""
    lmax = degree_of(coefficients.shape[-1])
    real, imaginary = _fourier_tables(coefficients, lmax)
    cosine, sine = by_order(coefficients).unbind(-3)
    return torch.einsum("...ml,mlu->...mu", torch.complex(cosine, -sine), torch.complex(real, imaginary))


def from_fourier(spectrum: Complex[Tensor, "*batch azimuth polar"], lmax: int) -> Float[Tensor, "*batch harmonics"]:
    """Coefficients of degrees 0..lmax of the functions with these F_uv; the second axis has any odd length."""
    real, imaginary = _projection_tables(spectrum.real, lmax, spectrum.shape[-1] // 2)
    orders = min(lmax + 1, spectrum.shape[-2])
    table = torch.complex(real, imaginary)[:orders]
    sums = torch.einsum("...mu,mlu->...ml", spectrum[..., :orders, :], table) * (2 * math.pi)
    parts = torch.stack([sums.real, -sums.imag], dim=-3)
    return from_order(torch.nn.functional.pad(parts, (0, 0, 0, lmax + 1 - orders)))


def to_torus(spectrum: Complex[Tensor, "*batch azimuth polar"], shape: tuple[int, int]) -> Float[Tensor, "*batch p t"]:
    """Values on shape[0] equal steps of phi and shape[1] equal steps of theta in 0..2 pi (an inverse FFT)."""
    return torch.fft.irfft2(pad_polar(spectrum, shape[1]), s=shape[::-1], dim=(-1, -2), norm="forward")


def from_torus(values: Float[Tensor, "*batch p t"], degree: int) -> Complex[Tensor, "*batch azimuth polar"]:
    """F_uv for |u| <= degree from values on the torus (a forward FFT): the inverse of `to_torus`."""
    return cut_polar(torch.fft.rfft2(values, dim=(-1, -2), norm="forward"), degree)


def pad_polar(spectrum: Complex[Tensor, "*batch azimuth polar"], count: int) -> Complex[Tensor, "*batch azimuth count"]:
    """Zeros between the positive and the negative u, to length `count`."""
    degree = spectrum.shape[-1] // 2
    zeros = spectrum.new_zeros(*spectrum.shape[:-1], count - 2 * degree - 1)
    return torch.cat([spectrum[..., : degree + 1], zeros, spectrum[..., degree + 1 :]], dim=-1)


def cut_polar(
    spectrum: Complex[Tensor, "*batch azimuth count"], degree: int
) -> Complex[Tensor, "*batch azimuth polar"]:
    """The inverse of `pad_polar`: |u| <= degree alone."""
    return torch.cat([spectrum[..., : degree + 1], spectrum[..., spectrum.shape[-1] - degree :]], dim=-1)


def torus_shape(degree: int, lmax: int) -> tuple[int, int]:
    """Fast sizes (phi, theta) that hold products of total degree `degree`, without aliasing into degrees to lmax."""
    azimuth, polar = degree + min(lmax, degree) + 1, 2 * degree + 1
    return scipy.fft.next_fast_len(azimuth, real=True), scipy.fft.next_fast_len(polar)


def _polar_spectra(lmax: int) -> np.ndarray:
    """Fourier coefficients of q_lm(theta): array [m, l, w] with w = -lmax..lmax."""
    count = 2 * lmax + 1
    theta = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    meridian = torch.stack([theta.sin(), torch.zeros_like(theta), theta.cos()], dim=-1)
    # along phi = 0, continued over the pole, the cosine harmonics are q_lm itself
    cosine = by_order(spherical_harmonics(meridian, lmax))[:, 0].numpy()
    return np.moveaxis(np.fft.fftshift(np.fft.fft(cosine, axis=0), axes=0) / count, 0, -1)


@constant_tables
def _fourier_tables(lmax: int) -> tuple[np.ndarray, ...]:
    table = np.fft.ifftshift(_polar_spectra(lmax), axes=-1)
    table[1:] /= 2
    return np.ascontiguousarray(table.real), np.ascontiguousarray(table.imag)


@constant_tables
def _projection_tables(lmax: int, degree: int) -> tuple[np.ndarray, ...]:
    shifts = np.arange(-lmax, lmax + 1)[:, None] + np.arange(-degree, degree + 1)
    kernel = np.zeros(shifts.shape, dtype=np.complex128)
    even = shifts % 2 == 0
    kernel[even] = 2 / (1 - shifts[even].astype(np.float64) ** 2)
    kernel[np.abs(shifts) == 1] = 0.5j * math.pi * shifts[np.abs(shifts) == 1]
    table = np.fft.ifftshift(_polar_spectra(lmax) @ kernel, axes=-1)
    return np.ascontiguousarray(table.real), np.ascontiguousarray(table.imag)

"""Renormalisation of sets of images: blocking, principal components, flows, data collapse.

A sample of link occupations (2, L, L) is an image. Blocking groups sites into 2 x 2 blocks, drops the links inside and
merges the two parallel links through each face: 'parity' (1 + 1 -> 0, the sum modulo 2, which keeps closed loops
closed) or 'union' (1 + 1 -> 1). Grey images are blocked by averages, and cut at a threshold where one is given.

The covariance C of the 2 V links has a leading eigenvalue lambda near Var(N) / (2 V), which diverges at T_c with the
logarithm of L, as the specific heat does. Of a finite sample the raw lambda is inflated; by default C is averaged over
translations, which leaves a Hermitian 2 x 2 block for every momentum:

    C(q)_{dd'} = < dx_d(q) conj dx_d'(q) > / V,   x_d(q) the Fourier transform of the links in direction d.

Source: S. Foreman, J. Giedt, Y. Meurice, J. Unmuth-Yockey, Phys. Rev. E 98 (2018) 052129, arXiv:1807.10250.

When not to use it: the average over translations is only for samples from a periodic, homogeneous source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from polyad.errors import InputError

_CHUNK = 2**22  # numbers held in double precision at a time
_DENSE = 600  # pixels (or samples) up to which the whole spectrum is found


@final
@dataclass(frozen=True)
class BlockingFlow:
    """What is seen after 0, 1, 2, ... blockings: side of the images, mean occupation, leading eigenvalue."""

    sizes: tuple[int, ...]
    occupation: Tensor
    eigenvalue: Tensor


def block_links(images: UInt8[Tensor, "*batch 2 L L"], rule: str = "parity") -> UInt8[Tensor, "*batch 2 M M"]:
    """One blocking of link images by a factor of two.

    Raises:
        InputError: an odd side, an unknown rule, or occupations other than 0 and 1.
    """
    size = images.shape[-1]
    if size % 2:
        raise InputError(f"the side is {size}; 2 x 2 blocks need an even one")
    if rule not in ("parity", "union"):
        raise InputError(f"rule is {rule!r}; allowed are 'parity' (1 + 1 -> 0) and 'union' (1 + 1 -> 1)")
    if images.numel() and int(images.max()) > 1:
        raise InputError("link occupations must be 0 or 1")
    across, up = images.select(-3, 0)[..., 1::2, :], images.select(-3, 1)[..., :, 1::2]
    first = torch.stack([across[..., :, 0::2], up[..., 0::2, :]], -3)
    second = torch.stack([across[..., :, 1::2], up[..., 1::2, :]], -3)
    return first ^ second if rule == "parity" else first | second


def block_grey(images: Float[Tensor, "*batch H W"], *, cutoff: float | None = None) -> Float[Tensor, "*batch h w"]:
    """Averages over 2 x 2 blocks; where a cutoff is given, 1 above it and 0 elsewhere.

    Raises:
        InputError: an odd side.
    """
    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        raise InputError(f"the images are {height} x {width}; 2 x 2 blocks need even sides (pad or crop)")
    blocks = images.unflatten(-1, (width // 2, 2)).unflatten(-3, (height // 2, 2)).mean((-1, -3))
    return blocks if cutoff is None else (blocks > cutoff).to(images.dtype)


def link_degrees(images: UInt8[Tensor, "*batch 2 L L"]) -> UInt8[Tensor, "*batch L L"]:
    """How many occupied links meet in each site."""
    across, up = images.select(-3, 0), images.select(-3, 1)
    return across + across.roll(1, -2) + up + up.roll(1, -1)


def picture(images: UInt8[Tensor, "*batch 2 L L"]) -> UInt8[Tensor, "*batch K K"]:
    """Links and the sites they touch as 2L x 2L pixels: site (x, y) at (2x, 2y), links between."""
    size = images.shape[-1]
    pixels = images.new_zeros(*images.shape[:-3], 2 * size, 2 * size)
    pixels[..., 0::2, 0::2] = link_degrees(images) > 0
    pixels[..., 1::2, 0::2] = images.select(-3, 0)
    pixels[..., 0::2, 1::2] = images.select(-3, 1)
    return pixels


def momentum_spectrum(images: Shaped[Tensor, "samples 2 L L"]) -> Float[Tensor, "L L 2"]:
    """Eigenvalues of the translation-averaged covariance of links: two for each momentum, ascending.

    Raises:
        InputError: fewer than two samples.
    """
    samples, size = _samples(images), images.shape[-1]
    mean = torch.fft.fft2(_mean(images))
    total = torch.zeros(size, size, 2, 2, dtype=torch.complex128, device=images.device)
    for chunk in images.split(max(1, _CHUNK // images[0].numel())):
        wave = torch.fft.fft2(chunk.double()) - mean
        total += torch.einsum("ndxy,nexy->xyde", wave, wave.conj())
    return torch.linalg.eigvalsh(total / ((samples - 1) * size * size))


def leading_eigenvalue(images: Shaped[Tensor, "samples *pixels"], *, translations: bool = True) -> Float[Tensor, ""]:
    """Largest eigenvalue of the covariance of the pixels, averaged over translations for link images, or raw.

    The raw value is inflated unless there are many more samples than pixels. It needs no matrix of pixels x pixels.

    Raises:
        InputError: fewer than two samples, or translations asked for images that are not links (2, L, L).
    """
    if translations:
        if images.dim() != 4 or images.shape[1] != 2 or images.shape[2] != images.shape[3]:
            raise InputError(f"images are {tuple(images.shape)}; translations need link images (samples, 2, L, L)")
        return momentum_spectrum(images).max()
    return principal_components(images, 1)[0][0]


def principal_components(
    images: Shaped[Tensor, "samples *pixels"], count: int
) -> tuple[Float[Tensor, " count"], Float[Tensor, "count *pixels"]]:
    """Leading eigenvalues (descending) and unit eigenvectors of the raw covariance of the pixels.

    Raises:
        InputError: fewer than two samples, or a count outside 1..min(samples - 1, pixels).
    """
    samples = _samples(images)
    flat = images.reshape(samples, -1)
    most = min(samples - 1, flat.shape[1])
    if not 1 <= count <= most:
        raise InputError(f"count is {count}; it must lie in 1..{most} for {samples} samples of {flat.shape[1]} pixels")
    if not bool(torch.isfinite(flat).all()):
        raise InputError("the images hold NaN or Inf")
    centred = flat.double() - flat.double().mean(0)
    if min(samples, flat.shape[1]) <= _DENSE:
        wide = flat.shape[1] > samples
        gram = (centred @ centred.T if wide else centred.T @ centred) / (samples - 1)
        values, vectors = torch.linalg.eigh(gram)
        values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1).T
        if wide:
            vectors = torch.nn.functional.normalize(vectors @ centred, dim=1)
    else:
        values, vectors = _lanczos(centred, count)
    return values, vectors.reshape(count, *images.shape[1:])


def blocking_flow(
    images: UInt8[Tensor, "samples 2 L L"], rule: str = "parity", *, steps: int | None = None
) -> BlockingFlow:
    """Occupation and translation-averaged leading eigenvalue after 0..steps blockings (by default down to side 2).

    Raises:
        InputError: a side that cannot be halved so often, or what `block_links` refuses.
    """
    most = (images.shape[-1] & -images.shape[-1]).bit_length() - 1
    steps = max(0, most - 1) if steps is None else steps
    if not 0 <= steps <= most:
        raise InputError(f"steps is {steps}; a side of {images.shape[-1]} can be halved {most} times")
    sizes, occupation, eigenvalue = [], [], []
    for step in range(steps + 1):
        if step:
            images = block_links(images, rule)
        sizes.append(images.shape[-1])
        occupation.append(_mean(images).mean())
        eigenvalue.append(leading_eigenvalue(images))
    return BlockingFlow(tuple(sizes), torch.stack(occupation), torch.stack(eigenvalue))


def collapse_spread(
    curves: Mapping[int, tuple[Float[Tensor, " points"], Float[Tensor, " points"]]],
    nu: float,
    *,
    slope: float = 0.3125,
    widest: float = 0.125,
    points: int = 101,
) -> float:
    """How far curves of different sizes lie apart once they are scaled: mean over x of (largest - smallest).

    Args:
        curves: by size L, the reduced temperatures t = T / T_c - 1 (ascending) and the leading eigenvalues.
        nu: exponent of the scaling variable x = t L^{1/nu}.
        slope: of the logarithm of L that is taken off the eigenvalue.
        widest: |t| of the smallest size; the same range of x is used for all sizes.

    Raises:
        InputError: fewer than two sizes, or a curve that does not cover the range.
    """
    if len(curves) < 2 or not nu > 0:
        raise InputError(f"there are {len(curves)} sizes and nu is {nu}; give at least two sizes and nu > 0")
    smallest = min(curves)
    x = np.linspace(-widest, widest, points) * smallest ** (1 / nu)
    scaled = []
    for size, (reduced, values) in curves.items():
        t, wanted = reduced.numpy(), x / size ** (1 / nu)
        if wanted[0] < t[0] - 1e-12 or wanted[-1] > t[-1] + 1e-12:
            raise InputError(
                f"size {size} covers t in {t[0]:.4f}..{t[-1]:.4f}; {wanted[0]:.4f}..{wanted[-1]:.4f} is needed"
            )
        scaled.append(np.interp(wanted, t, values.numpy()) - slope * np.log(size))
    return float(np.ptp(np.stack(scaled), axis=0).mean())


def _samples(images: Tensor) -> int:
    if images.shape[0] < 2:
        raise InputError(f"there is {images.shape[0]} sample; a covariance needs at least two")
    return images.shape[0]


def _mean(images: Tensor) -> Tensor:
    """Mean over samples without a copy in double precision."""
    if images.dtype.is_floating_point:
        return images.mean(0, dtype=torch.float64)
    return images.sum(0, dtype=torch.int64).double() / images.shape[0]


def _lanczos(centred: Tensor, count: int) -> tuple[Tensor, Tensor]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    data, pixels = centred.numpy(), centred.shape[1]
    operator = LinearOperator(
        (pixels, pixels), matvec=lambda v: data.T @ (data @ v) / (len(data) - 1), dtype=np.float64
    )
    start = data[0] + 1.0  # any fixed vector: the same images give the same numbers
    values, vectors = eigsh(operator, k=count, v0=start, tol=1e-10)
    order = np.argsort(values)[::-1]
    return torch.from_numpy(values[order].copy()), torch.from_numpy(vectors[:, order].T.copy())

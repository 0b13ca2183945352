"""Tensors along a trajectory: in a frame that turns with the molecule, their mean, and their fluctuations in time.

A molecule in solution or gas turns, and the mean of its tensors in the laboratory says nothing. Every frame is laid on
a reference by the rotation with the least weighted squared distance (Kabsch), which turns the tensor along:

    R = argmin over rotations of sum over i of w_i |R (x_i - <x>) - (y_i - <y>)|^2,    D' = R D R'

    autocorrelation  C(t) = < dD'(s) : dD'(s + t) >,  dD' = D' less its mean; C(0) is the mean squared fluctuation
    spectrum         P(f) = (2 dt / sum of h^2) |sum over t of h(t) dD'(t) exp(-2 pi i f t)|^2,  summed over components

the spectrum by Welch's method: Hann windows h over segments that overlap by half. P integrates to C(0) over f >= 0.
Peaks lie at the vibrations that modulate D, which is what couples the spin to phonons.

Sources: W. Kabsch, Acta Cryst. A 32 (1976) 922; P. D. Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70.

*When not to use it*: floppy molecules. Where no reference resembles all frames, the aligned frame jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

_COLLINEAR = 1e-6

WAVENUMBERS = 33356.40952
"""cm^-1 in a frequency of 1/fs."""


def alignment(
    positions: Float[Tensor, "*frames atoms 3"],
    reference: Float[Tensor, "reference_atoms 3"],
    *,
    weights: Float[Tensor, " weights"] | None = None,
) -> Float[Tensor, "*frames 3 3"]:
    """The rotation R of every frame that lays it on the reference best.

    Args:
        positions: of the frames, anywhere in space.
        reference: the same atoms in the same order.
        weights: of the atoms, such as their masses; by default equal.

    Raises:
        InputError: shapes or weights that do not fit, or atoms on one line, about which any rotation is as good.
    """
    atoms = len(reference)
    if positions.shape[-2] != atoms:
        raise InputError(f"positions: frames have {positions.shape[-2]} atoms, the reference {atoms}")
    if weights is None:
        weights = torch.ones_like(reference[:, 0])
    if weights.shape != (atoms,) or not bool((weights >= 0).all()) or not bool(weights.sum() > 0):
        raise InputError(f"weights: {weights.tolist()} were given; give one for each of {atoms} atoms, none negative")
    share = (weights / weights.sum())[:, None]
    moved, fixed = (x - (share * x).sum(-2, keepdim=True) for x in (positions, reference))
    u, s, vh = torch.linalg.svd((share * fixed).mT @ moved)  # sum of w y x'
    if not bool((s[..., 1] > _COLLINEAR * s[..., 0]).all()):
        raise InputError("positions: some frames or the reference have all atoms on one line; no rotation is the best")
    sign = torch.linalg.det(u) * torch.linalg.det(vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    return (u * flip[..., None, :]) @ vh


def align_frames(
    positions: Float[Tensor, "frames atoms 3"],
    *,
    weights: Float[Tensor, " atoms"] | None = None,
    iterations: int = 20,
) -> tuple[Float[Tensor, "frames atoms 3"], Float[Tensor, "frames 3 3"]]:
    """Frames laid on their own mean, centred, and the rotations that did it.

    The first frame is the first reference, the mean of the aligned frames the next; its orientation stays that of the
    first frame.
    """
    if iterations < 1:
        raise InputError(f"iterations: {iterations} was given; at least 1 is needed")
    share = torch.ones_like(positions[0, :, 0]) if weights is None else weights
    centred = positions - (share[:, None] * positions).sum(1, keepdim=True) / share.sum()
    reference, aligned = centred[0], centred
    rotations = torch.eye(3, dtype=positions.dtype, device=positions.device).expand(len(positions), 3, 3)
    for _ in range(iterations):
        rotations = alignment(centred, reference, weights=share)
        aligned = centred @ rotations.mT
        mean = aligned.mean(0)
        change, reference = (mean - reference).abs().max(), mean
        if bool(change <= 1e-12 * mean.abs().max()):
            break
    return aligned, rotations


class ThermalAverage(NamedTuple):
    """Tensors of a trajectory in the frame of the molecule.

    Args:
        mean: of the tensors.
        tensors: of the frames.
        positions: of the frames, centred; their mean is the mean geometry, in the same axes.
    """

    mean: Float[Tensor, "3 3"]
    tensors: Float[Tensor, "frames 3 3"]
    positions: Float[Tensor, "frames atoms 3"]


def thermal_average(
    tensors: Float[Tensor, "tensors 3 3"],
    positions: Float[Tensor, "frames atoms 3"],
    *,
    weights: Float[Tensor, " atoms"] | None = None,
) -> ThermalAverage:
    """The mean tensor over frames, each turned with its molecule onto the mean geometry; see `align_frames`.

    Raises:
        InputError: as `alignment`, or not one tensor a frame.
    """
    if len(tensors) != len(positions):
        raise InputError(f"tensors: {len(tensors)} were given for {len(positions)} frames; give one each")
    aligned, rotations = align_frames(positions, weights=weights)
    turned = rotations @ tensors @ rotations.mT
    return ThermalAverage(turned.mean(0), turned, aligned)


def autocorrelation(series: Float[Tensor, "*runs times components"], *, lags: int) -> Float[Tensor, " lags"]:
    """C(t) for t = 0 .. lags - 1 steps: mean over runs and all pairs of times, sum over components.

    Args:
        series: equally spaced in time; flatten tensors to their components (nine of a matrix, or five irreps).
        lags: how many; at most as many as there are times.

    Raises:
        InputError: more lags than times, or none.
    """
    times = series.shape[-2]
    if not 1 <= lags <= times:
        raise InputError(f"lags: {lags} was given; allowed is 1 to {times}, the number of times")
    rest = _fluctuation(series)
    spectrum = torch.fft.rfft(rest, n=2 * times, dim=-2)  # zero-padded: nothing wraps around
    products = torch.fft.irfft(spectrum.abs().square(), n=2 * times, dim=-2)[..., :lags, :].sum(-1)
    pairs = times - torch.arange(lags, dtype=series.dtype, device=series.device)
    return (products / pairs).reshape(-1, lags).mean(0)


def power_spectrum(
    series: Float[Tensor, "*runs times components"], *, spacing: float, segment: int | None = None
) -> tuple[Float[Tensor, " frequencies"], Float[Tensor, " frequencies"]]:
    """Frequencies and the one-sided spectral density P of the fluctuations, summed over components.

    Args:
        series: equally spaced in time, as for `autocorrelation`.
        spacing: of times; frequencies come in its inverse.
        segment: times in a segment; by default all, so nothing is averaged but runs.

    Raises:
        InputError: a spacing that is not positive, or a segment that does not fit.
    """
    times = series.shape[-2]
    length = times if segment is None else segment
    if not spacing > 0 or not 3 <= length <= times:
        raise InputError(f"power_spectrum: spacing {spacing}, segment {length} of {times} times; give 3 at least")
    # without the overall mean, not each segment's: slow motion stays in the spectrum
    pieces = _fluctuation(series).unfold(-2, length, length - length // 2)
    window = torch.hann_window(length, dtype=series.dtype, device=series.device)
    density = torch.fft.rfft(pieces * window, dim=-1).abs().square() * (2 * spacing / window.square().sum())
    density[..., 0] /= 2
    if length % 2 == 0:
        density[..., -1] /= 2
    density = density.sum(-2)  # components: (runs, segments, components, frequencies)
    frequencies = torch.fft.rfftfreq(length, spacing, dtype=series.dtype, device=series.device)
    return frequencies, density.reshape(-1, len(frequencies)).mean(0)


def _fluctuation(series: Tensor) -> Tensor:
    """Less the mean over all runs and times: runs are of one system in equilibrium."""
    return series - series.flatten(0, -2).mean(0)

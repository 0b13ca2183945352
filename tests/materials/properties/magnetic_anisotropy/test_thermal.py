"""Alignment against planted rotations and brute force; correlations and spectra against loops and SciPy."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import signal
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.magnetic_anisotropy import (
    WAVENUMBERS,
    align_frames,
    alignment,
    autocorrelation,
    power_spectrum,
    thermal_average,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotations(count: int, seed: int = 0) -> Tensor:
    q = torch.linalg.qr(draw(count, 3, 3, seed=seed))[0]
    return q * torch.linalg.det(q)[:, None, None]


def test_planted_rotations_are_found() -> None:
    reference, planted = draw(6, 3), rotations(20)
    moved = reference @ planted + draw(20, 1, 3, seed=1)  # R x = y undoes it
    found = alignment(moved, reference, weights=draw(6, seed=2).abs())
    assert torch.allclose(found, planted, atol=1e-12)
    flat = reference * torch.tensor([1.0, 1.0, 0.0])  # planar molecules are fine
    assert torch.allclose(alignment(flat @ planted, flat), planted, atol=1e-10)


def test_no_rotation_is_better() -> None:
    reference, frames, weights = draw(5, 3), draw(4, 5, 3, seed=1), draw(5, seed=2).abs()
    mirrored = torch.cat([frames, -reference[None]])  # mirror images: the best rotation is no reflection
    found = alignment(mirrored, reference, weights=weights)
    assert torch.allclose(torch.linalg.det(found), torch.ones(5, dtype=torch.float64))

    def misfit(turn: Tensor) -> Tensor:
        share = weights / weights.sum()
        x, y = (z - (share[:, None] * z).sum(-2, keepdim=True) for z in (mirrored, reference))
        return (weights[:, None] * (x @ turn.mT - y).square()).sum((-2, -1))

    best = misfit(found)
    generators = 1e-3 * draw(200, 3, 3, seed=3)
    near = torch.linalg.matrix_exp(generators - generators.mT)
    for turn in [*near, *rotations(200, seed=4)]:
        assert bool((misfit(turn @ found) >= best - 1e-12).all())


def test_average_does_not_know_how_the_molecule_turned() -> None:
    shape = draw(5, 3)
    frames = shape + 0.05 * draw(30, 5, 3, seed=1)
    tensors = torch.einsum("tai,taj->tij", frames, frames)
    plain = thermal_average(tensors, frames)
    turns = rotations(30, seed=2)
    moved = frames @ turns.mT + draw(30, 1, 3, seed=3)
    found = thermal_average(turns @ tensors @ turns.mT, moved)
    q = turns[0]  # the first frame keeps its orientation
    assert torch.allclose(found.mean, q @ plain.mean @ q.T, atol=1e-10)
    assert torch.allclose(found.tensors, q @ plain.tensors @ q.T, atol=1e-10)
    assert torch.allclose(found.positions, plain.positions @ q.T, atol=1e-10)
    assert torch.allclose(found.mean, found.tensors.mean(0))
    laboratory = (turns @ tensors @ turns.mT).mean(0)
    assert float((laboratory - found.mean).abs().max()) > 0.1


def test_frames_end_on_their_own_mean() -> None:
    frames = (draw(6, 3) + 0.1 * draw(40, 6, 3, seed=1)) @ rotations(40)
    masses = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    aligned, turned = align_frames(frames, weights=masses)
    mean = aligned.mean(0)
    assert torch.allclose(alignment(aligned, mean, weights=masses), torch.eye(3).double().expand(40, 3, 3), atol=1e-6)
    assert float((masses @ mean).abs().max()) < 1e-12
    centre = (masses[:, None] * frames).sum(1, keepdim=True) / masses.sum()
    assert torch.allclose((frames - centre) @ turned.mT, aligned)


def test_autocorrelation_equals_loops() -> None:
    series = draw(2, 12, 3).cumsum(1)
    rest = series - series.mean((0, 1))
    found = autocorrelation(series, lags=12)
    for lag in range(12):
        pairs = [float(rest[r, t] @ rest[r, t + lag]) for r in range(2) for t in range(12 - lag)]
        assert float(found[lag]) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@pytest.mark.parametrize("segment", [None, 64, 63])
def test_spectrum_is_welch_and_integrates_to_the_variance(segment: int | None) -> None:
    series = draw(300, 2).cumsum(0) * 0.1 + draw(300, 2, seed=1)
    frequencies, density = power_spectrum(series, spacing=0.5, segment=segment)
    length = segment or 300
    rest = (series - series.mean(0)).numpy()
    expected = signal.welch(rest, fs=2.0, nperseg=length, noverlap=length // 2, detrend=False, axis=0)
    assert frequencies.tolist() == pytest.approx(expected[0].tolist())
    assert density.tolist() == pytest.approx(expected[1].sum(1).tolist())
    noise = draw(20, 4096, 1)
    frequencies, density = power_spectrum(noise, spacing=0.5, segment=segment and 4 * segment)
    area = float(density.sum() * frequencies[1])
    assert area == pytest.approx(float(noise.var(correction=0)), rel=0.03)


def test_vibration_is_found_at_its_wavenumber() -> None:
    times = 2.0 * torch.arange(2048, dtype=torch.float64)  # fs
    wave = (2 * math.pi * 400.0 / WAVENUMBERS * times).cos()
    frequencies, density = power_spectrum(wave[:, None], spacing=2.0)
    assert float(frequencies[density.argmax()]) * WAVENUMBERS == pytest.approx(400.0, abs=5.0)
    correlation = autocorrelation(wave[:, None], lags=60)
    period = WAVENUMBERS / 400.0  # fs
    assert 2.0 * float(correlation[20:].argmax() + 20) == pytest.approx(period, abs=2.0)


def test_bad_input_is_refused() -> None:
    line = torch.arange(4, dtype=torch.float64)[:, None] * torch.ones(3, dtype=torch.float64)
    with pytest.raises(InputError, match="one line"):
        alignment(line[None], draw(4, 3))
    with pytest.raises(InputError, match="frames have 5 atoms"):
        alignment(draw(2, 5, 3), draw(4, 3))
    for weights in (torch.zeros(4).double(), torch.ones(3).double(), torch.tensor([1.0, 1, 1, -1]).double()):
        with pytest.raises(InputError, match="weights"):
            alignment(draw(2, 4, 3), draw(4, 3), weights=weights)
    with pytest.raises(InputError, match="tensors"):
        thermal_average(draw(3, 3, 3), draw(2, 4, 3))
    with pytest.raises(InputError, match="iterations"):
        align_frames(draw(2, 4, 3), iterations=0)
    for lags in (0, 11):
        with pytest.raises(InputError, match="lags"):
            autocorrelation(draw(10, 1), lags=lags)
    for options in ({"spacing": 0.0}, {"spacing": 1.0, "segment": 11}, {"spacing": 1.0, "segment": 2}):
        with pytest.raises(InputError, match="power_spectrum"):
            power_spectrum(draw(10, 1), **options)

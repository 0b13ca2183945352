"""Complexes against loops, derivatives, equipartition and the symmetries of space."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.magnetic_anisotropy import anisotropy_parameters, power_spectrum
from polyad.problems.complexes import MetalComplex, complex_frames, complex_trajectories

every = pytest.mark.parametrize("ligands", [4, 5, 6])


def shaken(system: MetalComplex, count: int = 3) -> Tensor:
    draw = torch.randn(count, system.ligands + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return system.positions + 0.1 * draw


@every
def test_energy_and_tensor_equal_loops(ligands: int) -> None:
    system = MetalComplex(ligands)
    rest, (x, *_) = system.positions, shaken(system)
    table = {7: (55.0, 2.05, 5.0, 7.0), 8: (38.0, 2.0, 6.0, 6.0), 17: (-30.0, 2.3, 4.0, 5.0)}
    energy, first = 0.0, torch.zeros(3, 3, dtype=torch.float64)
    for k, z in enumerate(system.species[1:].tolist(), 1):
        strength, reference, power, stiffness = table[z]
        r, r0 = float((x[k] - x[0]).norm()), float((rest[k] - rest[0]).norm())
        energy += 0.5 * stiffness * (r - r0) ** 2
        unit = (x[k] - x[0]) / r
        first += strength * (reference / r) ** power * (torch.outer(unit, unit) - torch.eye(3, dtype=torch.float64) / 3)
        for other in range(1, k):
            cosine, cosine0 = (torch.cosine_similarity(y[k] - y[0], y[other] - y[0], dim=0) for y in (x, rest))
            energy += 1.25 * float(cosine - cosine0) ** 2
            ratio = 2.5 / float((x[k] - x[other]).norm())
            energy += 4 * 0.008 * (ratio**12 - ratio**6)
    assert float(system.energy(x)) == pytest.approx(energy, abs=1e-12)
    square = first @ first
    expected = first + (square - square.trace() / 3 * torch.eye(3, dtype=torch.float64)) / 150
    assert torch.allclose(system.zero_field_splitting(x), expected, atol=1e-11)


@every
def test_tensor_turns_with_the_complex_and_has_the_usual_size(ligands: int) -> None:
    system = MetalComplex(ligands)
    x = shaken(system)
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    one, two = system.zero_field_splitting(x), system.zero_field_splitting(x @ q.T + 1.0)
    assert torch.allclose(q @ one @ q.T, two, atol=1e-11)
    assert torch.allclose(system.energy(x), system.energy(-x @ q.T + 2.0), atol=1e-11)
    assert float(one.diagonal(dim1=1, dim2=2).sum(1).abs().max()) < 1e-12
    found = anisotropy_parameters(system.zero_field_splitting(system.positions))
    assert 45 < abs(float(found.axial)) < 100
    assert 0.05 < float(found.rhombic / found.axial) < 1 / 3


def test_frames_have_exact_labels_and_differ_by_seed() -> None:
    frames, again, other = (complex_frames(5, seed=s, replicas=2, spacing=4.0) for s in (0, 0, 1))
    assert torch.equal(frames.positions, again.positions)
    assert not torch.equal(frames.positions, other.positions)
    system, x = MetalComplex(), frames.positions.view(5, 7, 3)
    assert frames.species.tolist() == system.species.tolist() * 5
    assert torch.allclose(frames.targets["energy"], system.energy(x))
    assert torch.allclose(frames.targets["zero_field_splitting"], system.zero_field_splitting(x))
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        move = torch.zeros(7, 3, dtype=torch.float64)
        move[atom, axis] = 1e-5
        slope = (system.energy(x + move) - system.energy(x - move)) / 2e-5
        assert torch.allclose(-slope, frames.node_targets["forces"].view(5, 7, 3)[:, atom, axis], atol=1e-6)


def test_frames_have_the_temperature_asked_for() -> None:
    """Configurational temperature (H. H. Rugh 1997): kT = <|grad U|^2> / <laplacian of U> in equilibrium."""
    system = MetalComplex(4)
    frames = complex_frames(300, seed=2, system=system, temperature=450.0, replicas=100)
    x = frames.positions.view(-1, 15)
    curvature = torch.func.vmap(torch.func.hessian(lambda y: system.energy(y.view(5, 3))))(x)
    laplacian = curvature.diagonal(dim1=1, dim2=2).sum(1).mean()
    square = frames.node_targets["forces"].view(-1, 15).square().sum(1).mean()
    assert float(square / laplacian) == pytest.approx(8.617333e-5 * 450.0, rel=0.05)


def test_trajectories_are_in_order_and_vibrate_at_the_normal_modes() -> None:
    """All power of a bond of small amplitude lies within a tenth of the harmonic frequencies."""
    system = MetalComplex(4)
    runs = complex_trajectories(
        600, seed=0, system=system, temperature=3.0, replicas=2, friction=0.0005, equilibration=2000.0
    )
    assert runs.shape == (2, 600, 5, 3)
    root = system.mass.repeat_interleave(3).sqrt()
    hessian = torch.func.hessian(lambda y: system.energy(y.view(5, 3)))(system.positions.flatten())
    values = torch.linalg.eigvalsh(hessian / root[:, None] / root)
    assert float(values[:6].abs().max()) < 0.05 * float(values[6])  # six rigid motions
    modes = values[6:].sqrt() / (2 * math.pi * 10.180505)  # 1/fs
    bond = torch.linalg.vector_norm(runs[:, :, 1] - runs[:, :, 0], dim=-1)
    frequencies, density = power_spectrum(bond[..., None], spacing=4.0)
    inside = (frequencies > 0.9 * modes[0]) & (frequencies < 1.1 * modes[-1])
    assert float(density[inside].sum() / density.sum()) > 0.95
    peak = float(frequencies[density.argmax()])
    assert float((modes - peak).abs().min()) < 2 * float(frequencies[1])


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="ligands: 3"):
        MetalComplex(3)
    for options in (
        {"temperature": 0.0},
        {"spacing": 3.0},
        {"replicas": 0},
        {"friction": 0.0},
        {"equilibration": -2.0},
    ):
        with pytest.raises(InputError, match="complex_trajectories"):
            complex_trajectories(2, seed=0, **options)
    with pytest.raises(InputError, match="count"):
        complex_frames(0, seed=0)

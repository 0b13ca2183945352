"""Levels and moments of spins against closed forms, numerical derivatives and limits."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import constants
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.magnetic_anisotropy import (
    BOHR_MAGNETON,
    BOLTZMANN,
    MOLAR,
    anisotropy_parameters,
    anisotropy_tensor,
    curie_constant,
    spin_hamiltonian,
    spin_levels,
    spin_operators,
    spin_response,
)


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rotation(seed: int) -> Tensor:
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return q * torch.linalg.det(q)


def test_constants_are_codata() -> None:
    inverse = 100 * constants.h * constants.c
    assert pytest.approx(constants.value("Bohr magneton") / inverse, rel=1e-8) == BOHR_MAGNETON
    assert pytest.approx(constants.k / inverse, rel=1e-8) == BOLTZMANN
    # J/T^2 to erg/G^2 is a factor 10
    assert pytest.approx(inverse * constants.N_A / 10, rel=1e-8) == MOLAR
    # the number every magnetochemist knows: chi T = 0.125 g^2 S(S + 1) cm^3 K / mol
    assert MOLAR * curie_constant(1.0, g=2.0) == pytest.approx(0.125049 * 4 * 2, rel=1e-5)


@pytest.mark.parametrize("spin", [0.5, 1, 1.5, 2, 2.5])
def test_operators_are_angular_momentum(spin: float) -> None:
    x, y, z = spin_operators(spin)
    assert len(z) == 2 * spin + 1
    assert torch.allclose(x @ y - y @ x, 1j * z, atol=1e-14)
    assert torch.allclose(y @ z - z @ y, 1j * x, atol=1e-14)
    total = x @ x + y @ y + z @ z
    assert torch.allclose(total, spin * (spin + 1) * torch.eye(len(z), dtype=total.dtype), atol=1e-14)
    assert z.diagonal().real.tolist() == [spin - k for k in range(len(z))]


def test_levels_are_the_closed_forms() -> None:
    axial, rhombic = real(7.0, -3.0, 60.0), real(1.3, -0.9, 0.0)
    tensor = anisotropy_tensor(axial, rhombic, rotation(0))
    expected = torch.stack([axial / 3 + rhombic, axial / 3 - rhombic, -2 * axial / 3], dim=1).sort(dim=1).values
    assert torch.allclose(spin_levels(tensor, 1), expected, atol=1e-12)
    kramers = (axial**2 + 3 * rhombic**2).sqrt()
    expected = torch.stack([-kramers, -kramers, kramers, kramers], dim=1)
    assert torch.allclose(spin_levels(tensor, 1.5), expected, atol=1e-12)
    # S = 2, E = 0: D (m^2 - 2)
    assert torch.allclose(spin_levels(tensor[2], 2), 60 * real(-2, -1, -1, 2, 2), atol=1e-11)


def test_field_splits_free_spins_evenly() -> None:
    field = real(0.3, -1.2, 2.0)
    expected = BOHR_MAGNETON * 2.1 * float(field.norm()) * real(-1.5, -0.5, 0.5, 1.5)
    assert torch.allclose(spin_levels(torch.zeros(3, 3).double(), 1.5, field=field, g=2.1), expected, atol=1e-13)
    g = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = BOHR_MAGNETON * float((field @ g).norm()) * real(-0.5, 0.5)
    assert torch.allclose(spin_levels(torch.zeros(3, 3).double(), 0.5, field=field, g=g), expected, atol=1e-13)
    # along z, S = 1: D/3 +- sqrt(E^2 + (g mu B)^2)
    tensor, zeeman = anisotropy_tensor(real(5.0)[0], real(0.7)[0]), BOHR_MAGNETON * 2 * 3.0
    split = math.sqrt(0.7**2 + zeeman**2)
    expected = real(-10 / 3, 5 / 3 - split, 5 / 3 + split).sort().values
    assert torch.allclose(spin_levels(tensor, 1, field=real(0, 0, 3.0), g=2.0), expected, atol=1e-12)


def test_levels_turn_with_tensor_and_field_alone() -> None:
    tensor, q = anisotropy_tensor(real(5.0)[0], real(1.1)[0]), rotation(2)
    field = real(1.0, 2.0, -0.5)
    one, two = spin_levels(tensor, 2, field=field), spin_levels(q @ tensor @ q.T, 2, field=q @ field)
    assert torch.allclose(one, two, atol=1e-12)
    h = spin_hamiltonian(tensor, 2, field=field)
    assert torch.allclose(h, h.mH, atol=1e-14)


def free_energy(tensor: Tensor, spin: float, temperature: float, field: Tensor, g: Tensor) -> Tensor:
    kt = BOLTZMANN * temperature
    return -kt * torch.logsumexp(-spin_levels(tensor, spin, field=field, g=g) / kt, dim=-1)


@pytest.mark.parametrize("spin", [1, 1.5])
def test_response_is_the_derivative_of_the_free_energy(spin: float) -> None:
    tensor = anisotropy_tensor(real(4.0)[0], real(0.8)[0], rotation(3))
    g = 2.0 * torch.eye(3, dtype=torch.float64) + 0.1 * rotation(4)
    field, step, temperature = real(1.0, 0.5, -0.7), 1e-3, 3.0
    found = spin_response(tensor, spin, temperature=temperature, field=field, g=g)
    shifts = step * torch.eye(3, dtype=torch.float64)
    for a in range(3):
        plus, minus = (free_energy(tensor, spin, temperature, field + s * shifts[a], g) for s in (1, -1))
        assert -float(plus - minus) / (2 * step) == pytest.approx(float(found.magnetization[a]), abs=1e-7)
        up, down = (
            spin_response(tensor, spin, temperature=temperature, field=field + s * shifts[a], g=g).magnetization
            for s in (1, -1)
        )
        assert torch.allclose((up - down) / (2 * step), found.susceptibility[:, a], atol=1e-6)
    zero = spin_response(tensor, spin, temperature=temperature)
    assert float(zero.magnetization.abs().max()) < 1e-12
    up = spin_response(tensor, spin, temperature=temperature, field=shifts[0]).magnetization
    assert torch.allclose(up / step, zero.susceptibility[0], atol=1e-5)


def test_free_spins_follow_brillouin_and_curie() -> None:
    field, temperature, spin, g = real(0, 0, 4.0), 2.0, 1.5, 2.0
    found = spin_response(torch.zeros(3, 3).double(), spin, temperature=temperature, field=field, g=g)
    x, a = g * BOHR_MAGNETON * 4.0 / (BOLTZMANN * temperature), spin + 0.5
    brillouin = a / math.tanh(a * x) - 0.5 / math.tanh(0.5 * x)
    assert float(found.magnetization[2]) == pytest.approx(g * BOHR_MAGNETON * brillouin, rel=1e-12)
    zero = spin_response(torch.zeros(3, 3).double(), spin, temperature=temperature, g=g).susceptibility
    assert torch.allclose(zero * temperature, curie_constant(spin, g=g) * torch.eye(3).double(), atol=1e-13)


def test_powder_reaches_curie_quadratically_and_one_axis_linearly() -> None:
    def excess(ratio: float, spin: float) -> tuple[float, float]:
        """Relative deviation of chi T, in the mean over directions and along z, at kT = ratio D."""
        temperature = ratio * 10.0 / BOLTZMANN
        tensor = anisotropy_tensor(real(10.0)[0], real(1.5)[0])
        chi = spin_response(tensor, spin, temperature=temperature, g=2.0).susceptibility * temperature
        curie = curie_constant(spin, g=2.0)
        return float(chi.trace()) / 3 / curie - 1, float(chi[2, 2]) / curie - 1

    # the first order of chi_zz: -(D / kT) (4 S(S + 1) - 3) / 15
    for spin in (1, 1.5, 2):
        powder, axis = zip(*(excess(ratio, spin) for ratio in (300, 600, 1200)), strict=True)
        for small, large in zip(powder[1:], powder, strict=False):
            assert small / large == pytest.approx(0.25, abs=0.01)
        for small, large in zip(axis[1:], axis, strict=False):
            assert small / large == pytest.approx(0.5, abs=0.01)
        assert axis[2] * 1200 == pytest.approx(-(4 * spin * (spin + 1) - 3) / 15, rel=1e-2)
    assert abs(excess(300, 1)[0]) < 1e-6
    assert abs(excess(3000, 1)[0]) < 1e-8


def test_low_temperature_response_stays_finite() -> None:
    """E / kT of ten thousand: only the ground state counts, and nothing overflows."""
    tensor = anisotropy_tensor(real(70.0)[0], real(0.0)[0])
    chi = spin_response(tensor, 1, temperature=0.01, g=2.0).susceptibility
    van_vleck = 2 * (BOHR_MAGNETON * 2.0) ** 2 / 70.0
    assert torch.allclose(chi, torch.diag(real(van_vleck, van_vleck, 0.0)), atol=1e-12)


def test_batches_broadcast() -> None:
    tensors = anisotropy_tensor(real(1.0, 2.0)[:, None], real(0.1, 0.2, 0.3))
    fields = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spin_response(tensors, 1.5, temperature=5.0, field=fields)
    for i in range(2):
        for j in range(3):
            one = spin_response(tensors[i, j], 1.5, temperature=5.0, field=fields[j])
            assert torch.allclose(found.magnetization[i, j], one.magnetization, atol=1e-13)
            assert torch.allclose(found.susceptibility[i, j], one.susceptibility, atol=1e-13)


def test_parameters_come_back_from_any_axes() -> None:
    generator = torch.Generator().manual_seed(5)
    axial = torch.randn(50, generator=generator, dtype=torch.float64) * 30
    rhombic = axial * torch.rand(50, generator=generator, dtype=torch.float64) / 3
    axes = torch.stack([rotation(seed) for seed in range(50)])
    tensor = anisotropy_tensor(axial, rhombic, axes) + 2.0 * torch.eye(3, dtype=torch.float64)
    found = anisotropy_parameters(tensor)
    assert torch.allclose(found.axial, axial, atol=1e-12)
    assert torch.allclose(found.rhombic, rhombic, atol=1e-12)
    assert torch.allclose(torch.linalg.det(found.axes), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(
        anisotropy_tensor(found.axial, found.rhombic, found.axes), tensor - 2 * torch.eye(3), atol=1e-12
    )
    overlap = (found.axes.mT @ axes).abs()  # the same axes up to signs
    assert torch.allclose(overlap, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-6)
    ratio = found.rhombic / found.axial
    assert float(ratio.min()) >= 0
    assert float(ratio.max()) <= 1 / 3 + 1e-12


def test_bad_input_is_refused() -> None:
    tensor = anisotropy_tensor(real(1.0)[0], real(0.1)[0])
    for spin in (0, 0.7, -1, math.nan):
        with pytest.raises(InputError, match="spin"):
            spin_levels(tensor, spin)
    for temperature in (0.0, -1.0, math.inf):
        with pytest.raises(InputError, match="temperature"):
            spin_response(tensor, 1, temperature=temperature)
    with pytest.raises(InputError, match="not symmetric"):
        spin_levels(tensor + torch.triu(torch.ones(3, 3).double(), 1), 1)
    with pytest.raises(InputError, match="NaN"):
        anisotropy_parameters(tensor * math.nan)

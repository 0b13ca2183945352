"""Thermal expansion against closed forms, textbook elements and what holds for every lattice."""

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, StrutLattice, effective_stiffness, thermal_expansion
from polyad.tensors.notation import strain_to_mandel
from polyad.testing import assert_convergence_order, assert_gradient_matches, assert_rotation_covariant
from tests.materials.lattice.response.textbook_frames import periodic_end_forces
from tests.materials.lattice.seeds import diamond, kelvin, octet, random_net, simple_cubic

IDENTITY = torch.eye(3, dtype=torch.float64)


def coefficients(lattice, seed=0):
    return torch.rand(lattice.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.3


@pytest.mark.parametrize("lattice", [octet(), kelvin(), diamond(), random_net(0), random_net(1, nodes=20, extra=15)])
def test_one_coefficient_throughout_is_the_lattices_own(lattice):
    young = 1 + coefficients(lattice)
    result = thermal_expansion(lattice, 23e-6, young_modulus=young)
    assert float((result.expansion - 23e-6 * IDENTITY).abs().max()) < 1e-9 * 23e-6
    held = -effective_stiffness(lattice, young_modulus=young) @ (23e-6 * strain_to_mandel(IDENTITY))
    torch.testing.assert_close(strain_to_mandel(result.stress), held, rtol=1e-9, atol=1e-12 * float(held.abs().max()))


def test_simple_cubic_expands_along_each_axis_as_its_strut():
    radius, alpha = 0.05, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    result = thermal_expansion(simple_cubic(radius), alpha, young_modulus=70.0)
    torch.testing.assert_close(result.expansion, torch.diag(alpha), rtol=1e-12, atol=1e-12)
    held = -70.0 * math.pi * radius**2 * torch.diag(alpha)
    torch.testing.assert_close(result.stress, held, rtol=1e-12, atol=1e-12)


def pyramids(height, radius):
    """Square base struts (two a cell) and the diagonals of a body-centred tetragonal net: pin-jointed it is rigid."""
    cell = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.5 * height]]
    shift = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 1], [0, -1, 1], [-1, -1, 1]]
    return StrutLattice(cell, [[0, 0, 0]], np.zeros((2, 6)), shift, radius)


@pytest.mark.parametrize(
    ("height", "base", "diagonal"),
    [
        (1.7, 1.0, 2.5),
        # h^2 + 2 a^2 = 4 l^2: no expansion along z when 4 l^2 alpha_l = 2 a^2 alpha_a
        (1.0, 3.0, 2.0),
        (0.8, 9.0, 1.0),
    ],
)
def test_bimaterial_pyramids_reach_the_pin_jointed_closed_form(height, base, diagonal):
    # 4 l^2 = h^2 + 2 a^2, differentiated: h^2 alpha_h = 4 l^2 alpha_l - 2 a^2 alpha_a
    expected = ((height**2 + 2) * diagonal - 2 * base) / height**2
    alpha = torch.tensor([base] * 2 + [diagonal] * 4, dtype=torch.float64)
    radii, errors = [0.02, 0.01, 0.005, 0.0025], []
    for radius in radii:
        found = thermal_expansion(pyramids(height, radius), alpha).expansion
        errors.append(float((found - torch.diag(torch.tensor([base, base, expected], dtype=torch.float64))).norm()))
    # the joints' resistance to turning vanishes as the square of the radius
    assert_convergence_order(errors, radii, 2.0, 0.1)
    assert errors[-1] < 2e-3 * base
    if height == 1.0:
        assert expected == 0.0
    if height == 0.8:
        assert float(found[2, 2]) < -10


@pytest.mark.parametrize("seed", range(3))
def test_matches_textbook_elements_with_thermal_strain(seed):
    lattice = random_net(seed)
    alpha, young = coefficients(lattice, seed), 1 + coefficients(lattice, seed + 10)
    result = thermal_expansion(lattice, alpha, young_modulus=young)
    volume, vectors = float(lattice.volume), lattice.edge_vectors.numpy()

    def stress(strain):
        ends = periodic_end_forces(lattice, strain, free_strain=alpha.numpy(), young=young.numpy())
        return np.einsum("ep,eq->pq", ends[:, 6:9], vectors) / volume

    held = stress(np.zeros(6))
    assert np.abs(result.stress.numpy() - held).max() < 1e-8 * np.abs(held).max()
    # strained by the effective expansion, the heated lattice is free of macroscopic stress
    assert np.abs(stress(strain_to_mandel(result.expansion).numpy())).max() < 1e-7 * np.abs(held).max()


def test_a_batch_equals_its_lattices_and_turns_with_them():
    lattices = [random_net(0), octet(), random_net(3, nodes=8)]
    batch = LatticeBatch.from_lattices(lattices)
    alpha = [coefficients(x, k) for k, x in enumerate(lattices)]
    together = thermal_expansion(batch, torch.cat(alpha))
    for k, lattice in enumerate(lattices):
        alone = thermal_expansion(lattice, alpha[k])
        torch.testing.assert_close(together.expansion[k], alone.expansion, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(together.stress[k], alone.stress, rtol=1e-8, atol=1e-14)
    lattice = lattices[0]
    assert_rotation_covariant(
        lambda cell, positions: thermal_expansion(lattice.replace(cell=cell, positions=positions), alpha[0]).expansion,
        [lattice.cell, lattice.positions],
        act_on_input=lambda q, x: x @ q.T,
        act_on_output=lambda q, x: q @ x @ q.T,
        tolerance=1e-7,
        count=3,
    )


def test_gradient_by_the_coefficients():
    lattice = random_net(2)
    assert_gradient_matches(lambda alpha: thermal_expansion(lattice, alpha).expansion, coefficients(lattice))


@pytest.mark.parametrize(
    ("alpha", "message"), [(torch.ones(4), "expansion"), (float("nan"), "NaN"), (float("inf"), "infinity")]
)
def test_bad_input_is_named(alpha, message):
    with pytest.raises(InputError, match=message):
        thermal_expansion(octet(), alpha)


def test_a_lattice_without_stiffness_in_some_direction_is_refused():
    sheet = StrutLattice(np.eye(3), [[0, 0, 0]], np.zeros((2, 2)), [[1, 0, 0], [0, 1, 0]], 0.02)
    with pytest.raises(InputError, match="resists no stress"):
        thermal_expansion(sheet, 1.0)

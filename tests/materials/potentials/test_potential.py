"""Energies, forces and stresses against finite differences and ASE's Lennard-Jones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.potentials import Potential, force_scale, reference_energies
from polyad.materials.structures import Structures
from tests.materials.potentials.pair_network import LennardJones, Springs

SKEW = torch.tensor([[3.0, 0.2, -0.4], [1.1, 2.5, 0.3], [-0.7, 0.6, 2.8]], dtype=torch.float64)


def crystals(seed: int = 0) -> Structures:
    generator = torch.Generator().manual_seed(seed)
    positions = 3 * torch.rand(9, 3, generator=generator, dtype=torch.float64)
    cell = torch.stack([SKEW, 1.2 * SKEW])
    return Structures.from_arrays(positions, [8, 1, 1, 8, 6, 1, 1, 6, 8], sizes=[4, 5], cell=cell)


def springs() -> Potential:
    return Potential(Springs(), species=[1, 6, 8], cutoff=6.0, shift=[1.0, 10.0, 100.0], scale=2.5).eval()


def test_energy_is_scaled_and_shifted() -> None:
    data = crystals()
    plain = Potential(Springs(), species=[1, 6, 8], cutoff=6.0).eval()(data, forces=False)["energy"]
    found = springs()(data, forces=False)
    free = torch.tensor([202.0, 122.0], dtype=torch.float64)
    assert torch.allclose(found["energy"], 2.5 * plain + free)
    assert torch.allclose(found["interaction_energy"], 2.5 * plain)


def test_forces_and_stress_are_derivatives() -> None:
    potential, data = springs(), crystals()
    found = potential(data, stress=True)

    def energy(positions: Tensor, cell: Tensor) -> Tensor:
        # neighbours found anew: all pairs far beyond the reach of the Gaussians are in the list
        return potential(data.replace(positions=positions, cell=cell), forces=False)["energy"]

    step = 1e-5
    for node in (0, 5):
        for axis in range(3):
            move = torch.zeros_like(data.positions)
            move[node, axis] = step
            difference = energy(data.positions + move, data.cell) - energy(data.positions - move, data.cell)
            assert -float(difference.sum()) / (2 * step) == pytest.approx(float(found["forces"][node, axis]), abs=1e-6)
    volume = torch.linalg.det(data.cell).abs()
    for i in range(3):
        for j in range(3):
            strain = torch.zeros(3, 3, dtype=torch.float64)
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            plus, minus = torch.eye(3) + strain, torch.eye(3) - strain
            high = energy(data.positions @ plus, data.cell @ plus)
            low = energy(data.positions @ minus, data.cell @ minus)
            assert torch.allclose((high - low) / (2 * step) / volume, found["stress"][:, i, j], atol=1e-6)


def test_training_mode_differentiates_forces() -> None:
    data = crystals()
    potential = Potential(LennardJones(), species=[1, 6, 8], cutoff=3.0).train()
    found = potential(data, stress=True)
    (gradient,) = torch.autograd.grad(found["forces"].square().sum() + found["stress"].sum(), potential.network.epsilon)
    assert float(gradient) != 0
    assert not potential.eval()(data)["forces"].requires_grad


def test_single_precision_keeps_small_differences_of_large_energies() -> None:
    data = crystals().to(torch.float32)
    potential = Potential(Springs(), species=[1, 6, 8], cutoff=6.0, shift=[1e6, 2e6, 3e6]).eval()
    found = potential(data, forces=False)
    assert found["energy"].dtype == torch.float64
    free = potential.free_energy(data)
    assert torch.allclose(found["energy"] - free, found["interaction_energy"].double(), rtol=1e-6)


def test_forces_and_stress_do_not_need_gradient_mode() -> None:
    expected = springs()(crystals(), stress=True)
    with torch.no_grad():
        found = springs()(crystals(), stress=True)
    assert float(expected["forces"].abs().max()) > 0
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_isolated_atoms_have_no_forces() -> None:
    atom = Structures.from_arrays(torch.zeros(1, 3, dtype=torch.float64), [6])
    found = springs()(atom)
    assert found["energy"].tolist() == pytest.approx([10 + 2.5 * 0.1])
    assert found["forces"].tolist() == [[0, 0, 0]]


def test_reference_energies_recover_planted_ones() -> None:
    data = crystals()
    shift = torch.tensor([-13.0, -1000.0, -2000.0], dtype=torch.float64)
    sizes = torch.randint(1, 6, (20,), generator=torch.Generator().manual_seed(1))
    species = torch.tensor([1, 6, 8])[
        torch.randint(0, 3, (int(sizes.sum()),), generator=torch.Generator().manual_seed(2))
    ]
    many = Structures.from_arrays(torch.zeros(len(species), 3, dtype=torch.float64), species, sizes=sizes.tolist())
    planted = Potential(Springs(), species=[1, 6, 8], cutoff=1.0, shift=shift)
    numbers, found = reference_energies(many.replace(targets={"energy": planted.free_energy(many)}))
    assert numbers == [1, 6, 8]
    assert torch.allclose(found, shift)
    # one composition: nothing tells the species apart, the mean is kept
    one = data[[0, 0]].replace(targets={"energy": torch.tensor([-9.0, -11.0], dtype=torch.float64)})
    numbers, found = reference_energies(one)
    assert numbers == [1, 8]
    assert float(2 * found.sum()) == pytest.approx(-10.0)


def test_force_scale() -> None:
    data = crystals()
    assert force_scale(data) == 1.0
    assert force_scale(data.replace(node_targets={"forces": torch.full((9, 3), -2.0)})) == 2.0
    assert force_scale(data.replace(node_targets={"forces": torch.zeros(9, 3)})) == 1.0


def test_bad_input_is_refused() -> None:
    data = crystals()
    with pytest.raises(InputError, match=r"atomic numbers \[6\] are unknown"):
        Potential(Springs(), species=[1, 8], cutoff=3.0)(data)
    with pytest.raises(InputError, match="repeat in three directions"):
        springs()(Structures.from_arrays(data.positions, data.species), stress=True)
    with pytest.raises(InputError, match="species"):
        Potential(Springs(), species=[1, 1], cutoff=3.0)
    with pytest.raises(InputError, match="shift: 1 energies for 2 species"):
        Potential(Springs(), species=[1, 8], cutoff=3.0, shift=[0.0])
    with pytest.raises(InputError, match="not among"):
        reference_energies(data)
    with pytest.raises(InputError, match="of structure 1 is nan"):
        reference_energies(data.replace(targets={"energy": torch.tensor([0.0, torch.nan])}))

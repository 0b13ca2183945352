"""What every potential of the table keeps, exactly, with untrained weights: the symmetries of space and of atoms,
forces and stresses that are derivatives, energies that do not jump, crystals that do not know their cell."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from polyad.materials.learning.registry import POTENTIALS, build_network, takes
from polyad.materials.potentials import Potential
from polyad.materials.structures import Structures
from polyad.symmetry.position_orientation import icosahedral_rotations
from tests.materials.potentials.test_tensornet import CUTOFF, molecule, rotation, turned

SMALL: dict[str, dict] = {
    "schnet": {"channels": 8, "layers": 2, "radial": 6},
    "tensornet": {"channels": 6, "layers": 2, "radial": 6},
    "mace": {"channels": 4, "lmax": 2, "message_degree": 1, "layers": 2},
    "faenet": {"channels": 8, "layers": 2, "radial": 6},
    "gaussian-moments": {"radial": 3, "gaussians": 6, "width": 8},
    "se3-transformer": {"channels": 4, "lmax": 2, "layers": 2, "heads": 2, "radial": 4, "hidden": 8},
    "ponita": {"channels": 6, "layers": 2, "basis": 8},
    # on grids on the sphere the laws of turning hold to rounding where the grid is fine;
    # `test_symmetry_error_falls_with_the_grid` says how the error falls
    "escn": {
        "channels": 4,
        "lmax": 2,
        "mmax": 1,
        "radial": 6,
        "edge_channels": 8,
        "reflections": True,
        "grid_degree": 48,
    },
    "equiformer": {
        "channels": 4,
        "lmax": 2,
        "mmax": 1,
        "layers": 2,
        "heads": 2,
        "head_invariants": 4,
        "radial": 6,
        "edge_channels": 8,
        "reflections": True,
        "grid_degree": 48,
    },
}
CELL = torch.tensor([[[4.0, 0.3, 0], [0.2, 4.1, 0.5], [-0.4, 0.1, 3.9]]], dtype=torch.float64)

every = pytest.mark.parametrize("name", sorted(POTENTIALS))


def potential(name: str, **changes: object) -> Potential:
    options = {**SMALL.get(name, {}), **changes}
    if takes(name, "neighbors"):
        options["neighbors"] = 2.0
    network = build_network(name, kinds=3, cutoff=CUTOFF, options=options)
    return Potential(network, species=[1, 6, 8], cutoff=CUTOFF, scale=20.0).double().eval()


def crystal(atoms: int = 5) -> Structures:
    data = molecule(atoms=atoms)
    return data.replace(cell=CELL, periodic=torch.ones(1, 3, dtype=torch.bool))


def exact_turn(name: str, *, improper: bool) -> Tensor:
    """Any rotation; for a grid of orientations one of its own, by 72 degrees (test_ponita has the curve for others)."""
    if name != "ponita":
        return rotation(2, improper=improper)
    turns = icosahedral_rotations()
    fifth = turns[int((torch.einsum("nii->n", turns) - 1.618034).abs().argmin())]
    return -fifth if improper else fifth


@every
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_symmetries_of_space(name: str, improper: bool) -> None:
    q = exact_turn(name, improper=improper)
    for data in (molecule(), crystal()):
        one = potential(name)(data, stress=bool(data.periodic.all()))
        moved = turned(data, q).replace(cell=data.cell @ q.T)
        two = potential(name)(moved, stress=bool(data.periodic.all()))
        assert float(one["forces"].abs().max()) > 1e-4
        assert float((one["energy"] - two["energy"]).abs()) < 1e-10
        assert float((one["forces"] @ q.T - two["forces"]).abs().max()) < 1e-10
        if "stress" in one:
            assert float((q @ one["stress"] @ q.T - two["stress"]).abs().max()) < 1e-10


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
@pytest.mark.parametrize("name", ["equiformer", "escn"])
def test_symmetry_error_falls_with_the_grid(name: str, improper: bool) -> None:
    """Networks with activations on the sphere: energy and forces, faster than any power of the grid's degree."""
    q, errors = rotation(2, improper=improper), []
    for degree in (4, 8, 16, 24):
        model, worst = potential(name, grid_degree=degree), 0.0
        for data in (molecule(), crystal()):
            one, two = model(data), model(turned(data, q).replace(cell=data.cell @ q.T))
            size = float(one["forces"].abs().max())
            worst = max(worst, float((one["forces"] @ q.T - two["forces"]).abs().max()) / size)
            worst = max(worst, float((one["energy"] - two["energy"]).abs()) / size)
        errors.append(worst)
    assert errors[0] > 1e-3
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 50
    assert errors[3] < errors[2] / 50


@every
def test_order_of_atoms_and_choice_of_images(name: str) -> None:
    data = crystal()
    order = torch.tensor([3, 0, 4, 1, 2])
    images = torch.tensor([[0, 0, 0], [1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 1, 1]]).double()
    moved = data.replace(positions=(data.positions + images @ CELL[0])[order], species=data.species[order])
    one, two = potential(name)(data, stress=True), potential(name)(moved, stress=True)
    assert float((one["energy"] - two["energy"]).abs()) < 1e-10
    assert float((one["forces"][order] - two["forces"]).abs().max()) < 1e-10
    assert float((one["stress"] - two["stress"]).abs().max()) < 1e-10


@every
def test_supercell_has_the_energy_of_its_cells(name: str) -> None:
    data = crystal(4)
    shifts = torch.tensor(list(product(range(2), range(1), range(3))), dtype=torch.float64)
    positions = (data.positions[None] + (shifts @ CELL[0])[:, None]).reshape(-1, 3)
    large = Structures.from_arrays(
        positions, data.species.repeat(len(shifts)), cell=CELL * torch.tensor([2.0, 1.0, 3.0])[:, None]
    )
    one, two = potential(name)(data, stress=True), potential(name)(large, stress=True)
    assert float((one["energy"] - two["energy"] / 6).abs()) < 1e-9 * 4
    assert float((one["stress"] - two["stress"]).abs().max()) < 1e-9


@every
def test_forces_and_stress_are_derivatives(name: str) -> None:
    model, data, step = potential(name), crystal(), 1e-5
    found = model(data, stress=True)

    def energy(positions: Tensor, cell: Tensor) -> float:
        return float(model(data.replace(positions=positions, cell=cell), forces=False)["energy"])

    for node, axis in ((0, 0), (2, 1), (4, 2)):
        move = torch.zeros_like(data.positions)
        move[node, axis] = step
        difference = energy(data.positions + move, CELL) - energy(data.positions - move, CELL)
        assert -difference / (2 * step) == pytest.approx(float(found["forces"][node, axis]), abs=1e-6)
    for i, j in ((0, 0), (1, 2)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[i, j] += step / 2
        strain[j, i] += step / 2
        plus, minus = torch.eye(3) + strain, torch.eye(3) - strain
        difference = energy(data.positions @ plus, CELL @ plus) - energy(data.positions @ minus, CELL @ minus)
        volume = float(torch.linalg.det(CELL[0]).abs())
        assert difference / (2 * step) / volume == pytest.approx(float(found["stress"][0, i, j]), abs=1e-6)


@every
def test_nothing_jumps_at_the_cutoff(name: str) -> None:
    found = []
    for distance in (CUTOFF - 1e-7, CUTOFF + 1e-7):
        positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -distance]], dtype=torch.float64)
        found.append(potential(name)(Structures.from_arrays(positions, [6, 1, 8, 1])))
    assert float((found[0]["energy"] - found[1]["energy"]).abs()) < 1e-9
    assert float((found[0]["forces"] - found[1]["forces"]).abs().max()) < 1e-5


@every
def test_batch_is_its_structures(name: str) -> None:
    model, parts = potential(name), [molecule(seed, atoms) for seed, atoms in ((0, 7), (1, 1), (2, 5))]
    both = model(Structures.concatenate(parts))
    for key in ("energy", "forces"):
        assert torch.allclose(both[key], torch.cat([model(part)[key] for part in parts]), atol=1e-11)

"""The SE(3)-Transformer as a potential: energies and forces are smooth where neighbours come and go."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.potentials import Potential
from polyad.materials.potentials.se3_transformer import SE3TransformerPotential
from polyad.materials.structures import Structures
from polyad.testing import assert_convergence_order

CUTOFF = 3.0


def potential(**options: int) -> Potential:
    network = SE3TransformerPotential(
        kinds=2, cutoff=CUTOFF, channels=4, layers=2, heads=2, radial=4, hidden=8, **options
    )
    return Potential(network, species=[1, 6], cutoff=CUTOFF).double().eval()


@pytest.mark.parametrize("rest", [0, 1], ids=["last neighbour", "another stays"])
def test_energy_leaves_with_three_and_forces_with_two_orders(rest: int) -> None:
    model, gaps = potential(), [0.02, 0.01, 0.005]

    def at(distance: float) -> dict[str, torch.Tensor]:
        positions = [[0.0, 0, 0], [0.3, distance, 0]] + rest * [[1.1, -0.4, 0.2]]
        positions[1][1] = (distance**2 - 0.09) ** 0.5
        return model(Structures.from_arrays(torch.tensor(positions, dtype=torch.float64), [6, 1, 6][: 2 + rest]))

    away = at(CUTOFF + 0.01)
    if not rest:
        assert float(away["forces"].abs().max()) == 0
    reference = {"energy": away["energy"], "forces": away["forces"][1] * 0}
    assert rest == 0 or float(away["forces"][1].abs().max()) < 1e-12
    energies, forces = [], []
    for gap in gaps:
        near = at(CUTOFF - gap)
        energies.append(float((near["energy"] - reference["energy"]).abs()) if not rest else 1.0)
        forces.append(float((near["forces"][1] - reference["forces"]).norm()))
    if not rest:
        assert_convergence_order(energies, gaps, order=3, tolerance=0.3)
    assert_convergence_order(forces, gaps, order=2, tolerance=0.3)


def test_an_atom_alone_has_the_energy_of_its_element() -> None:
    model = potential()
    single = [float(model(Structures.from_arrays(torch.zeros(1, 3).double(), [z]))["energy"]) for z in (1, 6)]
    far = torch.tensor([[0, 0, 0], [9, 0, 0], [0, 9, 0]], dtype=torch.float64)
    assert float(model(Structures.from_arrays(far, [1, 6, 6]))["energy"]) == pytest.approx(single[0] + 2 * single[1])
    assert abs(single[0] - single[1]) > 1e-3


def test_angles_change_energies() -> None:
    """Three atoms with equal sides at the centre differ by the angle alone, beyond what the third side explains."""
    model = potential(lmax=1)
    bent, straight = (
        torch.tensor([[0, 0, 0], [2, 0, 0], end], dtype=torch.float64) for end in ([-2.0, 0, 0], [-1.95, 0.4444097, 0])
    )
    assert float((bent[1] - bent[2]).norm()) > CUTOFF  # the ends do not see each other
    energies = [float(model(Structures.from_arrays(x, [6, 1, 1]))["energy"]) for x in (bent, straight)]
    assert abs(energies[0] - energies[1]) > 1e-5


def test_bad_input_is_refused() -> None:
    for options in ({"kinds": 0}, {"radial": 0}, {"channels": 6, "heads": 4}):
        with pytest.raises(InputError):
            SE3TransformerPotential(**{"kinds": 1, "cutoff": 3.0, **options})

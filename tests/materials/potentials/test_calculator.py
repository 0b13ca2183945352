"""The calculator against ASE's own Lennard-Jones, which has the same cut and shift; energy kept along a trajectory."""

from __future__ import annotations

import numpy as np
import pytest

from polyad.materials.potentials import Potential, ase_calculator
from tests.materials.potentials.pair_network import LennardJones


def test_equals_ase_lennard_jones() -> None:
    ase = pytest.importorskip("ase")
    from ase.build import bulk
    from ase.calculators.lj import LennardJones as Reference

    for atoms in (bulk("Ar", "fcc", a=1.6) * (2, 1, 1), ase.Atoms("Ar3", [[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0.3]])):
        atoms.rattle(0.03, seed=1)
        other = atoms.copy()
        atoms.calc = ase_calculator(Potential(LennardJones(), species=[18], cutoff=3.0))
        other.calc = Reference(rc=3.0)
        assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-10)
        assert np.allclose(atoms.get_forces(), other.get_forces(), atol=1e-10)
        if atoms.pbc.all():
            assert np.allclose(atoms.get_stress(), other.get_stress(), atol=1e-10)


def test_dynamics_keep_the_energy() -> None:
    """The leapfrog's error is quadratic in the step if, and only if, forces are the gradient of the energy."""
    ase = pytest.importorskip("ase")
    from ase.md.verlet import VelocityVerlet

    def largest_error(step: float) -> float:
        atoms = ase.Atoms("Ar4", [[0, 0, 0], [1.12, 0, 0], [0.56, 0.97, 0], [0.56, 0.32, 0.91]])
        atoms.calc = ase_calculator(Potential(LennardJones(cutoff=50.0), species=[18], cutoff=50.0))
        atoms.set_momenta(3.0 * np.random.default_rng(0).standard_normal((4, 3)))
        energies = [atoms.get_total_energy()]
        dynamics = VelocityVerlet(atoms, timestep=step * ase.units.fs)
        dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
        dynamics.run(round(20 / step))
        assert atoms.get_kinetic_energy() > 0.01
        return float(np.abs(np.array(energies) - energies[0]).max())

    assert largest_error(0.5) / largest_error(0.25) == pytest.approx(4, rel=0.1)

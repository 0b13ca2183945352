"""Interatomic potentials: energy, forces and stress from networks that keep the symmetry of space."""

from polyad.materials.potentials.calculator import ase_calculator
from polyad.materials.potentials.losses import PotentialLoss, prepare_energies
from polyad.materials.potentials.potential import Potential, force_scale, reference_energies

__all__ = [
    "Potential",
    "PotentialLoss",
    "ase_calculator",
    "force_scale",
    "prepare_energies",
    "reference_energies",
]

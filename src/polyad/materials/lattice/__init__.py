"""Strut lattices: from a periodic net to its exact stiffness tensor, and back to a printable design."""

from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.homogenize import Homogenization, effective_stiffness, homogenize
from polyad.materials.lattice.sections import Circle, Section, Square, Tube

__all__ = [
    "Circle",
    "Homogenization",
    "LatticeBatch",
    "Section",
    "Square",
    "StrutLattice",
    "Tube",
    "effective_stiffness",
    "homogenize",
]

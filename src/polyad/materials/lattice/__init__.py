"""Strut lattices: from a periodic net to its exact stiffness tensor, and back to a printable design."""

from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice

__all__ = ["LatticeBatch", "StrutLattice"]

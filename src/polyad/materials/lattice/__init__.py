"""Strut lattices: from a periodic net to its exact stiffness tensor, and back to a printable design."""

from polyad.materials.lattice.cell import LatticeBatch, StrutLattice

__all__ = ["LatticeBatch", "StrutLattice"]

"""Strut lattices: from a periodic net to its exact stiffness tensor, and back from a wanted tensor to a printable net."""

from polyad.materials.lattice.cell import LatticeBatch, StrutLattice

__all__ = ["LatticeBatch", "StrutLattice"]

"""Molecules, crystals and strut lattices as one batched value, and the files they come from."""

from polyad.materials.structures.batch import Structures
from polyad.materials.structures.readers import from_ase, from_lattice_table, read_structures
from polyad.materials.structures.writers import write_extxyz

__all__ = ["Structures", "from_ase", "from_lattice_table", "read_structures", "write_extxyz"]

"""Files of strut lattices: what a file holds is found by its content, and every error names file and line."""

from polyad.materials.lattice.io.catalogue import load, save, scan
from polyad.materials.lattice.io.structures import from_networkx, from_structure, to_networkx

__all__ = ["from_networkx", "from_structure", "load", "save", "scan", "to_networkx"]

"""Files of strut lattices: what a file holds is found by its content, and every error names file and line."""

from polyad.materials.lattice.io.catalogue import load, save, scan

__all__ = ["load", "save", "scan"]

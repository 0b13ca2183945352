"""Strut lattices: from a periodic net to its exact stiffness tensor, and back to a printable design."""

from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.foams import delaunay_foam, voronoi_foam
from polyad.materials.lattice.generators import perturbed, random_lattice
from polyad.materials.lattice.homogenize import Homogenization, effective_stiffness, homogenize
from polyad.materials.lattice.io import load, save, scan
from polyad.materials.lattice.named import cell_info, list_cells, named_cell
from polyad.materials.lattice.random_nets import random_net
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.reduction import (
    drop_duplicate_struts,
    merge_nodes,
    merge_struts,
    primitive,
    split_struts,
)
from polyad.materials.lattice.sections import Circle, Section, Square, Tube
from polyad.materials.lattice.windows import from_window, to_window

__all__ = [
    "Circle",
    "Homogenization",
    "LatticeBatch",
    "LatticeRecord",
    "Section",
    "Square",
    "StrutLattice",
    "Tube",
    "cell_info",
    "delaunay_foam",
    "drop_duplicate_struts",
    "effective_stiffness",
    "from_window",
    "homogenize",
    "list_cells",
    "load",
    "merge_nodes",
    "merge_struts",
    "named_cell",
    "perturbed",
    "primitive",
    "random_lattice",
    "random_net",
    "save",
    "scan",
    "split_struts",
    "to_window",
    "voronoi_foam",
]

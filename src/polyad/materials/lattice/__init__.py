"""Strut lattices: from a periodic net to its exact stiffness tensor, and back to a printable design."""

from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design import (
    AtMost,
    BulkModulus,
    CellStretch,
    Clearance,
    Design,
    Isotropy,
    MatchTarget,
    Overhang,
    ParetoFront,
    PoissonRatio,
    RadiusBounds,
    ShearModulus,
    Slenderness,
    StiffnessAlong,
    StrutLength,
    design,
    find_symmetry,
    pareto_front,
    printer_limits,
)
from polyad.materials.lattice.frames.sections import Circle, Section, Square, Tube
from polyad.materials.lattice.homogenization import Homogenization, effective_stiffness, homogenize
from polyad.materials.lattice.io import from_networkx, from_structure, load, save, scan, to_networkx
from polyad.materials.lattice.nets.foams import delaunay_foam, voronoi_foam
from polyad.materials.lattice.nets.generators import perturbed, random_lattice
from polyad.materials.lattice.nets.named import cell_info, list_cells, named_cell
from polyad.materials.lattice.nets.random_nets import random_net
from polyad.materials.lattice.nets.reduction import (
    drop_duplicate_struts,
    merge_nodes,
    merge_struts,
    primitive,
    split_struts,
)
from polyad.materials.lattice.nets.windows import from_window, to_window
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.response.compression import SpecimenTest, compress
from polyad.materials.lattice.response.conduction import effective_conductivity
from polyad.materials.lattice.response.expansion import ThermalExpansion, thermal_expansion
from polyad.materials.lattice.response.forces import StrutForces, strut_forces
from polyad.materials.lattice.response.specimen import finite_block
from polyad.materials.lattice.response.strength import Strength, buckling_strength, yield_strength

__all__ = [
    "AtMost",
    "BulkModulus",
    "CellStretch",
    "Circle",
    "Clearance",
    "Design",
    "Homogenization",
    "Isotropy",
    "LatticeBatch",
    "LatticeRecord",
    "MatchTarget",
    "Overhang",
    "ParetoFront",
    "PoissonRatio",
    "RadiusBounds",
    "Section",
    "ShearModulus",
    "Slenderness",
    "SpecimenTest",
    "Square",
    "StiffnessAlong",
    "Strength",
    "StrutForces",
    "StrutLattice",
    "StrutLength",
    "ThermalExpansion",
    "Tube",
    "buckling_strength",
    "cell_info",
    "compress",
    "delaunay_foam",
    "design",
    "drop_duplicate_struts",
    "effective_conductivity",
    "effective_stiffness",
    "find_symmetry",
    "finite_block",
    "from_networkx",
    "from_structure",
    "from_window",
    "homogenize",
    "list_cells",
    "load",
    "merge_nodes",
    "merge_struts",
    "named_cell",
    "pareto_front",
    "perturbed",
    "primitive",
    "printer_limits",
    "random_lattice",
    "random_net",
    "save",
    "scan",
    "split_struts",
    "strut_forces",
    "thermal_expansion",
    "to_networkx",
    "to_window",
    "voronoi_foam",
    "yield_strength",
]

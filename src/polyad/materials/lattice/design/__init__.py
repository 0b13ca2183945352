"""Inverse design of strut lattices: from a wish to a lattice that fulfils it, with exact gradients."""

from polyad.materials.lattice.design.clearance import Clearance
from polyad.materials.lattice.design.constraints import (
    AtMost,
    CellStretch,
    Overhang,
    RadiusBounds,
    Slenderness,
    StrutLength,
)
from polyad.materials.lattice.design.moduli import BulkModulus, PoissonRatio, ShearModulus, StiffnessAlong
from polyad.materials.lattice.design.objectives import Custom, Isotropy, MatchTarget, Objective, WeightedSum
from polyad.materials.lattice.design.pareto import ParetoFront, pareto_front
from polyad.materials.lattice.design.printer import printer_limits
from polyad.materials.lattice.design.result import Design, History, StartSummary
from polyad.materials.lattice.design.run import Step
from polyad.materials.lattice.design.search import design
from polyad.materials.lattice.design.symmetry import LatticeSymmetry, find_symmetry, symmetrise

__all__ = [
    "AtMost",
    "BulkModulus",
    "CellStretch",
    "Clearance",
    "Custom",
    "Design",
    "History",
    "Isotropy",
    "LatticeSymmetry",
    "MatchTarget",
    "Objective",
    "Overhang",
    "ParetoFront",
    "PoissonRatio",
    "RadiusBounds",
    "ShearModulus",
    "Slenderness",
    "StartSummary",
    "Step",
    "StiffnessAlong",
    "StrutLength",
    "WeightedSum",
    "design",
    "find_symmetry",
    "pareto_front",
    "printer_limits",
    "symmetrise",
]

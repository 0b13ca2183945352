"""Elasticity tensors: symmetry, harmonic pieces, directional moduli and their extrema, averages, stability, bounds.

Everywhere: Kelvin-Mandel matrices (..., 6, 6) in the order 11, 22, 33, 23, 13, 12 (see `polyad.tensors.notation`),
batch dimensions first, torch in and torch out, differentiable; any unit of stiffness, which the results share.
"""

from __future__ import annotations

from polyad.materials.elasticity.averages import (
    IsotropicModuli,
    hill_average,
    log_euclidean_anisotropy,
    reuss_average,
    universal_anisotropy,
    voigt_average,
    zener_ratio,
)
from polyad.materials.elasticity.bounds import (
    ModuliBounds,
    StiffnessBounds,
    hashin_shtrikman_bounds,
    porous_bounds,
    voigt_reuss_bounds,
)
from polyad.materials.elasticity.checks import check_stiffness, compliance_of
from polyad.materials.elasticity.constructors import cubic, isotropic, orthotropic, transversely_isotropic
from polyad.materials.elasticity.directional import (
    bulk_modulus,
    linear_compressibility,
    longitudinal_stiffness,
    poisson_ratio,
    shear_modulus,
    young_modulus,
)
from polyad.materials.elasticity.extrema import Extrema, Quantity, extrema
from polyad.materials.elasticity.harmonic import (
    HarmonicPieces,
    harmonic_basis,
    harmonic_coefficients,
    harmonic_decomposition,
    harmonic_tensors,
    harmonic_to_stiffness,
)
from polyad.materials.elasticity.orientation import ClosestSymmetry, classify, closest_symmetry, symmetry_distances
from polyad.materials.elasticity.point_groups import (
    INDEPENDENT_CONSTANTS,
    SYMMETRIES,
    Symmetry,
    normalizer,
    point_group,
    symmetry_projector,
)
from polyad.materials.elasticity.stability import Stability, log_euclidean_distance, stability
from polyad.materials.elasticity.symmetry import Metric, project_symmetry, symmetry_distance

__all__ = [
    "INDEPENDENT_CONSTANTS",
    "SYMMETRIES",
    "ClosestSymmetry",
    "Extrema",
    "HarmonicPieces",
    "IsotropicModuli",
    "Metric",
    "ModuliBounds",
    "Quantity",
    "Stability",
    "StiffnessBounds",
    "Symmetry",
    "bulk_modulus",
    "check_stiffness",
    "classify",
    "closest_symmetry",
    "compliance_of",
    "cubic",
    "extrema",
    "harmonic_basis",
    "harmonic_coefficients",
    "harmonic_decomposition",
    "harmonic_tensors",
    "harmonic_to_stiffness",
    "hashin_shtrikman_bounds",
    "hill_average",
    "isotropic",
    "linear_compressibility",
    "log_euclidean_anisotropy",
    "log_euclidean_distance",
    "longitudinal_stiffness",
    "normalizer",
    "orthotropic",
    "point_group",
    "poisson_ratio",
    "porous_bounds",
    "project_symmetry",
    "reuss_average",
    "shear_modulus",
    "stability",
    "symmetry_distance",
    "symmetry_distances",
    "symmetry_projector",
    "transversely_isotropic",
    "universal_anisotropy",
    "voigt_average",
    "voigt_reuss_bounds",
    "young_modulus",
    "zener_ratio",
]

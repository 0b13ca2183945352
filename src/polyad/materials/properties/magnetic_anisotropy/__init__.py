"""Magnetic anisotropy: zero-field-splitting tensors from structures, what a spin makes of them, and their dynamics."""

from polyad.materials.properties.magnetic_anisotropy.head import ANISOTROPY, GaussianMomentTensors
from polyad.materials.properties.magnetic_anisotropy.parameters import (
    AnisotropyParameters,
    anisotropy_parameters,
    anisotropy_tensor,
)
from polyad.materials.properties.magnetic_anisotropy.spin import (
    BOHR_MAGNETON,
    BOLTZMANN,
    MOLAR,
    Response,
    curie_constant,
    spin_hamiltonian,
    spin_levels,
    spin_operators,
    spin_response,
)
from polyad.materials.properties.magnetic_anisotropy.thermal import (
    WAVENUMBERS,
    ThermalAverage,
    align_frames,
    alignment,
    autocorrelation,
    power_spectrum,
    thermal_average,
)

__all__ = [
    "ANISOTROPY",
    "BOHR_MAGNETON",
    "BOLTZMANN",
    "MOLAR",
    "WAVENUMBERS",
    "AnisotropyParameters",
    "GaussianMomentTensors",
    "Response",
    "ThermalAverage",
    "align_frames",
    "alignment",
    "anisotropy_parameters",
    "anisotropy_tensor",
    "autocorrelation",
    "curie_constant",
    "power_spectrum",
    "spin_hamiltonian",
    "spin_levels",
    "spin_operators",
    "spin_response",
    "thermal_average",
]

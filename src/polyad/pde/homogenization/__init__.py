"""Effective stiffness of periodic microstructures given as voxels, by finite elements and FFT.

from polyad.pde.homogenization import homogenize

result = homogenize(image, [matrix, inclusion])          # image: integers, numbers of the phases
result.stiffness                                         # (6, 6) Kelvin-Mandel
"""

from polyad.pde.homogenization.solver import Homogenized, homogenize
from polyad.pde.homogenization.voxels import voxelize, voxelize_struts

__all__ = ["Homogenized", "homogenize", "voxelize", "voxelize_struts"]

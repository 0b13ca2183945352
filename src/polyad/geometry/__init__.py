"""Geometry: triangle meshes, unions of struts, STL, OBJ, PLY, 3MF and VTK files."""

from polyad.geometry.beam_lattice import BeamLattice, read_beam_lattice, write_beam_lattice
from polyad.geometry.boolean import intersection, union
from polyad.geometry.io import read_mesh, write_mesh
from polyad.geometry.mesh import TriangleMesh, concatenate, parallelepiped
from polyad.geometry.struts import strut_union
from polyad.geometry.vtk import write_vtk_mesh, write_vtk_struts

__all__ = [
    "BeamLattice",
    "TriangleMesh",
    "concatenate",
    "intersection",
    "parallelepiped",
    "read_beam_lattice",
    "read_mesh",
    "strut_union",
    "union",
    "write_beam_lattice",
    "write_mesh",
    "write_vtk_mesh",
    "write_vtk_struts",
]

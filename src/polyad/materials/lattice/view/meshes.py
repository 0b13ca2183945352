"""Triangles for drawings: cylinders with their true radii, balls, and surfaces r(n) over all directions.

These meshes are for looking at (struts overlap inside their joints); for printing see `polyad.geometry.struts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from polyad.materials.lattice.view.block import Block


@final
@dataclass(frozen=True, eq=False)
class DrawnMesh:
    """Triangles with a normal and an RGB colour (0..1) at every vertex."""

    vertices: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    triangles: np.ndarray

    def __add__(self, other: DrawnMesh) -> DrawnMesh:
        """Both meshes in one."""
        return DrawnMesh(
            np.concatenate([self.vertices, other.vertices]),
            np.concatenate([self.normals, other.normals]),
            np.concatenate([self.colours, other.colours]),
            np.concatenate([self.triangles, other.triangles + len(self.vertices)]),
        )


def block_mesh(block: Block, colours: np.ndarray, *, facets: int = 24) -> DrawnMesh:
    """Every strut of a block as a cylinder with a ball at both ends; `colours` is (struts of the block, 3)."""
    ends = np.concatenate([block.starts, block.ends])
    # one ball a node: the thickest strut end there
    radii, tint = np.tile(block.radii, 2), np.tile(colours, (2, 1))
    order = np.argsort(-radii, kind="stable")
    scale = max(float(np.ptp(ends, axis=0).max()), 1e-300)
    _, first = np.unique(np.round(ends[order] / scale, 7), axis=0, return_index=True)
    chosen = order[first]
    struts = cylinders(block.starts, block.ends, block.radii, colours, facets=facets)
    return struts + balls(ends[chosen], radii[chosen], tint[chosen])


def cylinders(
    starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, colours: np.ndarray, *, facets: int = 24
) -> DrawnMesh:
    """Open cylinders between (count, 3) points, with smooth normals; vertices lie on the true surface."""
    along = ends - starts
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=1)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    third = np.cross(along, across)
    angle = 2 * np.pi * np.arange(facets) / facets
    ring = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * third[:, None]
    offset = radii[:, None, None] * ring
    vertices = np.concatenate([starts[:, None] + offset, ends[:, None] + offset], axis=1)
    here = np.arange(facets)
    beside = (here + 1) % facets
    quads = np.concatenate(
        [np.stack([here, beside, facets + beside], 1), np.stack([here, facets + beside, facets + here], 1)]
    )
    triangles = quads[None] + 2 * facets * np.arange(len(starts))[:, None, None]
    normals = np.concatenate([ring, ring], axis=1)
    tint = np.repeat(colours, 2 * facets, axis=0)
    return DrawnMesh(vertices.reshape(-1, 3), normals.reshape(-1, 3), tint, triangles.reshape(-1, 3))


def balls(centres: np.ndarray, radii: np.ndarray, colours: np.ndarray, *, level: int = 2) -> DrawnMesh:
    """Spheres about (count, 3) points."""
    unit, faces = sphere(level)
    vertices = centres[:, None] + radii[:, None, None] * unit
    triangles = faces[None] + len(unit) * np.arange(len(centres))[:, None, None]
    normals = np.tile(unit, (len(centres), 1))
    tint = np.repeat(colours, len(unit), axis=0)
    return DrawnMesh(vertices.reshape(-1, 3), normals, tint, triangles.reshape(-1, 3))


def radial_surface(radius: np.ndarray, colours: np.ndarray, *, level: int) -> DrawnMesh:
    """The closed surface r(n) n, with `radius` given at the directions of `sphere(level)`."""
    unit, faces = sphere(level)
    vertices = radius[:, None] * unit
    return DrawnMesh(vertices, vertex_normals(vertices, faces), colours, faces)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals at vertices: the sum of the area vectors of the triangles around."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    area = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], area)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1)


@lru_cache(maxsize=8)
def sphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors and outward triangles of an octahedron cut in four `level` times; the axes are among the vectors."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(level):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, place = np.unique(sides, axis=0, return_inverse=True)
        middle = points[unique].sum(axis=1)
        ab, bc, ca = (len(points) + place.reshape(-1, 3)).T
        points = np.concatenate([points, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        a, b, c = faces.T
        faces = np.concatenate(
            [np.stack(corner, 1) for corner in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        )
    points.setflags(write=False)
    faces.setflags(write=False)
    return points, faces

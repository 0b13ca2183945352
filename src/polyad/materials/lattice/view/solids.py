"""Solids for drawing: a printable mesh with the normals of its smooth faces and sharp edges where faces meet."""

from __future__ import annotations

import math

import numpy as np

from polyad.geometry.mesh import TriangleMesh
from polyad.materials.lattice.view.meshes import DrawnMesh

CREASE = math.radians(35)
"""Triangles that meet at less than this angle belong to one smooth face."""


def solid_mesh(solid: TriangleMesh, colour: tuple[float, float, float]) -> DrawnMesh:
    """A triangle mesh for `render`: every corner has the mean normal of the triangles around it nearly in line.

    Struts come out round although they are prisms, and their cut ends flat.
    """
    vertices, triangles = solid.vertices.detach().cpu().double().numpy(), solid.triangles.cpu().numpy()
    area = solid.normals.detach().cpu().double().numpy()
    unit = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-300)
    corner = triangles.reshape(-1)
    owner = np.repeat(np.arange(len(triangles)), 3)
    order = np.argsort(corner, kind="stable")
    degree = np.bincount(corner, minlength=len(vertices))
    first = np.concatenate([[0], np.cumsum(degree)[:-1]])
    # all pairs (corner, triangle at the same vertex)
    count = degree[corner]
    here = np.repeat(np.arange(len(corner)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    beside = owner[order[first[corner[here]] + step]]
    smooth = (unit[owner[here]] * unit[beside]).sum(axis=1) > math.cos(CREASE)
    sums = [np.bincount(here[smooth], area[beside[smooth], k], minlength=len(corner)) for k in range(3)]
    total = np.stack(sums, axis=1).astype(float)
    normals = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)
    tint = np.tile(np.array(colour), (len(corner), 1))
    return DrawnMesh(vertices[corner], normals, tint, np.arange(len(corner)).reshape(-1, 3))

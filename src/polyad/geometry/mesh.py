"""A triangle mesh as a value: what a solid's surface knows about itself.

A mesh is watertight when every directed edge occurs once and so does its reverse: then it bounds a solid, the
divergence theorem gives volume and centroid, and Euler's formula V - E + F = 2 (components) - 2 (handles) gives the
genus. Triangles are counter-clockwise seen from outside. Everything metric is differentiable in `vertices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False, repr=False)
class TriangleMesh:
    """Triangles over shared vertices.

    Args:
        vertices: (v, 3) positions; lists and arrays become float64.
        triangles: (t, 3) vertex indices from 0, counter-clockwise seen from outside.

    Raises:
        InputError: shapes that do not fit, NaN, an index out of range, a triangle that names a vertex twice.
    """

    vertices: Float[Tensor, "vertices 3"]
    triangles: Int[Tensor, "triangles 3"]

    def __init__(self, vertices: Any, triangles: Any) -> None:
        object.__setattr__(self, "vertices", _positions(vertices))
        object.__setattr__(self, "triangles", _indices(triangles).to(self.vertices.device))
        _validate(self)

    @property
    def num_vertices(self) -> int:
        """Number of vertices."""
        return self.vertices.shape[0]

    @property
    def num_triangles(self) -> int:
        """Number of triangles."""
        return self.triangles.shape[0]

    @property
    def corners(self) -> Float[Tensor, "triangles 3 3"]:
        """Positions of the three corners of every triangle."""
        return self.vertices[self.triangles]

    @property
    def normals(self) -> Float[Tensor, "triangles 3"]:
        """Outward vector of every triangle, as long as twice its area."""
        a, b, c = self.corners.unbind(1)
        return torch.linalg.cross(b - a, c - a)

    # ---------------------------------------------------------------- measures

    @property
    def area(self) -> Float[Tensor, ""]:
        """Area of the surface."""
        return 0.5 * torch.linalg.vector_norm(self.normals, dim=-1).sum()

    @property
    def volume(self) -> Float[Tensor, ""]:
        """Enclosed volume of a watertight mesh: the sum of signed tetrahedra. Negative where it is inside out."""
        return self._tetrahedra()[0].sum()

    @property
    def centroid(self) -> Float[Tensor, "3"]:
        """Centre of mass of the enclosed volume."""
        volumes, centres = self._tetrahedra()
        return self._middle() + (volumes[:, None] * centres).sum(0) / volumes.sum()

    @property
    def bounding_box(self) -> Float[Tensor, "2 3"]:
        """Lower and upper corner."""
        if not self.num_vertices:
            raise InputError("bounding_box: the mesh has no vertices")
        return torch.stack([self.vertices.amin(0), self.vertices.amax(0)])

    # ---------------------------------------------------------------- topology

    @property
    def is_watertight(self) -> bool:
        """Whether the triangles bound a solid: every directed edge once, and its reverse once."""
        if not self.num_triangles:
            return False
        source, target = self._directed_edges()
        forward = torch.sort(source * self.num_vertices + target).values
        backward = torch.sort(target * self.num_vertices + source).values
        return bool((forward[1:] != forward[:-1]).all()) and bool((forward == backward).all())

    @property
    def euler_characteristic(self) -> int:
        """V - E + F, over the vertices in use."""
        source, target = self._directed_edges()
        low, high = torch.minimum(source, target), torch.maximum(source, target)
        edges = torch.unique(low * self.num_vertices + high).numel()
        return torch.unique(self.triangles).numel() - edges + self.num_triangles

    @property
    def genus(self) -> int:
        """Number of handles of a watertight mesh, summed over its pieces: pieces - (V - E + F) / 2."""
        if not self.is_watertight:
            raise InputError("genus: the mesh is not watertight; only a closed surface has a genus")
        return int(self.piece_of_triangle().max()) + 1 - self.euler_characteristic // 2

    def piece_of_triangle(self) -> Int[Tensor, " triangles"]:
        """Number of the connected piece (shared vertices) that every triangle belongs to, counted from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        source, target = (part.cpu().numpy() for part in self._directed_edges())
        graph = coo_array((np.ones(len(source), np.int8), (source, target)), shape=(self.num_vertices,) * 2)
        label = torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
        _, compact = torch.unique(label[self.triangles[:, 0].cpu()], return_inverse=True)
        return compact.to(self.triangles.device)

    def pieces(self) -> list[TriangleMesh]:
        """The connected pieces. One of negative volume bounds a closed cavity inside another."""
        label = self.piece_of_triangle()
        return [self.select(label == k) for k in range(int(label.max()) + 1)] if self.num_triangles else []

    # ---------------------------------------------------------------- other meshes from this one

    def transform(self, matrix: Any = None, translation: Any = None) -> TriangleMesh:
        """The mesh under x -> matrix x + translation; a reflection turns the triangles too: outside stays outside."""
        vertices, triangles = self.vertices, self.triangles
        if matrix is not None:
            matrix = _tensor(matrix, "matrix").to(vertices)
            if matrix.shape != (3, 3) or float(torch.linalg.det(matrix)) == 0.0:
                raise InputError(f"transform: matrix must be an invertible 3x3, shape is {tuple(matrix.shape)}")
            vertices = vertices @ matrix.T
            if float(torch.linalg.det(matrix)) < 0:
                triangles = triangles.flip(1)
        if translation is not None:
            vertices = vertices + _tensor(translation, "translation").to(vertices)
        return TriangleMesh(vertices, triangles)

    def select(self, keep: Tensor) -> TriangleMesh:
        """The triangles that the mask or index list `keep` names, with the vertices they use."""
        triangles = self.triangles[keep]
        used, compact = torch.unique(triangles, return_inverse=True)
        return TriangleMesh(self.vertices[used], compact.reshape(-1, 3))

    def __repr__(self) -> str:
        """One line: vertices, triangles and whether it is closed."""
        state = "watertight" if self.is_watertight else "open"
        return f"TriangleMesh({self.num_vertices} vertices, {self.num_triangles} triangles, {state})"

    # ---------------------------------------------------------------- parts

    def _directed_edges(self) -> tuple[Tensor, Tensor]:
        return self.triangles.reshape(-1), self.triangles.roll(-1, dims=1).reshape(-1)

    def _middle(self) -> Tensor:
        # tetrahedra over a point near the mesh, not the origin: no digits lost far away from it
        return self.vertices.mean(0) if self.num_vertices else self.vertices.new_zeros(3)

    def _tetrahedra(self) -> tuple[Tensor, Tensor]:
        a, b, c = (self.corners - self._middle()).unbind(1)
        return (torch.linalg.cross(a, b) * c).sum(-1) / 6.0, (a + b + c) / 4.0


def concatenate(meshes: Sequence[TriangleMesh]) -> TriangleMesh:
    """One mesh that holds all triangles of `meshes`, without any union: overlapping solids stay overlapping."""
    if not meshes:
        raise InputError("concatenate: no meshes given; it needs at least one")
    sizes = torch.tensor([0] + [mesh.num_vertices for mesh in meshes[:-1]]).cumsum(0).tolist()
    return TriangleMesh(
        torch.cat([mesh.vertices for mesh in meshes]),
        torch.cat([mesh.triangles + start for mesh, start in zip(meshes, sizes, strict=True)]),
    )


def mesh_from_corners(corners: Float[Tensor, "triangles 3 3"]) -> TriangleMesh:
    """Join loose triangles (an STL file) at exactly equal corners; triangles that collapse by it are dropped."""
    flat = corners.reshape(-1, 3) + 0.0  # -0.0 and 0.0 are one corner
    vertices, index = torch.unique(flat, dim=0, return_inverse=True)
    triangles = index.reshape(-1, 3)
    return TriangleMesh(vertices, triangles[~_names_a_vertex_twice(triangles)])


def parallelepiped(edges: Any, *, origin: Any = (0.0, 0.0, 0.0)) -> TriangleMesh:
    """Solid spanned by the three rows of `edges` (3, 3), one corner at `origin`. A box has a diagonal matrix."""
    edges, origin = _positions(edges), _positions([origin])[0]
    corner = torch.cartesian_prod(*[torch.arange(2)] * 3).to(edges)  # corner 4i + 2j + k
    faces = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    triangles = [[a, b, c] for p, q, r, s in faces for a, b, c in ((p, q, r), (p, r, s))]
    unit = TriangleMesh(corner, [[a, c, b] for a, b, c in triangles])
    return unit.transform(edges.T, origin)


def _tensor(value: Any, name: str) -> Tensor:
    try:
        # through NumPy: torch would round lists of Python's floats to float32
        return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name}: cannot be read as an array of numbers ({error})") from error


def _positions(value: Any) -> Tensor:
    tensor = _tensor(value, "vertices")
    return tensor if tensor.is_floating_point() and isinstance(value, Tensor) else tensor.to(torch.float64)


def _indices(value: Any) -> Tensor:
    tensor = _tensor(value, "triangles")
    if tensor.numel() == 0:
        return torch.empty(0, 3, dtype=torch.int64)
    if tensor.is_floating_point():
        raise InputError("triangles: must hold whole numbers, the indices of vertices")
    return tensor.to(torch.int64)


def _names_a_vertex_twice(triangles: Tensor) -> Tensor:
    return (triangles == triangles.roll(1, dims=1)).any(1)


def _validate(mesh: TriangleMesh) -> None:
    for name in ("vertices", "triangles"):
        tensor = getattr(mesh, name)
        if tensor.ndim != 2 or tensor.shape[1] != 3:
            raise InputError(f"{name}: shape is {tuple(tensor.shape)}; expected (number, 3)")
    if not bool(torch.isfinite(mesh.vertices.detach()).all()):
        raise InputError("vertices: holds NaN or infinity; every coordinate must be finite")
    if mesh.num_triangles:
        low, high = int(mesh.triangles.min()), int(mesh.triangles.max())
        if low < 0 or high >= mesh.num_vertices:
            wrong = low if low < 0 else high
            raise InputError(f"triangles: names vertex {wrong}; vertices are counted 0 to {mesh.num_vertices - 1}")
        twice = _names_a_vertex_twice(mesh.triangles)
        if bool(twice.any()):
            first = int(twice.nonzero()[0])
            raise InputError(f"triangles: triangle {first} names a vertex twice; remove it")

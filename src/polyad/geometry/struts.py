"""The solid of a strut lattice: round struts joined by spheres, as one watertight mesh.

Every strut is a prism (or frustum, where its two radii differ) over a regular polygon, every node a ball of the
thickest strut that ends there, and their union is taken exactly. Three choices make the mesh trustworthy:

- polygons have the *area* of the circle, circumradius r sqrt(2 pi / (n sin(2 pi / n))), and balls the *volume* of the
  sphere, so mass and the beam formula agree for every number of facets;
- struts end in a blunt cone inside the ball, so all pieces at a node hold it in their interior: they are convex and
  share a point, hence (nerve theorem) the union is homotopy equivalent to the graph wherever struts meet in nodes only,
  and its genus is the graph's cycle rank;
- edges shorter than float32 can tell apart are removed, so the mesh survives an STL file.

*When not to use it*: filleted or organic joints (no blending), and struts by the hundred thousand (seconds per
thousand struts): write a 3MF beam lattice instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.geometry.boolean import Manifold, from_manifold, to_manifold, union_tree, without_short_edges
from polyad.geometry.mesh import TriangleMesh

NOSE = 0.5
"""Height of the cone at a strut's end in radii: anything between 0 and 1 stays inside the ball."""


def strut_union(
    starts: Float[Tensor, "struts 3"],
    ends: Float[Tensor, "struts 3"],
    radii: Float[Tensor, " struts"] | Float[Tensor, "struts 2"],
    *,
    facets: int = 32,
    joint_radius: float | None = None,
    clip: TriangleMesh | None = None,
    plates: tuple[TriangleMesh, ...] = (),
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TriangleMesh:
    """Watertight union of struts with spherical joints.

    Args:
        starts, ends: (struts, 3) end points; ends closer than 1e-9 of the extent are one node.
        radii: (struts,) radii, or (struts, 2) radii at start and end for tapered struts.
        facets: sides of the polygon that stands for a circle, at least 3; balls get the next multiple of 4.
        joint_radius: radius of every ball; None takes the thickest strut end at each node.
        clip: watertight solid outside which material is cut away, for example `parallelepiped(cell)`.
        plates: further watertight solids to join before the cut.
        tolerance: surfaces may move by less than this to remove tiny edges; None takes 1e-6 of the extent.
        progress: called as progress(solids joined, solids in all).

    Returns:
        The surface, outward and checked: closed, and of the genus that manifold3d reports.

    Raises:
        InputError: bad shapes or numbers, a strut of zero length, a ball thinner than its struts, nothing left.
    """
    start, end, radius = _checked(starts, ends, radii)
    if facets < 3:
        raise InputError(f"facets: is {facets}; a strut needs at least 3, 16 to 48 print well")
    extent = float(np.ptp(np.concatenate([start, end]), axis=0).max() + radius.max())
    nodes, strut_nodes = _merge_nodes(np.concatenate([start, end]), 1e-9 * extent)
    start, end = nodes[strut_nodes[0]], nodes[strut_nodes[1]]
    _refuse_short(start, end, 1e-7 * extent)
    balls = _ball_radii(strut_nodes, radius, len(nodes), joint_radius)

    if clip is not None:  # what cannot reach the window need not be joined
        low, high = clip.bounding_box.detach().cpu().double().numpy()
        reach = balls[strut_nodes].max(0)[:, None]
        near = ((np.minimum(start, end) - reach < high) & (np.maximum(start, end) + reach > low)).all(1)
        start, end, radius, strut_nodes = start[near], end[near], radius[near], strut_nodes[:, near]
        used = np.unique(strut_nodes)
        nodes, balls = nodes[used], balls[used]

    solids = [*_strut_solids(start, end, radius, facets), *_ball_solids(nodes, balls, facets)]
    centres = [(start + end) / 2, nodes]
    for plate in plates:
        solids.append(to_manifold(plate))
        centres.append(plate.bounding_box.detach().cpu().double().numpy().mean(0, keepdims=True))
    if not solids:
        raise InputError("clip: no strut reaches the window; check positions against it")
    solid = union_tree(solids, np.concatenate(centres), progress=progress)
    if clip is not None:
        solid = solid ^ to_manifold(clip)
    if tolerance is None:
        box = np.reshape(solid.bounding_box(), (2, 3))
        tolerance = 0.0 if solid.is_empty() else 1e-6 * float(np.ptp(box, axis=0).max())
    return from_manifold(without_short_edges(solid, tolerance) if tolerance > 0 else solid)


def polygon_radius(radius: float, facets: int) -> float:
    """Circumradius of the regular polygon that has the area of the circle: r sqrt(2 pi / (n sin(2 pi / n)))."""
    angle = 2.0 * math.pi / facets
    return radius * math.sqrt(angle / math.sin(angle))


def _strut_solids(start: np.ndarray, end: np.ndarray, radius: np.ndarray, facets: int) -> list[Manifold]:
    import manifold3d

    along = end - start
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across, third = _frames(along)
    angle = 2.0 * np.pi * np.arange(facets) / facets
    ring = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * third[:, None]
    outer = radius * polygon_radius(1.0, facets)
    vertices = np.concatenate(
        [
            start[:, None] + outer[:, :1, None] * ring,
            end[:, None] + outer[:, 1:, None] * ring,
            (start - NOSE * outer[:, :1] * along)[:, None],
            (end + NOSE * outer[:, 1:] * along)[:, None],
        ],
        axis=1,
    )
    triangles = _prism_triangles(facets)
    return [manifold3d.Manifold(manifold3d.Mesh64(points, triangles)) for points in vertices]


def _prism_triangles(facets: int) -> np.ndarray:
    """Two rings of `facets` vertices, then the two tips, outward."""
    i = np.arange(facets)
    j, tip = (i + 1) % facets, np.full(facets, 2 * facets)
    sides = [(i, j, facets + j), (i, facets + j, facets + i)]
    noses = [(j, i, tip), (facets + i, facets + j, tip + 1)]
    return np.concatenate([np.stack(part, axis=1) for part in sides + noses]).astype(np.uint64)


def _frames(along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across each direction, right-handed with it; equal for equal directions up to rounding."""
    axis = np.eye(3)[np.argmin(np.abs(along).round(6), axis=1)]
    across = np.cross(along, axis)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return across, np.cross(along, across)


def _ball_solids(nodes: np.ndarray, radii: np.ndarray, facets: int) -> list[Manifold]:
    import manifold3d

    unit = manifold3d.Manifold.sphere(1.0, facets)
    exact = (4.0 * math.pi / 3.0 / unit.volume()) ** (1.0 / 3.0)
    return [unit.scale([exact * r] * 3).translate(tuple(node)) for node, r in zip(nodes, radii.tolist(), strict=True)]


def _ball_radii(strut_nodes: np.ndarray, radius: np.ndarray, count: int, joint_radius: float | None) -> np.ndarray:
    thickest = np.zeros(count)
    np.maximum.at(thickest, strut_nodes, radius.T)
    if joint_radius is None:
        return thickest
    if not (math.isfinite(joint_radius) and joint_radius >= thickest.max()):
        raise InputError(
            f"joint_radius: is {joint_radius!r}; a ball must cover the thickest strut, at least {thickest.max():.6g}"
        )
    return np.full(count, float(joint_radius))


def _merge_nodes(points: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Unique nodes and (2, struts) node numbers; points closer than `distance` are one node, at the first of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    _, first, number = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
    return points[first], number.reshape(2, -1)


def _checked(starts: Any, ends: Any, radii: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, end, radius = (torch.as_tensor(x).detach().cpu().double().numpy() for x in (starts, ends, radii))
    if start.ndim != 2 or start.shape[1] != 3 or start.shape != end.shape or not len(start):
        raise InputError(f"starts, ends: shapes are {start.shape} and {end.shape}; expected (struts, 3) twice")
    if radius.shape not in {(len(start),), (len(start), 2)}:
        raise InputError(f"radii: shape is {radius.shape}; expected ({len(start)},) or ({len(start)}, 2)")
    radius = np.broadcast_to(radius[:, None] if radius.ndim == 1 else radius, (len(start), 2))
    for name, value in (("starts", start), ("ends", end), ("radii", radius)):
        if not np.isfinite(value).all():
            raise InputError(f"{name}: holds NaN or infinity; every entry must be finite")
    if radius.min() <= 0:
        worst = int(radius.min(1).argmin())
        raise InputError(f"radii: strut {worst} has radius {radius[worst].min():.6g}; radii must be positive")
    return start, end, radius


def _refuse_short(start: np.ndarray, end: np.ndarray, shortest: float) -> None:
    length = np.linalg.norm(end - start, axis=1)
    if length.min() <= shortest:
        raise InputError(f"strut {int(length.argmin())} has zero length ({length.min():.3g}); remove it")

"""Unions and intersections of boxes, whose volumes are known, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.boolean import intersection, to_manifold, union, union_tree
from polyad.geometry.mesh import TriangleMesh, concatenate, parallelepiped


def box(*corner: float, size: float = 1.0) -> TriangleMesh:
    return parallelepiped(size * torch.eye(3, dtype=torch.float64), origin=corner)


def test_inclusion_and_exclusion() -> None:
    a, b = box(0, 0, 0), box(0.5, 0.25, 0.75)
    overlap = 0.5 * 0.75 * 0.25
    assert float(intersection(a, b).volume) == pytest.approx(overlap)
    assert float(union([a, b]).volume) == pytest.approx(2 - overlap)


def test_coincident_faces_join() -> None:
    row = union([box(k, 0, 0) for k in range(20)])
    assert float(row.volume) == pytest.approx(20)
    assert (row.genus, len(row.pieces())) == (0, 1)


def test_ring_of_boxes_has_one_handle() -> None:
    ring = union([box(i, j, 0) for i in range(3) for j in range(3) if (i, j) != (1, 1)])
    assert float(ring.volume) == pytest.approx(8)
    assert ring.genus == 1


def test_tree_and_progress() -> None:
    corners = [(1.5 * i, 1.5 * j, 1.5 * k) for i in range(3) for j in range(3) for k in range(3)]
    calls: list[tuple[int, int]] = []
    solid = union_tree(
        [to_manifold(box(*c)) for c in corners],
        np.array(corners),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert solid.volume() == pytest.approx(27)
    assert calls[-1] == (27, 27)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert sum(done == 27 for done, _ in calls) == 1


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="nothing is left"):
        intersection(box(0, 0, 0), box(5, 5, 5))
    with pytest.raises(InputError, match="not watertight"):
        union([box(0, 0, 0).select(torch.arange(11))])
    with pytest.raises(InputError, match="inside out"):
        to_manifold(TriangleMesh(box(0, 0, 0).vertices, box(0, 0, 0).triangles.flip(1)))
    with pytest.raises(InputError, match="no meshes"):
        union([])
    assert float(concatenate([box(0, 0, 0), box(0, 0, 0)]).volume) == pytest.approx(2)  # no union, as promised

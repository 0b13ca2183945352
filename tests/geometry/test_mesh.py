"""TriangleMesh against closed forms, trimesh and Euler's formula."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.mesh import TriangleMesh, concatenate, mesh_from_corners, parallelepiped

TETRAHEDRON = TriangleMesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def torus(major: float, minor: float, n: int, m: int) -> TriangleMesh:
    """A torus of n x m quadrilaterals, each cut in two."""
    u, v = torch.meshgrid(torch.arange(n).double(), torch.arange(m).double(), indexing="ij")
    u, v = 2 * math.pi * u / n, 2 * math.pi * v / m
    ring = major + minor * torch.cos(v)
    points = torch.stack([ring * torch.cos(u), ring * torch.sin(u), minor * torch.sin(v)], dim=-1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    a, b = i * m + j, (i + 1) % n * m + j
    c, d = (i + 1) % n * m + (j + 1) % m, i * m + (j + 1) % m
    return TriangleMesh(
        points, torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    )


def test_parallelepiped_has_the_determinant_as_volume() -> None:
    edges = torch.tensor([[1.0, 0.2, 0.1], [0.3, 2.0, -0.4], [0.0, 0.5, 3.0]], dtype=torch.float64)
    mesh = parallelepiped(edges, origin=(5.0, -7.0, 11.0))
    torch.testing.assert_close(mesh.volume, torch.linalg.det(edges))
    torch.testing.assert_close(mesh.centroid, edges.sum(0) / 2 + torch.tensor([5.0, -7.0, 11.0]).double())
    faces = [torch.linalg.vector_norm(torch.linalg.cross(edges[i], edges[j])) for i, j in ((0, 1), (1, 2), (2, 0))]
    torch.testing.assert_close(mesh.area, 2 * sum(faces))
    # a left-handed basis still gives an outward mesh
    assert float(parallelepiped(edges.flip(0)).volume) == pytest.approx(float(torch.linalg.det(edges)))


def test_tetrahedron_measures() -> None:
    assert float(TETRAHEDRON.volume) == pytest.approx(1 / 6)
    assert float(TETRAHEDRON.area) == pytest.approx(1.5 + math.sqrt(3) / 2)
    torch.testing.assert_close(TETRAHEDRON.centroid, torch.full((3,), 0.25, dtype=torch.float64))
    assert TETRAHEDRON.bounding_box.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_torus_volume_converges_at_second_order_and_has_one_handle() -> None:
    exact = 2 * math.pi**2 * 2.0 * 0.5**2
    errors = [exact - float(torus(2.0, 0.5, 2 * n, n).volume) for n in (16, 32, 64)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.01)
    mesh = torus(2.0, 0.5, 32, 16)
    assert mesh.is_watertight
    assert (mesh.euler_characteristic, mesh.genus) == (0, 1)


def test_measures_agree_with_trimesh() -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    mesh = torus(1.0, 0.3, 12, 9).transform(torch.tensor([[1.0, 0.2, 0], [0, 0.7, 0.1], [0.4, 0, 1.3]]), (9, 8, 7))
    peer = trimesh.Trimesh(mesh.vertices.numpy(), mesh.triangles.numpy(), process=False)
    assert float(mesh.volume) == pytest.approx(peer.volume, rel=1e-12)
    assert float(mesh.area) == pytest.approx(peer.area, rel=1e-12)
    assert mesh.centroid.tolist() == pytest.approx(peer.center_mass.tolist(), rel=1e-10)
    assert mesh.euler_characteristic == peer.euler_number
    assert mesh.is_watertight == (peer.is_watertight and peer.is_winding_consistent)


def test_pieces_and_genus_add_up() -> None:
    both = concatenate([torus(2.0, 0.5, 16, 8), TETRAHEDRON.transform(translation=(9, 0, 0)), torus(1.0, 0.3, 9, 8)])
    assert both.genus == 2
    assert [piece.genus for piece in both.pieces()] == [1, 0, 1]
    assert sum(float(piece.volume) for piece in both.pieces()) == pytest.approx(float(both.volume))


def test_cavity_is_a_piece_of_negative_volume() -> None:
    inner = parallelepiped(torch.eye(3), origin=(1, 1, 1))
    cavity = TriangleMesh(inner.vertices, inner.triangles.flip(1))
    hollow = concatenate([parallelepiped(3 * torch.eye(3)), cavity])
    assert float(hollow.volume) == pytest.approx(26)
    assert [round(float(piece.volume)) for piece in hollow.pieces()] == [27, -1]


def test_watertight_notices_holes_flips_and_doubles() -> None:
    triangles = TETRAHEDRON.triangles
    assert TETRAHEDRON.is_watertight
    assert not TETRAHEDRON.select(torch.tensor([0, 1, 2])).is_watertight
    assert not TriangleMesh(TETRAHEDRON.vertices, torch.cat([triangles[:1].flip(1), triangles[1:]])).is_watertight
    assert not TriangleMesh(TETRAHEDRON.vertices, torch.cat([triangles, triangles])).is_watertight
    with pytest.raises(InputError, match="not watertight"):
        _ = TETRAHEDRON.select(torch.tensor([0, 1, 2])).genus


def test_reflection_keeps_the_outside_outside() -> None:
    mirrored = TETRAHEDRON.transform(torch.diag(torch.tensor([-1.0, 1.0, 1.0])))
    assert float(mirrored.volume) == pytest.approx(1 / 6)
    assert mirrored.is_watertight


def test_measures_are_differentiable() -> None:
    vertices = torus(1.0, 0.4, 5, 4).vertices.clone().requires_grad_()
    triangles = torus(1.0, 0.4, 5, 4).triangles
    for quantity in ("volume", "area", "centroid"):
        assert torch.autograd.gradcheck(lambda x, q=quantity: getattr(TriangleMesh(x, triangles), q), (vertices,))


def test_corners_join_again() -> None:
    mesh = torus(1.0, 0.4, 7, 6)
    again = mesh_from_corners(mesh.corners)
    assert (again.num_vertices, again.num_triangles) == (mesh.num_vertices, mesh.num_triangles)
    torch.testing.assert_close(again.corners, mesh.corners, rtol=0, atol=0)
    collapsed = torch.cat([mesh.corners, mesh.corners[:1, [0, 0, 1]]])
    assert mesh_from_corners(collapsed).num_triangles == mesh.num_triangles


@pytest.mark.parametrize(
    ("vertices", "triangles", "message"),
    [
        ([[0, 0]], [[0, 0, 0]], "shape"),
        ([[0, 0, math.nan]] * 3, [[0, 1, 2]], "NaN"),
        ([[0, 0, 0]] * 3, [[0, 1, 3]], "names vertex 3"),
        ([[0, 0, 0]] * 3, [[0, 1, -1]], "names vertex -1"),
        ([[0, 0, 0]] * 3, [[0, 1, 1]], "triangle 0 names a vertex twice"),
        ([[0, 0, 0]] * 3, [[0.5, 1, 2]], "whole numbers"),
        ("abc", [[0, 1, 2]], "cannot be read"),
    ],
)
def test_bad_meshes_are_refused(vertices: object, triangles: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TriangleMesh(vertices, triangles)


def test_empty_and_singular() -> None:
    empty = TriangleMesh(torch.zeros(0, 3), [])
    assert not empty.is_watertight
    assert empty.pieces() == []
    with pytest.raises(InputError, match="no vertices"):
        _ = empty.bounding_box
    with pytest.raises(InputError, match="invertible"):
        TETRAHEDRON.transform(torch.zeros(3, 3))
    with pytest.raises(InputError, match="at least one"):
        concatenate([])

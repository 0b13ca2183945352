"""Strut unions against closed forms (capsule, crossing cylinders, frusta), graph theory and trimesh."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.mesh import TriangleMesh, parallelepiped
from polyad.geometry.stl import write_stl
from polyad.geometry.struts import polygon_radius, strut_union


def grid(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ends of the struts of a simple cubic net of n x n x n nodes."""
    nodes = torch.tensor(list(product(range(n), repeat=3)), dtype=torch.float64)
    starts, ends = [], []
    for axis in range(3):
        inner = nodes[nodes[:, axis] < n - 1]
        starts.append(inner)
        ends.append(inner + torch.eye(3, dtype=torch.float64)[axis])
    return torch.cat(starts), torch.cat(ends)


def winding_number(mesh: TriangleMesh, points: torch.Tensor) -> torch.Tensor:
    """Solid angle of the surface over 4 pi (van Oosterom and Strackee, 1983): 1 inside, 0 outside."""
    a, b, c = (mesh.corners[None] - points[:, None, None]).unbind(2)
    x, y, z = (torch.linalg.vector_norm(v, dim=-1) for v in (a, b, c))
    above = (a * torch.linalg.cross(b, c)).sum(-1)
    below = x * y * z + (a * b).sum(-1) * z + (b * c).sum(-1) * x + (c * a).sum(-1) * y
    return torch.atan2(above, below).sum(1) / (2 * math.pi)


def single(length: float, radii: object, **options: object) -> float:
    direction = torch.tensor([[0.48, -0.6, 0.64]], dtype=torch.float64)
    start = torch.tensor([[3.0, 4.0, 5.0]], dtype=torch.float64)
    radii = torch.tensor(radii, dtype=torch.float64)
    return float(strut_union(start, start + length * direction, radii, **options).volume)  # type: ignore[arg-type]


def test_polygon_has_the_area_of_the_circle() -> None:
    for facets in (3, 8, 32):
        r = polygon_radius(0.7, facets)
        assert facets / 2 * r**2 * math.sin(2 * math.pi / facets) == pytest.approx(math.pi * 0.49, rel=1e-14)


def test_single_strut_is_a_capsule() -> None:
    """The prism's area is exact at any number of facets; only the two half balls carry an error."""
    exact = math.pi * 0.1**2 * 2.0 + 4 / 3 * math.pi * 0.1**3
    assert single(2.0, [0.1], facets=16) == pytest.approx(exact, rel=2e-3)
    assert single(2.0, [0.1], facets=64) == pytest.approx(exact, rel=1e-4)
    # the difference of two lengths is prism alone
    assert single(3.0, [0.1], facets=7) - single(2.0, [0.1], facets=7) == pytest.approx(math.pi * 0.01, rel=1e-9)


def test_tapered_strut_is_a_frustum_between_balls() -> None:
    """Slope 0.1: each ball's part outside the frustum follows from the cap beyond the end's plane."""
    a, b, length = 0.1, 0.3, 2.0
    frustum = math.pi * length / 3 * (a * a + a * b + b * b)
    # the small ball's inner half lies within the widening strut; the big ball's bulges out of the narrowing one
    slope = (b - a) / length
    # ball b crosses the frustum's line y = b - slope t at t = 2 b slope / (1 + slope^2): solid of revolution between
    t = 2 * b * slope / (1 + slope**2)
    bulge = math.pi * ((b * b * t - t**3 / 3) - (b * b * t - b * slope * t * t + slope**2 * t**3 / 3))
    exact = frustum + 2 / 3 * math.pi * (a**3 + b**3) + bulge
    assert single(length, [[a, b]], facets=96) == pytest.approx(exact, rel=3e-4)
    assert single(length, [[a, b]], facets=96) == pytest.approx(single(length, [[b, a]], facets=96), rel=3e-4)


def test_crossing_cylinders_lose_the_steinmetz_solid() -> None:
    """Two equal cylinders at right angles share 16 r^3 / 3; with area-preserving polygons the error falls as n^-4."""
    r, half, shared = 0.2, 1.0, 16 * 0.2**3 / 3
    starts = torch.tensor([[-1.5 * half, 0, 0], [0, -1.5 * half, 0]], dtype=torch.float64)
    # the window cuts the ends flat, so no ball takes part
    window = parallelepiped(2 * half * torch.eye(3, dtype=torch.float64), origin=(-half, -half, -half))
    errors = []
    for facets in (8, 16, 32):
        radii = torch.full((2,), r, dtype=torch.float64)
        volume = float(strut_union(starts, -starts, radii, facets=facets, clip=window).volume)
        errors.append((volume - (2 * math.pi * r**2 * 2 * half - shared)) / shared)
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.1)
    assert abs(errors[2]) < 1e-5


def test_thin_struts_reach_the_beam_formula() -> None:
    """Volume = sum pi r^2 L (1 - O(r / L)): the relative difference halves with the radius."""
    starts, ends = grid(3)
    differences = []
    for r in (0.04, 0.02, 0.01):
        volume = float(strut_union(starts, ends, torch.full((len(starts),), r, dtype=torch.float64), facets=16).volume)
        differences.append(1 - volume / (math.pi * r * r * len(starts)))
    assert differences[0] / differences[1] == pytest.approx(2, rel=0.02)
    assert differences[1] / differences[2] == pytest.approx(2, rel=0.02)
    assert 0 < differences[2] < 0.03


@pytest.mark.parametrize(("n", "facets", "radius"), [(2, 3, 0.1), (3, 8, 0.05), (3, 12, 0.2), (3, 32, 0.02)])
def test_genus_is_the_cycle_rank_of_the_graph(n: int, facets: int, radius: float) -> None:
    starts, ends = grid(n)
    mesh = strut_union(starts, ends, torch.full((len(starts),), radius, dtype=torch.float64), facets=facets)
    assert mesh.is_watertight
    assert mesh.genus == len(starts) - n**3 + 1
    assert len(mesh.pieces()) == 1


def test_random_trees_and_two_components() -> None:
    generator = torch.Generator().manual_seed(3)
    nodes = 10 * torch.rand(24, 3, generator=generator, dtype=torch.float64)
    parent = torch.tensor([int(torch.randint(k, (1,), generator=generator)) for k in range(1, 24)])
    tree = strut_union(nodes[1:], nodes[parent], torch.full((23,), 1e-3, dtype=torch.float64), facets=9)
    assert (tree.genus, len(tree.pieces())) == (0, 1)
    apart = strut_union(
        torch.tensor([[0.0, 0, 0], [0, 0, 5]]), torch.tensor([[1.0, 0, 0], [1, 0, 5]]), torch.tensor([0.1, 0.2])
    )
    assert (apart.genus, len(apart.pieces())) == (0, 2)


def test_solid_does_not_depend_on_order_or_direction() -> None:
    starts, ends = grid(2)
    radii = torch.linspace(0.05, 0.1, len(starts), dtype=torch.float64)
    reference = strut_union(starts, ends, radii, facets=12)
    order = torch.randperm(len(starts), generator=torch.Generator().manual_seed(0))
    shuffled = strut_union(ends[order], starts[order], radii[order], facets=12)
    assert float(shuffled.volume) == pytest.approx(float(reference.volume), rel=1e-9)
    assert shuffled.genus == reference.genus
    again = strut_union(starts, ends, radii, facets=12)
    assert torch.equal(again.vertices, reference.vertices)
    assert torch.equal(again.triangles, reference.triangles)


def test_rotation_and_scale_of_the_input_carry_over() -> None:
    starts, ends = grid(2)
    radii = torch.full((len(starts),), 0.11, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    reference = strut_union(starts, ends, radii, facets=48)
    rotated = strut_union(50 * starts @ q.T, 50 * ends @ q.T, 50 * radii, facets=48)
    assert float(rotated.volume) == pytest.approx(50**3 * float(reference.volume), rel=1e-3)
    assert rotated.genus == reference.genus == 5


def test_clip_keeps_exactly_the_window() -> None:
    window = parallelepiped([[1.0, 0, 0], [0.3, 1, 0], [0, 0.2, 1]], origin=(-0.5, -0.5, -0.5))
    start = torch.tensor([[-9.0, 0, 0]], dtype=torch.float64)
    end, radius = -start, torch.tensor([0.1], dtype=torch.float64)
    mesh = strut_union(start, end, radius, facets=20, clip=window)
    # the sheared faces cut every line parallel to x at length 1
    assert float(mesh.volume) == pytest.approx(math.pi * 0.01, rel=1e-9)
    far = torch.tensor([[0.0, 9.0, 0]])
    both = strut_union(
        torch.cat([start, start + far]), torch.cat([end, end + far]), radius.expand(2), facets=20, clip=window
    )
    assert float(both.volume) == pytest.approx(float(mesh.volume), rel=1e-12)
    with pytest.raises(InputError, match="no strut reaches"):
        strut_union(start + far, end + far, radius, clip=window)


def test_joint_radius_and_plates() -> None:
    start, end = torch.tensor([[0.0, 0, 0]]), torch.tensor([[2.0, 0, 0]])
    thick = strut_union(start, end, torch.tensor([0.1]), joint_radius=0.3, facets=64)
    cap = math.pi * 0.1**2 * math.sqrt(0.08)  # cylinder inside a ball up to the rim ...
    h = 0.3 - math.sqrt(0.08)
    inside = cap + math.pi * h * h * (3 * 0.3 - h) / 3  # ... and the ball's cap beyond it
    exact = 2 * 4 / 3 * math.pi * 0.027 + math.pi * 0.01 * 2 - 2 * inside
    assert float(thick.volume) == pytest.approx(exact, rel=2e-3)
    plate = parallelepiped(torch.diag(torch.tensor([0.5, 2.0, 2.0])), origin=(1.75, -1, -1))
    joined = strut_union(start, end, torch.tensor([0.1]), facets=64, plates=(plate,))
    assert float(joined.volume) == pytest.approx(2 + math.pi * 0.01 * 1.75 + 2 / 3 * math.pi * 1e-3, rel=1e-4)
    with pytest.raises(InputError, match="must cover the thickest strut"):
        strut_union(start, end, torch.tensor([0.1]), joint_radius=0.05)


def test_trimesh_agrees() -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    starts, ends = grid(3)
    mesh = strut_union(starts, ends, torch.full((len(starts),), 0.15, dtype=torch.float64), facets=10)
    peer = trimesh.Trimesh(mesh.vertices.numpy(), mesh.triangles.numpy(), process=False)
    assert peer.is_watertight
    assert peer.is_winding_consistent
    assert peer.euler_number == 2 - 2 * mesh.genus
    assert float(mesh.volume) == pytest.approx(peer.volume, rel=1e-12)


def test_points_inside_and_outside_are_as_the_distance_says() -> None:
    """Winding numbers against the distance to the axes: polygons lie between 0.98 r and 1.02 r."""
    generator = torch.Generator().manual_seed(8)
    starts = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    ends = torch.rand(5, 3, generator=generator, dtype=torch.float64) + torch.tensor([1.0, 0, 0])
    radii = torch.tensor([0.1, 0.12, 0.08, 0.15, 0.1], dtype=torch.float64)
    mesh = strut_union(starts, ends, radii, facets=24)
    points = torch.tensor([2.2, 1.2, 1.2]) * torch.rand(500, 3, generator=generator, dtype=torch.float64) - 0.1
    along = ends - starts
    t = (((points[:, None] - starts) * along).sum(-1) / (along**2).sum(-1)).clamp(0, 1)
    ratio = (torch.linalg.vector_norm(points[:, None] - starts - t[..., None] * along, dim=-1) / radii).amin(1)
    winding = winding_number(mesh, points)
    torch.testing.assert_close(winding, winding.round(), rtol=0, atol=1e-9)
    inside = winding.round() == 1
    assert bool(inside[ratio < 0.98].all())
    assert not bool(inside[ratio > 1.02].any())
    assert int(inside.sum()) > 15


def test_slivers_go_and_handles_stay(tmp_path: Path) -> None:
    """A net without symmetry: tiny edges go, volume and handles stay, and the STL file is closed for other readers."""
    starts, ends = grid(3)
    move = 0.2 * torch.randn(27, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def moved(points: torch.Tensor) -> torch.Tensor:
        return 20 * (points + move[(points @ torch.tensor([9.0, 3.0, 1.0], dtype=torch.float64)).long()])

    radii = torch.full((len(starts),), 1.0, dtype=torch.float64)
    raw = strut_union(moved(starts), moved(ends), radii, facets=20, tolerance=0.0)
    tidy = strut_union(moved(starts), moved(ends), radii, facets=20, tolerance=1e-3)

    def short(mesh: TriangleMesh) -> int:
        return int((torch.linalg.vector_norm(mesh.corners - mesh.corners.roll(1, 1), dim=-1) < 1e-3).sum())

    assert short(raw) > 0
    assert short(tidy) < short(raw) / 3
    assert tidy.genus == raw.genus
    assert float(tidy.volume) == pytest.approx(float(raw.volume), rel=1e-5)
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    write_stl(tmp_path / "a.stl", tidy)
    peer = trimesh.load(tmp_path / "a.stl")
    assert peer.is_watertight
    assert peer.euler_number == tidy.euler_characteristic


@pytest.mark.parametrize(
    ("starts", "ends", "radii", "options", "message"),
    [
        ([[0, 0, 0]], [[1, 0, 0]], [0.0], {}, "strut 0 has radius 0"),
        ([[0, 0, 0]], [[1, 0, 0]], [-1.0], {}, "radii must be positive"),
        ([[0, 0, 0]], [[0, 0, 0]], [0.1], {}, "strut 0 has zero length"),
        ([[0, 0, 0], [0, 0, 0]], [[1, 0, 0], [1e-12, 0, 0]], [0.1, 0.1], {}, "strut 1 has zero length"),
        ([[0, 0, math.nan]], [[1, 0, 0]], [0.1], {}, "starts: holds NaN"),
        ([[0, 0, 0]], [[1, 0, 0]], [0.1], {"facets": 2}, "at least 3"),
    ],
)
def test_bad_struts_are_refused(starts: list, ends: list, radii: list, options: dict, message: str) -> None:
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (starts, ends, radii)]
    with pytest.raises(InputError, match=message):
        strut_union(*tensors, **options)

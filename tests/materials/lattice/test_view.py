"""What is drawn: which struts, with which radii, and what the colours and distances of a stiffness surface mean."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.mesh import parallelepiped
from polyad.geometry.struts import strut_union
from polyad.materials.elasticity import cubic, isotropic, orthotropic, young_modulus
from polyad.materials.lattice import StrutLattice, effective_stiffness
from polyad.materials.lattice.view import (
    plot_lattice,
    plot_polar_cuts,
    plot_solid,
    plot_stiffness_surface,
    save_png,
    still,
)
from polyad.materials.lattice.view.block import default_cells, drawing_box, lattice_block
from polyad.materials.lattice.view.directions import directional_stiffness, is_stiff, polar_cut
from polyad.materials.lattice.view.meshes import DrawnMesh, balls, block_mesh, cylinders, radial_surface, sphere
from polyad.materials.lattice.view.raster import camera_for, render
from polyad.materials.lattice.view.solids import solid_mesh
from tests.materials.lattice.seeds import octet, simple_cubic

SIMPLE_CUBIC, FCC = simple_cubic(0.05), octet()
HAIRY_SHEET = StrutLattice(
    np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]], 0.05
)


def fcc_in_its_cube() -> StrutLattice:
    """The octet truss again, from four nodes in the cube: every pair at distance 1/sqrt 2."""
    nodes = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    pairs = [
        (a, b, shift)
        for a in range(4)
        for b in range(4)
        for shift in np.ndindex(3, 3, 3)
        if a < b and abs(np.linalg.norm(nodes[b] + np.array(shift) - 1 - nodes[a]) - math.sqrt(0.5)) < 1e-9
    ]
    index = [[a for a, _, _ in pairs], [b for _, b, _ in pairs]]
    return StrutLattice(np.eye(3), nodes, index, [np.array(shift) - 1 for _, _, shift in pairs], 0.03)


def segments(lattice: StrutLattice, cells: int) -> list[tuple[float, ...]]:
    """End points of all drawn struts, each strut and the list in a fixed order."""
    block = lattice_block(lattice, cells)
    ends = np.stack([block.starts, block.ends], axis=1).round(6) + 0.0
    return sorted(tuple(np.concatenate(sorted(pair.tolist())).tolist()) for pair in ends)


class TestBlock:
    def test_simple_cubic_cell_shows_all_edges_of_its_cube(self) -> None:
        block = lattice_block(SIMPLE_CUBIC, 1)
        assert len(block.strut) == 12
        assert np.bincount(block.strut).tolist() == [4, 4, 4]
        outline = sorted(tuple(np.concatenate(sorted(pair.tolist())).tolist()) for pair in block.outline)
        assert segments(SIMPLE_CUBIC, 1) == outline

    @pytest.mark.parametrize(("cells", "struts"), [(1, 12), (2, 54), (3, 144)])
    def test_number_of_struts_of_a_block(self, cells: int, struts: int) -> None:
        assert len(lattice_block(SIMPLE_CUBIC, cells).strut) == struts == 3 * cells * (cells + 1) ** 2

    def test_primitive_cell_is_drawn_as_its_cube(self) -> None:
        assert abs(np.linalg.det(drawing_box(FCC.cell.numpy()))) == pytest.approx(4)
        assert drawing_box(FCC.cell.numpy()) @ FCC.cell.numpy() == pytest.approx(np.eye(3))
        assert segments(FCC, 1) == segments(fcc_in_its_cube(), 1)
        assert len(segments(FCC, 1)) == 36

    def test_drawing_does_not_depend_on_order_of_vectors_or_images(self) -> None:
        other = FCC.change_cell([[0, 1, 0], [1, 0, -1], [1, 0, 0]])
        assert segments(other, 2) == segments(FCC, 2)
        moved = fcc_in_its_cube().move_nodes_by_cells(torch.tensor([[1, 0, 0], [0, -2, 0], [0, 0, 0], [3, 1, 1]]))
        assert segments(moved, 2) == segments(fcc_in_its_cube(), 2)

    def test_box_is_the_cell_where_no_brick_exists(self) -> None:
        skew = np.array([[1, 0, 0], [0.31, 1.1, 0], [0.2, 0.37, 0.9]])
        assert drawing_box(skew) == pytest.approx(np.eye(3))

    def test_box_of_a_hexagonal_cell_is_upright(self) -> None:
        cell = np.array([[1, 0, 0], [-0.5, math.sqrt(3) / 2, 0], [0, 0, 1.6]])
        assert drawing_box(cell) @ cell == pytest.approx(np.diag([1, math.sqrt(3), 1.6]))

    def test_perturbed_cell_keeps_struts_of_both_faces(self) -> None:
        moved = SIMPLE_CUBIC.tile(2).perturb(0.05, seed=1)
        assert len(lattice_block(moved, 1).strut) == 54

    def test_drawn_struts_have_their_own_length_and_radius(self) -> None:
        lattice = fcc_in_its_cube().perturb(0.03, seed=2)
        lattice = lattice.replace(radius=torch.linspace(0.01, 0.04, lattice.num_edges))
        block = lattice_block(lattice, 2)
        assert block.radii == pytest.approx(lattice.radius.numpy()[block.strut])
        vectors = block.ends - block.starts
        assert vectors == pytest.approx(lattice.edge_vectors.numpy()[block.strut], abs=1e-12)

    @pytest.mark.parametrize(("struts", "cells"), [(3, 3), (11, 2), (60, 1), (5000, 1)])
    def test_default_number_of_cells(self, struts: int, cells: int) -> None:
        assert default_cells(struts) == cells

    @pytest.mark.parametrize("cells", [0, -1, 13])
    def test_absurd_numbers_of_cells_are_refused(self, cells: int) -> None:
        with pytest.raises(InputError, match=r"cells: is .* between 1 and 12"):
            lattice_block(SIMPLE_CUBIC, cells)


def signed_volume(mesh: DrawnMesh) -> float:
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


class TestMeshes:
    def test_cylinders_have_the_true_radius(self) -> None:
        starts = np.array([[0.0, 0, 0], [1, 2, 3], [0, 0, 1]])
        ends = np.array([[1.0, 0, 0], [2, 0, 1], [0, 0, 3]])
        radii = np.array([0.1, 0.2, 0.05])
        mesh = cylinders(starts, ends, radii, np.ones((3, 3)), facets=16)
        vertices, normals = mesh.vertices.reshape(3, 32, 3), mesh.normals.reshape(3, 32, 3)
        along = (ends - starts) / np.linalg.norm(ends - starts, axis=1, keepdims=True)
        offset = vertices - starts[:, None]
        reach = np.einsum("svk,sk->sv", offset, along)
        across = offset - reach[..., None] * along[:, None]
        assert np.linalg.norm(across, axis=-1) == pytest.approx(np.repeat(radii[:, None], 32, axis=1))
        assert across == pytest.approx(radii[:, None, None] * normals)
        assert np.sort(reach, axis=1)[:, -1] == pytest.approx(np.linalg.norm(ends - starts, axis=1))

    def test_cylinder_triangles_face_outward(self) -> None:
        mesh = cylinders(np.zeros((1, 3)), np.array([[0.3, -0.4, 1.2]]), np.array([0.2]), np.ones((1, 3)))
        a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
        assert (np.cross(b - a, c - a) * mesh.normals[mesh.triangles[:, 0]]).sum(axis=1).min() > 0

    @pytest.mark.parametrize("level", [0, 2, 4])
    def test_sphere_is_closed_outward_and_holds_the_axes(self, level: int) -> None:
        points, faces = sphere(level)
        assert np.linalg.norm(points, axis=1) == pytest.approx(1)
        assert len(faces) == 8 * 4**level
        directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        assert {tuple(e) for e in directed.tolist()} == {tuple(e) for e in directed[:, ::-1].tolist()}
        assert len(points) - len(directed) // 2 + len(faces) == 2
        assert np.abs(points[:6]) == pytest.approx(np.repeat(np.eye(3), 2, axis=0))
        if level == 4:
            volume = signed_volume(DrawnMesh(points, points, points, faces))
            assert volume == pytest.approx(4 * math.pi / 3, rel=0.01)

    def test_balls_of_a_block_take_the_thickest_strut(self) -> None:
        lattice = SIMPLE_CUBIC.replace(radius=torch.tensor([0.02, 0.08, 0.04]))
        block = lattice_block(lattice, 1)
        mesh = block_mesh(block, np.ones((12, 3)), facets=8)
        ball_vertices = mesh.vertices[12 * 16 :].reshape(8, -1, 3)
        centres = ball_vertices.mean(axis=1)
        assert sorted(map(tuple, centres.round(9).tolist())) == sorted(np.ndindex(2, 2, 2))
        assert np.linalg.norm(ball_vertices - centres[:, None], axis=-1) == pytest.approx(0.08)


class TestRaster:
    def test_ball_covers_its_disc(self) -> None:
        mesh = balls(np.array([[1.0, 2.0, 3.0]]), np.array([0.7]), np.array([[1.0, 0, 0]]), level=5)
        camera = camera_for(mesh.vertices, (1, 2, -1), margin=1.25)
        image = render(mesh, camera, pixels=200)
        assert image[..., 3].sum() / 200**2 == pytest.approx(math.pi / 4 / 1.25**2, rel=0.01)
        red, green = image[100, 100, 0], image[100, 100, 1]
        assert red > 0.4 > green

    def test_strut_is_as_thick_as_it_is(self) -> None:
        mesh = cylinders(np.array([[0.0, 0, 0]]), np.array([[0.0, 0, 2]]), np.array([0.1]), np.ones((1, 3)), facets=64)
        image = render(mesh, camera_for(mesh.vertices, "x", margin=1.0), pixels=400)
        assert image[200, :, 3].sum() / 400 * 2.0 == pytest.approx(0.2, abs=0.006)

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_what_is_near_hides_what_is_far(self, order: tuple[int, int]) -> None:
        centres, colours = np.array([[0.0, -5, 0], [0.0, 5, 0]]), np.eye(3)[:2]
        parts = [balls(centres[[k]], np.ones(1), colours[[k]]) for k in order]
        mesh = parts[0] + parts[1]
        front = render(mesh, camera_for(mesh.vertices, "y"), pixels=60)[30, 30]
        back = render(mesh, camera_for(mesh.vertices, (0, 1, 0)), pixels=60)[30, 30]
        assert front[0] > front[1]
        assert back[1] > back[0]

    @pytest.mark.parametrize("view", ["corner", "x", "y", "z", (0, 0, -2), (0.3, 0.2, 1)])
    def test_camera_is_right_handed_and_sees_everything(self, view: str | tuple[float, float, float]) -> None:
        points = np.array([[0, 0, 0], [1, 2, 0.5], [-1, 0, 3.0]])
        camera = camera_for(points, view)
        assert camera.axes @ camera.axes.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(camera.axes) == pytest.approx(1)
        assert np.abs(camera.project(points)[:, :2]).max() == pytest.approx(1 / 1.06)

    def test_picture_is_not_mirrored(self) -> None:
        """Seen from -y, x points right and z up; seen from above, x points right and y up."""
        for view, up in (("y", [0, 0, 1]), ("z", [0, 1, 0])):
            axes = camera_for(np.eye(3), view).axes
            assert axes[:2] == pytest.approx(np.array([[1, 0, 0], up]))

    @pytest.mark.parametrize("view", ["front", (0, 0, 0), (math.nan, 0, 1)])
    def test_views_without_direction_are_refused(self, view: object) -> None:
        with pytest.raises(InputError, match="view"):
            camera_for(np.eye(3), view)  # type: ignore[arg-type]


CUBIC = cubic(c11=10.0, c12=4.0, c44=5.0)


def cubic_young(n: np.ndarray) -> np.ndarray:
    """1/E = S11 - 2 (S11 - S12 - S44/2) (x^2 y^2 + y^2 z^2 + z^2 x^2), in Voigt's numbers (Nye 1957)."""
    s11, s12, s44 = (10 + 4) / ((10 - 4) * (10 + 8)), -4 / ((10 - 4) * (10 + 8)), 1 / 5
    x, y, z = (n**2).T
    return 1 / (s11 - 2 * (s11 - s12 - s44 / 2) * (x * y + y * z + z * x))


class TestDirections:
    def test_values_are_the_closed_form(self) -> None:
        points, _ = sphere(3)
        values, symbol = directional_stiffness(CUBIC, torch.tensor(points))
        assert symbol == "E(n)"
        assert values.numpy() == pytest.approx(cubic_young(points), rel=1e-12)

    def test_polar_cuts_turn_from_the_first_axis_to_the_second(self) -> None:
        moduli = {"x": 1.0, "y": 2.0, "z": 3.0}
        stiffness = orthotropic(young=(1.0, 2.0, 3.0), shear=(0.5, 0.6, 0.7), poisson=(0.1, 0.1, 0.1))
        for plane in ("xy", "xz", "yz"):
            angle, values, _ = polar_cut(stiffness, plane, samples=5)
            assert angle.numpy() == pytest.approx(np.arange(5) * math.pi / 2)
            first, second = moduli[plane[0]], moduli[plane[1]]
            assert values.numpy() == pytest.approx([first, second, first, second, first])

    def test_diagonal_of_a_cut(self) -> None:
        _, values, _ = polar_cut(CUBIC, "yz", samples=9)
        expected = cubic_young(np.array([[0, 1, 1]]) / math.sqrt(2))
        assert values[1::2].numpy() == pytest.approx(np.repeat(expected, 4))

    def test_singular_stiffness_shows_uniaxial_strain(self) -> None:
        stiffness = torch.diag(torch.tensor([4.0, 2, 1, 0, 0, 0], dtype=torch.float64))
        assert not bool(is_stiff(stiffness))
        values, symbol = directional_stiffness(stiffness, torch.eye(3, dtype=torch.float64))
        assert symbol == "c(n)"
        assert values.tolist() == [4, 2, 1]

    def test_wrong_shapes_and_planes_are_refused(self) -> None:
        with pytest.raises(InputError, match="plane: 'zz'"):
            polar_cut(CUBIC, "zz")


class TestFigures:
    def test_surface_radii_and_colours_follow_the_closed_form(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[DrawnMesh] = []
        monkeypatch.setattr(
            still, "draw_mesh", lambda axes, mesh, camera, **options: drawn.append(mesh) or np.zeros((40, 40, 4))
        )
        figure = plot_stiffness_surface(CUBIC, unit="GPa", pixels=40)
        points, faces = sphere(6)
        expected = cubic_young(points)
        radius = np.linalg.norm(drawn[0].vertices[: len(points)], axis=1)
        assert radius == pytest.approx(expected / expected.max(), rel=1e-9)
        assert (drawn[0].triangles[: len(faces)] == faces).all()
        bar = figure.axes[1]
        assert bar.get_ylabel() == "Young's modulus E(n) (GPa)"
        assert bar.get_ylim() == pytest.approx((expected.min(), expected.max()))
        # the brightest yellow where E is greatest
        colours = drawn[0].colours[: len(points)]
        assert colours[expected.argmax()] == pytest.approx([0.993, 0.906, 0.144], abs=0.002)
        assert colours[expected.argmin()] == pytest.approx([0.267, 0.005, 0.329], abs=0.002)

    def test_isotropic_stiffness_has_a_finite_scale(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = plot_stiffness_surface(isotropic(young=2.0, poisson=0.3), pixels=40)
        low, high = figure.axes[1].get_ylim()
        assert low < 2.0 < high

    def test_polar_figure_shows_the_cut(self) -> None:
        figure = plot_polar_cuts(CUBIC, unit="MPa")
        assert [axes.get_title() for axes in figure.axes] == ["xy plane", "xz plane", "yz plane"]
        assert figure.get_suptitle() == "Young's modulus E(n) (MPa)"
        for axes, pair in zip(figure.axes, [(0, 1), (0, 2), (1, 2)], strict=True):
            angle, values = axes.lines[0].get_data()
            n = np.zeros((len(angle), 3))
            n[:, pair[0]], n[:, pair[1]] = np.cos(angle), np.sin(angle)
            assert values == pytest.approx(cubic_young(n), rel=1e-12)
            assert axes.get_ylim() == figure.axes[0].get_ylim()

    def test_units_of_the_solid_where_none_is_given(self) -> None:
        assert plot_polar_cuts(CUBIC).get_suptitle() == "Young's modulus E(n) / $E_s$"

    def test_lattice_figure(self) -> None:
        figure = plot_lattice(FCC, pixels=120)
        (axes,) = figure.axes
        assert axes.get_title() == "1 nodes, 6 struts, relative density 0.048"
        assert axes.get_aspect() == 1.0
        (image,) = axes.images
        covered = image.get_array()[..., 3] > 0.5
        assert 0.1 < covered.mean() < 0.7

    def test_thicker_struts_cover_more(self) -> None:
        def cover(radius: float) -> float:
            figure = plot_lattice(
                SIMPLE_CUBIC.replace(radius=torch.full((3,), radius)), cells=1, view="x", outline=False, pixels=300
            )
            return float(figure.axes[0].images[0].get_array()[..., 3].mean())

        # seen along x: a square frame of side 1 and width 2 r, in a picture of side 1.06 (1 + 2 r)
        for radius in (0.03, 0.1):
            side = 1.06 * (1 + 2 * radius)
            inside = (1 + 2 * radius) ** 2 - (1 - 2 * radius) ** 2 - (4 - math.pi) * radius**2
            assert cover(radius) == pytest.approx(inside / side**2, rel=0.02)

    def test_dangling_struts_are_orange_and_radii_are_told_apart(self) -> None:
        colours = still.strut_colours(HAIRY_SHEET)
        assert colours[2] == pytest.approx(still.DANGLING)
        assert colours[0] == pytest.approx(colours[1])
        thick = still.strut_colours(SIMPLE_CUBIC.replace(radius=torch.tensor([0.01, 0.02, 0.03])))
        assert thick[0] == pytest.approx(still.THIN)
        assert thick[2] == pytest.approx(still.THICK)

    def test_png_is_written_whole(self, tmp_path: Path) -> None:
        from PIL import Image

        save_png(FCC, tmp_path / "octet.png", pixels=100, size=2.0, dpi=100)
        assert [path.name for path in tmp_path.iterdir()] == ["octet.png"]
        with Image.open(tmp_path / "octet.png") as image:
            assert image.size == (200, 200)
            assert len(np.unique(np.asarray(image))) > 20

    def test_other_suffixes_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"ends in \.png"):
            save_png(FCC, tmp_path / "octet.jpg")
        assert not list(tmp_path.iterdir())

    def test_svg_is_possible(self, tmp_path: Path) -> None:
        plot_lattice(FCC, pixels=60).savefig(tmp_path / "octet.svg")
        assert (tmp_path / "octet.svg").read_text().lstrip().startswith("<?xml")

    def test_gradients_do_not_get_in_the_way(self) -> None:
        lattice = FCC.replace(radius=torch.full((6,), 0.03, dtype=torch.float64, requires_grad=True))
        plot_lattice(lattice, pixels=40)
        plot_stiffness_surface(effective_stiffness(lattice), pixels=40)


def test_radial_surface_normals_point_outward() -> None:
    points, _ = sphere(4)
    values = young_modulus(CUBIC, torch.tensor(points)).numpy()
    mesh = radial_surface(values, np.ones((len(points), 3)), level=4)
    assert (mesh.normals * points).sum(axis=1).min() > 0
    assert signed_volume(mesh) > 0


class TestSolids:
    def test_struts_of_a_solid_are_round_and_edges_sharp(self) -> None:
        """On a box every corner has its own face's normal; on a prism of many sides the mantle is smooth."""
        box = parallelepiped(torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)))
        mesh = solid_mesh(box, (1.0, 1.0, 1.0))
        assert np.abs(mesh.normals).max(axis=1) == pytest.approx(1)
        faces = mesh.vertices[mesh.triangles]
        outward = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        assert mesh.normals.reshape(-1, 3, 3) == pytest.approx(np.repeat(outward[:, None], 3, axis=1))

        start, end = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[0.0, 0, 2]], dtype=torch.float64)
        solid = strut_union(start, end, torch.tensor([0.2], dtype=torch.float64), facets=32)
        strut = solid_mesh(solid, still.SOLID)
        corners, normals = strut.vertices[strut.triangles], strut.normals[strut.triangles]
        mantle = np.ptp(corners[:, :, 2], axis=1) > 1
        assert mantle.sum() >= 64
        across = corners[mantle] * [1, 1, 0]
        across /= np.linalg.norm(across, axis=-1, keepdims=True)
        assert normals[mantle] == pytest.approx(across, abs=0.12)

    def test_solid_figure(self) -> None:
        box = parallelepiped(torch.eye(3, dtype=torch.float64))
        image = plot_solid(box, view="x", pixels=100, title="box").axes[0].images[0].get_array()
        assert image[..., 3].mean() == pytest.approx(1 / 1.06**2, abs=0.02)

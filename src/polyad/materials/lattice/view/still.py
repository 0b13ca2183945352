"""Pictures on paper: lattices, E(n) surfaces and polar cuts as matplotlib figures.

Figures are made without pyplot, so nothing global changes; `figure.savefig("x.png")` or `.svg` writes them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.files import atomic_path
from polyad.geometry.mesh import TriangleMesh
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.homogenization import dangling_struts
from polyad.materials.lattice.view.block import lattice_block
from polyad.materials.lattice.view.directions import PLANES, directional_stiffness, polar_cut
from polyad.materials.lattice.view.meshes import DrawnMesh, block_mesh, cylinders, radial_surface, sphere
from polyad.materials.lattice.view.raster import Camera, camera_for, render
from polyad.materials.lattice.view.solids import solid_mesh

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

View = str | tuple[float, float, float]

SOLID = (0.72, 0.75, 0.80)
"""Colour of printed solids."""

THIN, THICK, DANGLING = (0.56, 0.71, 0.96), (0.16, 0.38, 0.82), (0.93, 0.58, 0.12)
"""Colours of the thinnest and the thickest strut, and of struts that end freely."""

_OUTLINE = (0.62, 0.65, 0.70)
_SURFACE_LEVEL = 6


def plot_lattice(
    lattice: StrutLattice,
    *,
    cells: int | None = None,
    view: View = "corner",
    title: str | None = None,
    outline: bool = True,
    size: float = 6.0,
    pixels: int = 900,
) -> Figure:
    """Shaded picture of cells x cells x cells unit cells, struts with their true radii.

    Struts are coloured by radius where radii differ; struts that end freely are orange.

    Args:
        cells: cells along each lattice vector; None takes as many as make a drawing of some 160 struts.
        view: "corner", "x", "y", "z", or a vector towards the eye.
        title: None writes nodes, struts and relative density.
        outline: draw the edges of the block of cells.
        size: side of the figure in inches.
        pixels: side of the picture in pixels.
    """
    figure, axes = _figure(size)
    draw_lattice(axes, lattice, cells=cells, view=view, outline=outline, pixels=pixels)
    if title is None:
        density = float(lattice.relative_density.detach())
        title = f"{lattice.num_nodes} nodes, {lattice.num_edges} struts, relative density {density:.3g}"
    axes.set_title(title, fontsize=11, color="#333a45")
    return figure


def draw_lattice(
    axes: Axes,
    lattice: StrutLattice,
    *,
    cells: int | None = None,
    view: View = "corner",
    outline: bool = True,
    triad: bool = True,
    pixels: int = 900,
) -> None:
    """The picture of `plot_lattice` in axes of a figure that you made."""
    block = lattice_block(lattice, cells)
    mesh = block_mesh(block, strut_colours(lattice)[block.strut])
    if outline:
        extent = float(np.ptp(block.outline.reshape(-1, 3), axis=0).max())
        mesh += _lines(block.outline, 0.0022 * extent, _OUTLINE)
    camera = camera_for(mesh.vertices, view)
    draw_mesh(axes, mesh, camera, pixels=pixels, triad=triad)


def plot_stiffness_surface(
    stiffness: Float[Tensor, "6 6"],
    *,
    unit: str = "",
    view: View = "corner",
    title: str | None = None,
    size: float = 6.0,
    pixels: int = 900,
) -> Figure:
    """The surface r = E(n) over all directions, coloured by value; c(n) = C_nnnn where the stiffness is singular.

    Args:
        stiffness: (6, 6) Kelvin-Mandel.
        unit: unit of the stiffness, such as "GPa"; empty means multiples of the solid's Young's modulus E_s.
        view, title, size, pixels: as in `plot_lattice`.
    """
    figure, axes = _figure(size)
    image, symbol = draw_stiffness_surface(axes, stiffness, view=view, pixels=pixels)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label(quantity_label(symbol, unit))
    axes.set_title("Stiffness by direction" if title is None else title, fontsize=11, color="#333a45")
    return figure


def draw_stiffness_surface(
    axes: Axes,
    stiffness: Float[Tensor, "6 6"],
    *,
    span: tuple[float, float] | None = None,
    view: View = "corner",
    pixels: int = 900,
) -> tuple[Any, str]:
    """The surface of `plot_stiffness_surface` in given axes; returns what a colour bar needs, and the symbol drawn.

    `span` is the least and the greatest value of the colours, and the latter has radius one: give surfaces that are to
    be compared the same. None takes it from the surface.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    unit_vectors, _ = sphere(_SURFACE_LEVEL)
    sampled, symbol = directional_stiffness(stiffness, torch.tensor(unit_vectors))
    values = sampled.numpy()
    low, high = (float(values.min()), float(values.max())) if span is None else span
    scale = ScalarMappable(Normalize(*_widened(low, high)), colormaps["viridis"])
    mesh = radial_surface(values / high, scale.to_rgba(values)[:, :3], level=_SURFACE_LEVEL)
    reach = 1.18
    mesh += _lines(np.stack([-reach * np.eye(3), reach * np.eye(3)], axis=1), 0.006, _OUTLINE)
    names = 1.1 * reach * np.eye(3)
    camera = camera_for(np.concatenate([mesh.vertices, names]), view)
    image = draw_mesh(axes, mesh, camera, pixels=pixels, fade=0.1, triad=False)
    for name, tip in zip("xyz", camera.project(names), strict=True):
        row, column = ((1 - tip[1]) / 2 * pixels, (1 + tip[0]) / 2 * pixels)
        if tip[2] < 0 and image[int(row), int(column), 3] > 0:
            continue  # hidden behind the surface
        axes.text(tip[0], tip[1], name, ha="center", va="center", fontsize=11, color="#59616e", clip_on=False)
    return scale, symbol


def plot_solid(
    solid: TriangleMesh, *, view: View = "corner", title: str = "", size: float = 6.0, pixels: int = 900
) -> Figure:
    """Shaded picture of a solid, such as the union of struts that goes to the printer; options as in `plot_lattice`."""
    figure, axes = _figure(size)
    draw_solid(axes, solid, view=view, pixels=pixels)
    axes.set_title(title, fontsize=11, color="#333a45")
    return figure


def draw_solid(
    axes: Axes, solid: TriangleMesh, *, view: View = "corner", triad: bool = True, pixels: int = 900
) -> None:
    """The picture of `plot_solid` in axes of a figure that you made."""
    mesh = solid_mesh(solid, SOLID)
    draw_mesh(axes, mesh, camera_for(mesh.vertices, view), pixels=pixels, triad=triad)


def plot_polar_cuts(
    stiffness: Float[Tensor, "6 6"], *, unit: str = "", title: str | None = None, size: float = 9.0
) -> Figure:
    """Young's modulus in the planes xy, xz and yz, as three polar diagrams with one scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size, 0.42 * size), layout="constrained")
    for number, plane in enumerate(PLANES):
        axes = figure.add_subplot(1, 3, number + 1, projection="polar")
        angle, values, symbol = polar_cut(stiffness, plane)
        axes.plot(angle, values, color="#2457c5", linewidth=1.8)
        axes.fill(angle, values, color="#2457c5", alpha=0.12)
        axes.set_xticks(np.arange(0, 2 * np.pi, np.pi / 2), [plane[0], plane[1], f"-{plane[0]}", f"-{plane[1]}"])
        axes.tick_params(labelsize=8, colors="#59616e")
        axes.set_title(f"{plane} plane", fontsize=10, color="#333a45")
    top = max(axes.get_ylim()[1] for axes in figure.axes)
    for axes in figure.axes:
        axes.set_ylim(0, top)
        axes.set_yticks(_round_ticks(top))
    figure.suptitle(quantity_label(symbol, unit) if title is None else title, fontsize=11, color="#333a45")
    return figure


def save_png(lattice: StrutLattice, path: str | os.PathLike[str], *, dpi: int = 150, **options: Any) -> None:
    """Write the picture of `plot_lattice(lattice, **options)` as PNG, whole or not at all.

    Raises:
        InputError: `path` does not end in .png, or cannot be written.
    """
    if not os.fspath(path).lower().endswith(".png"):
        raise InputError(f"{os.fspath(path)}: a picture is written as PNG; give a name that ends in .png")
    figure = plot_lattice(lattice, **options)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def draw_mesh(
    axes: Axes, mesh: DrawnMesh, camera: Camera, *, pixels: int = 900, fade: float = 0.25, triad: bool = True
) -> np.ndarray:
    """Rendered triangles in matplotlib axes that span -1..1, with a triad of coordinate axes in the lower left.

    Returns the picture (pixels, pixels, 4).
    """
    image = render(mesh, camera, pixels=pixels, fade=fade)
    axes.imshow(image, extent=(-1, 1, -1, 1), interpolation="antialiased")
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    origin, length = np.array([-0.86, -0.86]), 0.13
    for name, tip in zip("xyz", camera.axes[:2].T, strict=True):
        if not triad or np.hypot(*tip) < 0.05:
            continue
        end, label = ((x, y) for x, y in (origin + length * tip, origin + 1.3 * length * tip))
        arrow = {"arrowstyle": "-|>", "color": "#59616e", "linewidth": 1.2}
        axes.annotate("", end, (origin[0], origin[1]), arrowprops=arrow)
        axes.text(label[0], label[1], name, ha="center", va="center", fontsize=9, color="#59616e")
    return image


def strut_colours(lattice: StrutLattice) -> np.ndarray:
    """(struts, 3) colours: by radius from light to dark blue, orange where a strut ends freely."""
    radius = lattice.radius.detach().cpu().double().numpy()
    spread = np.ptp(radius) / radius.max()
    share = (radius - radius.min()) / np.ptp(radius) if spread > 1e-3 else np.full(len(radius), 0.55)
    colours = np.outer(1 - share, THIN) + np.outer(share, THICK)
    colours[dangling_struts(lattice).cpu().numpy()] = DANGLING
    return colours


def quantity_label(symbol: str, unit: str) -> str:
    """Axis label of E(n) or c(n): with its unit, or as a multiple of the solid's modulus."""
    name = "Young's modulus" if symbol == "E(n)" else "uniaxial-strain stiffness"
    return f"{name} {symbol} ({unit})" if unit else f"{name} {symbol} / $E_s$"


def _figure(size: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size, size), layout="constrained")
    return figure, figure.add_subplot()


def _lines(segments: np.ndarray, radius: float, colour: tuple[float, float, float]) -> DrawnMesh:
    count = len(segments)
    return cylinders(segments[:, 0], segments[:, 1], np.full(count, radius), np.tile(colour, (count, 1)), facets=8)


def _round_ticks(top: float) -> list[float]:
    """Two or three round values below `top`."""
    step = 10 ** np.floor(np.log10(top / 2))
    step *= max(factor for factor in (1, 2, 5) if 2 * factor * step <= top)
    return [float(step * k) for k in range(1, int(top / step) + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    """A span for a colour scale that is not empty where all values agree."""
    return (low, high) if high - low > 1e-6 * abs(high) else (0.98 * low, 1.02 * high)

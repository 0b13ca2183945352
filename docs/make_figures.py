"""Draws the pictures of the read-me and the docs into docs/_static: `python docs/make_figures.py`.

main-job.png is the main job in one row: a strut lattice, its exact stiffness by direction, a design of the same density
that is isotropic, and the solid that goes to the printer. beam-and-solid.png shows where beam theory stops being true.
Everything in them is computed here; the second takes some minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from polyad.files import atomic_path
from polyad.materials.elasticity import extrema, universal_anisotropy
from polyad.materials.lattice import StrutLattice, effective_stiffness, named_cell
from polyad.materials.lattice.design import Isotropy, design
from polyad.materials.lattice.solids.homogenized import solid_stiffness
from polyad.materials.lattice.solids.solid import block_solid
from polyad.materials.lattice.view import draw_lattice, draw_solid, draw_stiffness_surface

FOLDER = Path(__file__).parent / "_static"
INK, SOFT = "#1c2430", "#5b6472"
DENSITY, CELLS, PIXELS = 0.1, 2, 700


def simple_and_body_centred_cubic() -> StrutLattice:
    """Struts along the edges of a cube and from its centre to its corners, all of one radius."""
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    edge_index = [[0] * 3 + [1] * 8, [0] * 11]
    shift = np.concatenate([np.eye(3, dtype=int), corners])
    lattice = StrutLattice(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], edge_index, shift, 0.05)
    return lattice.with_density(DENSITY)


def beam_and_solid(path: Path, *, across: float = 8.0) -> None:
    """Moduli of the solid over those of the beams against density, voxels of the same size relative to the struts."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, name in zip(axes, ("octet", "kelvin"), strict=True):
        densities, ratios = (0.3, 0.2, 0.1, 0.05, 0.03), []
        for density in densities:
            lattice = named_cell(name, density=density)
            edge = float(lattice.cell.norm(dim=1).max())
            resolution = round(across * edge / (2 * float(lattice.radius.min())))
            beam, found = effective_stiffness(lattice), solid_stiffness(lattice, resolution=resolution)
            solid = found.stiffness
            ratios.append([
                float(solid[:3, :3].sum() / beam[:3, :3].sum()),
                float((solid[0, 0] - solid[0, 1]) / (beam[0, 0] - beam[0, 1])),
                float(solid[3, 3] / beam[3, 3]),
                found.density / density,
            ])  # fmt: skip
        labels = ("bulk modulus", "(C11 - C12) / 2", "C44", "volume")
        for values, label, style in zip(zip(*ratios, strict=True), labels, ("-o", "-s", "-^", ":"), strict=True):
            ax.plot(densities, values, style, label=label, ms=4)
        ax.axhline(1, color=SOFT, lw=0.8)
        ax.set(title=name, xlabel="relative density of the beams", xscale="log")
        ax.set_xticks(densities, [f"{density:g}" for density in densities])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("solid / beams")
    axes[0].legend(frameon=False)
    with atomic_path(path) as place:
        figure.savefig(place, dpi=150)


def main_job(path: Path) -> None:
    """One row of five pictures from lattice to print."""
    start = simple_and_body_centred_cubic()
    before = effective_stiffness(start)
    made = design(start, Isotropy(), density=DENSITY, symmetry=True)
    young = [extrema(stiffness, "young_modulus") for stiffness in (before, made.stiffness)]
    span = min(float(e.minimum) for e in young), max(float(e.maximum) for e in young)
    anisotropy = [float(universal_anisotropy(stiffness)) for stiffness in (before, made.stiffness)]

    figure = Figure(figsize=(15.2, 4.1))
    width, left, bottom, height = 0.172, 0.022, 0.17, 0.66
    places = [left + k * (width + 0.024) for k in range(5)]
    axes = [figure.add_axes((place, bottom, width, height)) for place in places]
    draw_lattice(axes[0], start, cells=CELLS, pixels=PIXELS, outline=False, triad=False)
    draw_stiffness_surface(axes[1], before, span=span, pixels=PIXELS)
    draw_lattice(axes[2], made.lattice, cells=CELLS, pixels=PIXELS, outline=False, triad=False)
    scale, _ = draw_stiffness_surface(axes[3], made.stiffness, span=span, pixels=PIXELS)
    draw_solid(axes[4], block_solid(made.lattice, CELLS, cell_size_mm=10.0), pixels=PIXELS, triad=False)

    titles = [
        "A strut lattice",
        "its exact stiffness E(n)",
        "a design, same density",
        "isotropic as asked",
        "ready to print",
    ]
    notes = [
        f"relative density {100 * DENSITY:.0f} %, one radius",
        f"anisotropy index {anisotropy[0]:.2f}",
        "radii moved by exact gradients",
        f"anisotropy index {abs(anisotropy[1]):.2f}",
        "watertight union of struts",
    ]
    for place, title, note in zip(places, titles, notes, strict=True):
        figure.text(place + width / 2, 0.93, title, ha="center", fontsize=14, fontweight="bold", color=INK)
        figure.text(place + width / 2, 0.865, note, ha="center", fontsize=11, color=SOFT)
    for place in places[1:]:
        figure.text(place - 0.012, bottom + height / 2, "→", ha="center", va="center", fontsize=26, color="#9aa5b4")
    bar_left, bar_right = places[1] + 0.02, places[3] + width - 0.02
    bar = figure.colorbar(
        scale, cax=figure.add_axes((bar_left, 0.125, bar_right - bar_left, 0.028)), orientation="horizontal"
    )
    bar.set_label("Young's modulus E(n) / $E_s$", fontsize=10.5, color=SOFT, labelpad=2)
    bar.ax.tick_params(labelsize=9.5, colors=SOFT)
    bar.outline.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, facecolor="white")


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    main_job(FOLDER / "main-job.png")
    beam_and_solid(FOLDER / "beam-and-solid.png")

"""Looking at lattices: shaded pictures, stiffness by direction, and lattices that turn in a notebook or a browser."""

from polyad.materials.lattice.view.notebook import lattice_html, lattice_page, show
from polyad.materials.lattice.view.still import (
    draw_lattice,
    draw_solid,
    draw_stiffness_surface,
    plot_lattice,
    plot_polar_cuts,
    plot_solid,
    plot_stiffness_surface,
    save_png,
)

__all__ = [
    "draw_lattice",
    "draw_solid",
    "draw_stiffness_surface",
    "lattice_html",
    "lattice_page",
    "plot_lattice",
    "plot_polar_cuts",
    "plot_solid",
    "plot_stiffness_surface",
    "save_png",
    "show",
]

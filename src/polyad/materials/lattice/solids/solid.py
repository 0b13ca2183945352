"""From a lattice to a printable solid: the unit cell, finite blocks, true volume fraction, files.

The beam formula rho = sum pi r^2 L / V counts material at the nodes once per strut. The solid is the union of the
struts with spherical joints, so its volume fraction is smaller, rho (1 - c rho^(1/2) + ...), and that is what a printed
part weighs. Polygons have the area of the circle (see `polyad.geometry.struts`), so the two agree in the limit of thin
struts for any number of facets.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.geometry.beam_lattice import write_beam_lattice
from polyad.geometry.io import MESH_SUFFIXES, write_mesh
from polyad.geometry.mesh import TriangleMesh, concatenate, parallelepiped
from polyad.geometry.struts import strut_union
from polyad.geometry.threemf import write_3mf
from polyad.geometry.vtk import write_vtk_struts
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.block import Boundary, Grading, StrutBlock, strut_block

Progress = Callable[[int, int], None]
"""Called as progress(solids joined, solids in all)."""


@final
@dataclass(frozen=True)
class VolumeFraction:
    """Share of space that is material: of the true solid, and by the beam formula, which counts nodes several times."""

    solid: float
    beam: float

    @property
    def counted_twice(self) -> float:
        """Part of the beam formula's material that does not exist: 1 - solid / beam."""
        return 1.0 - self.solid / self.beam


def unit_cell_solid(
    lattice: StrutLattice,
    *,
    facets: int = 32,
    cell_size_mm: float | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    progress: Progress | None = None,
) -> TriangleMesh:
    """The periodic solid clipped to one cell, the parallelepiped of the lattice vectors with a corner at the origin.

    Args:
        facets: sides of a strut's polygon.
        cell_size_mm: length of the first lattice vector; None keeps the lattice's unit.
        origin: corner of the cell in fractional coordinates; another choice shows another window on the same material.

    Raises:
        InputError: what `strut_union` refuses.
    """
    block = strut_block(lattice, 1, cell_size_mm=cell_size_mm, boundary="trim", origin=origin)
    return strut_union(
        block.starts, block.ends, block.radii, facets=facets, clip=parallelepiped(block.edges), progress=progress
    )


def volume_fraction(lattice: StrutLattice, *, facets: int = 32) -> VolumeFraction:
    """True volume fraction of the solid beside the beam formula's.

    Balls that lie within the struts around them leave an error of the faceting that falls as facets^-4: 1e-5 at 16 and
    7e-7 at 32, relative, for octet, bcc and diamond near 20 % (measured). Balls that show, at ends, fall as facets^-2.
    """
    # an odd origin keeps struts off the faces of the window: fewer coincidences, the same volume
    solid = unit_cell_solid(lattice, facets=facets, origin=(0.0137, 0.0271, 0.0419))
    return VolumeFraction(
        float(solid.volume) / float(lattice.volume.detach()), float(lattice.relative_density.detach())
    )


def block_solid(
    lattice: StrutLattice,
    counts: int | Sequence[int] = 1,
    *,
    cell_size_mm: float | None = None,
    boundary: Boundary = "keep",
    grading: Grading | None = None,
    facets: int = 32,
    plates_mm: float | Sequence[float] = 0.0,
    crumbs: float = 0.01,
    progress: Progress | None = None,
) -> TriangleMesh:
    """The solid of counts[0] x counts[1] x counts[2] cells, in millimetres.

    Args:
        lattice, counts, cell_size_mm, boundary, grading: see `strut_block`; with 'trim' the solid ends in flat faces.
        facets: sides of a strut's polygon.
        plates_mm: thickness of solid plates below and above (one number, or two) across the third lattice vector.
        crumbs: loose pieces smaller than this part of the largest are left out, as the cut by 'trim' makes them;
            0 keeps every piece.

    Raises:
        InputError: what `strut_block` and `strut_union` refuse, negative plates.

    Warns:
        NumericalWarning: struts overlap away from their nodes (solid and net differ in pieces less handles).
    """
    block = strut_block(lattice, counts, cell_size_mm=cell_size_mm, boundary=boundary, grading=grading)
    plates, window = _plates(block, plates_mm)
    mesh = strut_union(
        block.starts,
        block.ends,
        block.radii,
        facets=facets,
        plates=plates,
        clip=window if boundary == "trim" else None,
        progress=progress,
    )
    euler = len(block.positions) - len(block.strut)  # of the net, half that of a surface around it
    if boundary != "trim" and not plates and mesh.euler_characteristic != 2 * euler:
        warnings.warn(
            f"the solid has pieces - handles = {mesh.euler_characteristic // 2} where the net has {euler}: struts "
            "overlap away from their nodes; lower the density, or see printability() for the clearances",
            NumericalWarning,
            stacklevel=2,
        )
    return _without_crumbs(mesh, crumbs)


def export(
    lattice: StrutLattice,
    path: str | Path,
    *,
    counts: int | Sequence[int] = 1,
    cell_size_mm: float = 10.0,
    boundary: Boundary = "keep",
    grading: Grading | None = None,
    facets: int = 32,
    plates_mm: float | Sequence[float] = 0.0,
    beams: bool = False,
    fields: Mapping[str, Tensor] | None = None,
    title: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a block in millimetres, in the format that the suffix names.

    `.stl`, `.obj`, `.ply` and `.3mf` hold the watertight solid. `.3mf` with `beams=True` holds a beam lattice, and
    `.vtu` and `.vtk` the struts as lines with `radius` and `strut` as cell data: both are fast and small at any size.

    Args:
        lattice, counts, cell_size_mm, boundary, grading, facets, plates_mm: see `block_solid`.
        fields: for VTK, further values (struts of the cell, ...), such as axial forces, repeated on every image.
        title: for 3MF.

    Raises:
        InputError: an unknown suffix, options that the format has no place for, a file that cannot be written.
    """
    suffix = Path(path).suffix.lower()
    lines = beams or suffix in (".vtu", ".vtk")
    if suffix not in MESH_SUFFIXES or (beams and suffix != ".3mf"):
        allowed = "a beam lattice is written as .3mf" if beams else f"use one of {', '.join(MESH_SUFFIXES)}"
        raise InputError(f"{path}: suffix {suffix!r} does not fit; {allowed}")
    if lines and (boundary == "trim" or _pair(plates_mm) != (0.0, 0.0)):
        raise InputError(f"{path}: beams cannot be trimmed and have no plates; write a mesh, or boundary 'keep'")
    if fields and suffix not in (".vtu", ".vtk"):
        raise InputError(f"{path}: fields are for .vtu and .vtk")
    if lines:
        block = strut_block(lattice, counts, cell_size_mm=cell_size_mm, boundary=boundary, grading=grading)
        if beams:
            write_beam_lattice(path, block.positions, block.edge_index, block.radii, title=title)
        else:
            _write_lines(path, block, lattice.num_edges, fields or {})
        return
    mesh = block_solid(
        lattice,
        counts,
        cell_size_mm=cell_size_mm,
        boundary=boundary,
        grading=grading,
        facets=facets,
        plates_mm=plates_mm,
        progress=progress,
    )
    if suffix == ".3mf":
        write_3mf(path, mesh, title=title)
    else:
        write_mesh(path, mesh)


def _write_lines(path: str | Path, block: StrutBlock, struts: int, fields: Mapping[str, Tensor]) -> None:
    data = {"radius": block.radii.mean(1), "strut": block.strut}
    for name, value in fields.items():
        if not value.ndim or len(value) != struts:
            raise InputError(f"field {name!r}: shape is {tuple(value.shape)}; the first axis must be {struts} struts")
        data[name] = value.detach().cpu()[block.strut]
    write_vtk_struts(path, block.positions, block.edge_index, cell_data=data)


def _pair(plates_mm: float | Sequence[float]) -> tuple[float, float]:
    pair = (plates_mm, plates_mm) if isinstance(plates_mm, int | float) else tuple(plates_mm)
    if len(pair) != 2 or not all(0 <= t < float("inf") for t in pair):
        raise InputError(f"plates_mm: is {plates_mm!r}; give one thickness or two, none of them negative")
    return float(pair[0]), float(pair[1])


def _plates(block: StrutBlock, plates_mm: float | Sequence[float]) -> tuple[tuple[TriangleMesh, ...], TriangleMesh]:
    """Plates below and above, and the window that holds block and plates."""
    edges = block.edges
    normal = torch.linalg.cross(edges[0], edges[1])
    rise = edges[2] * torch.linalg.vector_norm(normal) / (normal @ edges[2]).abs()  # along edge 2, one unit high
    below, above = _pair(plates_mm)
    places = ((below, -below * rise), (above, edges[2]))
    plates = tuple(parallelepiped(torch.stack([edges[0], edges[1], t * rise]), origin=at) for t, at in places if t > 0)
    window = torch.stack([edges[0], edges[1], edges[2] + (below + above) * rise])
    return plates, parallelepiped(window, origin=-below * rise)


def _without_crumbs(mesh: TriangleMesh, smallest: float) -> TriangleMesh:
    pieces = mesh.pieces() if smallest > 0 else []
    if len(pieces) < 2:
        return mesh
    volumes = [float(piece.volume) for piece in pieces]
    # a cavity is a piece of negative volume: it belongs to the solid around it
    kept = [piece for piece, v in zip(pieces, volumes, strict=True) if v < 0 or v >= smallest * max(volumes)]
    return mesh if len(kept) == len(pieces) else concatenate(kept)

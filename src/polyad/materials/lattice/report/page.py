"""One HTML page about lattices and designs: everything inside, nothing loaded.

The page holds plotly.js once, the drawing code of `polyad.materials.lattice.assets`, and the data as compressed JSON
(read by the browser's own DecompressionStream, 2023 or later). A content policy forbids every network access.
"""

from __future__ import annotations

import base64
import gzip
import html
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from polyad import __version__
from polyad.errors import InputError
from polyad.files import atomic_write
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report.analysis import analyse, solid_moduli
from polyad.materials.lattice.report.paths import design_payload, design_record, name_designs
from polyad.materials.lattice.report.payload import lattices_payload
from polyad.materials.lattice.view.notebook import CONTENT_POLICY
from polyad.materials.lattice.view.notebook import SCRIPTS as DRAWING
from polyad.materials.lattice.view.packing import asset, script_json

if TYPE_CHECKING:
    from polyad.materials.lattice.design import Design

MAXIMUM_RECORDS = 4000
"""Lattices of one page; of more, evenly spaced ones are shown and the page says so."""

SCRIPTS = (*DRAWING, "tensor.js", "charts.js", "explorer.js", "designs.js", "catalogue.js", "report.js")


def write_report(
    path: str | os.PathLike[str],
    records: Sequence[LatticeRecord] | None = None,
    designs: Sequence[Design] = (),
    *,
    title: str = "Lattices",
    targets: Sequence[Tensor | None] = (),
    design_names: Sequence[str] = (),
    young_modulus: float = 1.0,
    poisson_ratio: float = 0.3,
    unit: str = "",
    length_unit: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a self-contained page about lattices and designs; it opens from the disk, without a network.

    For each lattice: the lattice in three dimensions, E(n) as a surface and in three cuts, moduli against the bounds of
    Voigt and of Hashin and Shtrikman, scaling with density, tensor, symmetry, mechanisms and dangling struts. For each
    design: its path, and the tensor reached beside the target. For several lattices: a chart of one quantity against
    another, and a table to sort and search.

    Args:
        path: of the page; written whole or not at all.
        records: lattices. A record's own stiffness is shown where it has one (with its difference from Polyad's
            solver), the solver's otherwise; both in units of the solid's Young's modulus.
        designs: results of `polyad.materials.lattice.design.design`; their lattices join the others.
        title: of the page.
        targets: for each design the (6, 6) stiffness that it was to reach, or None.
        design_names: for each design; by default "Design 1", ...
        young_modulus: of the solid, by which all stiffnesses are multiplied.
        poisson_ratio: of the solid, for solving and for bounds.
        unit: of `young_modulus`, such as "GPa"; empty: stiffnesses are multiples of the solid's modulus.
        length_unit: of cell and radii, such as "mm"; empty: not named.
        progress: called with (lattices done, lattices in all).

    Raises:
        InputError: nothing to show, a modulus or Poisson's ratio that no solid has, or a path that cannot be written.
    """
    text = report_html(
        records,
        designs,
        title=title,
        targets=targets,
        design_names=design_names,
        young_modulus=young_modulus,
        poisson_ratio=poisson_ratio,
        unit=unit,
        length_unit=length_unit,
        progress=progress,
    )
    with atomic_write(path) as file:
        file.write(text.encode())


def report_html(
    records: Sequence[LatticeRecord] | None = None,
    designs: Sequence[Design] = (),
    *,
    title: str = "Lattices",
    targets: Sequence[Tensor | None] = (),
    design_names: Sequence[str] = (),
    young_modulus: float = 1.0,
    poisson_ratio: float = 0.3,
    unit: str = "",
    length_unit: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The text of `write_report`'s page (same arguments)."""
    solid_moduli(poisson_ratio)
    if not (np.isfinite(young_modulus) and young_modulus > 0):
        raise InputError(f"young_modulus: is {young_modulus!r}; that of a solid is a positive number")
    given = [*(records or ())]
    shown, limits = _thin_out(given)
    named = name_designs(designs, design_names, targets)
    shown = [design_record(design) for design in named] + shown
    if not shown:
        raise InputError("records: neither lattices nor designs were given; give at least one to report on")
    analysis = analyse(shown, poisson_ratio=poisson_ratio, progress=progress)
    data: dict[str, Any] = {
        "unit": unit,
        "lengthUnit": length_unit,
        **lattices_payload(shown, analysis, young_modulus=young_modulus, poisson_ratio=poisson_ratio),
        "designs": [design_payload(design, young_modulus=young_modulus) for design in named],
    }
    # a fixed time stamp, so that the same input gives the same page
    packed = base64.b64encode(gzip.compress(script_json(data).encode(), 9, mtime=0)).decode("ascii")
    short_unit = unit or "Eₛ"
    stated_unit = unit or "units of Eₛ, the solid's Young's modulus"
    modulus = f"{young_modulus:.6g} {unit}" if unit else "Eₛ = 1" if young_modulus == 1 else f"{young_modulus:.6g}"
    counted = [_plural(len(given), "lattice")] * bool(given) + [_plural(len(designs), "design")] * bool(designs)
    return _fill(
        asset("report.html"),
        {
            "title": html.escape(title),
            "summary": html.escape(f"{' and '.join(counted)}, solved as periodic frames. Stiffness in {stated_unit}."),
            "unit": html.escape(short_unit),
            "solid": html.escape(f"Solid: Young's modulus {modulus}, Poisson's ratio {poisson_ratio:.4g}."),
            "limits": html.escape(limits),
            "policy": CONTENT_POLICY,
            "version": html.escape(__version__),
            "style": asset("scene.css") + asset("report.css"),
            "data": packed,
            "plotly": _plotly(),
            "scripts": "".join(map(asset, SCRIPTS)),
        },
    )


def _fill(template: str, values: dict[str, str]) -> str:
    """Replace {{name}} in one pass: a value that holds such a text stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _thin_out(records: list[LatticeRecord]) -> tuple[list[LatticeRecord], str]:
    if len(records) <= MAXIMUM_RECORDS:
        return records, ""
    kept = np.linspace(0, len(records) - 1, MAXIMUM_RECORDS).round().astype(int)
    return [
        records[number] for number in kept
    ], f"Shown are {MAXIMUM_RECORDS} of {len(records)} lattices, evenly spaced."


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # the script element ends at the first closing tag, whatever language it holds
    return get_plotlyjs().replace("</script", "<\\/script")

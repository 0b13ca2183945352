"""A lattice that turns: as a piece of HTML for notebooks, and as a page of its own.

Both hold everything that they need and load nothing: some 30 kB of drawing code and the lattice in a few bytes a strut.
Drag or arrow keys turn the lattice, the pointer shows number, radius and length of a strut.

Deviation: struts are drawn as WebGL2 instances rather than as one plotly mesh; plotly's script alone has 4.8 MB, too
much for every output of a notebook, and thousands of struts stay smooth this way.
"""

from __future__ import annotations

import html
import os
import tempfile
from pathlib import Path

from polyad.errors import InputError
from polyad.files import atomic_write
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.view.block import MAXIMUM_CELLS
from polyad.materials.lattice.view.packing import asset, pack_lattice, script_json

SCRIPTS = ("shapes.js", "camera.js", "scene.js", "picking.js", "panel.js")


def lattice_html(lattice: StrutLattice, *, cells: int | None = None, height: int = 420) -> str:
    """An iframe that draws the lattice in three dimensions, for `IPython.display.HTML` and `_repr_html_`.

    Args:
        cells: cells along each direction; None takes as many as make a drawing of some 160 struts.
        height: in CSS pixels.
    """
    page = lattice_page(lattice, cells=cells)
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" title="{html.escape(repr(lattice))}" '
        f'style="width:100%;max-width:760px;height:{int(height)}px;border:0;border-radius:10px"></iframe>'
    )


def lattice_page(lattice: StrutLattice, *, cells: int | None = None, title: str | None = None) -> str:
    """A complete HTML page that draws the lattice.

    Raises:
        InputError: `cells` is not between 1 and 12.
    """
    packed = pack_lattice(lattice)
    if cells is not None:
        if not 1 <= cells <= MAXIMUM_CELLS:
            raise InputError(f"cells: is {cells}; draw between 1 and {MAXIMUM_CELLS} cells along each direction")
        packed["cells"] = cells
    caption = repr(lattice).removeprefix("StrutLattice(").removesuffix(")")
    heading = caption if title is None else title
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">
<title>{html.escape(heading)}</title><link rel="icon" href="data:,"><style>{asset("scene.css")}</style></head>
<body class="alone"><main id="view" aria-label="{html.escape(heading)}"></main>
<script type="application/json" id="lattice">{script_json(packed)}</script>
<script>{"".join(map(asset, SCRIPTS))}
Polyad.standalone({script_json(heading)});
</script></body></html>
"""


CONTENT_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What a page may do: run the scripts it holds, and load nothing."""


def show(
    lattice: StrutLattice,
    path: str | os.PathLike[str] | None = None,
    *,
    cells: int | None = None,
    title: str | None = None,
    open_browser: bool = True,
) -> Path:
    """Write the lattice's page and open it in the browser.

    Args:
        path: where to write; None takes a new file in the folder for temporary files.
        open_browser: False only writes.

    Returns:
        The path of the page.
    """
    if path is None:
        handle, name = tempfile.mkstemp(prefix="polyad-lattice-", suffix=".html")
        os.close(handle)
        path = name
    with atomic_write(path) as file:
        file.write(lattice_page(lattice, cells=cells, title=title).encode())
    final = Path(path).resolve()
    if open_browser:
        import webbrowser

        webbrowser.open(final.as_uri())
    return final

"""Checks what `make demo` left: `python .ci/check_demo.py polyad-demo` prints a line a file, or says what is wrong.

It reads the files with as little of Polyad as it can, as another program would.
"""

from __future__ import annotations

import json
import math
import re
import sys
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as parquet

DENSITIES = 4
GENERATED = 2000


class WrongOutput(Exception):
    """What is wrong with an output of the demo."""


def require(condition: object, problem: str) -> None:
    """Raise `WrongOutput` unless the condition holds."""
    if not condition:
        raise WrongOutput(problem)


# ---------------------------------------------------------------- lattices.parquet


def check_lattices(path: Path, *, named_cells: int) -> str:
    """Every named cell at four densities and 2,000 generated lattices, each with a finite, symmetric tensor >= 0."""
    table = parquet.read_table(path)
    expected = named_cells * DENSITIES + GENERATED
    require(table.num_rows == expected, f"{table.num_rows} rows, expected {named_cells} x {DENSITIES} + {GENERATED}")
    stiffness = table["stiffness"].combine_chunks()
    require(stiffness.null_count == 0, f"{stiffness.null_count} lattices have no tensor")
    matrices = np.asarray(stiffness.flatten().to_numpy(zero_copy_only=False), dtype=float).reshape(expected, 6, 6)
    require(np.isfinite(matrices).all(), "a tensor is not finite")
    size = np.abs(matrices).max(axis=(1, 2))
    require((size > 0).all(), "a tensor is zero")
    asymmetry = np.abs(matrices - matrices.transpose(0, 2, 1)).max(axis=(1, 2)) / size
    require((asymmetry < 1e-9).all(), f"a tensor is not symmetric: {asymmetry.max():.1e}")
    smallest = np.linalg.eigvalsh(matrices)[:, 0] / size
    require((smallest > -1e-9).all(), f"a tensor has a negative eigenvalue: {smallest.min():.1e}")
    density = table["density"].to_numpy()
    require(np.isfinite(density).all() and (density > 0).all() and (density < 1).all(), "a density is not in (0, 1)")
    distinct = len(np.unique(matrices.round(12), axis=0))
    require(distinct > 0.9 * expected, f"only {distinct} of {expected} tensors differ")
    return f"{expected:,} lattices with tensors"


# ---------------------------------------------------------------- report.html


class _Loads(HTMLParser):
    """Collects what a page loads from elsewhere, its elements and its style sheets; links to follow are no loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.elements: set[str] = set()
        self.styles = ""
        self._in_style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self._in_style = tag == "style"
        for name, value in attributes:
            loaded = name in ("src", "srcset", "data", "poster", "background") or (
                name in ("href", "xlink:href") and tag in ("link", "image", "use", "base")
            )
            if loaded and value and not value.startswith(("data:", "#", "blob:")):
                self.loads.append(value)
            if name == "style":
                self.styles += value or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles += data


def check_report(path: Path) -> str:
    """One self-contained page: it has something to draw on, a table, a script, and loads nothing from elsewhere."""
    text = path.read_text(encoding="utf-8")
    page = _Loads()
    page.feed(text)
    from_styles = re.findall(r"(?:@import\s+|url\(\s*)['\"]?(?!data:|#)([^'\")\s]+)", page.styles)
    require(not page.loads, f"loads {page.loads[:3]}")
    require(not from_styles, f"its style sheet loads {from_styles[:3]}")
    missing = {"html", "body", "script", "table"} - page.elements
    require(not missing, f"has no {sorted(missing)}")
    require(text.rstrip().endswith("</html>"), "ends before </html>")
    return f"{len(text) / 2**20:.1f} MiB, self-contained"


# ---------------------------------------------------------------- design.stl, design.3mf


def check_stl(path: Path) -> str:
    """Binary STL of a closed, consistently oriented surface: each edge twice, once in each direction; volume > 0."""
    content = path.read_bytes()
    require(len(content) >= 84, "shorter than the header of a binary STL")
    count = int.from_bytes(content[80:84], "little")
    require(len(content) == 84 + 50 * count, f"{len(content)} bytes do not hold the {count} triangles that it names")
    require(count >= 4, f"{count} triangles enclose nothing")
    layout = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(content, layout, count=count, offset=84)["corners"]
    require(np.isfinite(corners).all(), "a coordinate is not finite")
    vertices, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return _closed_surface(vertices.astype(float), index.reshape(-1, 3))


def check_3mf(path: Path) -> str:
    """A whole zip archive with content types, relationships and a model of closed meshes."""
    require(zipfile.is_zipfile(path), "not a zip archive")
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
        require(broken is None, f"{broken} is damaged")
        names = set(archive.namelist())
        missing = {"[Content_Types].xml", "_rels/.rels", "3D/3dmodel.model"} - names
        require(not missing, f"lacks {sorted(missing)}")
        model = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
    space = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    require(model.tag == f"{space}model", f"its model begins with {model.tag}")
    require(model.get("unit") == "millimeter", f"its unit is {model.get('unit')}")
    meshes = model.findall(f".//{space}mesh")
    require(meshes, "holds no mesh")
    require(model.findall(f"{space}build/{space}item"), "builds nothing")
    summaries = []
    for mesh in meshes:
        vertices = [[float(v.get(axis, "nan")) for axis in "xyz"] for v in mesh.iter(f"{space}vertex")]
        triangles = [[int(t.get(corner, "-1")) for corner in ("v1", "v2", "v3")] for t in mesh.iter(f"{space}triangle")]
        summaries.append(_closed_surface(np.array(vertices).reshape(-1, 3), np.array(triangles, int).reshape(-1, 3)))
    return "; ".join(summaries)


def _closed_surface(vertices: np.ndarray, triangles: np.ndarray) -> str:
    require(np.isfinite(vertices).all(), "a coordinate is not finite")
    require(len(triangles) >= 4, f"{len(triangles)} triangles enclose nothing")
    require(triangles.min() >= 0 and triangles.max() < len(vertices), "a triangle names a vertex that does not exist")
    start, end = triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)
    require((start != end).all(), "a triangle has no area: two of its corners are one")
    there, back = (np.unique(a * len(vertices) + b, return_counts=True) for a, b in ((start, end), (end, start)))
    closed = np.array_equal(there[0], back[0]) and np.array_equal(there[1], back[1])
    require(closed, "not watertight: an edge has a triangle on one side only, or two that disagree on what is inside")
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    volume = float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
    require(volume > 0, f"encloses a volume of {volume:.3g}: its triangles face inwards")
    return f"{len(triangles):,} triangles, watertight, {volume:,.1f} cubic units"


# ---------------------------------------------------------------- design.json


def check_design(path: Path) -> str:
    """Target and reached values, number for number, finite; and within `tolerance` of each other where it is given."""
    design = json.loads(path.read_text(encoding="utf-8"))
    missing = {"target", "reached"} - set(design)
    require(not missing, f"lacks {sorted(missing)}")
    target, reached = dict(_numbers(design["target"])), dict(_numbers(design["reached"]))
    require(target, "target holds no number")
    require(set(target) <= set(reached), f"reached lacks {sorted(set(target) - set(reached))[:3]}")
    numbers = [*target.values(), *reached.values()]
    require(all(math.isfinite(number) for number in numbers), "a number is not finite")
    size = max(abs(number) for number in target.values()) or 1.0
    error = max(abs(reached[name] - target[name]) for name in target) / size
    tolerance = design.get("tolerance", 0.05)
    require(error <= tolerance, f"reached differs from target by {error:.2%}, allowed are {tolerance:.2%}")
    return f"target reached within {error:.3%}"


def _numbers(value: Any, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _numbers(item, f"{path}/{key}")]
    if isinstance(value, list):
        return [pair for number, item in enumerate(value) for pair in _numbers(item, f"{path}/{number}")]
    return [(path, float(value))] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


# ---------------------------------------------------------------- all of them


def check_folder(folder: Path, *, named_cells: int) -> list[str]:
    """Check every output; returns a line for each.

    Raises:
        WrongOutput: names the first file that is missing or wrong, and why.
    """
    checks: dict[str, Callable[[Path], str]] = {
        "lattices.parquet": lambda path: check_lattices(path, named_cells=named_cells),
        "report.html": check_report,
        "design.stl": check_stl,
        "design.3mf": check_3mf,
        "design.json": check_design,
    }
    lines = []
    for name, check in checks.items():
        path = folder / name
        require(path.is_file(), f"{path} is missing")
        try:
            lines.append(f"{name}: {check(path)}")
        except WrongOutput as error:
            raise WrongOutput(f"{path}: {error}") from None
        except Exception as error:
            raise WrongOutput(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    unfinished = sorted(path.name for path in folder.iterdir() if ".part" in path.name)
    require(not unfinished, f"{folder} holds unfinished files {unfinished}")
    return lines


def count_named_cells() -> int:
    """How many cells Polyad has by name."""
    from polyad.materials.lattice.nets.named import list_cells

    return len(list_cells())


if __name__ == "__main__":
    try:
        print("\n".join(check_folder(Path(sys.argv[1]), named_cells=count_named_cells())))
    except WrongOutput as error:
        sys.exit(f"demo: {error}")

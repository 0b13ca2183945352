"""Lattices as short JSON for pages: small integers, base64, and text that cannot end a script element.

An array is "u1:AAEC..." : its type (i integer, u unsigned, f floating) and bytes a number, then little-endian base64.
Positions are 16-bit fractions of the cell: 1/65536 of a cell is far below a pixel.
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.homogenization import dangling_struts
from polyad.materials.lattice.view.block import default_cells, drawing_box, plain_lattice


def pack_lattice(lattice: StrutLattice, *, dangling: np.ndarray | None = None) -> dict[str, Any]:
    """What assets/shapes.js needs to draw a lattice; `dangling` is found here where it is not given."""
    home = plain_lattice(lattice)
    box = drawing_box(home.cell)
    if dangling is None:
        dangling = dangling_struts(lattice).cpu().numpy()
    same = bool(np.ptp(home.radius) <= 1e-6 * home.radius.max())
    packed = {
        "cell": pack_array(home.cell, "<f4"),
        "box": pack_integers(box),
        "cells": default_cells(lattice.num_edges * abs(round(np.linalg.det(box)))),
        "nodes": pack_array(np.minimum(np.round(home.fractional * 65536), 65535), "<u2"),
        "source": pack_integers(home.edge_index[0]),
        "target": pack_integers(home.edge_index[1]),
        "shift": pack_integers(home.edge_shift),
        "radius": pack_array(home.radius[:1] if same else home.radius, "<f4"),
    }
    if dangling.any():
        packed["dangling"] = pack_integers(np.nonzero(dangling)[0])
    return packed


def pack_integers(values: np.ndarray) -> str:
    """Integers in the narrowest type that holds them."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in ("i1", "u1", "i2", "u2", "i4"):
        limit = np.iinfo(kind)
        if limit.min <= low and high <= limit.max:
            return pack_array(values, f"<{kind}")
    raise OverflowError(f"integers from {low} to {high} do not fit 32 bits")


def pack_array(values: np.ndarray, kind: str) -> str:
    """Numbers of a NumPy type as text."""
    data = np.ascontiguousarray(values, dtype=kind).tobytes()
    return f"{kind[1:]}:{base64.b64encode(data).decode('ascii')}"


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no "<", ">", "&" or line separators of JavaScript; NaN is refused."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@lru_cache(maxsize=32)
def asset(name: str) -> str:
    """Text of a file in the package's assets folder."""
    return (files("polyad.materials.lattice") / "assets" / name).read_text(encoding="utf-8")

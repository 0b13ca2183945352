"""Windowed cells: a box full of bars, cut at its faces, to and from the fundamental form with whole struts.

Catalogues and finite-element models often store a cell as a *window*: struts are cut where they cross a face, nodes on
opposite faces are separate, and a bar in a face is drawn on both sides. The *fundamental* form of the same lattice has
unique nodes and whole struts with image shifts, as `StrutLattice` wants them.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.net import Net, lattice_of, merge, net_of, straighten


def from_window(cell: Any, positions: Any, bars: Any, radius: Any, *, tolerance: float = 1e-4) -> StrutLattice:
    """The fundamental form of a window: halves of struts are joined through the faces.

    Nodes that coincide modulo the cell become one, bars drawn on several faces or edges of the cell count once, and a
    node on a face that only continues one straight strut disappears.

    Args:
        cell: (3, 3) lattice vectors as rows.
        positions: (nodes, 3) Cartesian, in the closed cell.
        bars: (bars, 2) node indices.
        radius: (bars,) or one number; of bars drawn twice the first counts.
        tolerance: positions closer than this part of the mean cell edge are the same.

    Raises:
        InputError: an index out of range, or what `StrutLattice` refuses.
    """
    return lattice_of(window_net(cell, positions, bars, radius, tolerance=tolerance))


def window_net(cell: Any, positions: Any, bars: Any, radius: Any, *, tolerance: float = 1e-4) -> Net:
    """`from_window` as plain arrays, not yet validated: for readers that set the radii afterwards."""
    cell, positions = np.asarray(cell, dtype=float), np.asarray(positions, dtype=float).reshape(-1, 3)
    bars = np.asarray(bars, dtype=np.int64).reshape(-1, 2)
    if not len(bars) or bars.min() < 0 or bars.max() >= len(positions):
        raise InputError(
            f"window has {len(positions)} nodes; its {len(bars)} bars must name nodes 0 to {len(positions) - 1}"
        )
    volume = abs(float(np.linalg.det(cell)))
    if not (np.isfinite(positions).all() and volume > 1e-9 * np.linalg.norm(cell, axis=1).prod()):
        raise InputError("window: positions must be finite and the cell must span space")
    fractional = positions @ np.linalg.inv(cell)
    near = tolerance * float(np.cbrt(volume))
    on_face = (np.abs(fractional - np.rint(fractional)) * np.linalg.norm(cell, axis=1) < near).any(axis=1)
    shift = np.zeros((len(bars), 3), dtype=np.int64)
    radius = np.broadcast_to(np.asarray(radius, dtype=float), len(bars))
    merged, label = merge(Net(cell, positions, bars.T, shift, radius), near)
    cut = np.zeros(len(merged.positions), dtype=bool)
    cut[label] = on_face
    return straighten(merged, cut, max(1e-6, 30 * tolerance))


def to_window(lattice: StrutLattice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A lattice as a window: every strut cut where it crosses a face, all pieces inside the closed cell.

    Returns:
        positions (nodes, 3) Cartesian, the unique nodes of the wrapped lattice first; bars (bars, 2); strut (bars,),
        the strut that each bar is a piece of.
    """
    net = net_of(lattice.wrap())
    fractional = _snap(net.positions @ np.linalg.inv(net.cell))
    points = list(fractional)
    known = {_key(p): n for n, p in enumerate(points)}
    bars: list[list[int]] = []
    struts: list[int] = []
    for e, (i, j) in enumerate(net.edge_index.T):
        begin, end = fractional[i], fractional[j] + net.edge_shift[e]
        for t, s in itertools.pairwise(_crossings(begin, end)):
            home = np.floor(begin + 0.5 * (t + s) * (end - begin) + 1e-9)
            bar = []
            for parameter in (t, s):
                # the ends themselves are taken as they are: no rounding
                exact = begin if parameter == 0 else end if parameter == 1 else begin + parameter * (end - begin)
                point = _snap(exact - home)
                node = known.setdefault(_key(point), len(points))
                if node == len(points):
                    points.append(point)
                bar.append(node)
            bars.append(bar)
            struts.append(e)
    return np.array(points) @ net.cell, np.array(bars, dtype=np.int64), np.array(struts, dtype=np.int64)


def _crossings(begin: np.ndarray, end: np.ndarray) -> list[float]:
    """Parameters from 0 to 1 where a segment in fractional coordinates starts, crosses a face of a cell, and ends."""
    cuts = [0.0]
    for k in range(3):
        low, high = sorted((float(begin[k]), float(end[k])))
        for face in range(int(np.floor(low)) + 1, int(np.ceil(high))):
            cuts.append(float((face - begin[k]) / (end[k] - begin[k])))
    stops: list[float] = []
    for t in sorted(cuts):
        if t < 1 - 1e-9 and (not stops or t - stops[-1] > 1e-9):
            stops.append(t)
    return [*stops, 1.0]


def _snap(fractional: np.ndarray) -> np.ndarray:
    nearest = np.rint(fractional)
    return np.where(np.abs(fractional - nearest) < 1e-9, nearest, fractional)


def _key(point: np.ndarray) -> tuple[int, ...]:
    return tuple(np.rint(point * 1e8).astype(np.int64).tolist())

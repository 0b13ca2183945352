"""Where struts of a periodic lattice come close: crossings, nodes on struts, clearance.

For axes p + a u and q + b w (0 <= a, b <= 1) the squared distance is quadratic in (a, b); its minimum over the unit
square is found in closed form by clamping one parameter and re-solving for the other. All images that could matter are
visited: those whose bounding boxes in fractional coordinates come within the search distance.

Source: Ericson, Real-Time Collision Detection (2005), section 5.1.9 (closest points of two segments).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final, no_type_check

import numba
import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice

_MAXIMUM_CONTACTS = 4_000_000


@final
@dataclass(frozen=True, eq=False)
class StrutContacts:
    """Pairs of strut axes closer than a distance, and the points where they are closest.

    Args:
        first, second: (contacts,) strut numbers, first <= second.
        shift: (contacts, 3) the second strut's image, in cells.
        first_at, second_at: (contacts,) where along each strut, 0 at its source and 1 at its target.
        distance: (contacts,) between the axes.
    """

    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray
    first_at: np.ndarray
    second_at: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        """Number of contacts."""
        return len(self.first)


def strut_contacts(lattice: StrutLattice, distance: float, *, shared_nodes: bool = False) -> StrutContacts:
    """All pairs of strut axes that come closer than `distance`.

    Args:
        lattice: any lattice; radii do not matter.
        distance: search distance, in the unit of the cell.
        shared_nodes: also list pairs that meet in a common node (image); by default these are left out unless they
            overlap, that is leave the node in one direction.

    Raises:
        InputError: more than four million contacts (a search distance far beyond the strut length).
    """
    cell = lattice.cell.detach().double().numpy(force=True)
    positions = lattice.positions.detach().double().numpy(force=True)
    edge_index, edge_shift = lattice.edge_index.numpy(force=True), lattice.edge_shift.numpy(force=True)
    return contacts_of(cell, positions, edge_index, edge_shift, distance, shared_nodes=shared_nodes)


def contacts_of(
    cell: np.ndarray,
    positions: np.ndarray,
    edge_index: np.ndarray,
    edge_shift: np.ndarray,
    distance: float,
    *,
    shared_nodes: bool = False,
) -> StrutContacts:
    """`strut_contacts` of plain arrays, unvalidated: for loops over many candidate nets."""
    starts = positions[edge_index[0]]
    vectors = positions[edge_index[1]] - starts + edge_shift @ cell
    to_fractional = np.linalg.inv(cell)
    begin, end = starts @ to_fractional, (starts + vectors) @ to_fractional
    # a sphere of radius d reaches d |column k of inv(cell)| in fractional coordinate k
    margin = distance * np.linalg.norm(to_fractional, axis=0)
    low, high = np.minimum(begin, end) - margin, np.maximum(begin, end) + margin
    arguments = (cell, starts, vectors, low, high, margin, edge_index, edge_shift, float(distance), shared_nodes)
    count = _contacts(*arguments, np.empty((0, 5), np.int64), np.empty((0, 3)))
    if count > _MAXIMUM_CONTACTS:
        raise InputError(f"strut_contacts: more than {_MAXIMUM_CONTACTS} pairs within {distance:.3g}; search nearer")
    which, where = np.empty((count, 5), np.int64), np.empty((count, 3))
    if count:
        _contacts(*arguments, which, where)
    return StrutContacts(which[:, 0], which[:, 1], which[:, 2:], where[:, 0], where[:, 1], where[:, 2])


@numba.njit(cache=True, nogil=True)
@no_type_check
def _closest(r, u, w):
    """(a, b, squared distance) of the closest points of a u and r + b w, both parameters in [0, 1]."""
    uu = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
    ww = w[0] * w[0] + w[1] * w[1] + w[2] * w[2]
    uw = u[0] * w[0] + u[1] * w[1] + u[2] * w[2]
    ur = u[0] * r[0] + u[1] * r[1] + u[2] * r[2]
    wr = w[0] * r[0] + w[1] * r[1] + w[2] * r[2]
    determinant = uu * ww - uw * uw
    a = 0.0
    if determinant > 1e-12 * uu * ww:
        a = min(1.0, max(0.0, (ur * ww - uw * wr) / determinant))
    b = (a * uw - wr) / ww
    if b < 0.0 or b > 1.0:
        b = min(1.0, max(0.0, b))
        a = min(1.0, max(0.0, (ur + b * uw) / uu))
    squared = 0.0
    for k in range(3):
        d = r[k] + b * w[k] - a * u[k]
        squared += d * d
    return a, b, squared


@numba.njit(cache=True, nogil=True)
@no_type_check
def _contacts(cell, starts, vectors, low, high, margin, edge_index, edge_shift, distance, shared_nodes, which, where):
    """Count the contacts; those that fit are written into `which` and `where`."""
    count = 0
    r = np.empty(3)
    reach = distance * distance
    for e in range(len(starts)):
        for f in range(e, len(starts)):
            first = np.empty(3, np.int64)
            last = np.empty(3, np.int64)
            for k in range(3):
                first[k] = int(np.ceil(low[e, k] - high[f, k] + margin[k]))
                last[k] = int(np.floor(high[e, k] - low[f, k] - margin[k]))
            for sx in range(first[0], last[0] + 1):
                for sy in range(first[1], last[1] + 1):
                    for sz in range(first[2], last[2] + 1):
                        if e == f and (sx < 0 or (sx == 0 and (sy < 0 or (sy == 0 and sz <= 0)))):
                            continue
                        for k in range(3):
                            r[k] = starts[f, k] - starts[e, k] + sx * cell[0, k] + sy * cell[1, k] + sz * cell[2, k]
                        a, b, squared = _closest(r, vectors[e], vectors[f])
                        if squared >= reach:
                            continue
                        if not shared_nodes and _meet_in_a_node(edge_index, edge_shift, vectors, e, f, sx, sy, sz):
                            continue
                        if count < len(which):
                            which[count, 0], which[count, 1] = e, f
                            which[count, 2], which[count, 3], which[count, 4] = sx, sy, sz
                            where[count, 0], where[count, 1], where[count, 2] = a, b, np.sqrt(squared)
                        count += 1
                        if count > 4_000_000:
                            return count
    return count


@numba.njit(cache=True, nogil=True)
@no_type_check
def _meet_in_a_node(edge_index, edge_shift, vectors, e, f, sx, sy, sz):
    """Whether struts e and f (in its image) share an end and leave it in different directions."""
    shift = (sx, sy, sz)
    for p in range(2):
        for q in range(2):
            if edge_index[p, e] != edge_index[q, f]:
                continue
            same = True
            for k in range(3):
                at_e = edge_shift[e, k] if p == 1 else 0
                at_f = shift[k] + (edge_shift[f, k] if q == 1 else 0)
                same &= at_e == at_f
            if same:
                dot, uu, ww = 0.0, 0.0, 0.0
                for k in range(3):
                    dot += vectors[e, k] * vectors[f, k]
                    uu += vectors[e, k] ** 2
                    ww += vectors[f, k] ** 2
                sign = 1.0 if p == q else -1.0
                if sign * dot < (1.0 - 1e-9) * np.sqrt(uu * ww):
                    return True
    return False

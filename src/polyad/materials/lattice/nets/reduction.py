"""The same material as a simpler graph: doubled nodes, cut and crossing struts, smallest cells.

All functions return new lattices of the same struts in space. They work on numbers, not on gradients.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.contacts import contacts_of
from polyad.materials.lattice.nets.net import Net, coincident_nodes, lattice_of, merge, net_of, straighten, unique_edges


def merge_nodes(lattice: StrutLattice, tolerance: float) -> StrutLattice:
    """Nodes closer than `tolerance` (in the unit of the cell) become one at their mean; doubled struts count once.

    Struts between merged nodes vanish. Of struts that come to coincide the first is kept.

    Raises:
        InputError: no strut is left, or the tolerance is not positive.
    """
    if not tolerance > 0:
        raise InputError(f"merge_nodes: tolerance is {tolerance!r}; it must be a positive length")
    return lattice_of(merge(net_of(lattice), tolerance)[0], lattice)


def merge_struts(lattice: StrutLattice, *, only: Any = None, tolerance: float = 1e-6) -> StrutLattice:
    """Remove nodes that merely continue one straight strut: the inverse of `subdivide`.

    Args:
        lattice: any lattice.
        only: (nodes,) boolean; nodes that may be removed. Default: all.
        tolerance: largest bend, as the sine of the angle, and largest relative difference of the two radii.
    """
    allowed = np.ones(lattice.num_nodes, dtype=bool) if only is None else np.asarray(only, dtype=bool)
    return lattice_of(straighten(net_of(lattice), allowed, tolerance), lattice)


def drop_duplicate_struts(lattice: StrutLattice) -> StrutLattice:
    """Every pair of node images joined at most once; of doubled struts the first is kept."""
    net = net_of(lattice)
    keep, *_ = unique_edges(lattice.num_nodes, net.edge_index, net.edge_shift)
    if len(keep) == lattice.num_edges:
        return lattice
    return lattice.select_edges(torch.from_numpy(np.sort(keep)).to(lattice.edge_index.device))


def split_struts(lattice: StrutLattice, *, tolerance: float = 1e-4) -> StrutLattice:
    """New nodes where struts cross and where a node lies on a strut; overlapping struts are cut and counted once.

    Args:
        lattice: any lattice.
        tolerance: axes closer than this part of the shortest strut touch.

    Raises:
        InputError: a piece shorter than it is thick; lower the density first.
    """
    net = net_of(lattice)
    near = tolerance * float(net.lengths.min())
    cuts = _cuts(net, near)
    positions, shift, strut = [net.positions], [], []
    index: list[tuple[int, int]] = []
    count = len(net.positions)
    for e, vector in enumerate(net.vectors):
        apart = near / float(np.linalg.norm(vector))
        inner: list[float] = []
        for t in sorted(cuts[e]):
            if apart < t < 1 - apart and (not inner or t - inner[-1] > apart):
                inner.append(t)
        i, j = net.edge_index[:, e]
        chain = [int(i), *range(count, count + len(inner)), int(j)]
        count += len(inner)
        positions.append(net.positions[i] + np.array(inner)[:, None] * vector)
        index += itertools.pairwise(chain)
        shift += [np.zeros(3, dtype=np.int64)] * len(inner) + [net.edge_shift[e]]
        strut += [e] * (len(inner) + 1)
    pieces = Net(net.cell, np.concatenate(positions), np.array(index).T, np.array(shift), net.radius[strut])
    return lattice_of(merge(pieces, 3 * near)[0], lattice)


def _cuts(net: Net, near: float) -> list[list[float]]:
    """Where along every strut (0 to 1) another one touches it."""
    contacts = contacts_of(net.cell, net.positions, net.edge_index, net.edge_shift, near, shared_nodes=True)
    cuts: list[list[float]] = [[] for _ in net.radius]
    starts, vectors = net.positions[net.edge_index[0]], net.vectors
    for e, f, s, at_e, at_f in zip(
        contacts.first, contacts.second, contacts.shift, contacts.first_at, contacts.second_at, strict=True
    ):
        cuts[e].append(float(at_e))
        cuts[f].append(float(at_f))
        # parallel struts touch along a stretch: cut each where the other ends
        for own, other, image in ((e, f, s), (f, e, -s)):
            begin = starts[other] + image @ net.cell
            for end in (begin, begin + vectors[other]):
                t = float(np.dot(end - starts[own], vectors[own]) / np.dot(vectors[own], vectors[own]))
                if 0 < t < 1 and np.linalg.norm(starts[own] + t * vectors[own] - end) < near:
                    cuts[own].append(t)
    return cuts


def primitive(lattice: StrutLattice, *, tolerance: float = 1e-5) -> StrutLattice:
    """The same lattice in its smallest cell (as given, if that is the smallest).

    Every translation that maps nodes, struts and radii onto themselves joins the cell's own; the new lattice vectors
    are a basis of all of them.

    Args:
        lattice: any lattice.
        tolerance: positions closer than this part of the mean cell edge, and radii closer than this part, are the same.
    """
    net = net_of(lattice)
    near = tolerance * float(np.cbrt(abs(np.linalg.det(net.cell))))
    fractional = net.positions @ np.linalg.inv(net.cell)
    translations = [np.zeros(3)]
    for node in range(1, len(fractional)):
        step = fractional[node] - fractional[0]
        if _maps_onto_itself(net, step @ net.cell, near, tolerance):
            translations.append(step)
    copies = len(translations)
    if copies == 1:
        return lattice
    # steps have denominators that divide the number of copies; their integer multiples span the finer lattice
    steps = np.concatenate(
        [np.rint(np.array(translations) * copies).astype(np.int64), copies * np.eye(3, dtype=np.int64)]
    )
    loops = torch.zeros(2, len(steps), dtype=torch.int64)
    basis = periodic_components(1, loops, torch.from_numpy(steps)).directions[0].numpy() / copies
    cell = _shortest_basis(basis @ net.cell)
    label, offset = coincident_nodes(cell, net.positions, near)
    _, first = np.unique(label, return_index=True)
    i, j = net.edge_index
    shift = np.rint(net.edge_shift @ net.cell @ np.linalg.inv(cell)).astype(np.int64) + offset[j] - offset[i]
    keep, *_ = unique_edges(len(first), label[net.edge_index], shift)
    keep = np.sort(keep)
    reduced = Net(cell, net.positions[first], label[net.edge_index[:, keep]], shift[keep], net.radius[keep])
    return lattice_of(reduced, lattice)


def _maps_onto_itself(net: Net, translation: np.ndarray, near: float, tolerance: float) -> bool:
    count = len(net.positions)
    both = np.concatenate([net.positions, net.positions + translation])
    label, offset = coincident_nodes(net.cell, both, near)
    if label.max() != count - 1 or not np.array_equal(label[:count], np.arange(count)):
        return False
    image, cells = label[count:], offset[count:]
    i, j = net.edge_index
    here, *edges = unique_edges(count, net.edge_index, net.edge_shift)
    there, *moved = unique_edges(count, image[net.edge_index], net.edge_shift + cells[j] - cells[i])
    same = all(np.array_equal(a, b) for a, b in zip(edges, moved, strict=True))
    return same and bool(np.allclose(net.radius[here], net.radius[there], rtol=tolerance))


def _shortest_basis(cell: np.ndarray) -> np.ndarray:
    """A basis of the same lattice with short vectors, by adding multiples of the others while that shortens one."""
    cell = cell.copy()
    for _ in range(100):
        before = cell.copy()
        for k, m in itertools.permutations(range(3), 2):
            cell[k] -= np.rint(np.dot(cell[k], cell[m]) / np.dot(cell[m], cell[m]) * (1 - 1e-12)) * cell[m]
        if np.array_equal(before, cell):
            break
    return cell if np.linalg.det(cell) > 0 else -cell

"""Closest approach of struts against a dense search, with all images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.contacts import strut_contacts
from polyad.materials.lattice.nets.named import named_cell


def random_lattice(seed):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    positions = rng.random((4, 3)) @ cell
    index = rng.integers(0, 4, (2, 5))
    shift = rng.integers(-1, 2, (5, 3))
    shift[(index[0] == index[1]) & (shift == 0).all(1)] = [1, 0, 0]
    return StrutLattice(cell, positions, index, shift, 1e-9)


def dense(p, u, q, w):
    """Distance of two segments by quadratic minimisation on a fine grid, refined."""
    low, high = np.zeros(2), np.ones(2)
    for _ in range(14):
        a, b = (np.linspace(low[k], high[k], 9) for k in (0, 1))
        grid = p + a[:, None, None] * u - q - b[None, :, None] * w
        d = np.linalg.norm(grid, axis=2)
        i, j = np.unravel_index(d.argmin(), d.shape)
        best, step = np.array([a[i], b[j]]), (high - low) / 6
        low, high = np.maximum(best - step, 0), np.minimum(best + step, 1)
    return d.min()


@pytest.mark.parametrize("seed", range(4))
def test_against_dense_search(seed):
    lattice = random_lattice(seed)
    reach = 0.3
    found = strut_contacts(lattice, reach, shared_nodes=True)
    seen = {
        (e, f, *s): d
        for e, f, s, d in zip(found.first, found.second, found.shift.tolist(), found.distance, strict=True)
    }
    start = lattice.positions[lattice.edge_index[0]].numpy()
    vector, cell = lattice.edge_vectors.numpy(), lattice.cell.numpy()
    for e, f in itertools.combinations_with_replacement(range(5), 2):
        for s in itertools.product(range(-4, 5), repeat=3):
            if e == f and s <= (0, 0, 0):
                continue
            q = start[f] + np.array(s) @ cell
            # bounding spheres first: the dense search is slow
            gap = np.linalg.norm(start[e] + vector[e] / 2 - q - vector[f] / 2)
            if gap - (np.linalg.norm(vector[e]) + np.linalg.norm(vector[f])) / 2 > reach:
                assert (e, f, *s) not in seen
                continue
            d = dense(start[e], vector[e], q, vector[f])
            if abs(d - reach) > 1e-3:
                assert ((e, f, *s) in seen) == (d < reach)
            if (e, f, *s) in seen:
                assert seen[e, f, *s] == pytest.approx(d, abs=1e-4)


def test_shared_nodes_are_no_contact_but_overlaps_are():
    assert len(strut_contacts(named_cell("octet"), 1e-3)) == 0
    overlap = StrutLattice(
        np.eye(3) * 3, [[0, 0, 0], [1, 0, 0], [0.5, 0, 0]], [[0, 0], [1, 2]], np.zeros((2, 3), int), 1e-3
    )
    assert len(strut_contacts(overlap, 1e-3)) == 1


def test_crossing_is_located():
    crossed = StrutLattice(
        np.eye(3) * 4, [[0, 0, 0], [2, 0, 0], [0.5, -1, 0], [0.5, 1, 0]], [[0, 2], [1, 3]], np.zeros((2, 3), int), 1e-3
    )
    found = strut_contacts(crossed, 1e-6)
    assert len(found) == 1
    assert found.first_at[0] == pytest.approx(0.25)
    assert found.second_at[0] == pytest.approx(0.5)


def test_search_distance_is_bounded():
    with pytest.raises(InputError, match="search nearer"):
        strut_contacts(named_cell("weaire_phelan", density=1e-6), 8.0)

"""Windows and fundamental forms are the same material."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.nets.windows import from_window, to_window


@pytest.mark.parametrize("name", ["simple_cubic", "octet", "bcc_sc", "kelvin", "srs", "quartz", "hcp", "reentrant"])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.13, 0.31, 0.21)])
def test_round_trip(name, shift):
    lattice = named_cell(name).translate(torch.tensor(shift, dtype=torch.float64))
    radius = lattice.radius * torch.linspace(1, 2, lattice.num_edges, dtype=torch.float64)
    lattice = lattice.replace(radius=radius)
    positions, bars, strut = to_window(lattice)
    fractional = positions @ np.linalg.inv(lattice.cell.numpy())
    assert fractional.min() > -1e-9
    assert fractional.max() < 1 + 1e-9
    # pieces add up to their struts
    pieces = np.linalg.norm(positions[bars[:, 1]] - positions[bars[:, 0]], axis=1)
    assert np.allclose(np.bincount(strut, pieces), lattice.edge_lengths.numpy())
    back = from_window(lattice.cell, positions, bars, radius.numpy()[strut])
    first, second = effective_stiffness(lattice), effective_stiffness(back)
    assert float((first - second).norm() / first.norm()) < 1e-8
    assert back.num_edges == lattice.num_edges


def test_bars_on_faces_count_once():
    """A cube drawn with all twelve edges is the simple cubic lattice."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    bars = [(i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 1]
    lattice = from_window(np.eye(3), corners, bars, 0.05)
    assert (lattice.num_nodes, lattice.num_edges) == (1, 3)


def test_rounded_digits():
    """Five decimals, as catalogues have them: halves still join, and lengths agree to those digits."""
    lattice = named_cell("weaire_phelan", density=1e-3).translate(torch.tensor([0.1, 0.17, 0.23]).double())
    positions, bars, _ = to_window(lattice)
    back = from_window(lattice.cell, np.round(positions, 5), bars, 1e-3)
    assert (back.num_nodes, back.num_edges) == (46, 92)
    assert np.allclose(back.edge_lengths.sort().values, lattice.edge_lengths.sort().values, atol=3e-5)


def test_real_node_on_a_face_stays():
    positions = [[0, 0.5, 0.5], [1, 0.5, 0.5], [0.5, 0.5, 0.2]]
    lattice = from_window(np.eye(3), positions, [(0, 2), (2, 1)], 0.01)
    assert lattice.num_nodes == 2


def test_refused():
    with pytest.raises(InputError, match="must name nodes"):
        from_window(np.eye(3), [[0, 0, 0], [1, 0, 0]], [(0, 2)], 0.01)
    with pytest.raises(InputError, match="span"):
        from_window(np.zeros((3, 3)), [[0, 0, 0], [1, 0, 0]], [(0, 1)], 0.01)

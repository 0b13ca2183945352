"""Relatives of a held-out net stay out of the rest."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.learning.data import hold_out, is_lattices, mean_neighbors
from polyad.materials.structures import Structures
from tests.materials.properties.lattices import data_set


def test_lattices_are_held_out_by_base_net() -> None:
    data = data_set(5, 3)
    held, rest = hold_out(data, 0.4, seed=1)
    assert (len(held), len(rest)) == (6, 9)
    assert not set(held.names) & set(rest.names)
    again, _ = hold_out(data, 0.4, seed=1)
    assert torch.equal(again.positions, held.positions)
    assert {hold_out(data, 0.4, seed=k)[0].names for k in range(5)} != {held.names}
    with pytest.raises(InputError, match="of 1 base nets leaves a part empty"):
        hold_out(data_set(1, 3), 0.5)


def test_neighbors_are_struts_or_those_within_the_cutoff() -> None:
    data = data_set(3)
    assert is_lattices(data)
    assert mean_neighbors(data, 1e-3) == pytest.approx(data.num_edges / data.num_nodes, abs=1e-3)
    atoms = Structures.from_arrays(torch.eye(3, dtype=torch.float64), [6, 1, 6])
    assert not is_lattices(atoms)
    assert mean_neighbors(atoms, 2.0) == 2.0
    assert mean_neighbors(atoms, 1.0) == 1.0

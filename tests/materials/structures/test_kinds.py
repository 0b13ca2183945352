"""Elements are numbered in the order that was given."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.structures.kinds import check_species, number_kinds


def test_numbers_follow_the_order() -> None:
    known = torch.tensor([8, 1, 6])
    assert number_kinds(torch.tensor([1, 1, 6, 8]), known).tolist() == [1, 1, 2, 0]
    with pytest.raises(InputError, match=r"\[7, 9\] are unknown to this potential, made for \[8, 1, 6\]"):
        number_kinds(torch.tensor([9, 1, 7]), known, owner="potential")


def test_species_of_a_model() -> None:
    assert check_species([8, 1]).tolist() == [8, 1]
    for bad in ([], [1, 1], [-1, 6]):
        with pytest.raises(InputError, match="give different atomic numbers"):
            check_species(bad)

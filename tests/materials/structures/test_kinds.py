"""Elements are numbered in the order that was given."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.structures.kinds import number_kinds


def test_numbers_follow_the_order() -> None:
    known = torch.tensor([8, 1, 6])
    assert number_kinds(torch.tensor([1, 1, 6, 8]), known).tolist() == [1, 1, 2, 0]
    with pytest.raises(InputError, match=r"\[7, 9\] are unknown to this potential, made for \[8, 1, 6\]"):
        number_kinds(torch.tensor([9, 1, 7]), known, owner="potential")

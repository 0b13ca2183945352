"""Records refuse what no catalogue can mean."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.records import LatticeRecord


def test_base_name_defaults_to_name():
    assert LatticeRecord("a", named_cell("bcc"), 0.01).base_name == "a"
    assert "4 struts" in repr(LatticeRecord("a", named_cell("bcc"), 0.01))


@pytest.mark.parametrize("density", [0.0, -0.1, float("nan"), float("inf")])
def test_density_is_positive(density):
    with pytest.raises(InputError, match="density"):
        LatticeRecord("a", named_cell("bcc"), density)


def test_stiffness_is_symmetric_and_finite():
    skew = torch.eye(6, dtype=torch.float64)
    skew[0, 1] = 0.1
    with pytest.raises(InputError, match="symmetric"):
        LatticeRecord("a", named_cell("bcc"), 0.01, skew)
    with pytest.raises(InputError, match="finite"):
        LatticeRecord("a", named_cell("bcc"), 0.01, torch.full((6, 6), float("nan"), dtype=torch.float64))

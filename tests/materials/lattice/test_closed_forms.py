"""The table of known values: each holds, and each would notice a wrong solver."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from polyad.materials.lattice import closed_forms
from polyad.materials.lattice.closed_forms import known_values

KNOWN = known_values()


@pytest.mark.parametrize("value", KNOWN, ids=lambda v: f"{v.cell} {v.quantity} {v.basis}")
def test_value_is_reached(value: closed_forms.KnownValue) -> None:
    assert value.holds, f"{value.computed!r} in place of {value.exact!r}"
    assert value.tolerance <= (1e-9 if value.basis == "formula" else 2e-6)


def test_formulas_and_printed_digits_are_all_there() -> None:
    cells = {value.cell for value in KNOWN}
    assert cells == {"simple_cubic", "octet", "bcc", "diamond", "kelvin", "bcc_sc"}
    assert {value.basis for value in KNOWN if value.cell in ("octet", "bcc")} == {"formula", "printed"}
    assert [v.exact for v in KNOWN if v.quantity == "S44"] == [pytest.approx(94247.78, abs=0.005)]


def test_formulas_of_one_node_have_the_limits_of_slender_struts() -> None:
    """octet: 1/6, 1/12, 1/6; bcc: 1/9, 1/9, 2/9 (pin-jointed)."""
    from polyad.materials.lattice import named_cell

    for cell, limits in (("octet", (1 / 6, 1 / 12, 1 / 6)), ("bcc", (1 / 9, 1 / 9, 2 / 9))):
        found = closed_forms._one_node(named_cell(cell, density=1e-9))
        assert found == pytest.approx(limits, rel=1e-7)


def test_an_error_in_the_last_digit_is_noticed() -> None:
    for value in KNOWN:
        off = max(3 * value.tolerance, 1e-8) * (abs(value.exact) or 1.0)
        assert not replace(value, computed=value.computed + off).holds
        assert not replace(value, computed=math.nan).holds

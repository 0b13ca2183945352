"""A report keeps what was measured, and refuses what is no result."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.claims.report import Report, format_value
from polyad.errors import InputError


def test_ratio_is_ours_over_baseline_unless_given() -> None:
    report = Report()
    assert report.row(quantity="a", baseline=4.0, ours=1.0).ratio == 0.25
    assert report.row(quantity="b", baseline=4.0, ours=1.0, ratio=4.0).ratio == 4.0
    assert report.row(quantity="c", baseline="none", ours=1.0).ratio is None
    assert report.row(quantity="d", baseline=0, ours=1.0).ratio is None
    assert report.row(quantity="e", paper=1, ours="does not end").ratio is None


def test_scalars_of_every_kind_become_plain_numbers() -> None:
    row = Report().row(
        quantity="a", paper=np.int64(3), baseline=torch.tensor([2.0]), ours=np.float32(0.5), holds=np.True_
    )
    assert (row.paper, row.baseline, row.ours, row.ratio, row.holds) == (3, 2.0, 0.5, 0.25, True)
    assert [type(value) for value in (row.paper, row.baseline, row.ours, row.holds)] == [int, float, float, bool]


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.tensor(math.nan), True, [1.0], 1j])
@pytest.mark.parametrize("place", ["ours", "paper", "baseline", "ratio"])
def test_what_is_no_finite_number_is_refused(value: object, place: str) -> None:
    values = {"ours": 1.0} | {place: value}
    with pytest.raises(InputError, match=f"{place} of 'a'"):
        Report().row(quantity="a", **values)


@pytest.mark.parametrize(
    ("verdicts", "holds"),
    [([], None), ([None], None), ([True, None], True), ([True, False], False), ([False, None], False)],
)
def test_verdict_needs_every_row(verdicts: list[bool | None], holds: bool | None) -> None:
    report = Report()
    for number, verdict in enumerate(verdicts):
        report.row(quantity=str(number), ours=number, holds=verdict)
    assert report.holds is holds
    assert report.as_dict()["holds"] is holds


def test_one_row_a_quantity_and_one_figure_a_name() -> None:
    report = Report()
    report.row(quantity="a", ours=1)
    report.figure(object())
    with pytest.raises(InputError, match="'a' is there already"):
        report.row(quantity="a", ours=2)
    with pytest.raises(InputError, match="'' is there already"):
        report.figure(object())
    with pytest.raises(InputError, match="letters and digits"):
        report.figure(object(), "../elsewhere")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("<= 0.7", "<= 0.7"),
        (12345, "12,345"),
        (0.000123456, "0.0001235"),
        (12345.6, "1.235e+04"),
        (0.5, "0.5"),
    ],
)
def test_numbers_have_four_digits(value: float | str | None, text: str) -> None:
    assert format_value(value) == text

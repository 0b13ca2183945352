"""Tables and numbers as they are printed."""

from __future__ import annotations

import math

import pytest

from polyad.cli.tables import number, percent, print_table


def test_long_names_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a_name_" * 15
    print_table(["name", "value"], [[name, "1.5"], ["[bold]", "22.25"]], title="Some")
    lines = capsys.readouterr().out.splitlines()
    assert any(name in line and line.rstrip().endswith(" 1.5") for line in lines)
    assert any("[bold]" in line and line.rstrip().endswith("22.25") for line in lines)
    assert lines[0].strip() == "Some"


def test_numbers() -> None:
    assert number(math.nan) == "-"
    assert number(0.000123456) == "0.0001235"
    assert number(2.0, 9) == "2"
    assert percent(0.99512) == "99.5 %"

"""The catalogue by itself: a shelf made from a file, found again by what it holds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeRecord, named_cell, save
from polyad.web import indexing
from polyad.web.library import Filter, Library, Shelf
from polyad.web.wire import NotFoundError
from tests.web.listener import Listener

pytest.importorskip("duckdb", reason="DuckDB is not installed")

NAMES = ("octet", "kelvin", "bcc")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    save([LatticeRecord(name, named_cell(name, density=0.02), 0.02) for name in NAMES], folder / "in.json")
    target = {"lattices": str(folder / "a.parquet"), "index": str(folder / "b.parquet")}
    done = indexing.index_file(
        {"path": str(folder / "in.json"), "title": "in", "key": "k", "density": 0.05, **target}, Listener()
    )
    made = Library()
    made.add(Shelf("k", "in", "file", done["rows"], Path(done["lattices"]), Path(target["index"])))
    return made


def test_rows_are_sorted_and_paged(library: Library) -> None:
    total, rows = library.rows(Filter(), sort="name", limit=2)
    assert (total, [row["name"] for row in rows]) == (3, ["bcc", "kelvin"])
    _, rest = library.rows(Filter(), sort="name", limit=2, offset=2)
    assert [row["name"] for row in rest] == ["octet"]


def test_ranges_and_search_have_no_say_in_the_statement(library: Library) -> None:
    assert library.rows(Filter(ranges=(("density", 0.01, 0.03),)))[0] == 3
    assert library.rows(Filter(ranges=(("density", 0.03, math.inf),)))[0] == 0
    assert library.rows(Filter(search="' OR 1=1 --"))[0] == 0
    with pytest.raises(InputError, match="column"):
        library.rows(Filter(ranges=(("1=1 OR density", 0.0, 1.0),)))
    with pytest.raises(InputError, match="no number"):
        library.rows(Filter(ranges=(("density", math.nan, 1.0),)))


def test_lattices_come_back_bit_by_bit(library: Library) -> None:
    for place, name in enumerate(NAMES):
        record = library.record(f"k:{place}")
        assert record.name == name
        assert torch.equal(record.lattice.positions, named_cell(name, density=0.02).positions)
    for wrong in ("k:3", "k:-1", "x:0", "k", "k:1e3", "k:" + "9" * 50):
        with pytest.raises(NotFoundError):
            library.record(wrong)


def test_empty_library_answers(library: Library) -> None:
    assert Library().rows(Filter()) == (0, [])
    assert Library().points(Filter(), "young", "bulk") == []
    with pytest.raises(NotFoundError, match="shelf"):
        library.rows(Filter(shelf="none"))

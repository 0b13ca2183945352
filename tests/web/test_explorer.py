"""What the server keeps and forgets, with tasks run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyad.errors import InputError
from polyad.materials.lattice import LatticeRecord, named_cell, save
from polyad.web import routes
from polyad.web.explorer import Explorer
from polyad.web.models import AnalyseRequest, LatticeBody, NamedLattice, as_payload
from polyad.web.settings import Settings
from polyad.web.wire import NotFoundError, write_lattice
from tests.web.listener import Listener

pytest.importorskip("duckdb", reason="DuckDB is not installed")


@pytest.fixture
def explorer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Explorer]:
    made = Explorer(Settings(kept_uploads=2))
    monkeypatch.setattr(made._heavy, "run", lambda task, payload, **options: task(payload, Listener()))
    yield made
    made.close()
    assert not made.folder.exists()


def upload(explorer: Explorer, name: str) -> str:
    path = explorer.folder / "given.upload"
    save(LatticeRecord(name, named_cell("bcc", density=0.02), 0.02), explorer.folder / "given.json")
    (explorer.folder / "given.json").rename(path)
    shelf = explorer.upload(path, name, density=0.05, cutoff=None)
    assert not path.exists()
    return shelf.key


def test_the_oldest_uploads_are_forgotten_with_their_files(explorer: Explorer) -> None:
    keys = [upload(explorer, name) for name in ("a", "b", "c")]
    assert [shelf.key for shelf in explorer.library.shelves] == keys[1:]
    assert {path.name.split(".")[0] for path in explorer.folder.iterdir()} == set(keys[1:])
    explorer.remove(keys[1])
    with pytest.raises(NotFoundError):
        explorer.remove(keys[1])


def test_a_file_that_cannot_be_read_leaves_nothing(explorer: Explorer) -> None:
    path = explorer.folder / "bad.upload"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"^its\.name: "):
        explorer.upload(path, "its.name", density=0.05, cutoff=None)
    assert list(explorer.folder.iterdir()) == []


def test_the_owners_shelves_cannot_be_removed(explorer: Explorer, tmp_path: Path) -> None:
    explorer.load()
    assert not explorer.loading
    with pytest.raises(NotFoundError):
        explorer.remove("named")


def test_requests_become_plain_values_without_copies() -> None:
    body = LatticeBody(**write_lattice(named_cell("octet", density=0.05)))
    payload = as_payload(AnalyseRequest([NamedLattice(body, "x")]))
    assert payload["lattices"][0]["name"] == "x"
    assert payload["lattices"][0]["lattice"]["radius"] is body.radius


@pytest.mark.parametrize(
    ("name", "title"),
    [("a.lat", "a.lat"), ("../../a.lat", "a.lat"), ("C:\\x\\a.lat", "a.lat"), ("a\x00\n\u202e.lat", "a.lat"),
     ("..", ".."), ("/", "file"), ("", "file")],
)  # fmt: skip
def test_names_of_files_are_titles_only(name: str, title: str) -> None:
    assert routes._title(name) == title

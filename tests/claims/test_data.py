"""The optional data folder of claims."""

from polyad.claims import data


def test_the_named_folder_is_asked_first(tmp_path, monkeypatch):
    (tmp_path / "lattice").mkdir()
    (tmp_path / "lattice" / "cells.lat").write_text("x")
    monkeypatch.setenv("POLYAD_DATA", str(tmp_path))
    assert data.find_data("lattice/cells.lat") == tmp_path / "lattice" / "cells.lat"
    assert data.find_data("lattice/other.lat") is None


def test_a_folder_beside_the_checkout_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYAD_DATA", raising=False)
    monkeypatch.setattr(data, "find_checkout", lambda: tmp_path / "checkout")
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert data.find_data("a.csv") is None
    (tmp_path / "shared" / "data" / "a.csv").write_text("1")
    assert data.find_data("a.csv") == tmp_path / "shared" / "data" / "a.csv"


def test_an_installed_package_has_no_data(monkeypatch):
    monkeypatch.delenv("POLYAD_DATA", raising=False)
    monkeypatch.setattr(data, "find_checkout", lambda: None)
    assert data.find_data("a.csv") is None

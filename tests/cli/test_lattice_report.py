"""`polyad lattice report`, `show`, `export` and `cells`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polyad.cli.lattice_inputs import one_lattice
from polyad.geometry.io import read_mesh
from polyad.materials.lattice import effective_stiffness, named_cell
from tests.cli.printed import row

Run = Callable[..., str]


def test_report_show_and_export(run: Run, catalogue: Path) -> None:
    run("report", catalogue, "--out", "page.html", "--title", "My lattices")
    page = Path("page.html").read_text()
    assert "My lattices" in page
    assert page.rstrip().endswith("</html>")
    run("show", "kelvin", "--png", "k.png", "--html", "k.html", "--cells", 1)
    assert Path("k.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert Path("k.html").read_text().rstrip().endswith("</html>")
    run("export", "octet", "--out", "o.obj", "--counts", 1, 1, 1, "--density", 0.02, "--facets", 8)
    assert read_mesh("o.obj").triangles.shape[0] > 100
    run("export", catalogue, "--out", "o.vtu", "--counts", 2, 2, 2)
    assert "<VTKFile" in Path("o.vtu").read_text()[:200]
    run("export", "octet", "--out", "o.inp", "--counts", 2, 1, 1, "--density", 0.02)
    text = run("solve", "o.inp")
    octet = effective_stiffness(named_cell("octet", density=0.02))
    assert float(row(text, "o")[4]) == pytest.approx(float(octet[:3, :3].sum()) / 9, rel=1e-3)


def test_cells_are_listed(run: Run) -> None:
    text = run("cells")
    assert len([line for line in text.splitlines() if line.startswith("  ")]) >= 78
    assert row(text, "reentrant ")


def test_one_lattice_takes_the_density_asked_for(catalogue: Path) -> None:
    record = one_lattice(str(catalogue), density=0.03)
    assert float(record.lattice.relative_density) == pytest.approx(0.03)
    assert record.stiffness is None
    assert float(one_lattice("octet").lattice.cell[0].norm()) == pytest.approx(1.0)

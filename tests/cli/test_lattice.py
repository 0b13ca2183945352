"""The verbs of `polyad lattice`: files in, tables and files out, one line and exit code 2 for what is wrong."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from polyad.cli import main
from polyad.cli.lattice_inputs import numbers, one_lattice, read_objective, read_target
from polyad.errors import InputError
from polyad.geometry.io import read_mesh
from polyad.materials.elasticity import isotropic, symmetry_distance, young_modulus
from polyad.materials.lattice import LatticeRecord, effective_stiffness, load, named_cell, save
from polyad.materials.lattice.dataset import read_records
from polyad.materials.lattice.design import Design

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `polyad lattice ...` in an empty folder and returns what it printed; any failure fails the test."""
    monkeypatch.chdir(tmp_path)

    def words(*arguments: object, code: int = 0) -> str:
        result = main(["lattice", *map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Two cells at two densities; of the octet one tensor is right and one is 5 % too stiff."""
    records = []
    for name, factors in (("octet", (1.0, 1.05)), ("kelvin", (None, None))):
        for density, factor in zip((0.01, 0.02), factors, strict=True):
            lattice = named_cell(name, density=density)
            stiffness = None if factor is None else factor * effective_stiffness(lattice)
            records.append(LatticeRecord(name, lattice, density, stiffness=stiffness))
    path = tmp_path / "catalogue.json"
    save(records, path)
    return path


def row(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.split()


# ---------------------------------------------------------------- solve


def test_solve_prints_moduli_and_writes_tensors(run: Run, catalogue: Path) -> None:
    text = run("solve", catalogue, "name:bcc_sc", "--density", "0.05", "--out", "tensors.parquet")
    # the published finite-element values of this cell: E 0.006646, nu 0.3006, G 0.003901; nearly isotropic
    stiffness = effective_stiffness(named_cell("bcc_sc", density=0.05))
    found = [float(x) for x in row(text, "bcc_sc")[1:]]
    assert found[0] == 0.05
    assert found[3] == pytest.approx(float(stiffness[:3, :3].sum()) / 9, rel=1e-3)
    assert "5 lattices" in text
    records = list(read_records("tensors.parquet"))
    assert [r.name for r in records] == ["octet", "octet", "kelvin", "kelvin", "bcc_sc"]
    for record in records:
        assert torch.equal(record.stiffness, effective_stiffness(record.lattice))
    solid = json.loads(pq.read_schema("tensors.parquet").metadata[b"polyad"])["solid"]
    assert solid == {"young_modulus": 1.0, "poisson_ratio": 0.3, "shear": True, "unit": ""}


def test_solve_compares_with_published_tensors(run: Run, catalogue: Path) -> None:
    text = run("solve", catalogue, "--compare")
    assert "2 tensors" in text
    assert row(text, "greatest") == ["greatest", "4.76", "%"]
    assert row(text, "share below 1 %")[-2:] == ["50", "%"]
    (outlier,) = re.findall(r"octet +0\.02 +4\.76 %", text)
    assert outlier


def test_solve_scales_with_the_solid(run: Run) -> None:
    plain = float(row(run("solve", "name:kelvin", "--poisson", 0.34), "kelvin")[2])
    metal = run("solve", "name:kelvin", "--material", "ti-6al-4v")
    assert "E (GPa)" in metal
    assert float(row(metal, "kelvin")[2]) == pytest.approx(114 * plain, rel=1e-3)
    beams = float(row(run("solve", "name:kelvin", "--poisson", 0.34, "--no-shear"), "kelvin")[2])
    assert beams > plain


def test_long_lists_are_summarised(run: Run) -> None:
    text = run("solve", "name:all", "--density", "0.01", "--rows", "3")
    assert "and 74 more; all 77" in text
    assert float(row(text, "least")[1]) == float(row(text, "greatest")[1]) == 0.01


def test_what_cannot_be_read_is_named_and_the_rest_solved(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = "CRYSTAL\nNAME pcu\nGROUP Pm-3m\nCELL 1 1 1 90 90 90\nNODE 1 6 0 0 0\nEDGE 0 0 0 1 0 0\nEND\n"
    with zipfile.ZipFile(tmp_path / "nets.zip", "w") as archive:
        archive.writestr("good.cgd", good)
        archive.writestr("bad.cgd", good.replace("Pm-3m", "nonsense"))
    assert main(["lattice", "solve", "nets.zip", "--density", "0.01"]) == 0
    captured = capsys.readouterr()
    assert float(row(captured.out, "pcu")[4]) == pytest.approx(0.01 / 9, rel=1e-3)
    first, last = captured.err.splitlines()
    assert first.startswith("polyad: skipped: nets.zip!bad.cgd:3: ")
    assert last == "polyad: skipped 1 lattices that cannot be read"


# ---------------------------------------------------------------- data sets


def test_generate_split_and_convert(run: Run) -> None:
    assert "60 lattices in 2 files" in run("generate", "--count", 60, "--seed", 3, "--out", "data", "--shard-size", 40)
    assert "60 lattices" in run("generate", "--count", 60, "--seed", 3, "--out", "data", "--shard-size", 40)
    assert "asked for 4" in run("generate", "--count", 60, "--seed", 4, "--out", "data", "--shard-size", 40, code=2)
    run("split", "data", "--out", "parts", "--train", 0.4, "--validation", 0.3, "--test", 0.3)
    names = {part: {r.base_name for r in read_records(f"parts/{part}.parquet")} for part in ("train", "test")}
    assert names["train"]
    assert names["test"]
    assert not names["train"] & names["test"]
    assert "wrote 60 lattices" in run("convert", "data", "all.json")
    for ours, theirs in zip(load("data"), load("all.json"), strict=True):
        assert torch.equal(ours.lattice.positions, theirs.lattice.positions)
        assert torch.equal(ours.stiffness, theirs.stiffness)


def test_generate_on_a_dask_cluster(run: Run) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=None, silence_logs=50, local_directory="scratch"
    ) as cluster:
        run("generate", "--count", 12, "--out", "there", "--dask", cluster.scheduler_address, "--kind", "named")
    run("generate", "--count", 12, "--out", "here", "--kind", "named")
    (there,), (here,) = (list(Path(name).glob("*.parquet")) for name in ("there", "here"))
    assert there.read_bytes() == here.read_bytes()


# ---------------------------------------------------------------- design


def test_design_reaches_isotropy_and_writes_solids(run: Run) -> None:
    text = run(
        "design", "bcc_sc", "--objective", "isotropic", "--density", 0.05, "--vary", "radius", "--symmetry",
        "--minimum-diameter", 0.3, "--out", "d.json", "--stl", "d.stl", "--3mf", "d.3mf",
    )  # fmt: skip
    assert "all constraints kept" in text
    design = Design.from_json(Path("d.json").read_text())
    assert float(symmetry_distance(effective_stiffness(design.lattice), "isotropic")) < 1e-6
    assert float(design.lattice.relative_density) == pytest.approx(0.05, rel=1e-9)
    assert 2 * 10 * float(design.lattice.radius.min()) >= 0.3
    mesh = read_mesh("d.stl")
    # one cell of 10 mm has all twelve edges of its cube, of which three are its own; joints are counted once
    radius, length = design.lattice.radius, design.lattice.edge_lengths
    drawn = float((math.pi * radius**2 * length * torch.where(length > 0.9, 4.0, 1.0)).sum()) * 1000
    assert 0.8 * drawn < float(mesh.volume) < drawn
    assert zipfile.is_zipfile("d.3mf")
    solved = run("solve", "d.json")
    assert abs(float(row(solved, "d")[6])) < 1e-9


def test_design_matches_a_target_from_a_file(run: Run) -> None:
    start = named_cell("bcc_sc", density=0.05, primitive=False)
    thicker = start.replace(radius=start.radius * torch.where(start.edge_lengths > 0.9, 1.2, 1.0)).with_density(0.05)
    target = effective_stiffness(thicker)
    Path("target.json").write_text(json.dumps(target.tolist()))
    run("design", "bcc_sc", "--target", "target.json", "--density", 0.05, "--vary", "radius", "--out", "d.json")
    design = Design.from_json(Path("d.json").read_text())
    torch.testing.assert_close(design.stiffness, target, rtol=1e-4, atol=1e-7)


def test_objectives_are_understood() -> None:
    stiffness = isotropic(torch.tensor(3.0).double(), torch.tensor(0.25).double())
    z = torch.tensor([0.0, 0.0, 1.0]).double()
    assert float(young_modulus(stiffness, z)) == pytest.approx(3.0)
    assert float(read_objective(["stiff:z=3"], None).value(stiffness)) == pytest.approx(0.0, abs=1e-20)
    assert float(read_objective(["2*stiff:1,1,0=6"], None).value(stiffness)) == pytest.approx(2 * 0.480453, rel=1e-5)
    sums = read_objective(["isotropic + poisson=0.05", "0.5*poisson=-0.25"], None)
    assert float(sums.value(stiffness)) == pytest.approx(0.04 + 0.125, rel=1e-9)
    assert float(read_objective([], stiffness).value(stiffness)) == 0.0
    bulk = float(read_objective(["bulk=2"], None).value(stiffness))
    shear = float(read_objective(["shear=1.2"], None).value(stiffness))
    assert (bulk, shear) == (pytest.approx(0.0, abs=1e-20), pytest.approx(0.0, abs=1e-20))
    uniaxial = float(read_objective(["uniaxial:x=3.6"], None).value(stiffness))
    assert uniaxial == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ([], "no objective is given"),
        (["nonsense"], "'nonsense' is unknown"),
        (["stiff"], "needs a direction"),
        (["stiff:q"], "direction of"),
        (["stiff:1,2"], "direction of"),
        (["bulk=much"], "goal of"),
        (["--*bulk"], "weight"),
        (["match"], "--target FILE"),
        (["?"], "is not understood"),
    ],
)
def test_objectives_that_are_not(terms: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_objective(terms, None)
    assert words in str(caught.value)


def test_targets_are_read_from_numbers_and_from_lattices(tmp_path: Path, catalogue: Path) -> None:
    stiffness = effective_stiffness(named_cell("octet", density=0.01))
    (tmp_path / "a.txt").write_text("\n".join(" ".join(map(repr, line)) for line in stiffness.tolist()))
    (tmp_path / "b.json").write_text(json.dumps({"stiffness": stiffness.tolist()}))
    for name in (tmp_path / "a.txt", tmp_path / "b.json", catalogue):
        assert torch.equal(read_target(str(name)), stiffness)
    expected = effective_stiffness(named_cell("octet", density=0.05, primitive=False))
    assert torch.equal(read_target("name:octet"), expected)


# ---------------------------------------------------------------- looking and exporting


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


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["solve", "absent.lat"], ["absent.lat", "check name"]),
        (["solve", "name:octett"], ["octett", "did you mean octet"]),
        (["solve", "garbage.lat"], ["garbage.lat", "no known format"]),
        (["solve", "name:octet", "--density", "0"], ["density"]),
        (["solve", "name:octet", "--density", "thick"], ["--density", "numbers"]),
        (["solve", "name:octet", "--density", "nan"], ["density"]),
        (["solve", "name:octet", "--poisson", "0.9"], ["poisson_ratio"]),
        (["solve", "name:octet", "--young", "-1"], ["young_modulus"]),
        (["solve", "name:octet", "--material", "cheese"], ["cheese", "PLA"]),
        (["solve", "name:octet", "--compare"], ["--compare", "published"]),
        (["solve", "name:octet", "--out", "a.csv"], ["--out", ".parquet"]),
        (["solve", "name:octet", "--out", "no/where.parquet"], ["no/where.parquet", "does not exist"]),
        (["generate", "--count", "0", "--out", "x"], ["count is 0"]),
        (["generate", "--count", "3", "--out", "x", "--density", "2"], ["densities"]),
        (["generate", "--count", "3", "--out", "x", "--kind", "magic"], ["magic", "foams"]),
        (["generate", "--count", "3", "--out", "x", "--dask", "nowhere"], ["nowhere", "scheduler"]),
        (["split", "absent", "--out", "x"], ["absent", "does not exist"]),
        (["split", "garbage.lat", "--out", "x"], ["garbage.lat", "Parquet"]),
        (["split", "x", "--out", "y", "--train", "0.5"], ["fractions", "add up to 1"]),
        (["design", "--density", "0.05"], ["no objective"]),
        (["design", "--objective", "stiff:z=9", "--density", "0.05"], ["beyond any strut lattice"]),
        (["design", "--target", "garbage.lat"], ["garbage.lat"]),
        (["design", "--objective", "isotropic", "--stl", "a.obj"], ["--stl", ".stl"]),
        (["design", "--objective", "isotropic", "--vary", "colour"], ["--vary", "radius"]),
        (["design", "broken.json", "--objective", "isotropic"], ["broken.json"]),
        (["report", "garbage.lat"], ["garbage.lat"]),
        (["report", "name:octet", "--out", "a.pdf"], ["a.pdf", ".html"]),
        (["show", "octopus", "--png", "a.png"], ["octopus"]),
        (["show", "octet", "--png", "a.jpg"], ["a.jpg", ".png"]),
        (["export", "octet", "--out", "a.xyz"], ["a.xyz", ".stl"]),
        (["export", "octet", "--out", "a.stl", "--cell-mm", "-1"], ["cell_size_mm"]),
        (["convert", "name:octet", "a.doc"], ["a.doc", ".lat"]),
        (["demo", "--out", "no/such/place"], ["no/such/place", "cannot be made"]),
    ],
    ids=lambda value: " ".join(value[:4]) if value and value[0].isalpha() else "",
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    run: Run, tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    (tmp_path / "garbage.lat").write_text("nothing of use\n")
    (tmp_path / "broken.json").write_text('{"format": "polyad-design", "version": 1}')
    text = run(*words, code=2)
    assert text.startswith("polyad: error: ")
    assert text.count("\n") == 1
    assert all(part in text for part in parts), text
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"garbage.lat", "broken.json"}


def test_numbers_are_read_with_commas_and_repeated() -> None:
    assert numbers(["0.1,0.2", "3"], "--density", [1.0]) == [0.1, 0.2, 3.0]
    assert numbers(None, "--density", [1.0]) == [1.0]


def test_the_verbs_load_no_torch_until_they_work() -> None:
    code = (
        "import sys\nfrom polyad.cli import main\n"
        "assert main(['lattice', '--help']) == 0\n"
        "assert main(['lattice', 'solve', '--help']) == 0\n"
        "heavy = sorted({'torch', 'numpy', 'pyarrow', 'numba', 'scipy'} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ.copy()
    )
    assert done.returncode == 0, done.stderr

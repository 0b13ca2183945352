"""The verbs of `polyad lattice` that make data, and one line with exit code 2 for what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyad.cli.lattice_inputs import numbers
from polyad.materials.lattice import load
from polyad.materials.lattice.dataset import read_records

Run = Callable[..., str]


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
        (["design", "--objective", "isotropy", "--stl", "a.obj"], ["--stl", ".stl"]),
        (["design", "--objective", "isotropy", "--vary", "colour"], ["--vary", "radius"]),
        (["design", "broken.json", "--objective", "isotropy"], ["broken.json"]),
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

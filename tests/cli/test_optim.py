"""`polyad optim`: what a user types, what is printed and written, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from polyad.cli import main

Polyad = Callable[..., str]

SCRIPT = """
import torch

def make_problem(seed: int):
    torch.manual_seed(seed)
    model = torch.nn.Linear(5, 2)

    def loss(model, generator):
        x = torch.randn(16, 5, generator=generator)
        return (model(x) - x[:, :2]).square().mean()

    return model, loss
"""


@pytest.fixture
def polyad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Polyad:
    """Runs `polyad optim ...` in a folder with mine.py and returns stdout, or for a failure stderr."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SCRIPT)

    def words(*arguments: object, code: int = 0) -> str:
        result = main(["optim", *map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


def race(*more: object) -> tuple[object, ...]:
    return ("race", "mine.py:make_problem", "--minutes", 0.003, "--seeds", 2, "--trials", 2, *more)


def test_race_on_a_script(polyad: Polyad) -> None:
    pytest.importorskip("optuna")
    said = polyad(*race("--optimizers", "adamw,shampoo", "--rate", "adamw=0.02", "--out", "won"))
    assert "mine.py:make_problem: 2 seeds, 0.18 s of processor time each" in said
    facts = json.loads(Path("won/race.json").read_text())
    for row in facts["rows"]:
        line = next(line for line in said.splitlines() if line.strip().startswith(f"{row['optimizer']} "))
        assert float(line.split()[2]) == pytest.approx(row["best"], rel=1e-3)
    assert facts["rows"][0]["rate"] == 0.02
    assert list(facts["tuning"]) == ["shampoo"]
    assert Path("won/race.png").stat().st_size > 10_000
    assert len(list(Path("won/courses").iterdir())) == 2 + 2 * 2
    assert polyad(*race("--optimizers", "adamw,shampoo", "--rate", "adamw=0.02", "--out", "won")) == said


def test_a_diverging_optimiser_is_a_row(polyad: Polyad) -> None:
    options = ("--optimizers", "adamw,sgd", "--rate", "adamw=0.02", "--rate", "sgd=1e30", "--target", 0.5)
    said = polyad(*race(*options))
    assert "s to 0.5" in said
    assert "sgd: diverged on 2 of 2 seeds" in said
    assert next(line for line in said.splitlines() if line.strip().startswith("sgd ")).split()[2] == "-"


def test_a_built_in_problem(polyad: Polyad) -> None:
    said = polyad("race", "valley", "--optimizers", "adam", "--rate", "adam=0.05", "--minutes", 0.002, "--seeds", 1)
    assert "valley: 1 seeds" in said


def test_list(polyad: Polyad) -> None:
    said = polyad("list")
    for name in ("adamw", "shampoo4bit", "glyphs-mlp", "text"):
        assert f"  {name} " in said


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("race", "absent.py", "--optimizers", "adam", "--minutes", 1), "absent.py: cannot be read"),
        (("race", "mine.py:other", "--optimizers", "adam", "--minutes", 1), "mine.py: has no function 'other'"),
        (("race", "bad.py", "--optimizers", "adam", "--minutes", 1), "returned of type int"),
        (("race", "mnist", "--optimizers", "adam", "--minutes", 1), "'mnist' is unknown; there are quadratic"),
        (race("--optimizers", "adamm"), "'adamm' is unknown; there are sgd"),
        (race("--optimizers", "adam", "--rate", "adam"), "is not NAME=X"),
        (race("--optimizers", "adam", "--clock", "sun"), "clock: 'sun'"),
        (race("--optimizers", ","), "give at least one"),
        (("race", "valley", "--optimizers", "adam", "--minutes", 0), "--minutes: must be positive"),
    ],
)
def test_mistakes_are_one_line(polyad: Polyad, words: tuple[object, ...], answer: str) -> None:
    Path("bad.py").write_text("def make_problem(seed):\n    return 3\n")
    said = polyad(*words, code=2)
    assert answer in said
    assert said.count("\n") == 1
    assert said.startswith("polyad: error: ")


@pytest.mark.slow
def test_a_race_that_is_killed_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    words = ["race", "mine.py", "--optimizers", "adamw,sgd", "--minutes", "0.02", "--seeds", "3", "--out", "won"]
    words += ["--rate", "adamw=0.02", "--rate", "sgd=0.1"]
    command = [sys.executable, "-m", "polyad", "optim", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    courses = tmp_path / "won" / "courses"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (courses.is_dir() and len(list(courses.glob("[!.]*.json"))) >= 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.read_bytes() for path in courses.glob("[!.]*.json")}
    assert 2 <= len(kept) < 6
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert all((courses / name).read_bytes() == content for name, content in kept.items())
    assert len(list(courses.glob("[!.]*.json"))) == 6

"""`polyad lattice design --surrogate`: what the network promised stands beside what the solver finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyad.materials.lattice import effective_stiffness, load, named_cell
from polyad.materials.learning.properties import evaluate_property, load_property, train_property
from tests.cli.printed import row
from tests.materials.properties.lattices import batch_of, data_set

Run = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    train_property(
        data_set(4), "lattice", target="elasticity", folder=tmp_path / "m", steps=2, validation=0.5,
        options={"channels": 2, "hidden": 6, "readout": 3},
    )  # fmt: skip
    return tmp_path / "m"


def test_both_numbers_are_said_and_the_lattice_is_written(run: Run, model: Path) -> None:
    said = run(
        "design", "bcc_sc", "--objective", "stiff:z", "--density", 0.03, "--surrogate", model, "--iterations", 5,
        "--out", "s.json",
    )  # fmt: skip
    (record,) = load("s.json")
    assert float(record.lattice.relative_density) == pytest.approx(0.03, rel=1e-9)
    exact = effective_stiffness(record.lattice)
    assert torch.allclose(record.stiffness, exact, rtol=1e-9)
    start = named_cell("bcc_sc", density=0.03)
    found = evaluate_property(load_property(model).double(), batch_of([start, record.lattice]))
    modulus = [1 / float(torch.linalg.inv(x)[2, 2]) for x in (found[0], effective_stiffness(start), found[1], exact)]
    printed = [float(word) for word in row(said, "E(0, 0, 1)")[-4:]]
    assert printed == pytest.approx(modulus, rel=1e-4)
    assert "off the solver's by" in said


def test_options_of_the_exact_design_are_refused(run: Run, model: Path) -> None:
    words = ("design", "bcc_sc", "--objective", "stiff:z", "--surrogate", model)
    assert "--symmetry: does not go with --surrogate" in run(*words, "--symmetry", code=2)
    assert "must end in .json" in run(*words, "--out", "s.lat", code=2)

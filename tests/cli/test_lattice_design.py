"""`polyad lattice design`: objectives and targets as words, designs and solids as files."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyad.cli.lattice_inputs import read_objective, read_target
from polyad.errors import InputError
from polyad.geometry.io import read_mesh
from polyad.materials.elasticity import isotropic, symmetry_distance, young_modulus
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.design import Design
from tests.cli.printed import row

Run = Callable[..., str]


def test_design_reaches_isotropy_and_writes_solids(run: Run) -> None:
    text = run(
        "design", "bcc_sc", "--objective", "isotropy", "--density", 0.05, "--vary", "radius", "--symmetry",
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


def test_a_design_that_breaks_a_constraint_is_refused_and_not_written(run: Run) -> None:
    """At this density the struts are thinner than what prints, wherever the nodes are."""
    words = ["bcc_sc", "--objective", "isotropy", "--density", 0.01, "--minimum-diameter", 0.4, "--cell-mm", 8]
    error = run("design", *words, code=2)
    assert error.startswith("polyad: error: ")
    assert error.count("\n") == 1
    assert "radius bounds" in error
    assert list(Path().iterdir()) == []


def test_objectives_are_understood() -> None:
    stiffness = isotropic(torch.tensor(3.0).double(), torch.tensor(0.25).double())
    z = torch.tensor([0.0, 0.0, 1.0]).double()
    assert float(young_modulus(stiffness, z)) == pytest.approx(3.0)
    assert float(read_objective(["stiff:z=3"], None).value(stiffness)) == pytest.approx(0.0, abs=1e-20)
    assert float(read_objective(["2*stiff:1,1,0=6"], None).value(stiffness)) == pytest.approx(2 * 0.480453, rel=1e-5)
    sums = read_objective(["isotropy + poisson=0.05", "0.5*poisson=-0.25"], None)
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


def test_printer_limits_become_constraints_in_the_units_of_the_lattice():
    from polyad.cli.lattice_design import Limits, _constraints
    from polyad.materials.lattice import Clearance, Overhang, RadiusBounds, named_cell

    lattice = named_cell("diamond", primitive=False)  # edge 1, so a millimetre is a tenth of it
    bounds, overhang, clearance = _constraints(lattice, Limits(0.4, 55.0, 0.2, 10.0))
    assert isinstance(bounds, RadiusBounds)
    assert bounds.minimum == pytest.approx(0.02)
    assert isinstance(overhang, Overhang)
    assert overhang.maximum_deg == 55.0  # from the build direction, as in `printability`
    assert isinstance(clearance, Clearance)
    assert clearance.gap == pytest.approx(0.02)


def test_a_start_at_a_saddle_is_named_with_the_way_out(run: Run) -> None:
    text = run("design", "diamond", "--objective", "stiff:z", "--density", 0.02, "--out", "d.json")
    assert "no step improved the start" in text
    text = run("design", "diamond", "--objective", "stiff:z", "--density", 0.02, "--starts", 3, "--out", "d.json")
    assert "no step improved" not in text
    before, after = (float(word) for word in row(text, "E(0, 0, 1)")[-2:])
    assert after > 2 * before

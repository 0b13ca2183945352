"""Abaqus beam cells: the published job and its results, and what we write ourselves."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.io import load, save
from polyad.materials.lattice.io.abaqus import read_inp, read_job_results
from polyad.materials.lattice.io.abaqus_writer import write_inp
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.records import LatticeRecord


def test_published_job(shared_data):
    """Two densities of one radius each; E, nu and G of the published results; our solver agrees to 0.03 %."""
    low, high = load(shared_data / "lattice" / "bcc-sc.inp")
    assert (low.name, low.density, high.density) == ("bcc-sc", 0.05, 0.1)
    assert (low.lattice.num_nodes, low.lattice.num_edges) == (2, 11)
    assert torch.allclose(low.lattice.cell, torch.eye(3, dtype=torch.float64), atol=1e-4)
    assert float(low.lattice.radius[0]) == pytest.approx(0.0400382177, abs=1e-9)
    assert float(low.lattice.relative_density) == pytest.approx(0.05, rel=1e-4)
    compliance = torch.linalg.inv(low.stiffness)
    assert 1 / float(compliance[0, 0]) == pytest.approx(0.00664574, rel=1e-5)
    assert -float(compliance[0, 1] / compliance[0, 0]) == pytest.approx(0.3006, abs=1e-4)
    assert 1 / (2 * float(compliance[3, 3])) == pytest.approx(0.0039008, rel=1e-4)
    for record in (low, high):
        ours = effective_stiffness(record.lattice)
        assert float((ours - record.stiffness).norm() / record.stiffness.norm()) < 3e-4


def test_no_results_beside(shared_data, tmp_path):
    shutil.copy(shared_data / "lattice" / "bcc-sc.inp", tmp_path / "job.inp")
    assert load(tmp_path / "job.inp")[0].stiffness is None
    (tmp_path / "job.json").write_text('{"Instances": {"0": {}}}')
    record = load(tmp_path / "job.inp")[0]
    assert record.stiffness is None
    assert "no published stiffness" in record.notes[0]


@pytest.mark.parametrize("name", ["simple_cubic", "octet", "bcc_sc", "quartz", "kelvin", "hcp"])
def test_round_trip(name, tmp_path):
    """The written job describes the same material, also in skew cells and with unequal radii."""
    lattice = named_cell(name).translate(torch.tensor([0.13, 0.21, 0.08], dtype=torch.float64))
    lattice = lattice.replace(radius=lattice.radius * torch.linspace(0.8, 1.2, lattice.num_edges).double())
    record = LatticeRecord(name, lattice, float(lattice.relative_density))
    save(record, tmp_path / "cell.inp")
    (found,) = load(tmp_path / "cell.inp")
    assert found.name == name
    assert found.density == record.density
    assert (found.lattice.num_nodes, found.lattice.num_edges) == (lattice.num_nodes, lattice.num_edges)
    assert float(found.lattice.volume) == pytest.approx(float(lattice.volume))
    first, second = effective_stiffness(lattice), effective_stiffness(found.lattice)
    assert float((first - second).norm() / first.norm()) < 1e-7


def test_equations_state_the_macroscopic_strain():
    """u(mirror) - u(node) = strain . lattice vector, in the two reference nodes, for every pair and direction."""
    text = write_inp(
        [LatticeRecord("octet", named_cell("octet").translate(torch.tensor([0.11, 0.2, 0.37]).double()), 0.01)]
    )
    lines = text.splitlines()
    first = lines.index("*Node") + 1
    nodes = {}
    for line in lines[first:]:
        if line.startswith("*"):
            break
        number, *x = line.split(",")
        nodes[int(number)] = torch.tensor([float(v) for v in x], dtype=torch.float64)
    sets = {}
    for n, line in enumerate(lines):
        if line.startswith("*Nset") and "instance=LAT" in line:
            sets[line.split("nset=")[1].split(",")[0]] = int(lines[n + 1].strip(","))
    strain = torch.tensor([[0.3, 0.1, -0.2], [0.1, -0.4, 0.25], [-0.2, 0.25, 0.7]], dtype=torch.float64)
    reference = {("REF1", k + 1): strain[k, k] for k in range(3)}
    reference |= {("REF2", 1): strain[0, 1], ("REF2", 2): strain[0, 2], ("REF2", 3): strain[1, 2]}
    checked = 0
    for n, line in enumerate(lines):
        if line == "*Equation":
            terms = [t.split(",") for t in lines[n + 2 : n + 2 + int(lines[n + 1])]]
            total = 0.0
            for name, direction, factor in ((a.strip(), int(b), float(c)) for a, b, c in terms):
                if direction > 3:
                    continue
                where = (
                    reference[name, direction]
                    if name in ("REF1", "REF2")
                    else (strain @ nodes[sets[name]])[direction - 1]
                )
                total += factor * float(where)
            assert total == pytest.approx(0.0, abs=1e-9)
            checked += 1
    assert checked > 30


def test_results_of_a_job(tmp_path):
    """Compliance from forces and displacements of a made-up anisotropic material, also its shear factors."""
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    stiffness = root @ root.T + torch.eye(6, dtype=torch.float64)
    compliance = torch.linalg.inv(stiffness)
    loads = [(1, 1), (1, 2), (1, 3), (2, 3), (2, 2), (2, 1)]
    scale = torch.tensor([1.0] * 3 + [2**0.5] * 3, dtype=torch.float64)
    volume, instance = 0.37, {"Relative density": 0.05}
    for column, (point, direction) in enumerate(loads):
        stress = torch.zeros(6, dtype=torch.float64)
        stress[column] = 1.7 * scale[column]  # tensor component 1.7
        strain = compliance @ stress / scale  # tensor components
        case = {f"REF{p}, U{d}": float(strain[row]) for row, (p, d) in enumerate(loads)}
        case[f"REF{point}, RF{direction}"] = 1.7 * volume * (1 if column < 3 else 2)
        instance[f"Load-REF{point}-dof{direction}"] = case
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"Job name": "j", "Unit cell volume": str(volume), "Instances": {"0": instance}}))
    assert torch.allclose(read_job_results(path)[0.05], stiffness, rtol=1e-9)
    del instance["Load-REF2-dof2"]
    path.write_text(json.dumps({"Job name": "j", "Unit cell volume": str(volume), "Instances": {"0": instance}}))
    with pytest.raises(FileFormatError, match="six load cases"):
        read_job_results(path)
    with pytest.raises(FileFormatError, match="without geometry"):
        load(path)


BEAMS = """*Heading
*Node
1, 0, 0.5, 0.5
2, 1, 0.5, 0.5
3, 0.5, 0, 0.5
4, 0.5, 1, 0.5
5, 0.5, 0.5, 0
6, 0.5, 0.5, 1
7, 0.5, 0.5, 0.5
*Element, type=B31
1, 1, 7
2, 7, 2
3, 3, 7
4, 7, 4
5, 5, 7
6, 7, 6
*Elset, elset=all, generate
1, 6, 1
*Beam Section, elset=all, section=CIRC
0.05
"""


def test_flat_file_without_equations():
    ((_, records),) = read_inp("cell.inp", BEAMS)
    assert (records[0].lattice.num_nodes, records[0].lattice.num_edges) == (1, 3)
    assert "box around the nodes" in records[0].notes[0]


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("type=B31", "type=C3D8", "only space beams", 10),
        ("section=CIRC", "section=RECT", "only circular sections", 19),
        ("\n0.05", "\n-0.05", "must be positive", 20),
        ("2, 1, 0.5, 0.5", "2, 1, 0.5", "expected node number, x, y, z", 4),
        ("2, 1, 0.5, 0.5", "2, 1, abc, 0.5", "no number", 4),
        ("6, 7, 6", "6, 7, 99", "which is not given", None),
        ("1, 6, 1", "1, 5, 1", "element 6 has no *Beam Section", None),
        ("1, 6, 1", "1, 999999999, 1", "generated set", 18),
        ("*Beam Section, elset=all, section=CIRC\n0.05", "", "without *Beam Section", None),
    ],
)
def test_errors(old, new, message, line, tmp_path):
    path = tmp_path / "cell.inp"
    path.write_text(BEAMS.replace(old, new, 1))
    with pytest.raises(FileFormatError) as caught:
        load(path)
    assert message in str(caught.value)
    assert caught.value.line == line


def test_one_record_a_file(tmp_path):
    record = LatticeRecord("a", named_cell("bcc"), 0.01)
    with pytest.raises(InputError, match="one cell"):
        save([record, record], tmp_path / "a.inp")
    assert not (tmp_path / "a.inp").exists()

"""What workers compute, called in this process: values against the library and against closed forms."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.stl import read_stl
from polyad.materials.elasticity import hill_average, young_modulus
from polyad.materials.lattice import StrutLattice, effective_stiffness, named_cell
from polyad.materials.lattice.design import Design, find_symmetry
from polyad.web import designing, exporting, tasks, wire
from tests.web.listener import Listener


def body(lattice: StrutLattice) -> dict[str, Any]:
    return json.loads(json.dumps(wire.write_lattice(lattice)))


OCTET = named_cell("octet", density=0.05, primitive=False)
BENT = named_cell("bcc_sc", density=0.05).perturb(0.1, seed=3)


def test_lattices_travel_bit_by_bit() -> None:
    again = wire.read_lattice(body(BENT))
    for name in wire.FIELDS:
        assert torch.equal(getattr(again, name), getattr(BENT, name)), name


def test_solve_is_the_librarys() -> None:
    result = tasks.solve({"lattice": body(BENT), "density": 0.02, "poisson_ratio": 0.4, "surface": 2}, None)
    lattice = BENT.with_density(0.02)
    stiffness = effective_stiffness(lattice, poisson_ratio=0.4)
    torch.testing.assert_close(torch.tensor(result["stiffness"], dtype=torch.float64), stiffness, rtol=1e-12, atol=0)
    assert result["density"] == pytest.approx(0.02, rel=1e-12)
    assert result["moduli"]["young"] == pytest.approx(float(hill_average(stiffness).young), rel=1e-12)
    vertices = torch.tensor(result["surface"]["vertices"], dtype=torch.float64)
    directions = vertices / vertices.norm(dim=1, keepdim=True)
    torch.testing.assert_close(vertices.norm(dim=1), young_modulus(stiffness, directions), rtol=1e-10, atol=0)
    corners = vertices[torch.tensor(result["surface"]["triangles"])]
    assert float(torch.linalg.det(corners).min()) > 0  # triangles face outwards
    json.dumps(result, allow_nan=False)


def test_octet_has_the_stiffness_of_stretched_struts() -> None:
    """Struts along <110> alone: C_1111 = rho / 6 as struts get thin (Deshpande, Fleck, Ashby 2001)."""
    result = tasks.solve({"lattice": body(OCTET), "density": 1e-6}, None)
    assert result["stiffness"][0][0] == pytest.approx(1e-6 / 6, rel=1e-4)
    assert result["moduli"]["young_100"] == pytest.approx(1e-6 / 9, rel=1e-4)


def test_mechanisms_are_told_and_missing_moduli_are_null() -> None:
    """Two square nets that do not meet: each moves by itself, so 3 motions more than the global translation's."""
    nodes, ends, shift = [[0.0, 0, 0], [0, 0, 0.5]], [[0, 0, 1, 1]] * 2, [[1, 0, 0], [0, 1, 0]] * 2
    result = tasks.solve({"lattice": body(StrutLattice(torch.eye(3).double(), nodes, ends, shift, 0.05))}, None)
    assert result["moduli"]["young"] is None
    assert result["mechanisms"] == 3
    json.dumps(result, allow_nan=False)


def test_freedom_keeps_the_space_group_and_is_all_of_it() -> None:
    cell = named_cell("truncated_cuboctahedron", density=0.05, primitive=False)
    found = tasks.freedom({"lattice": body(cell)}, Listener())
    group = find_symmetry(cell)
    assert found["symbol"] == group.symbol
    modes = [torch.tensor(mode, dtype=torch.float64) for orbit in found["nodes"] for mode in orbit["modes"]]
    for mode in modes:
        assert mode.norm(dim=1).max() == pytest.approx(1.0)
        torch.testing.assert_close(group.project_displacements(mode), mode, rtol=0, atol=1e-9)
        moved = cell.replace(positions=cell.positions + 0.02 * mode)
        assert find_symmetry(moved).order == group.order
    every = torch.eye(3 * cell.num_nodes, dtype=torch.float64).reshape(-1, cell.num_nodes, 3)
    rank = torch.linalg.matrix_rank(group.project_displacements(every).reshape(len(every), -1), tol=1e-8)
    assert len(modes) == int(rank)
    assert sorted(node for orbit in found["nodes"] for node in orbit["members"]) == list(range(cell.num_nodes))
    assert sorted(strut for orbit in found["struts"] for strut in orbit["members"]) == list(range(cell.num_edges))


def test_freedom_of_a_fixed_cell_is_none_and_without_symmetry_is_all() -> None:
    assert all(orbit["modes"] == [] for orbit in tasks.freedom({"lattice": body(OCTET)}, Listener())["nodes"])
    free = tasks.freedom({"lattice": body(OCTET), "symmetry": False}, Listener())
    assert [orbit["members"] for orbit in free["nodes"]] == [[node] for node in range(OCTET.num_nodes)]
    assert free["symbol"] is None


def test_analysis_is_a_reports() -> None:
    payload = {"lattices": [{"name": "octet", "lattice": body(OCTET)}, {"name": "bent", "lattice": body(BENT)}]}
    result = tasks.analyse_lattices(payload, Listener())
    assert result["names"] == ["octet", "bent"]
    assert result["classes"][result["symmetry"][0]] == "cubic"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "x"}, "cell"),
        ({"cell": [[1, 0, 0], [0, 1, 0], [0, 0, math.nan]]}, "cell"),
        ({"cell": [[0, 0, 0]] * 3}, "cell"),
        ({"positions": [[0.0, 0.0]]}, "positions"),
        ({"positions": []}, "lattice|positions"),
        ({"edge_index": [[0], [10**30]]}, "edge_index|lattice"),
        ({"edge_index": [[0, -1], [1, 2]]}, "edge_"),
        ({"radius": [[0.1]]}, "radius"),
        ({"radius": {"a": 1}}, "radius"),
        ({"radius": [1e-300] * 7000}, "at most"),
        ({"edge_shift": [[10**9, 0, 0]] * 14}, "edge_"),
    ],
)
def test_bad_lattices_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        wire.read_lattice(body(BENT) | change)
    assert "\n" not in str(caught.value)


def test_plain_values_have_no_infinities() -> None:
    assert wire.plain({"a": [1.0, math.inf, (math.nan,)], "b": "x", "c": 3}) == {
        "a": [1.0, None, [None]],
        "b": "x",
        "c": 3,
    }


REQUEST: dict[str, Any] = {
    "density": 0.05, "objective": [{"kind": "isotropy"}], "vary": ["positions", "radius"], "symmetry": False,
    "starts": 1, "seed": 0, "iterations": 30, "poisson_ratio": 0.3, "cell_mm": 10.0, "seconds": 60.0,
}  # fmt: skip


def test_design_reaches_isotropy_and_tells_every_step() -> None:
    listener = Listener()
    result = designing.run_design(REQUEST | {"lattice": body(BENT)}, listener)
    assert result["quantities"]["distance to isotropy"] < 0.2 * result["start_quantities"]["distance to isotropy"]
    assert result["density"] == pytest.approx(0.05, rel=1e-9)
    assert [event["step"] for event in listener.events] == list(range(result["iterations"] + 1))
    again = effective_stiffness(wire.read_lattice(result["lattice"]))
    torch.testing.assert_close(torch.tensor(result["stiffness"], dtype=torch.float64), again, rtol=1e-9, atol=1e-14)
    assert Design.from_json(result["json"]).feasible


def test_design_stops_when_asked_and_keeps_the_constraint() -> None:
    listener = Listener(most=4)
    wish = {"objective": [{"kind": "stiff", "direction": [0, 0, 1]}], "minimum_diameter": 0.2}
    result = designing.run_design(REQUEST | wish | {"lattice": body(BENT)}, listener)
    assert "stopped" in result["reason"]
    assert len(listener.events) == 4
    thinnest = min(result["lattice"]["radius"]) * 10.0 / float(BENT.cell[0].norm())
    assert thinnest >= 0.1 * (1 - 1e-6)


def test_stiffest_of_the_isotropic() -> None:
    wish = {"objective": [{"kind": "stiff", "direction": [0, 0, 1]}], "isotropic": 0.02, "iterations": 60}
    result = designing.run_design(REQUEST | wish | {"lattice": body(named_cell("bcc_sc", density=0.05))}, Listener())
    assert result["feasible"]
    stiffness = torch.tensor(result["stiffness"], dtype=torch.float64)
    from polyad.materials.elasticity import symmetry_distance

    assert float(symmetry_distance(stiffness, "isotropic")) <= 0.02 * (1 + 1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": []}, "objective"),
        ({"objective": [{"kind": "pretty"}]}, "pretty"),
        ({"objective": [{"kind": "bulk", "goal": "much"}]}, "goal"),
        ({"objective": [{"kind": "match"}]}, "target"),
        ({"starts": 99}, "starts"),
        ({"iterations": 0}, "iterations"),
        ({"cell_mm": 0.0}, "cell_mm"),
        ({"density": math.nan}, "density"),
    ],
)
def test_bad_designs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        designing.run_design(REQUEST | {"lattice": body(BENT)} | change, Listener())


EXPORT: dict[str, Any] = {
    "counts": [1, 1, 1],
    "cell_mm": 10.0,
    "lattices": [{"name": "../Oc tet\n", "lattice": body(OCTET)}],
}


def test_exported_solid_is_watertight_and_of_the_size_asked_for(tmp_path: Any) -> None:
    file = exporting.export_lattices(EXPORT | {"format": "stl"}, Listener())
    assert file["name"] == "Oc-tet.stl"
    (tmp_path / "a.stl").write_bytes(file["content"])
    mesh = read_stl(tmp_path / "a.stl")
    extent = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    thick = 2 * float(OCTET.radius.max()) / float(OCTET.cell[0].norm()) * 10.0
    assert extent.tolist() == pytest.approx([10.0 + thick] * 3, abs=0.1 * thick)


def test_exported_json_reads_back_and_report_is_a_page() -> None:
    file = exporting.export_lattices(EXPORT | {"format": "json"}, Listener())
    row = json.load(io.BytesIO(file["content"]))["records"][0]
    assert row["positions"] == OCTET.positions.tolist()
    page = exporting.export_lattices(EXPORT | {"format": "report"}, Listener())
    assert page["content"].startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "exe"}, "format"),
        ({"format": "stl", "counts": [0, 1, 1]}, "counts"),
        ({"format": "stl", "counts": [12, 12, 12]}, "struts"),
        ({"format": "json", "lattices": []}, "at least one"),
    ],
)
def test_bad_exports_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        exporting.export_lattices(EXPORT | change, Listener())

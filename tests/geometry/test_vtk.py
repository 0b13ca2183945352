"""VTK files, decoded here by hand from the format's description."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.vtk import write_vtk_mesh, write_vtk_struts

POSITIONS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 1 / 3]], dtype=torch.float64)
EDGES = torch.tensor([[0, 0, 3], [1, 2, 0]])
FORCE = torch.tensor([-1.5, 0.0, 1 / 7], dtype=torch.float64)
MOVE = torch.arange(12, dtype=torch.float64).reshape(4, 3) / 3


def decoded(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for element in ElementTree.parse(path).iter("DataArray"):
        raw = base64.b64decode(element.text or "")
        assert int.from_bytes(raw[:8], "little") == len(raw) - 8
        kind = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}[element.attrib["type"]]
        data = np.frombuffer(raw[8:], kind)
        components = int(element.attrib.get("NumberOfComponents", 1))
        arrays[element.attrib["Name"]] = data.reshape(-1, components) if components > 1 else data
    return arrays


def test_vtu_struts(tmp_path: Path) -> None:
    write_vtk_struts(
        tmp_path / "a.vtu", POSITIONS, EDGES, point_data={"move": MOVE}, cell_data={"axial <force>": FORCE}
    )
    arrays = decoded(tmp_path / "a.vtu")
    np.testing.assert_array_equal(arrays["Points"], POSITIONS)
    np.testing.assert_array_equal(arrays["connectivity"], [0, 1, 0, 2, 3, 0])
    np.testing.assert_array_equal(arrays["offsets"], [2, 4, 6])
    np.testing.assert_array_equal(arrays["types"], [3, 3, 3])
    np.testing.assert_array_equal(arrays["move"], MOVE)
    np.testing.assert_array_equal(arrays["axial <force>"], FORCE)
    piece = ElementTree.parse(tmp_path / "a.vtu").find(".//Piece")
    assert piece is not None
    assert piece.attrib == {"NumberOfPoints": "4", "NumberOfCells": "3"}


def test_vtu_mesh(tmp_path: Path, solid: TriangleMesh) -> None:
    write_vtk_mesh(tmp_path / "a.vtu", solid, cell_data={"normal": solid.normals})
    arrays = decoded(tmp_path / "a.vtu")
    np.testing.assert_array_equal(arrays["connectivity"].reshape(-1, 3), solid.triangles)
    np.testing.assert_array_equal(arrays["normal"], solid.normals)
    assert set(arrays["types"]) == {5}


def test_legacy_struts(tmp_path: Path) -> None:
    write_vtk_struts(
        tmp_path / "a.vtk", POSITIONS, EDGES, point_data={"move": MOVE}, cell_data={"r": FORCE, "f": FORCE}
    )
    data = (tmp_path / "a.vtk").read_bytes()
    assert data.startswith(b"# vtk DataFile Version 3.0\nPolyad\nBINARY\nDATASET UNSTRUCTURED_GRID\nPOINTS 4 double\n")

    def after(mark: bytes, kind: str, count: int) -> np.ndarray:
        return np.frombuffer(data, kind, count, data.index(mark) + len(mark))

    np.testing.assert_array_equal(after(b"POINTS 4 double\n", ">f8", 12).reshape(4, 3), POSITIONS)
    np.testing.assert_array_equal(after(b"\nCELLS 3 9\n", ">i4", 9).reshape(3, 3), [[2, 0, 1], [2, 0, 2], [2, 3, 0]])
    np.testing.assert_array_equal(after(b"\nCELL_TYPES 3\n", ">i4", 3), [3, 3, 3])
    np.testing.assert_array_equal(
        after(b"\nPOINT_DATA 4\nFIELD FieldData 1\nmove 3 4 double\n", ">f8", 12), MOVE.reshape(-1)
    )
    np.testing.assert_array_equal(after(b"\nCELL_DATA 3\nFIELD FieldData 2\nr 1 3 double\n", ">f8", 3), FORCE)
    np.testing.assert_array_equal(after(b"\nf 1 3 double\n", ">f8", 3), FORCE)


@pytest.mark.parametrize("name", ["a.vtu", "a.vtk"])
def test_meshio_agrees(tmp_path: Path, name: str) -> None:
    meshio = pytest.importorskip("meshio", reason="meshio is the oracle here")
    write_vtk_struts(tmp_path / name, POSITIONS, EDGES, cell_data={"force": FORCE})
    peer = meshio.read(tmp_path / name)
    np.testing.assert_array_equal(peer.points, POSITIONS)
    np.testing.assert_array_equal(peer.cells_dict["line"], EDGES.T)
    np.testing.assert_array_equal(peer.cell_data["force"][0], FORCE)


@pytest.mark.parametrize(
    ("name", "cell_data", "message"),
    [
        ("a.stl", {}, "suffix '.stl' is not VTK's"),
        ("a.vtu", {"f": torch.zeros(2)}, "first axis must be 3"),
        ("a.vtu", {"f": torch.tensor([0, math.nan, 0])}, "NaN"),
        ("a.vtk", {"axial force": torch.zeros(3)}, "without spaces"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, cell_data: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_vtk_struts(tmp_path / name, POSITIONS, EDGES, cell_data=cell_data)
    assert list(tmp_path.iterdir()) == []


def test_struts_between_unknown_nodes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="between 0 and 3"):
        write_vtk_struts(tmp_path / "a.vtu", POSITIONS, EDGES + 1)

"""3MF: exact round trip, lib3mf and trimesh as peers, units, transforms, components and hostile models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.geometry.mesh import TriangleMesh, parallelepiped
from polyad.geometry.package import write_package
from polyad.geometry.threemf import CORE, read_3mf, write_3mf

BOX = parallelepiped(torch.eye(3, dtype=torch.float64))


def model(path: Path, resources: str, build: str, unit: str = "millimeter") -> Path:
    write_package(
        path,
        {
            "3D/3dmodel.model": f'<model unit="{unit}" xmlns="{CORE}"><resources>{resources}</resources>'
            f"<build>{build}</build></model>"
        },
    )
    return path


def box_object(number: int = 1) -> str:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in BOX.vertices.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in BOX.triangles.tolist())
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"
    return f'<object id="{number}" type="model">{mesh}</object>'


def test_round_trip_keeps_every_bit_and_bytes_are_equal(tmp_path: Path, solid: TriangleMesh) -> None:
    for name in "ab":
        write_3mf(tmp_path / f"{name}.3mf", solid, title="strut <1>", metadata={"Designer": "A & B"})
    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()
    again = read_3mf(tmp_path / "a.3mf")
    assert torch.equal(again.vertices, solid.vertices)
    assert torch.equal(again.triangles, solid.triangles)


def test_lib3mf_reads_it_without_a_warning(tmp_path: Path, solid: TriangleMesh) -> None:
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf, the consortium's own reader, is the oracle here")
    write_3mf(tmp_path / "a.3mf", solid, title="strut <1>")
    peer = lib3mf.get_wrapper().CreateModel()
    reader = peer.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(tmp_path / "a.3mf"))
    assert reader.GetWarningCount() == 0
    assert peer.GetUnit() == lib3mf.ModelUnit.MilliMeter
    objects = peer.GetMeshObjects()
    assert objects.MoveNext()
    mesh = objects.GetCurrentMeshObject()
    assert mesh.IsValid()
    assert mesh.IsManifoldAndOriented()
    assert (mesh.GetVertexCount(), mesh.GetTriangleCount()) == (solid.num_vertices, solid.num_triangles)
    read = [list(v.Coordinates[:]) for v in mesh.GetVertices()]
    torch.testing.assert_close(torch.tensor(read).double(), solid.vertices, rtol=0, atol=1e-5)
    assert [list(t.Indices[:]) for t in mesh.GetTriangleIndices()] == solid.triangles.tolist()
    assert not objects.MoveNext()
    group = peer.GetMetaDataGroup()
    entries = {group.GetMetaData(i).GetName(): group.GetMetaData(i).GetValue() for i in range(group.GetMetaDataCount())}
    assert entries == {"Application": "Polyad", "Title": "strut <1>"}


def test_files_of_lib3mf_are_read(tmp_path: Path) -> None:
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf, the consortium's own writer, is the oracle here")
    wrapper = lib3mf.get_wrapper()
    peer = wrapper.CreateModel()
    peer.SetUnit(lib3mf.ModelUnit.Inch)
    mesh = peer.AddMeshObject()
    for point in BOX.vertices.tolist():
        position = lib3mf.Position()
        position.Coordinates[:] = point
        mesh.AddVertex(position)
    for corners in BOX.triangles.tolist():
        triangle = lib3mf.Triangle()
        triangle.Indices[:] = corners
        mesh.AddTriangle(triangle)
    peer.AddBuildItem(mesh, wrapper.GetTranslationTransform(1.0, 2.0, 3.0))
    peer.QueryWriter("3mf").WriteToFile(str(tmp_path / "a.3mf"))
    again = read_3mf(tmp_path / "a.3mf")
    torch.testing.assert_close(again.bounding_box, 25.4 * torch.tensor([[1, 2, 3], [2, 3, 4]], dtype=torch.float64))


def test_trimesh_reads_the_same_solid(tmp_path: Path, solid: TriangleMesh) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    pytest.importorskip("networkx", reason="trimesh reads 3MF with networkx")
    write_3mf(tmp_path / "a.3mf", solid)
    peer = trimesh.load(tmp_path / "a.3mf", force="mesh")
    assert peer.is_watertight
    assert peer.volume == pytest.approx(float(solid.volume), rel=1e-9)


def test_units_components_and_transforms(tmp_path: Path) -> None:
    """Row vectors: the component's matrix acts first, then the item's, then the unit."""
    parts = (
        box_object()
        + '<object id="2" type="model"><components><component objectid="1"/>'
        + '<component objectid="1" transform="0 1 0 -1 0 0 0 0 2 10 0 0"/></components></object>'
    )
    path = model(tmp_path / "a.3mf", parts, '<item objectid="2" transform="2 0 0 0 1 0 0 0 1 0 0 5"/>', "centimeter")
    pieces = read_3mf(path).pieces()
    boxes = [piece.bounding_box.tolist() for piece in pieces]
    assert boxes == [[[0, 0, 50], [20, 10, 60]], [[180, 0, 50], [200, 10, 70]]]
    assert [float(piece.volume) for piece in pieces] == pytest.approx([2000, 4000])


def test_mirrored_parts_stay_outward(tmp_path: Path) -> None:
    path = model(tmp_path / "a.3mf", box_object(), '<item objectid="1" transform="-1 0 0 0 1 0 0 0 1 0 0 0"/>')
    assert float(read_3mf(path).volume) == pytest.approx(1)


@pytest.mark.parametrize(
    ("resources", "build", "message"),
    [
        ("", "", "holds no triangle"),
        (box_object(), '<item objectid="7"/>', "'7' is used before it is defined"),
        (box_object(), '<item objectid="1" transform="1 2 3"/>', "holds 3 numbers; it needs 12"),
        (box_object(), f'<item objectid="1" transform="{"0 " * 12}"/>', "invertible"),
        (box_object(), f'<item objectid="1" transform="{"nan " * 12}"/>', "NaN|invertible"),
        (box_object().replace('v1="0"', 'v1="99"'), '<item objectid="1"/>', "names vertex 99"),
        (box_object().replace('v1="0"', 'v1="' + "9" * 30 + '"'), '<item objectid="1"/>', "triangles"),
        (box_object().replace('x="0.0"', 'x="left"'), '<item objectid="1"/>', "could not convert"),
        (box_object().replace('x="0.0"', ""), '<item objectid="1"/>', "attribute 'x' is missing"),
        (
            '<object id="1"><components><component objectid="1"/></components></object>',
            '<item objectid="1"/>',
            "component of itself",
        ),
    ],
)
def test_bad_models_are_refused(tmp_path: Path, resources: str, build: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_3mf(model(tmp_path / "a.3mf", resources, build))


def test_components_of_components_do_not_explode(tmp_path: Path) -> None:
    """Ten levels of ten: 1e10 boxes in a few kilobytes."""
    levels = "".join(
        f'<object id="{k}"><components>{f"<component objectid={chr(34)}{k - 1}{chr(34)}/>" * 10}</components></object>'
        for k in range(2, 12)
    )
    with pytest.raises(FileFormatError, match="places more than"):
        read_3mf(model(tmp_path / "a.3mf", box_object() + levels, '<item objectid="11"/>'))


def test_what_is_refused(tmp_path: Path, solid: TriangleMesh) -> None:
    with pytest.raises(InputError, match="not watertight"):
        write_3mf(tmp_path / "a.3mf", solid.select(torch.arange(3)))
    with pytest.raises(InputError, match="unknown name 'Colour'"):
        write_3mf(tmp_path / "a.3mf", solid, metadata={"Colour": "red"})
    with pytest.raises(FileFormatError, match="unknown unit 'mile'"):
        read_3mf(model(tmp_path / "a.3mf", box_object(), '<item objectid="1"/>', "mile"))
    write_package(tmp_path / "b.3mf", {"a.xml": "<a/>"})
    with pytest.raises(FileFormatError, match="is not a 3MF package"):
        read_3mf(tmp_path / "b.3mf")

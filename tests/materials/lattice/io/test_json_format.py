"""Our own JSON is lossless; node-link graphs of networkx are understood; anything else is one line."""

from __future__ import annotations

import json

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.io import load, save
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.nets.random_nets import random_net
from polyad.materials.lattice.records import LatticeRecord


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lossless(dtype, tmp_path):
    lattice = random_net(5, density=1e-3).to(dtype=dtype)
    stiffness = effective_stiffness(random_net(5, density=1e-3))
    stiffness = (stiffness + stiffness.T) / 2
    record = LatticeRecord(
        "näme", lattice, 0.1 + 0.2, stiffness, base_name="b", source="s", metadata={"k": [1, None, "x"]}, notes=("n",)
    )
    save(record, tmp_path / "a.json")
    (found,) = load(tmp_path / "a.json")
    for name in ("cell", "positions", "edge_index", "edge_shift", "radius"):
        assert torch.equal(getattr(found.lattice, name), getattr(lattice, name))
        assert getattr(found.lattice, name).dtype == getattr(lattice, name).dtype
    assert torch.equal(found.stiffness, stiffness)
    for name in ("name", "density", "base_name", "source", "metadata", "notes"):
        assert getattr(found, name) == getattr(record, name)


def test_metadata_must_be_json(tmp_path):
    with pytest.raises(InputError, match="JSON values"):
        save(LatticeRecord("a", named_cell("bcc"), 0.01, metadata={"k": float("nan")}), tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


NODE_LINK = {
    "directed": True,
    "graph": {"cell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "name": "sc"},
    "nodes": [{"id": "a", "position": [0, 0, 0]}, {"id": 2, "position": [0.5, 0, 0]}],
    "links": [
        {"source": "a", "target": 2, "shift": [0, 0, 0], "radius": 0.05},
        {"source": 2, "target": "a", "shift": [1, 0, 0], "radius": 0.05},
        {"source": "a", "target": "a", "shift": [0, 1, 0], "radius": 0.05},
        {"source": "a", "target": "a", "shift": [0, 0, 1], "radius": 0.05},
    ],
}


def written(tmp_path, value):
    path = tmp_path / "x.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_node_link(tmp_path):
    (record,) = load(written(tmp_path, NODE_LINK))
    assert record.name == "sc"
    assert record.lattice.edge_index.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert record.density == pytest.approx(3 * 3.141592653589793 * 0.05**2)
    bare = json.loads(json.dumps(NODE_LINK).replace(', "radius": 0.05', "").replace("links", "edges"))
    records = load(written(tmp_path, bare), density=(0.01, 0.02))
    assert [r.density for r in records] == [0.01, 0.02]
    assert torch.allclose(records[0].lattice.relative_density, torch.tensor(0.01, dtype=torch.float64))


def test_nearest_image_without_shifts(tmp_path):
    graph = {
        "graph": NODE_LINK["graph"],
        "nodes": [{"id": 0, "position": [0.05, 0, 0]}, {"id": 1, "position": [0.9, 0, 0]}],
        "links": [{"source": 0, "target": 1}],
    }
    (record,) = load(written(tmp_path, graph), density=1e-3)
    assert record.lattice.edge_shift.tolist() == [[-1, 0, 0]]


def changed(**fields):
    save_row = {
        "name": "a",
        "density": 0.01,
        "cell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "positions": [[0, 0, 0]],
        "edge_index": [[0], [0]],
        "edge_shift": [[1, 0, 0]],
        "radius": [0.05],
    }
    return {"format": "polyad-lattices", "version": 1, "records": [save_row | fields]}


def test_minimal_record(tmp_path):
    assert load(written(tmp_path, changed()))[0].lattice.num_edges == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"format": "polyad-lattices", "version": 2, "records": []}, "version 2"),
        ({"format": "polyad-lattices", "version": 1, "records": []}, "no records"),
        ({"hello": 1}, "another kind"),
        ("{\n\n]", "x.json:3: is no valid JSON"),
        ('{"a":' * 100_000, "no readable JSON|no valid JSON"),
        ('{"a": ' + "1" * 10_000 + "}", "no readable JSON|another kind"),
        (changed(radius=[-1]), "radius"),
        (changed(radius=["x"]), "regular array of numbers"),
        (changed(positions=[[0, 0], [0, 0, 0]]), "regular array"),
        (changed(edge_shift=[[0.5, 0, 0]]), "integers"),
        (changed(edge_shift=[[1e300, 0, 0]]), "integers"),
        (changed(edge_index=[[0], [3]]), "names node 3"),
        (changed(density="x"), "density"),
        (changed(dtype="int8"), "dtype"),
        (changed(stiffness=[[1]]), "stiffness"),
        (changed(metadata=[1]), "metadata"),
        ({"nodes": [], "links": []}, "lattice vectors"),
        ({"graph": {"cell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "nodes": [{"id": 0}], "links": [{}]}, "position"),
        (NODE_LINK | {"links": [{"source": "a", "target": "zz"}]}, "not both nodes"),
        (NODE_LINK | {"links": [{"source": "a", "target": 2, "shift": [1]}]}, "three integers"),
        (NODE_LINK | {"links": []}, "no links"),
        (NODE_LINK | {"nodes": [1]}, "objects"),
    ],
)
def test_refused(value, message, tmp_path):
    with pytest.raises(FileFormatError, match=message) as caught:
        load(written(tmp_path, value))
    assert "\n" not in str(caught.value)

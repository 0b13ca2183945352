"""The check of the demo's outputs passes right ones and fails each kind of wrong one."""

from __future__ import annotations

import importlib.util
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = 2
ROWS = NAMED * 4 + 2000
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
PAGE = (
    "<html><head><style>a{color:red;background:url(data:image/png;base64,AA)}</style></head><body><table></table>"
    "<a href='https://example.org'>more</a><script>var a = 'src=\"https://x\"';</script></body></html>\n"
)


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("polyad_check_demo", ROOT / ".ci" / "check_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_lattices(path: Path, matrices: np.ndarray, *, density: float = 0.1) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(matrices.reshape(-1)), 36)
    table = pa.table({"stiffness": values, "density": pa.array(np.full(len(matrices), density))})
    parquet.write_table(table, path)


def right_matrices() -> np.ndarray:
    factors = np.random.default_rng(0).normal(size=(ROWS, 6, 6))
    return factors @ factors.transpose(0, 2, 1)


def write_stl(path: Path, triangles: np.ndarray, *, count: int | None = None) -> None:
    facets = b"".join(struct.pack("<12fH", 0, 0, 0, *CORNERS[t].reshape(-1), 0) for t in triangles)
    path.write_bytes(b"x" * 80 + struct.pack("<I", len(triangles) if count is None else count) + facets)


def write_3mf(path: Path, triangles: np.ndarray, *, skip: str = "", unit: str = "millimeter") -> None:
    vertex = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in CORNERS)
    triangle = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in triangles)
    model = (
        f'<model unit="{unit}" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>'
        f'<object id="1" type="model"><mesh><vertices>{vertex}</vertices><triangles>{triangle}</triangles></mesh>'
        '</object></resources><build><item objectid="1"/></build></model>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {"[Content_Types].xml": "", "_rels/.rels": "", "3D/3dmodel.model": model}.items():
            if name != skip:
                archive.writestr(name, text)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder with right outputs."""
    write_lattices(tmp_path / "lattices.parquet", right_matrices())
    (tmp_path / "report.html").write_text(PAGE)
    write_stl(tmp_path / "design.stl", TETRAHEDRON)
    write_3mf(tmp_path / "design.3mf", TETRAHEDRON)
    (tmp_path / "design.json").write_text(
        json.dumps({"target": {"E": [1.0, 2]}, "reached": {"E": [1.0, 2.01], "nu": 0.3}})
    )
    return tmp_path


def test_right_outputs_pass(check: ModuleType, outputs: Path) -> None:
    lines = check.check_folder(outputs, named_cells=NAMED)
    assert [line.split(":")[0] for line in lines] == [
        "lattices.parquet",
        "report.html",
        "design.stl",
        "design.3mf",
        "design.json",
    ]
    assert "2,008 lattices" in lines[0]
    assert "0.2 cubic units" in lines[2]


def spoiled(value: float) -> np.ndarray:
    matrices = right_matrices()
    matrices[5, 0, 1] = value
    return matrices


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no table": (lambda d: (d / "lattices.parquet").unlink(), "is missing"),
    "one row less": (lambda d: write_lattices(d / "lattices.parquet", right_matrices()[1:]), "2007 rows"),
    "NaN": (lambda d: write_lattices(d / "lattices.parquet", spoiled(np.nan)), "not finite"),
    "asymmetric": (lambda d: write_lattices(d / "lattices.parquet", spoiled(0.5)), "not symmetric"),
    "negative": (lambda d: write_lattices(d / "lattices.parquet", -right_matrices()), "negative eigenvalue"),
    "zero": (lambda d: write_lattices(d / "lattices.parquet", 0 * right_matrices()), "is zero"),
    "all alike": (
        lambda d: write_lattices(d / "lattices.parquet", np.repeat(right_matrices()[:1], ROWS, axis=0)),
        "tensors differ",
    ),
    "dense": (lambda d: write_lattices(d / "lattices.parquet", right_matrices(), density=1.5), "density"),
    "no Parquet": (lambda d: (d / "lattices.parquet").write_bytes(b"PAR1"), "cannot be read"),
    "script from elsewhere": (
        lambda d: (d / "report.html").write_text(
            PAGE.replace("<script>", "<script src='https://x/a.js'></script><script>")
        ),
        "loads ['https://x/a.js']",
    ),
    "style from beside": (
        lambda d: (d / "report.html").write_text(PAGE.replace("<head>", "<head><link rel='stylesheet' href='a.css'>")),
        "loads ['a.css']",
    ),
    "font from elsewhere": (
        lambda d: (d / "report.html").write_text(PAGE.replace("a{color", "@import url('http://x/f'); a{color")),
        "style sheet loads",
    ),
    "page cut": (lambda d: (d / "report.html").write_text(PAGE[:-10]), "ends before"),
    "empty page": (lambda d: (d / "report.html").write_text(""), "has no"),
    "hole": (lambda d: write_stl(d / "design.stl", np.vstack([TETRAHEDRON[:3], TETRAHEDRON[:1]])), "not watertight"),
    "one facet turned": (
        lambda d: write_stl(d / "design.stl", np.vstack([TETRAHEDRON[:3], TETRAHEDRON[3:, ::-1]])),
        "not watertight",
    ),
    "inside out": (lambda d: write_stl(d / "design.stl", TETRAHEDRON[:, ::-1]), "face inwards"),
    "cut": (lambda d: write_stl(d / "design.stl", TETRAHEDRON, count=5), "do not hold"),
    "text STL": (lambda d: (d / "design.stl").write_text("solid a\nendsolid a\n"), "shorter"),
    "no zip": (lambda d: (d / "design.3mf").write_text("PK"), "not a zip"),
    "no relationships": (
        lambda d: write_3mf(d / "design.3mf", TETRAHEDRON, skip="_rels/.rels"),
        "lacks ['_rels/.rels']",
    ),
    "metres": (lambda d: write_3mf(d / "design.3mf", TETRAHEDRON, unit="meter"), "its unit is meter"),
    "hole in 3MF": (lambda d: write_3mf(d / "design.3mf", TETRAHEDRON[[0, 1, 2, 2]]), "not watertight"),
    "no reached": (lambda d: (d / "design.json").write_text('{"target": {"E": 1}}'), "lacks ['reached']"),
    "missed": (lambda d: (d / "design.json").write_text('{"target": {"E": 1}, "reached": {"E": 2}}'), "differs"),
    "nothing aimed at": (lambda d: (d / "design.json").write_text('{"target": {}, "reached": {}}'), "no number"),
    "NaN reached": (
        lambda d: (d / "design.json").write_text('{"target": {"E": 1}, "reached": {"E": NaN}}'),
        "not finite",
    ),
    "unfinished": (lambda d: (d / ".design.ab.part.stl").write_bytes(b""), "unfinished"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_output_fails(case: str, check: ModuleType, outputs: Path) -> None:
    spoil, reason = WRONG[case]
    spoil(outputs)
    with pytest.raises(check.WrongOutput) as caught:
        check.check_folder(outputs, named_cells=NAMED)
    assert reason in str(caught.value)

"""The interface over HTTP: what is asked for comes back, and what is hostile is refused in one line."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi", reason="FastAPI is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("duckdb", reason="DuckDB is not installed")

from starlette.testclient import TestClient

from polyad.errors import InputError
from polyad.materials.lattice import LatticeRecord, effective_stiffness, list_cells, named_cell, save
from polyad.materials.lattice.dataset import Recipe, generate
from polyad.web import Settings, create_app, indexing
from polyad.web.app import static_files
from polyad.web.wire import write_lattice
from tests.web.listener import Listener

LIMIT = 3 * 2**20
OCTET = write_lattice(named_cell("octet", density=0.05))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("store")
    generate(folder / "store", Recipe(count=8, seed=1, generator="nets", densities=(0.02,), levels=(0.0,)))
    bent = named_cell("bcc_sc", density=0.03).perturb(0.1, seed=1)
    save(LatticeRecord("bent", bent, 0.03), folder / "mine.json")
    files = (folder / "store", folder / "mine.json", folder / "absent.lat")
    app = create_app(Settings(upload_bytes=LIMIT, files=files, solvers=1))
    with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as started:
        while started.get("/api/status").json()["loading"]:
            time.sleep(0.05)
        yield started


def test_catalogue_holds_every_cell_and_the_owners_files(client: TestClient) -> None:
    status = client.get("/api/status").json()
    rows = {shelf["key"]: shelf["rows"] for shelf in status["shelves"]}
    assert rows == {"named": len(list_cells()), "file1": 8, "file2": 1}
    assert [line.split(":")[0] for line in status["complaints"]] == ["absent.lat"]


def test_catalogue_is_searched_sorted_and_bounded(client: TestClient) -> None:
    everything = client.get("/api/cells", params={"limit": 500}).json()
    assert everything["total"] == len(everything["rows"]) == len(list_cells()) + 9
    stiff = client.get("/api/cells", params={"sort": "young", "descending": True, "shelf": "named", "limit": 5}).json()
    values = [row["young"] for row in stiff["rows"]]
    assert values == sorted(values, reverse=True)
    assert values[0] == max(row["young"] for row in everything["rows"] if row["id"].startswith("named"))
    found = client.get("/api/cells", params={"search": "OCTET"}).json()
    assert "octet" in [row["name"] for row in found["rows"]]
    few = client.get("/api/cells", params={"range": ["density:0.045:", "anisotropy::0.01"], "limit": 500}).json()
    assert few["total"] == sum(r["density"] >= 0.045 and (r["anisotropy"] or 9) <= 0.01 for r in everything["rows"])
    assert 0 < few["total"] < everything["total"]
    cubic = client.get("/api/cells", params={"symmetry": "cubic", "limit": 500}).json()
    assert {row["symmetry"] for row in cubic["rows"]} == {"cubic"}


def test_numbers_of_the_catalogue_are_the_solvers(client: TestClient) -> None:
    (row,) = client.get("/api/cells", params={"search": "bent"}).json()["rows"]
    body = client.get(f"/api/lattices/{row['id']}").json()
    solved = client.post("/api/solve", json={"lattice": body["lattice"]}).json()
    for name in ("young", "bulk", "shear", "poisson", "anisotropy"):
        assert row[name] == pytest.approx(solved["moduli"][name], rel=1e-9), name
    lattice = named_cell("bcc_sc", density=0.03).perturb(0.1, seed=1)
    expected = effective_stiffness(lattice)
    torch.testing.assert_close(torch.tensor(solved["stiffness"], dtype=torch.float64), expected, rtol=1e-9, atol=1e-14)


def test_large_stores_get_the_numbers_with_a_formula(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of indexing one store agree, on all columns that both have."""
    import pyarrow.parquet as pq

    store = next(x for x in client.app.state.explorer.library.shelves if x.key == "file1")  # type: ignore[attr-defined]
    monkeypatch.setattr(indexing, "FULL", 3)
    target = {"lattices": str(tmp_path / "a.parquet"), "index": str(tmp_path / "b.parquet")}
    payload = {"path": str(store.lattices), "title": "s", "key": "s", "density": 0.05, **target}
    assert indexing.index_file(payload, Listener())["rows"] == 8
    closed, full = pq.read_table(target["index"]).to_pylist(), pq.read_table(store.index).to_pylist()
    for one, other in zip(closed, full, strict=True):
        for name in ("density", "nodes", "struts", "connectivity", "mechanisms", "young", "bulk", "shear", "poisson"):
            assert one[name] == pytest.approx(other[name], rel=1e-7), name


def test_points_and_bounds_make_a_chart(client: TestClient) -> None:
    points = client.get("/api/points", params={"x": "density", "y": "bulk", "shelf": "named"}).json()["points"]
    assert len(points) == len(list_cells())
    bounds = client.get("/api/bounds").json()
    assert bounds["young"][-1] == pytest.approx(1.0)
    # K of the Hashin-Shtrikman bound at E = 1, nu = 0.3, rho = 0.05, by its formula
    bulk, shear, rho = 1 / 1.2, 1 / 2.6, bounds["density"][60]
    assert bounds["bulk"][60] == pytest.approx(rho * bulk * 4 * shear / (4 * shear + 3 * (1 - rho) * bulk), rel=1e-9)
    assert max(p["y"] for p in points) < 0.05 * bulk


def test_export_has_a_harmless_name(client: TestClient) -> None:
    name = '../../etc/"passwd\r\nX-Evil: 1'
    answer = client.post("/api/export", json={"format": "json", "lattices": [{"lattice": OCTET, "name": name}]})
    assert answer.headers["content-disposition"] == 'attachment; filename="etc-passwd-X-Evil-1.json"'
    assert json.loads(answer.content)["records"][0]["radius"] == OCTET["radius"]


# ---------------------------------------------------------------- designs


def events(client: TestClient, number: str, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    text = client.get(f"/api/design/{number}/events", headers=headers).text
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


def test_design_is_watched_kept_and_taken_away(client: TestClient) -> None:
    lattice = write_lattice(named_cell("bcc_sc", density=0.05).perturb(0.1, seed=2))
    request = {
        "lattice": lattice,
        "objective": [{"kind": "isotropy"}],
        "density": 0.05,
        "iterations": 8,
        "name": "even",
    }
    begun = client.post("/api/design", json=request)
    assert begun.status_code == 202
    number = begun.json()["id"]
    seen = events(client, number)
    assert [name for name, _ in seen] == ["step"] * (len(seen) - 1) + ["done"]
    assert seen[-1][1]["quantities"]["distance to isotropy"] < seen[-1][1]["start_quantities"]["distance to isotropy"]
    assert events(client, number, **{"Last-Event-ID": "1"}) == seen[2:]
    kept = client.post(f"/api/design/{number}/keep").json()
    (row,) = client.get("/api/cells", params={"shelf": kept["key"]}).json()["rows"]
    assert row["young"] == pytest.approx(seen[-1][1]["moduli"]["young"], rel=1e-9)
    file = client.post("/api/export", json={"format": "json", "designs": [number]})
    assert json.loads(file.content)["format"] == "polyad-design"
    assert client.delete(f"/api/shelves/{kept['key']}").status_code == 200
    assert client.get(f"/api/lattices/{kept['id']}").status_code == 404


def test_design_that_cannot_be_says_why(client: TestClient) -> None:
    request = {"lattice": OCTET, "objective": [{"kind": "bulk", "goal": 5.0}], "density": 0.05}
    number = client.post("/api/design", json=request).json()["id"]
    ((name, data),) = events(client, number)
    assert name == "failed"
    assert "goal" in data["error"]


# ---------------------------------------------------------------- files that come in


def upload(client: TestClient, content: bytes, name: str = "file") -> Any:
    return client.post("/api/upload", params={"name": name}, content=content)


def test_upload_makes_a_shelf(client: TestClient, tmp_path: Path) -> None:
    save(LatticeRecord("mine", named_cell("kelvin", density=0.02), 0.02), tmp_path / "x.json")
    answer = upload(client, (tmp_path / "x.json").read_bytes(), "../../../x\x00.json")
    assert answer.status_code == 200
    assert answer.json()["title"] == "x.json"
    (row,) = client.get("/api/cells", params={"shelf": answer.json()["key"]}).json()["rows"]
    assert (row["name"], row["nodes"]) == ("mine", named_cell("kelvin", density=0.02).num_nodes)


def zipped(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.json", content)
    return made.getvalue()


HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 40,
    "bomb": zipped(b" " * (400 * 2**20)),
    "deep": b'{"a":' * 100_000,
    "number": b'{"format": "polyad-lattices", "version": 1, "records": [{"density": 1' + b"0" * 5000 + b"}]}",
    "cgd": b"CRYSTAL\n NAME x\n GROUP P1\n CELL 1e308 1 1 90 90 90\n NODE 1 4 nan 0 0\nEND\n",
    "not parquet": b"PAR1" + b"\xff" * 1000 + b"PAR1",
    "design": b'{"format": "polyad-design", "version": 1}',
    "html": b"<script>alert(1)</script>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(client: TestClient, name: str) -> None:
    before = client.get("/api/status").json()["shelves"]
    answer = upload(client, HOSTILE[name], "some.name")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert "some.name" in error
    assert "\n" not in error
    folder = client.app.state.explorer.folder  # type: ignore[attr-defined]
    assert str(folder) not in error
    assert client.get("/api/status").json()["shelves"] == before
    assert list(folder.glob("*.upload")) == []


def test_large_uploads_and_bodies_are_refused(client: TestClient) -> None:
    assert upload(client, b"x" * (LIMIT + 1)).status_code == 413
    chunks = (b"x" * 2**16 for _ in range(LIMIT // 2**16 + 2))  # no length is declared
    assert client.post("/api/upload", content=chunks).status_code == 413
    assert client.post("/api/solve", content=b" " * (5 * 2**20)).status_code == 413


# ---------------------------------------------------------------- requests that are wrong


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/solve", b"", 422),
        ("POST", "/api/solve", b"{", 422),
        ("POST", "/api/solve", b"[" * 100_000, 400),
        ("POST", "/api/solve", b'{"lattice": NaN}', 422),
        ("POST", "/api/solve", json.dumps({"lattice": OCTET, "density": -1}).encode(), 422),
        ("POST", "/api/solve", json.dumps({"lattice": OCTET, "density": float("nan")}).encode(), 422),
        ("POST", "/api/solve", json.dumps({"lattice": OCTET, "poisson_ratio": 7}).encode(), 422),
        ("POST", "/api/solve", json.dumps({"lattice": OCTET, "surface": 99}).encode(), 422),
        ("POST", "/api/analyse", b'{"lattices": []}', 422),
        ("GET", "/api/cells?sort=name;DROP", None, 422),
        ("GET", "/api/cells?range=young:a:b", None, 422),
        ("GET", "/api/cells?range=young) OR (1=1:0:1", None, 422),
        ("GET", "/api/cells?limit=0", None, 422),
        ("GET", "/api/cells?limit=100000", None, 422),
        ("GET", "/api/points?x=name&y=young", None, 422),
        ("GET", "/api/lattices/named:99999", None, 404),
        ("GET", "/api/lattices/..%2F..%2Fetc%2Fpasswd", None, 404),
        ("GET", "/api/design/none/events", None, 404),
        ("DELETE", "/api/shelves/named", None, 404),
        ("GET", "/static/..%2Fapp.py", None, 404),
        ("GET", "/static/%2e%2e/app.py", None, 404),
        ("GET", "/static/%2Fetc%2Fpasswd", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/api/solve", b"{}", 405),
    ],
)
def test_wrong_requests_are_answered_in_one_line(
    client: TestClient, method: str, path: str, content: bytes | None, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}


def test_page_and_all_its_files_are_served_under_a_policy(client: TestClient) -> None:
    for path in ("/", "/docs", *(f"/static/{name}" for name in static_files())):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        if path != "/static/plotly.js":
            assert "https://" not in answer.text.replace("https://www.w3.org", ""), path


def test_interface_is_described(client: TestClient) -> None:
    described = client.get("/api/openapi.json").json()
    assert {"/api/cells", "/api/solve", "/api/upload", "/api/design", "/api/export"} <= set(described["paths"])


# ---------------------------------------------------------------- who may come in


def test_other_names_and_pages_are_refused(client: TestClient) -> None:
    assert client.get("/api/status", headers={"host": "evil.example"}).status_code == 403
    body = {"lattice": OCTET}
    assert client.post("/api/solve", json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/solve", json=body, headers={"origin": "http://localhost:8000"}).status_code == 200


def test_an_open_address_demands_a_token() -> None:
    with pytest.raises(InputError, match="token"):
        Settings(host="0.0.0.0")
    with pytest.raises(InputError, match="token"):
        Settings(host="0.0.0.0", token="short")
    with pytest.raises(InputError, match="port"):
        Settings(port=70000)
    with pytest.raises(InputError, match="upload_bytes"):
        Settings(upload_bytes=0)

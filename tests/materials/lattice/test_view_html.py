"""Lattices as HTML: what is packed is what was given, nothing is loaded, nothing in a name becomes markup."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import StrutLattice
from polyad.materials.lattice.view import lattice_html, lattice_page, show
from polyad.materials.lattice.view.packing import pack_array, pack_integers, pack_lattice, script_json
from tests.materials.lattice.seeds import body_centred_with_cube, octet, simple_cubic


def unpack(text: str) -> np.ndarray:
    """An array as a page reads it."""
    return np.frombuffer(base64.b64decode(text[3:]), dtype="<" + text[:2])


def unpack_lattice(packed: dict[str, Any]) -> StrutLattice:
    cell = unpack(packed["cell"]).reshape(3, 3).astype(float)
    nodes = unpack(packed["nodes"]).reshape(-1, 3) / 65536
    index = np.stack([unpack(packed["source"]), unpack(packed["target"])])
    radius = unpack(packed["radius"]).astype(float)
    radius = np.repeat(radius, index.shape[1]) if len(radius) == 1 else radius
    return StrutLattice(cell, nodes @ cell, index, unpack(packed["shift"]).reshape(-1, 3), radius)


class TestPacking:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_round_trip(self, seed: int) -> None:
        lattice = body_centred_with_cube().tile((2, 1, 1)).perturb(0.1, seed=seed)
        lattice = lattice.replace(radius=torch.linspace(0.01, 0.05, lattice.num_edges, dtype=torch.float64))
        back = unpack_lattice(pack_lattice(lattice))
        assert back.edge_vectors.numpy() == pytest.approx(lattice.edge_vectors.numpy(), abs=4e-5)
        assert back.radius.numpy() == pytest.approx(lattice.radius.numpy(), rel=1e-6)
        assert back.fractional.min() >= 0

    def test_one_radius_is_written_once(self) -> None:
        assert len(unpack(pack_lattice(octet(0.03))["radius"])) == 1

    def test_nodes_on_the_far_face_stay_inside(self) -> None:
        lattice = simple_cubic().translate(torch.tensor([0.999999, -1e-12, 1 + 1e-12]))
        assert unpack(pack_lattice(lattice)["nodes"]).tolist() == [65535, 0, 0]

    def test_dangling_struts_are_named(self) -> None:
        hairy = StrutLattice(np.eye(3), [[0, 0, 0], [0.5] * 3], [[0] * 4, [0, 0, 0, 1]], [*np.eye(3), [0, 0, 0]], 0.03)
        assert unpack(pack_lattice(hairy)["dangling"]).tolist() == [3]
        assert "dangling" not in pack_lattice(octet())

    @pytest.mark.parametrize(
        ("values", "kind"),
        [([-3, 4], "i1"), ([0, 200], "u1"), ([-200, 4], "i2"), ([0, 60000], "u2"), ([-1, 70000], "i4"), ([], "i1")],
    )
    def test_narrowest_integers(self, values: list[int], kind: str) -> None:
        text = pack_integers(np.array(values, dtype=int))
        assert text[:3] == f"{kind}:"
        assert unpack(text).tolist() == values

    def test_too_wide_integers_are_not_cut(self) -> None:
        with pytest.raises(OverflowError, match="do not fit"):
            pack_integers(np.array([2**40]))

    def test_floats_keep_nan(self) -> None:
        assert unpack(pack_array(np.array([1.5, np.nan]), "<f4")) == pytest.approx([1.5, np.nan], nan_ok=True)

    def test_json_cannot_end_its_script(self) -> None:
        value = {"</script>": "<!--&\u2028\u2029", "ok": [1, None]}
        text = script_json(value)
        assert not set(text) & set("<>&\u2028\u2029")
        assert json.loads(text) == value

    def test_json_refuses_nan(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            script_json([float("nan")])


class TestPages:
    def test_notebook_shows_a_sandboxed_frame(self) -> None:
        text = octet()._repr_html_()
        assert text == lattice_html(octet())
        assert text.startswith('<iframe srcdoc="')
        assert 'sandbox="allow-scripts"' in text
        page = html.unescape(re.search('srcdoc="([^"]*)"', text)[1])  # type: ignore[index]
        assert page == lattice_page(octet())

    def test_nothing_is_loaded(self) -> None:
        page = lattice_page(octet())
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
        assert not re.search(r"""(src|href)\s*=\s*["'](?!data:,)""", page)
        assert "default-src 'none'" in page

    def test_thousands_of_struts_stay_small(self) -> None:
        lattice = body_centred_with_cube().tile(7).perturb(0.05, seed=1)
        assert lattice.num_edges == 3773
        assert len(lattice_html(lattice)) < 120_000

    def test_title_is_text(self) -> None:
        page = lattice_page(octet(), title="</title><script>alert('x')</script>")
        assert "<script>alert" not in page
        assert "&lt;/title&gt;&lt;script&gt;alert(&#x27;x&#x27;)" in page

    def test_number_of_cells(self) -> None:
        assert '"cells":1' in lattice_page(octet(), cells=1)
        with pytest.raises(InputError, match="cells: is 0"):
            lattice_page(octet(), cells=0)

    def test_show_writes_and_opens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        path = show(octet(), tmp_path / "octet.html", title="Octet")
        assert path.read_text(encoding="utf-8") == lattice_page(octet(), title="Octet")
        assert opened == [path.as_uri()]
        show(octet(), tmp_path / "other.html", open_browser=False)
        assert len(opened) == 1

    def test_show_takes_a_temporary_file_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        path = show(octet(), open_browser=False)
        assert path.parent == tmp_path
        assert path.read_text(encoding="utf-8") == lattice_page(octet())

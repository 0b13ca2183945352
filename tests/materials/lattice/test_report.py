"""The report's numbers against closed forms, and its page: whole, alone, and safe with names from files."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.elasticity import cubic, hill_average
from polyad.materials.lattice import StrutLattice, effective_stiffness
from polyad.materials.lattice.design import Design, Isotropy, MatchTarget, design
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report import analyse, page, payload, report_html, write_report
from polyad.materials.lattice.report.analysis import FACTORS, hashin_shtrikman
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations
from tests.materials.lattice.seeds import body_centred_with_cube, diamond, kelvin, octet, simple_cubic
from tests.materials.lattice.test_view_html import unpack, unpack_lattice


def record(name: str, lattice: StrutLattice, **fields: Any) -> LatticeRecord:
    return LatticeRecord(name, lattice, float(lattice.relative_density), **fields)


@cache
def sheet() -> StrutLattice:
    """A square sheet (no third dimension) with one hair."""
    return StrutLattice(np.eye(3), [[0] * 3, [0.5] * 3], [[0, 0, 0], [0, 0, 1]], [*np.eye(3)[:2], [0] * 3], 0.05)


@cache
def isotropic_design() -> Design:
    return design(body_centred_with_cube(), Isotropy(), density=0.02)


def columns(*records: LatticeRecord) -> dict[str, np.ndarray]:
    return analyse(records).columns


class TestAnalysis:
    def test_simple_cubic_closed_forms(self) -> None:
        """E[100] = rho/3 and K = rho/9 (struts stretch); the H-S bound of the solid with nu = 0.3."""
        lattice = simple_cubic(0.04)
        rho = 3 * math.pi * 0.04**2
        found = columns(record("sc", lattice))
        assert found["density"][0] == pytest.approx(rho)
        for key in ("young_100", "young_010", "young_001", "young_max"):
            assert found[key][0] == pytest.approx(rho / 3, rel=1e-9)
        assert found["bulk_voigt"][0] == pytest.approx(rho / 9, rel=1e-9)
        assert found["bulk_reuss"][0] == pytest.approx(rho / 9, rel=1e-9)
        assert found["young_min"][0] == pytest.approx(found["young_111"][0], rel=1e-6)
        assert found["poisson_min"][0] == pytest.approx(0, abs=1e-9)
        assert found["exponent_bulk"][0] == pytest.approx(1, abs=1e-9)
        assert found["prefactor_bulk"][0] == pytest.approx(1 / 9, rel=1e-9)
        assert found["connectivity"][0] == 6
        assert found["slenderness"][0] == pytest.approx(0.04)

    def test_stretching_and_bending_exponents(self) -> None:
        """E ~ rho for the octet truss, ~ rho^2 for diamond and Kelvin's foam, whose K ~ rho with factor 1/9."""
        found = columns(
            record("octet", octet(0.01)), record("diamond", diamond(0.004)), record("kelvin", kelvin(0.004))
        )
        assert found["exponent_young"] == pytest.approx([1, 2, 2], abs=0.01)
        assert found["exponent_shear"] == pytest.approx([1, 2, 2], abs=0.01)
        assert found["exponent_bulk"] == pytest.approx([1, 1, 1], abs=0.001)
        assert found["prefactor_bulk"] == pytest.approx([1 / 9] * 3, rel=0.01)

    def test_scaling_values_are_those_of_thinner_lattices(self) -> None:
        lattice = diamond(0.03)
        scaling = analyse([record("diamond", lattice)]).scaling[0]
        for factor, (young, bulk, shear) in zip(FACTORS, scaling, strict=True):
            thinner = lattice.with_density(factor * float(lattice.relative_density))
            moduli = hill_average(effective_stiffness(thinner))
            # K of a cubic tensor is the same by Voigt, Hill and Reuss
            expected = [float(modulus) for modulus in (moduli.young, moduli.bulk, moduli.shear)]
            assert [young, bulk, shear] == pytest.approx(expected, rel=1e-9)

    def test_hashin_shtrikman_bound(self) -> None:
        bulk, shear, rho = 1 / 1.2, 1 / 2.6, np.array([0.01, 0.3, 1.0])
        upper = hashin_shtrikman(rho, 0.3)
        assert upper["bulk"] == pytest.approx(4 * shear * bulk * rho / (4 * shear + 3 * bulk * (1 - rho)))
        share = 6 * (bulk + 2 * shear) / (5 * shear * (3 * bulk + 4 * shear))
        assert upper["shear"] == pytest.approx(shear + (1 - rho) / (-1 / shear + share * rho))
        assert upper["young"][-1] == pytest.approx(1)
        assert np.isnan(hashin_shtrikman(np.array([1.2]), 0.3)["young"]).all()

    def test_anisotropy_of_a_cubic_tensor_in_any_orientation(self) -> None:
        c11, c12, c44 = 3.0, 1.0, 2.0
        zener = 2 * c44 / (c11 - c12)
        rotation = random_rotations(1, generator=torch.Generator().manual_seed(5))[0]
        stiffness = 1e-3 * rotate_mandel(cubic(c11, c12, c44), rotation)
        found = analyse([record("turned", octet(), stiffness=stiffness)])
        assert found.symmetry == ["cubic"]
        assert found.columns["zener"][0] == pytest.approx(zener, rel=1e-6)
        # A_U = 6/5 (sqrt A - 1/sqrt A)^2 for cubic tensors (Ranganathan and Ostoja-Starzewski 2008)
        assert found.columns["universal"][0] == pytest.approx(1.2 * (math.sqrt(zener) - 1 / math.sqrt(zener)) ** 2)
        # greatest E along a cube diagonal, which the rotation's columns tell
        along = np.abs(rotation.numpy().T @ found.extreme_directions[0, 1])
        assert along == pytest.approx([1 / math.sqrt(3)] * 3, abs=1e-4)

    def test_given_tensor_is_shown_and_compared(self) -> None:
        own = effective_stiffness(octet())
        found = analyse([record("octet", octet(), stiffness=1.25 * own), record("octet", octet())])
        assert found.stiffness.numpy() == pytest.approx(torch.stack([1.25 * own, own]).numpy())
        assert found.columns["difference"] == pytest.approx([0.2, np.nan], nan_ok=True)

    def test_singular_lattices_have_gaps_not_wrong_numbers(self) -> None:
        found = analyse([record("sheet", sheet()), record("sc", simple_cubic())])
        for name in ("young_reuss", "young_hill", "young_100", "universal", "zener", "exponent_young", "poisson_min"):
            assert np.isnan(found.columns[name][0]), name
            assert np.isfinite(found.columns[name][1]), name
        assert np.isfinite(found.columns["young_voigt"]).all()
        assert found.columns["mechanisms"].tolist() == [0, 0]
        assert found.columns["dangling"].tolist() == [1, 0]
        assert found.dangling[0].tolist() == [False, False, True]

    def test_mechanisms_are_counted(self) -> None:
        island = StrutLattice(
            np.eye(3), [[0, 0, 0], [0.4, 0.5, 0.5], [0.6, 0.5, 0.5]], [[0] * 3 + [1], [0] * 3 + [2]],
            [*np.eye(3), [0, 0, 0]], 0.02,
        )  # fmt: skip
        assert columns(record("island", island))["mechanisms"].tolist() == [6]

    def test_many_lattices_in_parts_agree_with_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        records = [record(f"{k}", body_centred_with_cube().perturb(0.1, seed=k)) for k in range(5)]
        together = analyse(records)
        monkeypatch.setattr("polyad.materials.lattice.report.analysis._CHUNK", 2)
        calls: list[tuple[int, int]] = []
        apart = analyse(records, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(2, 5), (4, 5), (5, 5)]
        assert apart.symmetry == together.symmetry
        for name, values in together.columns.items():
            assert apart.columns[name] == pytest.approx(values, rel=1e-6, abs=1e-9, nan_ok=True), name


class Attributes(HTMLParser):
    """All tags with their attributes, and the text of script and style elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": [], "h1": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.texts:
            self.texts[self.inside][-1] += data


def data_of(text: str) -> dict[str, Any]:
    packed = re.search(r'id="data">([^<]*)<', text)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


HOSTILE = "</script><img src=x onerror=alert(1)>{{data}}&\u2028"


@pytest.fixture(scope="module")
def hostile_page() -> str:
    records = [
        record("sc", simple_cubic(), source="textbook"),
        record(HOSTILE, octet(), base_name=HOSTILE, source=HOSTILE, notes=(HOSTILE,)),
        record("sheet", sheet()),
    ]
    return report_html(
        records, [isotropic_design()], title=HOSTILE, design_names=[HOSTILE], unit=HOSTILE, young_modulus=110.0
    )


class TestPage:
    def test_loads_nothing(self, hostile_page: str) -> None:
        parsed = Attributes(hostile_page)
        loads = [a[key] for _, a in parsed.tags for key in ("src", "href", "srcset", "action", "data") if key in a]
        assert all(str(address).startswith("#") or address == "data:," for address in loads)
        foreign = {"iframe", "img", "object", "embed", "base", "form", "audio", "video"}
        assert not foreign & {tag for tag, _ in parsed.tags}
        (style,) = parsed.texts["style"]
        assert not re.search(r"@import|url\(", style)
        policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert str(policy).startswith("default-src 'none'")
        assert "http" not in str(policy)
        # the one address is the name of SVG elements, which nobody fetches
        ours = parsed.texts["script"][-1].replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"fetch\(|XMLHttpRequest|https?:|import\(|WebSocket|sendBeacon|innerHTML|\beval\b", ours)

    def test_plotly_is_there_once(self, hostile_page: str) -> None:
        assert len(re.findall(r"plotly\.js v\d", hostile_page)) == 1

    def test_names_stay_text(self, hostile_page: str) -> None:
        parsed = Attributes(hostile_page)
        assert len(parsed.texts["script"]) == 3
        assert parsed.texts["title"] == [HOSTILE]
        assert parsed.texts["h1"] == [HOSTILE]
        assert "<img" not in hostile_page
        assert data_of(hostile_page)["names"][2] == HOSTILE

    def test_every_id_and_label_exists_once(self, hostile_page: str) -> None:
        parsed = Attributes(hostile_page)
        names = [a["id"] for _, a in parsed.tags if "id" in a]
        assert len(names) == len(set(names))
        labelled = [a["aria-labelledby"] for _, a in parsed.tags if "aria-labelledby" in a]
        assert set(labelled) <= set(names)

    def test_data_are_those_of_the_analysis(self, hostile_page: str) -> None:
        data = data_of(hostile_page)
        made = isotropic_design()
        first = LatticeRecord(HOSTILE, made.lattice, made.density, stiffness=made.stiffness)
        records = [first, record("sc", simple_cubic()), record("o", octet()), record("s", sheet())]
        found = analyse(records)
        for name, values in found.columns.items():
            scale = 110.0 if re.match(r"(bulk|shear|young|prefactor)_", name) else 1.0
            assert unpack(data["columns"][name]) == pytest.approx(scale * values, rel=1e-6, abs=1e-7, nan_ok=True), name
        upper = unpack(data["stiffness"]).reshape(4, 21)
        assert upper[1, 0] == pytest.approx(110 * float(found.stiffness[1, 0, 0]), rel=1e-12)
        assert upper[:, 20] == pytest.approx(110 * found.stiffness[:, 5, 5].numpy(), rel=1e-12)
        assert [data["classes"][k] for k in data["symmetry"]] == found.symmetry
        assert unpack_lattice(data["geometry"][1]).edge_lengths.numpy() == pytest.approx(1)
        assert data["bounds"]["solid"]["young"] == pytest.approx(110)

    def test_same_input_gives_the_same_page(self) -> None:
        assert report_html([record("sc", simple_cubic())]) == report_html([record("sc", simple_cubic())])

    def test_one_file_is_left(self, tmp_path: Path) -> None:
        write_report(tmp_path / "report.html", [record("sc", simple_cubic())], title="One")
        assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == report_html(
            [record("sc", simple_cubic())], title="One"
        )

    def test_nothing_is_left_after_a_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page, "analyse", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(tmp_path / "report.html", [record("sc", simple_cubic())])
        assert not list(tmp_path.iterdir())

    def test_too_many_lattices_are_thinned_out_and_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page, "MAXIMUM_RECORDS", 3)
        text = report_html([record(f"sc {k}", simple_cubic()) for k in range(7)])
        assert data_of(text)["names"] == ["sc 0", "sc 3", "sc 6"]
        assert "Shown are 3 of 7 lattices" in text

    def test_geometry_ends_where_room_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(payload, "GEOMETRY_BUDGET", 200)
        geometry = data_of(report_html([record(f"sc {k}", simple_cubic()) for k in range(4)]))["geometry"]
        assert geometry[0] is not None
        assert geometry[-1] is None

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"poisson_ratio": 0.5}, "poisson_ratio: is 0.5"),
            ({"young_modulus": 0.0}, "young_modulus: is 0.0"),
            ({"targets": [None, None]}, "targets: 2 were given for 0 designs"),
            ({"design_names": ["a"]}, "design_names: 1 were given for 0 designs"),
        ],
    )
    def test_bad_options_are_one_line(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            report_html([record("sc", simple_cubic())], **options)

    @pytest.mark.parametrize("records", [None, []])
    def test_nothing_to_show_is_refused(self, records: list[LatticeRecord] | None) -> None:
        with pytest.raises(InputError, match="neither lattices nor designs"):
            report_html(records)


class TestDesigns:
    def test_path_and_tensors(self) -> None:
        made = isotropic_design()
        (entry,) = data_of(report_html(designs=[made], young_modulus=2.0))["designs"]
        rows, cols = np.triu_indices(6)
        assert entry["reached"] == pytest.approx(2 * made.stiffness.numpy()[rows, cols], rel=1e-7)
        assert entry["start"] == pytest.approx(2 * made.history.stiffness[0].numpy()[rows, cols], rel=1e-7)
        assert entry["target"] is None
        assert entry["objective"] == pytest.approx(made.history.objective.tolist(), rel=1e-4)
        assert entry["constraint"] == pytest.approx(made.history.violation.tolist(), rel=1e-4)
        assert entry["iteration"] == list(range(made.iterations + 1))
        assert [frame["step"] for frame in entry["frames"]] == entry["iteration"]
        last = unpack_lattice(entry["frames"][-1]["lattice"])
        assert last.radius.numpy() == pytest.approx(made.lattice.radius.numpy(), rel=1e-6)
        first = unpack_lattice(entry["frames"][0]["lattice"])
        assert first.radius.numpy() == pytest.approx(made.history.radius[0].numpy(), rel=1e-6)

    def test_long_paths_are_thinned_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polyad.materials.lattice.report.paths.FRAMES", 3)
        made = isotropic_design()
        (entry,) = data_of(report_html(designs=[made]))["designs"]
        steps = [frame["step"] for frame in entry["frames"]]
        assert steps[0] == 0
        assert steps[-1] == made.iterations
        assert len(steps) == 3

    def test_target_beside_what_was_reached(self) -> None:
        target = effective_stiffness(body_centred_with_cube().with_density(0.02))
        start = body_centred_with_cube().perturb(0.05, seed=1)
        made = design(start, MatchTarget(target), density=0.02, iterations=5, frame={"young_modulus": 1.0})
        data = data_of(report_html(designs=[made], targets=[target], design_names=["twin"]))
        rows, cols = np.triu_indices(6)
        assert data["designs"][0]["target"] == pytest.approx(target.numpy()[rows, cols], abs=1e-10)
        assert data["names"] == ["twin"]

    def test_a_target_of_another_shape_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"targets: one has shape \(3, 3\)"):
            report_html(designs=[isotropic_design()], targets=[torch.zeros(3, 3)])

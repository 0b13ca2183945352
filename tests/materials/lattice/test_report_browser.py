"""Pages in a real browser: they draw, their buttons work, and nothing leaves the page.

Chromium is found through POLYAD_CHROMIUM or on the path; WebGL runs in software.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from polyad.materials.elasticity import young_modulus
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.design import Isotropy, design
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report import write_report
from polyad.materials.lattice.view import lattice_html
from polyad.materials.lattice.view.block import lattice_block
from tests.materials.lattice.seeds import body_centred_with_cube, diamond, octet, simple_cubic

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"
SWITCHES = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
INK = """(canvas) => {
  const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data;
  let count = 0, sum = 0;
  for (let k = 0; k < data.length; k += 4) if (data[k + 3]) {
    count++;
    sum = (sum * 31 + data[k] + 7 * data[k + 1] + k) % 1000000007;
  }
  return [count / (copy.width * copy.height), sum];
}"""
SETTLE = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
)


class Watched(NamedTuple):
    """A page, and what happened on it that should not."""

    page: Any
    complaints: list[str]
    requests: list[str]

    def ink(self, selector: str) -> tuple[float, int]:
        """Share of the canvas that is covered, and a fingerprint of the picture."""
        self.page.evaluate(SETTLE)
        share, sum_ = self.page.locator(selector).evaluate(INK)
        return share, sum_

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("POLYAD_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium here (set POLYAD_CHROMIUM to its path)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=SWITCHES)
        yield chromium
        chromium.close()


def watch(browser: Any, path: Path, **options: Any) -> Watched:
    page = browser.new_page(reduced_motion="reduce", **options)
    watched = Watched(page, [], [])
    page.on("console", lambda line: watched.complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (watched.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.goto(path.as_uri())
    return watched


def ready(watched: Watched) -> Watched:
    watched.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    return watched


@pytest.fixture(scope="module")
def records() -> list[LatticeRecord]:
    cells = {"octet": octet(), "simple cubic": simple_cubic(0.05), HOSTILE: diamond(0.02)}
    cells |= {f"bent {k}": body_centred_with_cube().perturb(0.12, seed=k) for k in range(30)}
    return [LatticeRecord(name, x, float(x.relative_density), source=HOSTILE) for name, x in cells.items()]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, records: list[LatticeRecord]) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    start = body_centred_with_cube().perturb(0.1, seed=1)
    write_report(path, records, [design(start, Isotropy(), density=0.03, iterations=30)], title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def watched(browser: Any, report: Path) -> Watched:
    return ready(watch(browser, report, viewport={"width": 1280, "height": 900}))


@pytest.fixture
def page(watched: Watched) -> Iterator[Any]:
    """The page with the octet truss chosen; whatever a test does, it must raise no complaint."""
    watched.page.evaluate(
        "Polyad.explorer.camera.rotate(false); Polyad.explorer.camera.look('corner'); Polyad.explorer.show(1)"
    )
    yield watched.page
    assert watched.complaints == []


def test_page_opens_without_complaint_or_request(watched: Watched, report: Path) -> None:
    assert watched.complaints == []
    assert [url for url in watched.requests if url not in (report.as_uri(), "data:,")] == []


@pytest.mark.parametrize("part", ["struts", "surface", "path"])
def test_canvases_are_not_empty(watched: Watched, page: Any, part: str) -> None:
    share, _ = watched.ink(f"[data-part={part}] canvas")
    assert 0.03 < share < 0.9


def test_charts_are_drawn(page: Any) -> None:
    for part in ("xy", "xz", "yz", "scaling", "objective", "scatter"):
        assert page.locator(f"[data-part={part}] .main-svg").count() > 0, part
    titles = page.locator(".xtitle, .ytitle").all_text_contents()
    assert "relative density ρ" in titles
    assert "modulus (Eₛ)" in titles
    assert "objective" in titles


def test_rotate_button_turns_the_camera(watched: Watched, page: Any) -> None:
    before, azimuth = watched.ink("[data-part=struts] canvas"), page.evaluate("Polyad.explorer.camera.azimuth")
    button = page.locator("#lattice [data-action=rotate]")
    assert button.get_attribute("aria-pressed") == "false"
    page.locator("#lattice [data-part=struts]").scroll_into_view_if_needed()
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    page.wait_for_function(f"() => Polyad.explorer.camera.azimuth > {azimuth} + 0.03")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    stopped = page.evaluate("Polyad.explorer.camera.azimuth")
    assert watched.ink("[data-part=struts] canvas")[1] != before[1]
    assert page.evaluate("Polyad.explorer.camera.azimuth") == stopped


def test_view_buttons_look_along_the_axes(page: Any) -> None:
    for axis, towards in {"x": [1, 0, 0], "y": [0, -1, 0], "z": [0, 0, 1]}.items():
        page.locator(f"#lattice [data-view={axis}]").click()
        assert page.evaluate("Polyad.explorer.camera.axes()[2]") == pytest.approx(towards, abs=1e-9)
    assert np.array(page.evaluate("Polyad.explorer.camera.axes()")[:2]) == pytest.approx(np.eye(3)[:2], abs=1e-9)


def test_cells_buttons_draw_more_struts(watched: Watched, page: Any) -> None:
    counts = []
    for cells in (1, 2, 3):
        page.get_by_label(f"Draw {cells} x {cells} x {cells} cells").click()
        counts.append(page.evaluate("Polyad.explorer.panel.block.strut.length"))
    assert counts == [len(lattice_block(octet(), cells).strut) for cells in (1, 2, 3)]


def test_keyboard_turns_and_zooms(page: Any) -> None:
    page.locator("[data-part=struts] canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("+")
    camera = page.evaluate("(({azimuth, elevation, zoom}) => [azimuth, elevation, zoom])(Polyad.explorer.camera)")
    assert camera == pytest.approx([-1.087 + 0.12, 0.418 + 0.12, 1.2])


def test_drawn_struts_are_those_of_the_still_picture(page: Any, records: list[LatticeRecord]) -> None:
    for number in (0, 5):
        page.evaluate(f"Polyad.explorer.show({number + 1})")
        drawn = page.evaluate(
            "(({starts, ends, radii, strut}) => [starts, ends, radii, strut])(Polyad.explorer.panel.block)"
        )
        block = lattice_block(records[number].lattice)
        keys = []
        for starts, ends, radii, strut in (drawn, (block.starts, block.ends, block.radii, block.strut)):
            rows = np.concatenate(
                [np.reshape(starts, (-1, 3)), np.reshape(ends, (-1, 3)), np.reshape(radii, (-1, 1))], 1
            )
            order = np.lexsort((*rows[:, :3].round(3).T, np.array(strut)))
            keys.append((np.array(strut)[order], rows[order]))
        assert keys[0][0].tolist() == keys[1][0].tolist()
        assert keys[0][1] == pytest.approx(keys[1][1], abs=2e-4)


def test_stiffness_by_direction_is_that_of_the_library(page: Any, records: list[LatticeRecord]) -> None:
    directions = torch.nn.functional.normalize(
        torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=-1
    )
    for number in (1, 4):
        page.evaluate(f"Polyad.explorer.show({number + 1})")
        stiffness = effective_stiffness(records[number].lattice)
        values = page.evaluate("(all) => all.map((n) => Polyad.explorer.quantity.value(...n))", directions.tolist())
        assert values == pytest.approx(young_modulus(stiffness, directions).tolist(), rel=1e-9)
        least, most = page.evaluate("[Polyad.explorer.surface.surface.least, Polyad.explorer.surface.surface.most]")
        assert most == pytest.approx(page.evaluate("Polyad.report.columns.young_max[Polyad.explorer.index]"), rel=0.01)
        assert least == pytest.approx(page.evaluate("Polyad.report.columns.young_min[Polyad.explorer.index]"), rel=0.01)
        theta, radius = page.evaluate("(({theta, r}) => [theta, r])(document.querySelector('[data-part=xz]').data[0])")
        angle = np.radians(theta)
        cut = torch.tensor(np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1))
        assert radius == pytest.approx(young_modulus(stiffness, cut).tolist(), rel=1e-9)


def test_tensor_table_shows_the_stiffness(page: Any) -> None:
    stiffness = effective_stiffness(octet()).numpy()
    cells = page.locator("#lattice .tensor tbody td").all_inner_texts()
    shown = np.array([float(text.replace("−", "-")) for text in cells]).reshape(6, 6)
    assert "10⁻³" in page.locator("[data-part=factor]").inner_text()
    assert 1e-3 * shown == pytest.approx(stiffness, abs=1e-3 * 5.1e-4)


NEAREST = """() => {
  const {scene, block} = Polyad.explorer.panel, {distance, scale} = scene.lens();
  const [right, up, towards] = scene.camera.axes();
  const along = (axis, point) => axis.reduce((sum, x, k) => sum + x * (point[k] - scene.centre[k]), 0);
  const seen = block.strut.map((strut, s) => {
    const middle = [0, 1, 2].map((k) => (block.starts[3 * s + k] + block.ends[3 * s + k]) / 2);
    const near = along(towards, middle), far = distance - near;
    return [near, strut, along(right, middle) * scale[0] / far, along(up, middle) * scale[1] / far];
  });
  return seen.sort((a, b) => b[0] - a[0])[0];
}"""


def test_pointer_tells_struts_and_values(page: Any, records: list[LatticeRecord]) -> None:
    page.evaluate("Polyad.explorer.show(5)")
    lattice = records[4].lattice
    page.locator("[data-part=struts]").scroll_into_view_if_needed()
    box = page.locator("[data-part=struts] canvas").bounding_box()
    _, strut, right, up = page.evaluate(NEAREST)
    page.mouse.move(box["x"] + box["width"] * (1 + right) / 2, box["y"] + box["height"] * (1 - up) / 2)
    hint = page.locator("[data-part=struts] .tooltip").inner_text()
    assert hint.startswith(f"strut {strut}: radius {float(lattice.radius[strut]):.4g}, length ")
    assert float(hint.split()[-1]) == pytest.approx(float(lattice.edge_lengths[strut]), abs=2e-4)

    page.evaluate("Polyad.explorer.show(2)")
    page.locator("#lattice [data-view=x]").click()
    box = page.locator("[data-part=surface] canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hint = page.locator("[data-part=surface] .tooltip").inner_text()
    expected = float(young_modulus(effective_stiffness(simple_cubic(0.05)), torch.eye(3, dtype=torch.float64)[0]))
    assert hint.startswith("E(n) = ")
    assert hint.endswith("along [1.00, 0.00, 0.00]")
    assert float(hint.split()[2]) == pytest.approx(expected, rel=0.01)


def test_design_slider_changes_the_drawing(watched: Watched, page: Any) -> None:
    last = watched.ink("[data-part=path] canvas")
    slider = page.locator("[data-part=slider]")
    slider.fill("0")
    assert watched.text("[data-part=now]").startswith("iteration 0 of ")
    assert watched.ink("[data-part=path] canvas")[1] != last[1]
    page.locator("[data-part=play]").click()
    page.wait_for_function("() => Polyad.designs.frame > 1")
    page.locator("[data-part=play]").click()
    assert page.locator("[data-part=play]").inner_text() == "Play"


def test_table_searches_sorts_and_opens(watched: Watched, page: Any) -> None:
    search = page.get_by_label("Search")
    search.fill("bent 2")
    names = page.locator("[data-part=rows] .link").all_inner_texts()
    assert sorted(names) == sorted(f"bent {k}" for k in range(30) if "2" in str(k))
    assert watched.text("[data-part=count]") == "12 of 34 lattices"
    search.fill("no such name")
    assert page.locator("[data-part=rows] tr").count() == 0
    search.fill("")
    assert page.locator("[data-part=rows] tr").count() == 25
    page.locator("#catalogue").get_by_label("Next page").click()
    assert page.locator("[data-part=rows] tr").count() == 9
    for falling in (False, True):
        page.locator("th[data-key=young_max] button").click()
        order = page.locator("th[data-key=young_max]").get_attribute("aria-sort")
        assert order == ("descending" if falling else "ascending")
        shown = page.locator("[data-part=rows] tr").first.locator(".link").inner_text()
        column = np.array(page.evaluate("[...Polyad.report.columns.young_max]"))
        assert shown == page.evaluate(
            "(k) => Polyad.report.names[k]", int(column.argmax() if falling else column.argmin())
        )
    search.fill("simple")
    page.locator("[data-part=rows] .link").click()
    assert watched.text("[data-part=name]") == "simple cubic"
    search.fill("")


def test_scatter_shows_all_lattices_with_bounds_and_opens_them(watched: Watched, page: Any) -> None:
    traces = page.evaluate("document.querySelector('[data-part=scatter]').data.map((t) => [t.name, t.x.length])")
    names, counts = zip(*traces, strict=True)
    assert names[:3] == ("Hashin–Shtrikman bound", "Voigt bound", "lattices")
    assert counts[2] == 34
    page.evaluate("document.querySelector('[data-part=scatter]').emit('plotly_click', {points: [{customdata: 3}]})")
    assert watched.text("[data-part=name]") == HOSTILE
    page.locator("[data-part=y]").select_option("poisson_hill")
    values = page.evaluate("document.querySelector('[data-part=scatter]').data.find((t) => t.name === 'lattices').y")
    assert values == pytest.approx(page.evaluate("[...Polyad.report.columns.poisson_hill]"))
    page.locator("[data-part=y]").select_option("young_hill")


def test_names_from_files_stay_text(watched: Watched, page: Any) -> None:
    page.evaluate("Polyad.explorer.show(3)")
    assert watched.text("[data-part=name]") == HOSTILE
    assert watched.text("h1") == HOSTILE
    assert page.locator("main img, main b").count() == 0
    texts = page.evaluate("document.querySelector('[data-part=scatter]').data.find((t) => t.name === 'lattices').text")
    assert not any("<" in text for text in texts)


def test_every_control_has_a_name(page: Any) -> None:
    nameless = page.evaluate("""[...document.querySelectorAll("button, select, input, canvas")].filter((e) =>
      !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)""")
    assert nameless == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (820, "light")])
def test_narrow_screens_do_not_scroll_sideways(browser: Any, report: Path, width: int, scheme: str) -> None:
    narrow = ready(watch(browser, report, viewport={"width": width, "height": 740}, color_scheme=scheme))
    page = narrow.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(17, 21, 27)" if scheme == "dark" else "rgb(245, 246, 248)")
    assert narrow.complaints == []
    page.close()


def test_lattice_of_a_notebook_turns_in_its_frame(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "notebook.html").write_text(f"<!doctype html><title>n</title>{lattice_html(octet())}", encoding="utf-8")
    watched = watch(browser, tmp_path / "notebook.html")
    frame = watched.page.frame_locator("iframe")
    share, _ = frame.locator("canvas").evaluate(INK)
    for _ in range(20):
        if share > 0.03:
            break
        watched.page.wait_for_timeout(100)
        share, _ = frame.locator("canvas").evaluate(INK)
    assert share > 0.03
    rotate = frame.locator("[data-action=rotate]")
    before = rotate.get_attribute("aria-pressed")
    rotate.click()
    assert {before, rotate.get_attribute("aria-pressed")} == {"true", "false"}
    assert watched.complaints == []
    assert [url for url in watched.requests if not url.startswith(("file:", "about:", "data:,"))] == []
    watched.page.close()

"""The explorer in a real browser, served by the command, used as a newcomer would use it.

Chromium is found through POLYAD_CHROMIUM or on the path. POLYAD_SCREENSHOTS names a folder for pictures of every view.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyad.geometry.stl import read_stl
from polyad.materials.lattice import LatticeRecord, StrutLattice, effective_stiffness, named_cell, save

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SWITCHES = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
READY = "() => document.documentElement.dataset.ready === 'true'"


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


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    for package in ("fastapi", "uvicorn", "duckdb"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    command = [sys.executable, "-m", "polyad", "lattice", "serve", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r"http://\S+", server.stdout.readline())
    assert found is not None
    yield found[0]
    server.send_signal(signal.SIGINT)
    assert server.wait(30) in (0, 130, -signal.SIGINT)


class Visitor:
    """A page, and what happened on it that should not."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.page = browser.new_page(reduced_motion="reduce", accept_downloads=True, **options)
        self.page.set_default_timeout(60_000)
        self.address, self.complaints, self.outside = address, list[str](), list[str]()
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.outside.append(url)

    def go(self, place: str) -> None:
        self.page.goto(f"{self.address}#/{place}")
        self.page.wait_for_timeout(100)
        self.page.wait_for_function(READY)

    def picture(self, name: str) -> None:
        folder = os.environ.get("POLYAD_SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(800)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.fixture
def visitor(browser: Any, address: str) -> Iterator[Visitor]:
    made = Visitor(browser, address, viewport={"width": 1280, "height": 900})
    made.page.goto(address)
    made.page.wait_for_function("() => fetch('api/status').then((r) => r.json()).then((s) => !s.loading)", polling=300)
    yield made
    made.page.close()
    assert made.complaints == []
    assert made.outside == []


def shown_moduli(page: Any) -> float:
    """E (Hill) as the table of the lattice view says."""
    return float(page.locator("[data-view=lattice] th", has_text="E (Hill)").locator("xpath=../td").inner_text())


def test_catalogue_is_searched_sorted_and_opens_a_lattice(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("catalogue")
    page.wait_for_selector("[data-view=catalogue] tbody tr")
    visitor.picture("catalogue")
    page.get_by_role("button", name="E", exact=True).click()
    page.wait_for_function("() => location.hash.includes('sort=young')")
    page.keyboard.press("/")
    page.locator("input[type=search]").fill("kelvin")
    page.wait_for_function("() => document.querySelectorAll('[data-view=catalogue] tbody tr').length < 5")
    assert "search=kelvin" in page.url
    page.locator("tbody a", has_text=re.compile("^kelvin$")).click()
    page.wait_for_selector("[data-view=lattice] h2:has-text('kelvin')")


def test_point_of_the_chart_opens_its_lattice(visitor: Visitor) -> None:
    visitor.go("catalogue?search=octet")
    visitor.page.wait_for_function("() => document.querySelectorAll('.scatterlayer .point').length")
    visitor.page.locator(".scatterlayer .point").first.click(force=True)
    visitor.page.wait_for_function("() => location.hash.startsWith('#/lattice')")


def test_sliders_change_the_tensor_and_the_address_brings_it_back(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("catalogue?search=truncated_cuboctahedron")
    page.locator("tbody a").first.click()
    page.wait_for_selector("[data-view=lattice] .slider input")
    before = shown_moduli(page)
    density = page.locator("[data-view=lattice] .slider", has_text="relative density").locator("input")
    density.evaluate("(x) => { x.value = -1; x.dispatchEvent(new Event('input', {bubbles: true})); }")
    page.wait_for_function("() => location.hash.includes('density=0.1000')")
    page.wait_for_function(
        "() => document.querySelector('[data-view=lattice] .caption').textContent.includes('ρ = 0.1')"
    )
    lattice = named_cell("truncated_cuboctahedron", density=0.1, primitive=False)
    from polyad.materials.elasticity import hill_average

    assert shown_moduli(page) == pytest.approx(float(hill_average(effective_stiffness(lattice)).young), rel=2e-3)
    assert shown_moduli(page) > 1.5 * before
    move = page.locator("[data-view=lattice] .slider", has_text="move along").locator("input").first
    move.evaluate("(x) => { x.value = 0.2; x.dispatchEvent(new Event('input', {bubbles: true})); }")
    page.wait_for_function("() => location.hash.includes('n=0.0')")
    page.wait_for_selector("h2:has-text('changed')")
    page.wait_for_timeout(500)
    moved = shown_moduli(page)
    visitor.picture("lattice")
    page.reload()
    page.wait_for_function(READY)
    assert shown_moduli(page) == moved


def test_newcomer_designs_an_isotropic_lattice_and_takes_it_away(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    start = named_cell("bcc_sc", density=0.05).perturb(0.05, seed=1)
    save(LatticeRecord("mine", start, 0.05), tmp_path / "mine.json")
    visitor.go("catalogue")
    page.set_input_files("input[type=file]", str(tmp_path / "mine.json"))
    page.wait_for_function("() => location.hash.includes('shelf=up')")
    page.locator("tbody a", has_text="mine").click()
    page.get_by_role("button", name="Design from this").click()
    page.wait_for_selector("[data-view=design] h2:has-text('mine')")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector("[data-view=design] >> text=Done.", timeout=120_000)
    visitor.picture("design")
    with page.expect_download() as waiting:
        page.get_by_label("Download the design as json").click()
    waiting.value.save_as(tmp_path / "design.json")
    row = json.loads((tmp_path / "design.json").read_text())
    lattice = StrutLattice(**row["lattice"])
    stiffness = effective_stiffness(lattice)
    from polyad.materials.elasticity import hill_average, symmetry_distance

    assert float(symmetry_distance(stiffness, "isotropic")) <= 0.0201
    assert float(lattice.relative_density) == pytest.approx(0.05, rel=1e-6)
    assert float(hill_average(stiffness).shear) > float(hill_average(effective_stiffness(start)).shear)
    with page.expect_download() as waiting:
        page.get_by_label("Download the design as stl").click()
    waiting.value.save_as(tmp_path / "design.stl")
    assert float(read_stl(tmp_path / "design.stl").volume) > 0
    page.get_by_role("button", name="Compare with its start").click()
    page.wait_for_selector("[data-view=compare] article >> nth=1")
    page.wait_for_selector("[data-view=compare] >> text=n of E")
    visitor.picture("compare")
    assert page.locator("[data-view=compare] article").count() == 2


def test_running_design_is_stopped(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("design")
    page.wait_for_selector("[data-view=design] h2:has-text('octet')")
    page.locator("summary").click()
    page.get_by_label("Starts").fill("16")
    page.get_by_label("Steps").fill("500")
    page.get_by_label("Objective").select_option("auxetic")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector("[data-view=design] >> text=/Step [0-9]+/")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_selector("[data-view=design] >> text=stopped by the caller")


def test_hostile_file_is_told_and_names_are_text(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    name = "<img src=x onerror=alert(1)>"
    save(LatticeRecord(name, named_cell("octet", density=0.05), 0.05, source=name), tmp_path / "evil.json")
    visitor.go("catalogue")
    page.set_input_files("input[type=file]", str(tmp_path / "evil.json"))
    page.wait_for_function("() => location.hash.includes('shelf=up')")
    page.wait_for_selector("tbody a:has-text('onerror')")
    assert page.locator("img").count() == 0
    page.set_input_files(
        "input[type=file]", {"name": "noise.lat", "mimeType": "text/plain", "buffer": b"\x00\x01" * 99}
    )
    page.wait_for_selector("#message.bad:has-text('noise.lat')")
    # the browser itself logs the refusal
    visitor.complaints[:] = [line for line in visitor.complaints if "422" not in line]


@pytest.mark.parametrize("view", ["catalogue", "lattice", "design", "compare"])
def test_views_fit_a_phone_in_the_dark(browser: Any, address: str, view: str) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
    visitor = Visitor(browser, address, **options)
    visitor.go(view)
    visitor.picture(f"phone-{view}")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visitor.complaints == []
    visitor.page.close()


def test_keys_change_the_view_and_the_interface_is_described(visitor: Visitor) -> None:
    page = visitor.page
    for key, view in zip("1234", ("catalogue", "lattice", "design", "compare"), strict=True):
        page.keyboard.press(key)
        page.wait_for_function(f"() => !document.querySelector('main > [data-view={view}]').hidden")
    page.goto(f"{visitor.address}docs")
    page.wait_for_selector("code:has-text('POST /api/solve')")
    visitor.picture("interface")

"""The wheel that a user installs: complete, and working away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from polyad import __version__
from polyad.claims.cards import read_cards

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building a wheel needs the dev group")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (path,) = folder.glob("polyad-*.whl")
    return path


def test_wheel_holds_every_module_and_data_file_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        metadata = archive.read(f"polyad-{__version__}.dist-info/METADATA").decode("utf-8")
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "polyad").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= held
    assert "polyad/py.typed" in held
    assert f"polyad-{__version__}.dist-info/licenses/LICENSE" in held
    assert {name.split("/")[0] for name in held} == {"polyad", f"polyad-{__version__}.dist-info"}
    assert "License-Expression: Apache-2.0" in metadata


def test_installed_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In a venv of its own, which sees the dependencies of this environment but not its Polyad."""
    venv.create(tmp_path / "venv", with_pip=False)
    folder = "Scripts" if os.name == "nt" else "bin"
    python = tmp_path / "venv" / folder / ("python.exe" if os.name == "nt" else "python")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=tmp_path,
    )
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # a folder named in a .pth file is searched, but .pth files in it (the editable install) are not read
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    place = run(python, "-c", "import polyad; print(polyad.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(packages)
    command = python.with_name("polyad")
    assert run(command, "--version", cwd=tmp_path) == f"polyad {__version__}\n"
    listed = json.loads(run(command, "systems", "--json", cwd=tmp_path))
    assert [card["slug"] for card in listed] == [card.slug for card in read_cards()]
    output = run(python, "-c", "from polyad.claims.checkout import default_output as d; print(d())", cwd=tmp_path)
    assert output.strip() == "polyad-claims"

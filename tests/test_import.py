"""Importing Polyad is cheap, and nothing optional is needed to import any part of it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def optional_packages() -> set[str]:
    """Import names of what only extras and dependency groups ask for."""

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[><=!\[ ]", text)[0] for text in requirements}

    project = PROJECT["project"]
    wanted: set[str] = set()
    for table in (project["optional-dependencies"], PROJECT["dependency-groups"]):
        wanted = wanted.union(*map(names, table.values()))
    return {name.replace("-", "_").lower() for name in wanted - names(project["dependencies"])}


def test_import_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport polyad\nseconds = time.perf_counter() - start\n"
        "heavy = {'torch', 'numpy', 'scipy', 'numba', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\nprint(seconds)"
    )
    assert min(float(run_python(code)) for _ in range(5)) < 0.2


def test_every_module_imports_without_optional_packages() -> None:
    blocked = optional_packages()
    assert {"ase", "dask", "pytest", "sphinx", "playwright"} <= blocked
    code = (
        "import pkgutil, sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({sorted(blocked)!r}))\n"  # None makes an import fail
        "import polyad\n"
        "names = [m.name for m in pkgutil.walk_packages(polyad.__path__, 'polyad.') if m.name != 'polyad.__main__']\n"
        "for name in names:\n    importlib.import_module(name)\n"
        "print(len(names))"
    )
    assert int(run_python(code)) > 20


def test_annotations_are_checked_under_test() -> None:
    """Shapes and types in signatures are enforced in this process, and an int may stand for a float."""
    import pytest
    import torch
    from jaxtyping import TypeCheckError

    from polyad.materials.lattice import LatticeBatch
    from polyad.tensors.notation import mandel_to_tensor
    from tests.contract_members import kelvin_like

    with pytest.raises(TypeCheckError):
        mandel_to_tensor(torch.eye(5))
    with pytest.raises(TypeCheckError):
        LatticeBatch.from_lattices("two lattices")  # type: ignore[arg-type]
    assert float(kelvin_like(torch.float64).perturb(0).radius.sum()) > 0

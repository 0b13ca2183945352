"""The command line as a whole: verbs are lazy, failures are one line, exit codes are kept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from polyad import __version__, cli
from polyad.cli import main
from polyad.errors import ConvergenceError, FileFormatError, InputError, MissingDependencyError, NumericalWarning


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Registers a function as the only command of the verb group `trial`, called `polyad trial act`."""

    def register(action: Callable[[], None]) -> None:
        app = typer.Typer(no_args_is_help=True, help="For trial only.")
        app.callback()(lambda: None)
        app.command("act")(action)
        module = types.ModuleType("polyad.cli.trial")
        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "polyad.cli.trial", module)
        monkeypatch.setattr(cli, "VERBS", {"trial": "trial", "act": "trial:act"})

    return register


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | environment
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"polyad {__version__}\n"


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "polyad", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"polyad {__version__}\n")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["trial"], ["trial", "--help"]])
def test_help_is_printed_to_stdout(words: list[str], verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    verb(lambda: None)
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "Usage" in captured.out
    assert ("act" if words[:1] == ["trial"] else "trial") in captured.out
    assert captured.err == ""


def test_group_and_single_command_run(verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    verb(lambda: typer.echo("acted"))
    assert main(["trial", "act"]) == 0
    assert main(["act"]) == 0
    assert capsys.readouterr().out == "acted\nacted\n"


def test_help_loads_no_torch_and_a_verb_loads_only_its_module() -> None:
    code = (
        "import sys\nfrom polyad.cli import VERBS, main\n"
        "before = {m for m in sys.modules if m.startswith('polyad.cli.')}\n"
        "assert main(['--version']) == 0\n"
        "assert {m for m in sys.modules if m.startswith('polyad.cli.')} == before, 'a verb was imported'\n"
        "assert main(['--help']) == 0\n"
        "heavy = sorted({'torch', 'numpy', 'scipy', 'numba', 'matplotlib', 'pyarrow', 'plotly'} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("radius is -1; it must be positive"), "radius is -1; it must be positive"),
        (FileFormatError("a.lat", "no cell; add one", line=7), "a.lat:7: no cell; add one"),
        (
            MissingDependencyError("reading ASE structures", "ase>=3.23"),
            "reading ASE structures needs an optional package: pip install 'ase>=3.23'",
        ),
        (ConvergenceError("residual 1e-3 after 99 steps; raise steps"), "residual 1e-3 after 99 steps; raise steps"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.lat"), "x.lat: no such file or directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), "/etc/x: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device; free some space"),
        (OSError("[Errno 28] Error writing bytes to file"), "[Errno 28] Error writing bytes to file"),
        (MemoryError(), "out of memory"),
        (InputError("name 'a\nb\x1b[31m' is\todd"), "name 'a b\\x1b[31m' is odd"),
    ],
)
def test_failure_is_one_line_and_exit_code_two(
    error: Exception, line: str, verb: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(error))
    assert main(["trial", "act"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"polyad: error: {line}")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["tria"], ["'tria'", "'trial'", "polyad --help"]),
        (["--nothing"], ["--nothing", "polyad --help"]),
        (["trial", "act", "--nothing"], ["--nothing", "polyad trial act --help"]),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], parts: list[str], verb: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda: None)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("polyad: error: ")
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts), captured.err


def test_bug_keeps_its_traceback(verb: Callable) -> None:
    verb(raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["trial", "act"])


def test_debug_shows_the_traceback_of_an_input_error(verb: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYAD_DEBUG", "1")
    verb(raising(InputError("bad")))
    with pytest.raises(InputError, match="bad"):
        main(["trial", "act"])


def test_interrupt_is_exit_code_130(verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    verb(raising(KeyboardInterrupt()))
    assert main(["trial", "act"]) == 130
    assert capsys.readouterr().err == "polyad: interrupted\n"


def test_exit_code_of_a_command_is_kept(verb: Callable) -> None:
    verb(raising(typer.Exit(3)))
    assert main(["trial", "act"]) == 3


def test_warning_is_one_line_without_source(verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> None:
        warnings.warn("two parts\nare not joined", NumericalWarning, stacklevel=1)

    verb(action)
    before = warnings.showwarning
    assert main(["trial", "act"]) == 0
    assert warnings.showwarning is before
    assert capsys.readouterr().err == "polyad: warning: two parts are not joined\n"


def test_closed_pipe_is_no_traceback() -> None:
    line = f"set -o pipefail; '{sys.executable}' -m polyad --help | head -c 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_every_module_with_an_app_is_registered() -> None:
    folder = Path(cli.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "typer.Typer(" in path.read_text(encoding="utf-8")}
    assert modules - {"__init__"} == {target.partition(":")[0] for target in cli.VERBS.values()}

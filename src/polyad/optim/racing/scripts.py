"""Problems from a user's own script: `script.py:make_problem`."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from polyad.errors import FileFormatError, InputError
from polyad.files import read_bytes
from polyad.optim.racing.problem import Maker, Problem, as_problem

FUNCTION = "make_problem"
"""Name of the function where none is given."""


def is_script(words: str) -> bool:
    """Whether words name a script, not a built-in problem."""
    return ".py" in words or "/" in words or ":" in words


def load_maker(words: str) -> Maker:
    """The maker that a script defines; the script is run, as `python script.py` would, under another name.

    Args:
        words: "path" or "path:function".

    Raises:
        FileFormatError: the file is missing or not readable, fails when it is run, or lacks the function.
    """
    path, _, name = words.rpartition(":") if ":" in words else (words, "", FUNCTION)
    module = _run(path)
    function = getattr(module, name, None)
    if not callable(function):
        raise FileFormatError(path, f"has no function {name!r}; define `def {name}(seed): ...`{_offered(module)}")
    return maker_of(function, origin=f"{path}:{name}")


def maker_of(function: Callable[[int], Any], *, origin: str) -> Maker:
    """A function of a user as one that returns checked problems, and answers its failures in one line.

    Args:
        function: of the seed.
        origin: where it is defined, for messages.
    """

    def make(seed: int) -> Problem:
        try:
            inspect.signature(function).bind(seed)
        except TypeError as error:
            raise InputError(f"{origin}: must take one argument, the seed ({error})") from error
        try:
            return as_problem(function(seed), origin=origin)
        except InputError:
            raise
        except Exception as error:  # of the user's own code, whatever it is
            raise InputError(f"{origin}({seed}): {_last_line(error)}") from error

    return make


def _run(path: str) -> ModuleType:
    """A module made of a file, which may import its neighbours."""
    source = read_bytes(path)
    module = ModuleType(Path(path).stem)
    module.__file__ = str(Path(path).resolve())
    sys.modules[f"_polyad_script_{Path(path).stem}"] = module  # dataclasses look their module up
    module.__dict__["__name__"] = f"_polyad_script_{Path(path).stem}"
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except SyntaxError as error:
        raise FileFormatError(path, f"is no Python ({error.msg})", line=error.lineno) from error
    except SystemExit as error:
        raise FileFormatError(path, 'ends by itself; put its main part under `if __name__ == "__main__":`') from error
    except Exception as error:
        raise FileFormatError(path, _last_line(error), line=_line(error, module.__file__)) from error
    finally:
        sys.path.remove(folder)
    return module


def _last_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _line(error: Exception, file: str) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _offered(module: ModuleType) -> str:
    functions = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return f"; it has {', '.join(functions)}" if functions else ""

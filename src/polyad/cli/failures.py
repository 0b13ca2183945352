"""What the user sees when a command fails: one line that names the input and the remedy, and an exit code."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import Any, final

from polyad.errors import ConvergenceError, InputError, MissingDependencyError, TrainingError

WRONG_INPUT = 2
INTERRUPTED = 130

_REMEDIES = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EACCES: "change its permissions or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "check the path",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: "one part of the path is a file, not a folder",
}


@final
@dataclass(frozen=True)
class Failure:
    """A failure to tell the user: what to print (a line on stderr, or a help text on stdout) and the exit code."""

    text: str
    code: int
    is_help: bool = False

    def print(self) -> int:
        """Print it and return the exit code."""
        if self.is_help:
            sys.stdout.write(self.text.rstrip() + "\n" if self.text.strip() else "")
        elif self.text:
            print_line(f"error: {self.text}")
        return self.code


def describe_failure(error: BaseException) -> Failure | None:
    """How to tell the user of `error`; None for what is a bug of ours and deserves its traceback."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return Failure("", INTERRUPTED)
    if type(error).__name__ == "NoArgsIsHelpError":
        return Failure(_help_of(error), 0, is_help=True)
    if hasattr(error, "format_message"):  # the parser's own errors, under whichever name the installed typer keeps them
        return Failure(_usage_line(error), WRONG_INPUT)
    if isinstance(error, (InputError, MissingDependencyError, ConvergenceError, TrainingError)):
        return Failure(str(error), WRONG_INPUT)
    if isinstance(error, OSError):
        return Failure(_system_line(error), WRONG_INPUT)
    if isinstance(error, MemoryError):
        detail = str(error)
        return Failure("out of memory" + (f": {detail}" if detail else "") + "; give a smaller batch", WRONG_INPUT)
    return None


def print_line(text: str, *, stream: Any = None) -> None:
    """Print `polyad: text` as exactly one line: a file's name or content cannot add lines or control codes to it."""
    one_line = " ".join(text.split())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in one_line)
    stream = stream or sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(f"polyad: {safe}\n".encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Stands in for `warnings.showwarning` while a command runs."""
    print_line(f"warning: {message}")


def _usage_line(error: Any) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return f"{message}; see '{context.command_path} --help'" if context is not None else message


def _help_of(error: Any) -> str:
    return str(error.ctx.get_help() or "")


def _system_line(error: OSError) -> str:
    if error.strerror is None:
        return str(error) or type(error).__name__
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " -> ".join(named)
    what = error.strerror[:1].lower() + error.strerror[1:]
    remedy = _REMEDIES.get(error.errno or 0)
    return (f"{where}: " if where else "") + what + (f"; {remedy}" if remedy else "")

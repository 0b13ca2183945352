"""Errors a user can act on: one line that says what, where, what is allowed and how to mend it."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Bad input: the message names the argument, what was given, what is allowed and the likely fix.

    The command line prints it as one line and exits with code 2.
    """


class FileFormatError(InputError):
    """A file that cannot be read: names the file, the line (counted from 1, where known) and the remedy."""

    def __init__(self, path: str | Path, message: str, *, line: int | None = None) -> None:
        self.path = str(path)
        self.line = line
        self.reason = message
        where = self.path if line is None else f"{self.path}:{line}"
        super().__init__(f"{where}: {message}")


class MissingDependencyError(ImportError):
    """An optional package is absent: names what needs it and gives the exact pip line."""

    def __init__(self, what: str, requirement: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install '{requirement}'")


class ConvergenceError(RuntimeError):
    """An iterative method stopped before its tolerance: names the residual reached and the remedy."""


class NumericalWarning(UserWarning):
    """The result stands, but something about the input deserves a look (the message says what)."""


class TrainingError(RuntimeError):
    """Training cannot go on: names the step and the samples, and what to look at."""

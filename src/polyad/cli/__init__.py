"""The command line: `polyad VERB ...`.

Every verb lives in a module of this package that parses, calls the library, draws progress and writes files, and does
nothing else. To add a verb: write a module with a `typer.Typer` called `app`, and name it in `VERBS`. Modules are
imported only when their verb is used (or listed in the help), and import torch only inside their commands.

Errors of the input end in one line on stderr and exit code 2 (see `polyad.cli.failures`); `POLYAD_DEBUG=1` shows the
traceback instead.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from polyad import __version__
from polyad.cli.failures import INTERRUPTED, describe_failure, print_line, show_warning

VERBS: dict[str, str] = {
    # verb: "module" where the module is the group of that verb, "module:command" where it is one of several commands
    "lattice": "lattice",
    "tensor": "tensor",
    "optim": "optim",
    "train": "learn:train",
    "predict": "learn:predict",
    "compare": "learn:compare",
    "systems": "scoreboard:systems",
    "claim": "scoreboard:claim",
    "claims": "scoreboard:claims",
    "cite": "scoreboard:cite",
}


class _LazyVerbs(Mapping[str, Any]):
    """Commands by verb; looking one up imports its module, iterating does not."""

    def __getitem__(self, verb: str) -> Any:
        module, _, name = VERBS[verb].partition(":")
        command: Any = typer.main.get_command(import_module(f"polyad.cli.{module}").app)
        return command.commands[name] if name else command

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class _Root(TyperGroup):
    """The top command, whose verbs are imported when they are asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _LazyVerbs()


app = typer.Typer(
    cls=_Root,
    help="Physics with tensors: exact solvers, symmetric networks, factorisations and the science on top.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"polyad {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 2 wrong input or failed work, 130 interrupted.

    Args:
        arguments: the words after `polyad`; by default those of the process.

    Errors that are not the input's (bugs) propagate with their traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            result = typer.main.get_command(app).main(words, prog_name="polyad", standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            failure = describe_failure(error)
            if failure is None or os.environ.get("POLYAD_DEBUG") == "1":
                raise
            result = failure.print()
    if result == INTERRUPTED:
        print_line("interrupted")
    return result if isinstance(result, int) else 0

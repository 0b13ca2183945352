"""`polyad optim`: optimisers beside each other on a training of one's own, and what there is to race."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyad.errors import InputError

if TYPE_CHECKING:
    from polyad.optim.racing.problem import Maker
    from polyad.optim.racing.race import Race

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Optimisers: race them on a model of your own.")


@app.command("race")
def race_command(
    problem: Annotated[
        str, typer.Argument(metavar="SCRIPT.py:FUNCTION|NAME", help="Your `make_problem(seed)`, or one of the list.")
    ],
    optimizers: Annotated[str, typer.Option("--optimizers", metavar="A,B,...", help="Names; the first sets the aim.")],
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="Of each training; tuning takes half of it, TRIALS times.")
    ],
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, help="Trainings of each optimiser.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Results (JSON, picture); what was killed goes on.")
    ] = None,
    rates: Annotated[
        list[str] | None, typer.Option("--rate", metavar="NAME=X", help="A learning rate, which is then not tuned.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", metavar="N", min=1, help="Trainings that tune a rate.")] = 8,
    target: Annotated[
        float | None, typer.Option("--target", metavar="X", help="Loss to reach; default: the best of the first.")
    ] = None,
    clock: Annotated[
        str, typer.Option("--clock", metavar="C", help="process (processor time) or wall; for a GPU wall.")
    ] = "process",
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Of torch.")] = 1,
) -> None:
    """Tune the learning rate of every optimiser with the same budget, then train all on the same seeds and clock."""
    from polyad.cli.progress import progress_bar
    from polyad.files import atomic_path, atomic_write
    from polyad.optim.racing.race import race
    from polyad.optim.racing.results import plot_race, race_facts

    if not 0 < minutes < math.inf:
        raise InputError(f"--minutes: must be positive, got {minutes}")
    names = [name for name in optimizers.split(",") if name]
    make, fixed = _maker(problem), _rates(rates)
    with progress_bar("Racing", unit="s of training") as advance:
        found = race(
            make,
            names,
            seconds=60 * minutes,
            seeds=seeds,
            rates=fixed,
            trials=trials,
            clock=clock,
            num_threads=threads,
            name=problem,
            folder=out,
            progress=advance,
        )
    _print_race(found, target)
    if out is not None:
        with atomic_write(out / "race.json") as handle:
            handle.write(json.dumps(race_facts(found, target=target), indent=1, allow_nan=False).encode())
        with atomic_path(out / "race.png") as path:
            plot_race(found, target=target).savefig(path, dpi=150)
        typer.echo(f"wrote {out / 'race.json'} and {out / 'race.png'}")


@app.command("list")
def list_command() -> None:
    """Optimisers and built-in problems by name."""
    from polyad.cli.tables import print_table
    from polyad.optim.registry import OPTIMIZERS
    from polyad.problems.training import TRAININGS

    rows = [[entry.name, entry.summary, f"{entry.rates[0]:g} to {entry.rates[1]:g}"] for entry in OPTIMIZERS.values()]
    print_table(["optimiser", "what it is", "learning rates tried"], rows, texts=2)
    print_table(["problem", "what it is"], [[item.name, item.summary] for item in TRAININGS.values()], texts=2)


def _maker(problem: str) -> Maker:
    from polyad.optim.racing.scripts import is_script, load_maker

    if is_script(problem):
        return load_maker(problem)
    from polyad.problems.training import find_training

    return find_training(problem).make


def _rates(words: Sequence[str] | None) -> dict[str, float]:
    found = {}
    for word in words or ():
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"--rate: {word!r} is not NAME=X with a number X, such as adamw=0.001") from None
    return found


def _print_race(race: Race, target: float | None) -> None:
    from polyad.cli.tables import number, print_table

    aim = race.target() if target is None else target
    settings, rows = race.settings, race.rows(aim)
    clock = "processor" if settings["clock"] == "process" else "wall"
    print_table(
        ["optimiser", "rate", "best loss", "of all seeds", f"s to {aim:.4g}", "steps", "ms a step", "kB of state"],
        [
            [
                row.optimizer,
                number(row.rate, 2),
                _known(row.best),
                f"{_known(row.lowest)} to {_known(row.highest)}",
                _known(row.seconds, 3),
                _known(row.steps, 6),
                number(1e3 * row.seconds_a_step, 3),
                f"{row.state_bytes / 1e3:,.1f}",
            ]
            for row in rows
        ],
        title=f"{settings['problem']}: {settings['seeds']} seeds, {settings['seconds']:g} s of {clock} time each",
    )
    for row in rows:
        if row.note:
            typer.echo(f"{row.optimizer}: {row.note}")


def _known(value: float, digits: int = 4) -> str:
    """A number, or a dash for what was not reached."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"

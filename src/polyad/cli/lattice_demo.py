"""`polyad lattice demo`: what the demo found, on the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from polyad.cli.progress import format_rate, progress_bar
from polyad.cli.tables import number, print_table
from polyad.errors import ConvergenceError

if TYPE_CHECKING:
    from polyad.materials.lattice.closed_forms import KnownValue


def show_demo(out: Path) -> None:
    """Run the demo with progress bars and print the proof, the throughput and the designs.

    Raises:
        ConvergenceError: a computed value differs from a known one.
    """
    begin = time.perf_counter()
    from polyad.materials.lattice.demo import run_demo

    found = run_demo(out, stage=lambda description, unit: progress_bar(description, unit=unit))
    print_table(
        ["cell", "rho", "beams", "quantity", "known", "computed", "error", "agrees"],
        [_known_row(value) for value in found.known],
        title="Closed forms and published digits (E_s = 1, Kelvin-Mandel)",
    )
    typer.echo(
        f"{found.lattices:,} lattices: {found.named} named cells at 4 densities and "
        f"{found.lattices - 4 * found.named:,} generated ones (on average {found.mean_nodes:.1f} nodes, "
        f"{found.mean_struts:.1f} struts), solved at {format_rate(found.rate)} a second"
    )
    print_table(
        ["design", "quantity", "start", "target", "reached"],
        [
            [goal.design, goal.quantity, *(number(x, 6) for x in (goal.start, goal.target, goal.reached))]
            for goal in found.goals
        ],
        title="Designs at fixed density",
        texts=2,
    )
    for path in found.files:
        typer.echo(f"wrote {path}")
    typer.echo(f"{time.perf_counter() - begin:.1f} s in all")
    wrong = [value for value in found.known if not value.holds]
    if wrong:
        raise ConvergenceError(f"{wrong[0].quantity} of {wrong[0].cell} differs from its known value; report this")


def _known_row(value: KnownValue) -> list[str]:
    digits = 10 if value.basis == "formula" else 12 if value.tolerance < 1e-8 else 7
    known = f"{value.exact:.{digits}g}"
    agrees = "yes" if value.holds else "NO"
    basis = f"to {value.tolerance:.0e}" if value.basis == "formula" else "all digits"
    computed = f"{value.computed:.{digits}g}"
    return [
        value.cell,
        f"{value.density:g}",
        value.beams,
        value.quantity,
        known,
        computed,
        f"{value.error:.1e}",
        f"{agrees}, {basis}",
    ]

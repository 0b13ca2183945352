"""`polyad systems`, `claim`, `claims` and `cite`: what Polyad holds, what it shows and whom to thank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from polyad.claims.cards import Card, find_card, read_cards

app = typer.Typer(no_args_is_help=True)

_Package = Annotated[str | None, typer.Option("--package", metavar="P", help="Only the systems of one package.")]
_Output = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for JSON and figures [default: the docs of a checkout]."),
]


@app.command()
def systems(
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="T", help="Only with this tag; repeatable.")] = None,
    package: _Package = None,
) -> None:
    """List the systems that Polyad holds."""
    cards = read_cards(package=package, tags=tag or ())
    if as_json:
        typer.echo(json.dumps([card.as_dict() for card in cards], indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in ("id", "slug", "paper", "tags", "minutes"):
        # the slug is what one types next, so it stays whole
        whole = name in ("id", "slug")
        table.add_column(name, justify="right" if name == "minutes" else "left", no_wrap=whole, overflow="fold")
    for card in cards:
        fields = (card.id, card.slug, card.title, ", ".join(card.tags), f"{card.minutes:g}")
        table.add_row(*map(escape, fields))
    Console().print(table)


@app.command()
def claim(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The system's slug or id, as 'polyad systems' lists it.")],
    out: _Output = None,
) -> None:
    """Run the experiment of one paper and show its claim beside what was measured."""
    _run_all([find_card(slug)], out)


@app.command()
def claims(package: _Package = None, out: _Output = None) -> None:
    """Run the experiments of all systems, or of one package."""
    _run_all(read_cards(package=package), out)


@app.command()
def cite(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT.py", help="A Python script that imports Polyad.")],
) -> None:
    """Print the BibTeX of the systems that a script uses."""
    from polyad.claims.citations import cited_systems
    from polyad.cli.failures import print_line

    cards = cited_systems(script, read_cards())
    if not cards:
        print_line(f"{script} uses no system of Polyad")
    for card in cards:
        typer.echo(card.bibtex.strip() + "\n")


def _run_all(cards: list[Card], out: Path | None) -> None:
    """Run claims one after the other; a claim that does not hold is a result, one that fails ends the run."""
    from rich.console import Console

    from polyad.claims.checkout import default_output, find_checkout
    from polyad.claims.pages import write_pages
    from polyad.claims.runner import result_table, run_claim, summary_lines, write_result
    from polyad.cli.progress import progress_bar

    folder = default_output() if out is None else out
    console = Console()
    for card in cards:
        with progress_bar(card.slug, unit="steps") as advance:
            report, result = run_claim(card, progress=advance)
        written = write_result(card, report, result, folder)
        console.print(result_table(result))
        for line in (*summary_lines(result), *(f"wrote {path}" for path in written)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    checkout = find_checkout()
    if out is None and checkout is not None:
        write_pages(checkout / "docs")

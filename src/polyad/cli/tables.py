"""Tables and numbers as the commands print them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

WIDE = 160
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, texts: int = 1
) -> None:
    """Print a table: the first `texts` columns to the left, the others, numbers, to the right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def number(value: float, digits: int = 4) -> str:
    """A number in few characters; a dash where it does not exist."""
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def percent(share: float) -> str:
    """A share as a percentage with three digits."""
    return f"{100 * share:.3g} %"

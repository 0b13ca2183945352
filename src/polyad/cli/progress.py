"""One progress bar for every verb: what is being done, how far, how fast, how long still.

Library functions that take long accept `progress: Callable[[int, int], None] | None` and call it with the items done
and the items in all; `progress_bar` turns those calls into a bar on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressCallback = Callable[[int, int], None]


@contextmanager
def progress_bar(description: str, *, unit: str = "items", shown: bool | None = None) -> Iterator[ProgressCallback]:
    """A callback `(done, total)` that draws a bar while the block runs; a total of 0 means that it is not known.

        with progress_bar("Solving", unit="lattices") as advance:
            homogenize_many(lattices, progress=advance)

    Args:
        description: the verb, shown at the left.
        unit: what is counted, shown with the rate.
        shown: draw or not; by default only where stderr is a terminal, or where POLYAD_PROGRESS=1 asks for it
            (POLYAD_PROGRESS=0 asks for silence).
    """
    if not _is_shown(shown):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{format_rate(speed)} {unit}/s" if speed else "", style="progress.data.speed")

    console = Console(stderr=True, force_terminal=True if not sys.stderr.isatty() else None)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def format_rate(rate: float) -> str:
    """Three significant digits without an exponent: 0.0123, 4.56, 78.9, 12,300."""
    if rate >= 999.5:
        digits = len(str(round(rate))) - 3
        return f"{round(rate, -digits):,.0f}"
    return f"{rate:.3g}"


def _is_shown(shown: bool | None) -> bool:
    if shown is not None:
        return shown
    asked = os.environ.get("POLYAD_PROGRESS")
    return sys.stderr.isatty() if asked not in ("0", "1") else asked == "1"

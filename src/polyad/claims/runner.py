"""Runs a claim and keeps what came out: a table on the screen, `<slug>.json` and its figures in a folder."""

from __future__ import annotations

import datetime
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from polyad.claims.cards import Card
from polyad.claims.machine import describe_machine, describe_versions
from polyad.claims.report import Report, format_value
from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_path, atomic_write

if TYPE_CHECKING:
    from rich.table import Table

RESULT_FIELDS = (
    "id", "slug", "title", "paper", "claim", "published", "holds", "rows", "notes", "open",
    "figures", "seconds", "machine", "versions", "date", "command",
)  # fmt: skip


def run_claim(card: Card, *, progress: Callable[[int, int], None] | None = None) -> tuple[Report, dict[str, Any]]:
    """Run the experiment of a card.

    Returns:
        The filled report, and the result as JSON values: the card's claim, the report, seconds, machine, versions and
        date.

    Raises:
        InputError: the experiment reported nothing.
        MissingDependencyError: the experiment needs an extra that is not installed.
    """
    report = Report(progress=progress)
    experiment = _load(card).run
    start = time.perf_counter()
    experiment(report)
    seconds = time.perf_counter() - start
    if not report.rows:
        raise InputError(f"claim {card.slug}: run(report) added no row; report.row(...) is how a claim speaks")
    now = datetime.datetime.now(datetime.UTC)
    result = {
        **{name: getattr(card, name) for name in ("id", "slug", "title", "paper", "claim")},
        "published": dict(card.published),
        **report.as_dict(),
        "figures": [_figure_name(card, name) for name in report.figures],
        "seconds": round(seconds, 2),
        "machine": describe_machine(),
        "versions": describe_versions(*card.extras),
        "date": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command": f"polyad claim {card.slug}",
    }
    return report, result


def write_result(card: Card, report: Report, result: dict[str, Any], folder: str | Path) -> list[Path]:
    """Write figures and `<slug>.json` to a folder, which is made where absent; each file is whole or not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in report.figures.items():
        path = folder / _figure_name(card, name)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
        written.append(path)
    path = folder / f"{card.slug}.json"
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as handle:
        handle.write(text.encode("utf-8"))
    return [*written, path]


def read_result(path: str | Path) -> dict[str, Any]:
    """A result that `write_result` wrote.

    Raises:
        FileFormatError: not JSON, or not all the fields of a result.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(path, f"not JSON ({error}); run the claim again") from error
    missing = sorted(set(RESULT_FIELDS) - set(result)) if isinstance(result, dict) else list(RESULT_FIELDS)
    if missing:
        raise FileFormatError(path, f"lacks {missing}; run the claim again")
    return dict(result)


def result_table(result: dict[str, Any]) -> Table:
    """The table of a result for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{result['id']} {result['title']}"), title_justify="left")
    table.add_column("quantity")
    for name in ("paper's claim", "baseline", "ours", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("holds?")
    for row in result["rows"]:
        values = [format_value(row[name]) for name in ("paper", "baseline", "ours", "ratio")]
        verdict = {True: "[green]yes", False: "[red]no", None: ""}[row["holds"]]
        table.add_row(escape(row["quantity"]), *map(escape, values), verdict)
    return table


def summary_lines(result: dict[str, Any]) -> Sequence[str]:
    """Notes, open items and the verdict, one line each."""
    verdict = {True: "holds", False: "does not hold here", None: "no verdict"}[result["holds"]]
    return [
        *(f"note: {text}" for text in result["notes"]),
        *(f"open: {text}" for text in result["open"]),
        f"{result['slug']}: {verdict}, {result['seconds']:.3g} s",
    ]


def _figure_name(card: Card, name: str) -> str:
    return f"{card.slug}-{name}.png" if name else f"{card.slug}.png"


def _load(card: Card) -> ModuleType:
    if card.path.is_relative_to(Path(__file__).parent):
        return import_module(f"polyad.claims.{card.package}.{card.slug}")
    spec = importlib.util.spec_from_file_location(f"polyad_claim_{card.slug}", card.path)
    if spec is None or spec.loader is None:
        raise FileFormatError(card.path, "not a Python file; a claim is one")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

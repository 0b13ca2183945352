"""The report that a claim fills: rows of a table, figures, notes, and what is still open."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

from polyad.errors import InputError

Value = float | int | str | None


@final
@dataclass(frozen=True)
class Row:
    """One line of a claim's table: a quantity as the paper has it, of the baseline that it beat, and of ours."""

    quantity: str
    paper: Value
    baseline: Value
    ours: Value
    ratio: float | None
    holds: bool | None


@final
class Report:
    """What `run(report)` fills. `progress(done, total)` may be called at any time; it draws where somebody watches.

    def run(report):
        error, baseline = ...
        report.row(quantity="relative error", paper="<= 0.7 x baseline", baseline=baseline, ours=error,
                   holds=error <= 0.7 * baseline)
        report.note("trained for 90 s, not 4 hours")
        report.figure(figure)
    """

    def __init__(self, *, progress: Callable[[int, int], None] | None = None) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.open_items: list[str] = []
        self.figures: dict[str, Any] = {}
        self.progress: Callable[[int, int], None] = progress or (lambda done, total: None)

    def row(
        self,
        *,
        quantity: str,
        ours: Any,
        paper: Any = None,
        baseline: Any = None,
        ratio: Any = None,
        holds: Any = None,
    ) -> Row:
        """Add a line to the table.

        Args:
            quantity: what was measured, with its unit.
            ours: a finite number (also a tensor or array of one element) or text.
            paper: the number or words of the paper; None where it says nothing.
            baseline: what the paper compared with, measured in the same run.
            ratio: by default ours / baseline where both are numbers.
            holds: whether the claim holds here, a truth value; None for a line that only informs.

        Raises:
            InputError: a number that is not finite, or a quantity given twice.
        """
        if any(row.quantity == quantity for row in self.rows):
            raise InputError(f"report.row: {quantity!r} is there already; give every quantity one row")
        paper, baseline, ours = (
            _as_value(value, f"{name} of {quantity!r}")
            for name, value in (("paper", paper), ("baseline", baseline), ("ours", ours))
        )
        ratio = _as_value(ratio, f"ratio of {quantity!r}")
        if ratio is None and not isinstance(ours, str) and not isinstance(baseline, str) and baseline:
            ratio = ours / baseline
        if isinstance(ratio, str):
            raise InputError(f"report.row: ratio of {quantity!r} is {ratio!r}; it must be a number")
        row = Row(quantity, paper, baseline, ours, ratio, None if holds is None else bool(holds))
        self.rows.append(row)
        return row

    def note(self, text: str) -> None:
        """Say something that a reader of the table must know, such as a smaller size than the paper's."""
        self.notes.append(text)

    def open(self, text: str) -> None:
        """Name a part of the paper's claim that is not shown yet."""
        self.open_items.append(text)

    def figure(self, figure: Any, name: str = "") -> None:
        """Keep a matplotlib figure; it is saved as `<slug>.png`, or `<slug>-<name>.png` where a name is given."""
        if name in self.figures:
            raise InputError(f"report.figure: {name!r} is there already; give every figure its own name")
        if name and not name.replace("-", "").replace("_", "").isalnum():
            raise InputError(
                f"report.figure: name is {name!r}; it becomes part of a file's name: letters and digits only"
            )
        self.figures[name] = figure

    @property
    def holds(self) -> bool | None:
        """True when every row with a verdict holds, False when one does not, None when none has a verdict."""
        verdicts = [row.holds for row in self.rows if row.holds is not None]
        return all(verdicts) if verdicts else None

    def as_dict(self) -> dict[str, Any]:
        """Rows, verdict, notes and open items as JSON values."""
        return {
            "holds": self.holds,
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
            "open": list(self.open_items),
        }


def format_value(value: Value) -> str:
    """Four significant digits for numbers, text as it is, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _as_value(value: Any, name: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "item"):  # tensors and arrays of one element
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"report.row: {name} is {value!r}; give a number or text")
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not math.isfinite(number):
        raise InputError(f"report.row: {name} is {number}; only finite numbers are results, find out what failed")
    return number

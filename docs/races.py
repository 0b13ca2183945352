"""Races of optimisers on the built-in trainings, and the tables that docs/optim.md makes of them.

python docs/races.py run [NAME ...]     race (minutes each; what was killed goes on), then the tables
python docs/races.py                    write the tables into docs/optim.md from the results that are there
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE, RESULTS, COURSES = DOCS / "optim.md", DOCS / "races", DOCS / "_build" / "races"
BEGIN, END = "<!-- races: begin -->", "<!-- races: end -->"

SECONDS = {"quadratic": 1.0, "valley": 0.5, "logistic": 0.5, "glyphs-mlp": 1.5, "autoencoder": 1.5, "text": 8.0}
"""Processor time of each training."""

SEEDS, TRIALS = 3, 8
BASELINES = ("adamw", "sgd", "lbfgs")
"""torch's own, the first of which sets the aim; all of Polyad's race against them."""


def run(problem: str) -> None:
    """Race on one problem and keep its rows."""
    from polyad.files import atomic_write
    from polyad.optim.racing.race import race
    from polyad.optim.racing.results import race_facts
    from polyad.optim.registry import OPTIMIZERS
    from polyad.problems.training import find_training

    names = [*BASELINES, *(entry.name for entry in OPTIMIZERS.values() if entry.ours)]
    folder = COURSES / problem
    found = race(
        find_training(problem).make, names, seconds=SECONDS[problem], seeds=SEEDS, trials=TRIALS, name=problem,
        folder=folder,
    )  # fmt: skip
    facts = {key: value for key, value in race_facts(found).items() if key in ("settings", "target", "rows")}
    RESULTS.mkdir(exist_ok=True)
    with atomic_write(RESULTS / f"{problem}.json") as handle:
        handle.write((json.dumps(facts, indent=1) + "\n").encode())


def tables() -> str:
    """Best losses, and times to the first baseline's, of every optimiser on every problem that was raced."""
    kept = {problem: RESULTS / f"{problem}.json" for problem in SECONDS}
    facts = {problem: json.loads(path.read_text()) for problem, path in kept.items() if path.is_file()}
    rows = {problem: {row["optimizer"]: row for row in fact["rows"]} for problem, fact in facts.items()}
    names = list(dict.fromkeys(name for by_name in rows.values() for name in by_name))
    lengths = ", ".join(f"{problem} {fact['settings']['seconds']:g} s" for problem, fact in facts.items())
    text = [
        f"Processor time of each training, on one thread: {lengths}. {SEEDS} seeds, {TRIALS} trials a rate. **Bold**:",
        f"better than all of {', '.join(f'`{name}`' for name in BASELINES)}; a dash: diverged, or not reached.",
        "",
        "Best loss (median over seeds):",
        "",
        *_table(names, facts, lambda problem, name: _best(rows[problem], name)),
        "",
        f"Time to the best loss of `{BASELINES[0]}`, over its own time:",
        "",
        *_table(names, facts, lambda problem, name: _time(rows[problem], name)),
        "",
        "Bytes of the optimiser's state, over those of `adamw`:",
        "",
        *_table(names, facts, lambda problem, name: _memory(rows[problem], name)),
    ]
    return "\n".join(text)


def _table(names: list[str], problems: Any, cell: Any) -> list[str]:
    head = ["| optimiser | " + " | ".join(problems) + " |", "|---|" + "---|" * len(problems)]
    return head + [f"| `{name}` | " + " | ".join(cell(problem, name) for problem in problems) + " |" for name in names]


def _best(rows: dict[str, Any], name: str) -> str:
    if name not in rows or rows[name]["best"] is None:
        return "-"
    value = rows[name]["best"]
    rivals = [rows[rival]["best"] for rival in BASELINES if rival in rows and rows[rival]["best"] is not None]
    wins = name not in BASELINES and all(value < rival for rival in rivals)
    return f"**{value:.3g}**" if wins else f"{value:.3g}"


def _time(rows: dict[str, Any], name: str) -> str:
    own, ours = (rows.get(key, {}).get("seconds") for key in (BASELINES[0], name))
    if own is None or ours is None or not own:
        return "-"
    ratio = ours / own
    rivals = [rows[rival]["seconds"] for rival in BASELINES if rival in rows and rows[rival]["seconds"] is not None]
    wins = name not in BASELINES and all(ours < rival for rival in rivals)
    return f"**{ratio:.2g}**" if wins else f"{ratio:.2g}"


def _memory(rows: dict[str, Any], name: str) -> str:
    if name not in rows or rows[name]["best"] is None:
        return "-"
    ratio = rows[name]["state_bytes"] / max(rows[BASELINES[0]]["state_bytes"], 1)
    return f"{ratio:.2g}" if math.isfinite(ratio) else "-"


def write_tables() -> None:
    """Put the tables between their marks in the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        for chosen in sys.argv[2:] or SECONDS:
            run(chosen)
    write_tables()

"""Races of optimisers on the built-in trainings, and the tables that docs/optim.md makes of them.

python docs/races.py run [NAME ...]     race (minutes each; what was killed goes on), then the tables
python docs/races.py                    write the tables into docs/optim.md from the results that are there
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
PAGE, RESULTS, COURSES = DOCS / "optim.md", DOCS / "races", DOCS / "_build" / "races"
BEGIN, END = "<!-- races: begin -->", "<!-- races: end -->"

SEEDS = 3
BASELINES = ("adamw", "sgd", "lbfgs")
"""torch's own, the first of which sets the aim; Polyad's race against them."""

NEWTON = ("lbfgs-wolfe", "fosi", "fosi-sgd")
KRONECKER = ("shampoo", "mkor", "inverse-free-kfac")
LAYERS = ("shampoo", "shampoo4bit", "mkor", "mkor-lamb", "inverse-free-kfac", "sign", "spectral", "modular")


class Field(NamedTuple):
    """A race: processor time of each training, trainings of half that time that choose a rate, and who runs."""

    seconds: float
    trials: int
    names: tuple[str, ...] = ()  # beside the baselines; without names all of Polyad's


RACES = {
    "quadratic": Field(1.0, 8),
    "gap": Field(0.25, 6, NEWTON),
    "valley": Field(0.5, 8),
    "logistic": Field(0.5, 8),
    "image": Field(0.5, 6, (*NEWTON, *KRONECKER)),
    "poisson": Field(0.7, 6),
    "glyphs-mlp": Field(1.5, 8),
    "glyphs-wide": Field(0.7, 6, LAYERS),
    "autoencoder": Field(0.5, 6, (*KRONECKER, *NEWTON)),
    "text": Field(0.8, 6, ("shampoo", "shampoo4bit", "mkor", "mkor-lamb", "spectral", "modular")),
}


class Claim(NamedTuple):
    """What an optimiser should bring: at most `factor` of a rival's loss, or of its time or steps to its own best."""

    rival: str
    measure: str
    factor: float


CLAIMS = {
    "lbfgs-wolfe": Claim("adamw", "time", 0.6),
    "shampoo": Claim("adamw", "loss", 1.0),
    "shampoo4bit": Claim("shampoo", "bytes", 1 / 3),
    "mkor": Claim("adamw", "steps", 0.9),
    "mkor-lamb": Claim("adamw", "steps", 0.9),
    "inverse-free-kfac": Claim("sgd", "steps", 0.7),
    "fosi": Claim("adamw", "time", 0.85),
    "fosi-sgd": Claim("sgd", "time", 0.85),
    "sign": Claim("adamw", "loss", 1.0),
    "spectral": Claim("adamw", "loss", 1.0),
    "modular": Claim("adamw", "loss", 1.0),
    "multiadam": Claim("adamw", "loss", 0.3),
}
"""Rivals and factors, set by hand after papers and the scoreboard; where these name none, to be better."""

WORDS = {
    "loss": "the best loss of {} at equal time",
    "time": "the time to the best loss of {}",
    "steps": "the steps to the best loss of {}",
    "bytes": "the state of {}, and no higher loss at equal time",
}


def run(problem: str) -> None:
    """Race on one problem and keep its rows."""
    from polyad.files import atomic_write
    from polyad.optim.racing.race import race
    from polyad.optim.racing.results import race_facts
    from polyad.optim.registry import OPTIMIZERS
    from polyad.problems.training import find_training

    seconds, trials, chosen = RACES[problem]
    names = [*BASELINES, *(name for name, entry in OPTIMIZERS.items() if entry.ours and (not chosen or name in chosen))]
    folder = COURSES / problem
    found = race(
        find_training(problem).make, names, seconds=seconds, seeds=SEEDS, trials=trials, name=problem, folder=folder,
    )  # fmt: skip
    facts = {key: value for key, value in race_facts(found).items() if key in ("settings", "target", "rows")}
    aims = {rival: median(course.best for course in found.courses[rival]) for rival in BASELINES}
    facts["reached"] = {
        rival: {row.optimizer: [row.seconds, row.steps] for row in found.rows(aim) if math.isfinite(row.seconds)}
        for rival, aim in aims.items()
    }
    RESULTS.mkdir(exist_ok=True)
    with atomic_write(RESULTS / f"{problem}.json") as handle:
        handle.write((json.dumps(facts, indent=1) + "\n").encode())


def tables() -> str:
    """Best losses, and times to the first baseline's, of every optimiser on every problem that was raced."""
    kept = {problem: RESULTS / f"{problem}.json" for problem in RACES}
    facts = {problem: json.loads(path.read_text()) for problem, path in kept.items() if path.is_file()}
    rows = {problem: {row["optimizer"]: row for row in fact["rows"]} for problem, fact in facts.items()}
    longest = max(rows.values(), key=len)
    names = list(dict.fromkeys([*longest, *(name for by_name in rows.values() for name in by_name)]))
    settings = {problem: fact["settings"] for problem, fact in facts.items()}
    lengths = ", ".join(f"{problem} {given['seconds']:g} s ({given['trials']})" for problem, given in settings.items())
    text = [
        f"Processor time of each training on one thread, and trials of half that time for a rate: {lengths}.",
        f"{SEEDS} seeds. **Bold**: better than all of {', '.join(f'`{name}`' for name in BASELINES)};",
        "a dash: diverged, or not reached; empty: did not race.",
        "",
        *_verdicts(facts),
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


def _verdicts(facts: dict[str, Any]) -> list[str]:
    """What every optimiser should bring, and on which problems it does."""
    lines = ["| optimiser | should need | does on | does not on |", "|---|---|---|---|"]
    nowhere = []
    for name, claim in CLAIMS.items():
        ratios = {problem: ratio for problem, fact in facts.items() if (ratio := _ratio(fact, name, claim)) is not None}
        wins = {problem: ratio for problem, ratio in ratios.items() if ratio <= claim.factor}
        lost = [pair for pair in ratios.items() if pair[0] not in wins]
        if not wins:
            nowhere.append(name)
        aim = f"at most {claim.factor:.2g} x {WORDS[claim.measure].format(f'`{claim.rival}`')}"
        cells = [", ".join(_with_ratio(*pair) for pair in part) for part in (wins.items(), lost)]
        lines.append(f"| `{name}` | {aim} | {cells[0] or 'none'} | {cells[1] or 'none'} |")
    words = ", ".join(f"`{name}`" for name in nowhere)
    return [*lines, "", f"On none of these problems: {words or 'there is no such optimiser'}."]


def _ratio(fact: dict[str, Any], name: str, claim: Claim) -> float | None:
    """Ours over the rival's; infinite where ours does not get there, None where one of them did not run."""
    rows = {row["optimizer"]: row for row in fact["rows"]}
    if name not in rows or claim.rival not in rows or rows[claim.rival]["best"] is None:
        return None
    ours, theirs = rows[name], rows[claim.rival]
    if ours["best"] is None:
        return math.inf
    if claim.measure == "loss":
        return float(ours["best"] / theirs["best"])
    if claim.measure == "bytes":
        return float(ours["state_bytes"] / theirs["state_bytes"]) if ours["best"] <= theirs["best"] else math.inf
    reached, place = fact["reached"][claim.rival], ("time", "steps").index(claim.measure)
    if name not in reached or not reached.get(claim.rival, [0, 0])[place]:
        return math.inf
    return float(reached[name][place] / reached[claim.rival][place])


def _with_ratio(problem: str, ratio: float) -> str:
    return f"{problem} ({ratio:.3g})" if math.isfinite(ratio) else problem


def _table(names: list[str], problems: Any, cell: Any) -> list[str]:
    head = ["| optimiser | " + " | ".join(problems) + " |", "|---|" + "---|" * len(problems)]
    return head + [f"| `{name}` | " + " | ".join(cell(problem, name) for problem in problems) + " |" for name in names]


def _best(rows: dict[str, Any], name: str) -> str:
    if name not in rows:
        return ""
    if rows[name]["best"] is None:
        return "-"
    value = rows[name]["best"]
    rivals = [rows[rival]["best"] for rival in BASELINES if rival in rows and rows[rival]["best"] is not None]
    wins = name not in BASELINES and all(value < rival for rival in rivals)
    return f"**{value:.3g}**" if wins else f"{value:.3g}"


def _time(rows: dict[str, Any], name: str) -> str:
    if name not in rows:
        return ""
    own, ours = (rows.get(key, {}).get("seconds") for key in (BASELINES[0], name))
    if own is None or ours is None or not own:
        return "-"
    ratio = ours / own
    rivals = [rows[rival]["seconds"] for rival in BASELINES if rival in rows and rows[rival]["seconds"] is not None]
    wins = name not in BASELINES and all(ours < rival for rival in rivals)
    return f"**{ratio:.2g}**" if wins else f"{ratio:.2g}"


def _memory(rows: dict[str, Any], name: str) -> str:
    if name not in rows:
        return ""
    if rows[name]["best"] is None:
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
        for chosen in sys.argv[2:] or RACES:
            run(chosen)
    write_tables()

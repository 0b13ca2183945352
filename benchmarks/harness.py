"""What all benchmarks share: interleaved timing, the machine's measured ceilings, a table, CSV and JSON files.

`run_rows` is the main program of a benchmark file; `python benchmarks/harness.py` writes docs/benchmarks.md from the
results that are there.
"""

from __future__ import annotations

import csv
import datetime
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyad.claims.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Benchmark:
    """One row of the benchmark page: what is measured, what it should reach, and the function that measures it."""

    title: str
    reach: str
    run: Callable[[], Sequence[dict[str, Any]]]


def interleave(candidates: dict[str, Callable[[], object]], *, repeats: int = 7, rest: float = 0.0) -> dict[str, float]:
    """Median seconds of every candidate, run in turn so that a slow spell of the machine hits all alike.

    `rest` is a pause before each run: the threads of one library's pool keep spinning for some tenths of a second after
    their work, and would slow the next library down.
    """
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            time.sleep(rest)
            times[name].append(once(run)[0])
    return {name: statistics.median(values) for name, values in times.items()}


def once(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a single run, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def peak_bytes(run: Callable[[], Any]) -> tuple[int, Any]:
    """Most bytes of torch tensors that a run holds at one time beyond those it began with, and its result."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = run()
    held = largest = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        largest = max(largest, held)
    return largest, result


def ceilings() -> dict[str, float]:
    """Measured float64 matrix-product rate (Gflop/s) and copy bandwidth (GB/s, read + write) of all cores."""
    a = torch.rand(1500, 1500, dtype=torch.float64)
    product = min(once(lambda: a @ a)[0] for _ in range(5))
    source = np.ones(20_000_000)
    target = np.empty_like(source)
    copy = min(once(lambda: np.copyto(target, source))[0] for _ in range(5))
    return {"Gflop/s": 2 * 1500**3 / product / 1e9, "GB/s": 2 * source.nbytes / copy / 1e9}


def run_rows(package: str, benchmarks: dict[str, Benchmark]) -> None:
    """Run the benchmarks named on the command line (all without names), print and keep their results."""
    chosen = sys.argv[1:]
    unknown = [name for name in chosen if name not in benchmarks]
    if unknown:
        sys.exit(f"no benchmark {unknown[0]!r}; there are {', '.join(benchmarks)}")
    if len(chosen) != 1:
        # one process each, so that memory and caches of one do not count for the next
        for name in chosen or benchmarks:
            subprocess.run([sys.executable, sys.argv[0], name], check=True)
        return
    RESULTS.mkdir(exist_ok=True)
    for name in chosen:
        benchmark = benchmarks[name]
        print(f"\n{benchmark.title}\nreach: {benchmark.reach}")
        rows = [{key: _plain(value) for key, value in row.items()} for row in benchmark.run()]
        limits = {key: _plain(value) for key, value in ceilings().items()}
        print("\n".join(_lines(rows)), f"\nmachine's ceilings: {limits}")
        command, place = f"python benchmarks/{package}.py {name}", list(benchmarks).index(name)
        _keep(f"{package}_{name}", command, place, benchmark, rows, limits)


def write_page() -> None:
    """Write docs/benchmarks.md from the results."""
    text = [
        "# Benchmarks",
        "",
        "Each table is one run, ours beside the peer or the floor, with the command that repeats it. The machine's",
        "ceilings (a large float64 matrix product, a copy in memory) were measured in the same run.",
        "",
    ]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    for result in sorted(results, key=lambda r: (r["command"].split()[1], r["place"])):
        columns = list(dict.fromkeys(key for row in result["rows"] for key in row))
        limits = ", ".join(f"{value} {unit}" for unit, value in result["ceilings"].items())
        text += [f"## {result['title']}", "", f"To reach: {result['reach']}. `{result['command']}`", ""]
        text += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        text += ["| " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for row in result["rows"]]
        text += ["", f"{result['machine']}; ceilings {limits}; {result['date']}.", ""]
    PAGE.write_text("\n".join(text), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def _keep(
    stem: str, command: str, place: int, benchmark: Benchmark, rows: list[dict[str, Any]], limits: dict[str, Any]
) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(RESULTS / f"{stem}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    machine = describe_machine()
    result = {
        "title": benchmark.title,
        "reach": benchmark.reach,
        "command": command,
        "rows": rows,
        "ceilings": limits,
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB",
        "date": datetime.date.today().isoformat(),
        "place": place,
    }
    (RESULTS / f"{stem}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = [columns] + [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[k]) for line in text) for k in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in text]


def _plain(value: Any) -> Any:
    """Four significant digits for numbers, text and truth values as they are."""
    if isinstance(value, str | bool | int):
        return value
    return float(f"{float(value):.4g}")


if __name__ == "__main__":
    write_page()

"""What all benchmarks share: interleaved timing, the machine's measured ceilings, a table and a CSV file."""

from __future__ import annotations

import csv
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"


def interleave(candidates: dict[str, Callable[[], object]], *, repeats: int = 7) -> dict[str, float]:
    """Median seconds of every candidate, run in turn so that a slow spell of the machine hits all alike."""
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def once(run: Callable[[], object]) -> tuple[float, object]:
    """Seconds of a single run, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def ceilings() -> dict[str, float]:
    """Measured float64 matrix-product rate (Gflop/s) and copy bandwidth (GB/s, read + write) of all cores."""
    a = np.random.default_rng(0).random((1500, 1500))
    product = min(once(lambda: a @ a)[0] for _ in range(5))
    source = np.ones(20_000_000)
    target = np.empty_like(source)
    copy = min(once(lambda: np.copyto(target, source))[0] for _ in range(5))
    return {"Gflop/s": 2 * 1500**3 / product / 1e9, "GB/s": 2 * source.nbytes / copy / 1e9}


def report(name: str, rows: list[dict[str, object]]) -> None:
    """Print the rows as a table and write them to results/<name>.csv."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = [[_format(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[k]) for line in text)) for k, column in enumerate(columns)]
    print("  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)))
    for line in text:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    limits = ceilings()
    print(f"machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores, {limits}")
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: _format(v) for k, v in row.items()} for row in rows)


def _format(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

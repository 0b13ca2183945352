"""Times that claims compare: on one thread, in turns, so that another load of the machine meets all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch inside the block; as many as before afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def median_seconds(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 9,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median seconds of every call, one after the other in turns; a first turn, which fills caches, does not count.

    Args:
        calls: what is timed, by name.
        repeats: turns that count.
        clock: by default the processor's, which other processes leave alone.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if turn:
                times[name].append(clock() - start)
    return {name: median(values) for name, values in times.items()}


def log_slope(points: Iterable[tuple[float, float]]) -> float:
    """Exponent b of y = a x^b by least squares of the logarithms."""
    pairs = [(math.log(x), math.log(y)) for x, y in points]
    middle = sum(x for x, _ in pairs) / len(pairs)
    return sum((x - middle) * y for x, y in pairs) / sum((x - middle) ** 2 for x, _ in pairs)

"""What happened when in a pass over the blocks, and what should: a log of spans, and a forecast from two speeds."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from polyad.errors import InputError
from polyad.optim.checks import check_positive

LANES = ("upload", "compute", "offload")


@final
@dataclass(frozen=True)
class Span:
    """One piece of work.

    Args:
        lane: one of `LANES`.
        block: number of the block.
        start: seconds, of `time.perf_counter`.
        end: seconds.
        bytes: moved over the link; 0 for computing.
    """

    lane: str
    block: int
    start: float
    end: float
    bytes: int = 0


@final
@dataclass
class Timeline:
    """The spans of one step; written to by all lanes. On a GPU, computing begins with the launch of its kernels.

    Args:
        spans: in the order in which they ended.
        peak_device_bytes: most bytes held on the device.
    """

    spans: list[Span] = field(default_factory=list)
    peak_device_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, span: Span) -> None:
        """Note a piece of work; from any thread."""
        with self._lock:
            self.spans.append(span)

    def bytes_moved(self, *lanes: str) -> int:
        """Bytes over the link, in these lanes or in both directions."""
        return sum(span.bytes for span in self.spans if not lanes or span.lane in lanes)

    def seconds(self, *lanes: str) -> float:
        """Time in which at least one of these lanes was busy; of all lanes without names."""
        return _length(_union(self._intervals(lanes or LANES)))

    @property
    def overlap(self) -> float:
        """Share of the link's busy time during which the device computed, in [0, 1]; 0 where nothing moved."""
        link, compute = self.seconds("upload", "offload"), self.seconds("compute")
        return (link + compute - self.seconds()) / link if link else 0.0

    def _intervals(self, lanes: Iterable[str]) -> list[tuple[float, float]]:
        return [(span.start, span.end) for span in self.spans if span.lane in lanes]


@final
@dataclass(frozen=True)
class BlockCost:
    """What one block takes in a step.

    Args:
        bytes: that cross the link in each direction; 0 for a pinned block.
        flops: of both forward passes, the noise and the updates.
    """

    bytes: float
    flops: float


@final
@dataclass(frozen=True)
class Forecast:
    """Seconds of a step: with transfers beside the computing, one after the other, and in memory without transfers."""

    overlapped: float
    sequential: float
    compute: float


def simulate(blocks: Sequence[BlockCost], *, bandwidth: float, flops: float, slots: int = 3) -> Forecast:
    """How long a step takes on a link and a processor of given speeds.

    An upload waits for the one before it and for the offload that frees its slot; computing waits for the upload and
    the block before; an offload for the computing and the offload before. Directions do not slow each other down.

    Args:
        blocks: their costs, in order.
        bandwidth: bytes a second, each direction.
        flops: operations a second.
        slots: blocks the device has room for.

    Raises:
        InputError: speeds or slots that are not positive, or negative costs.
    """
    check_positive(bandwidth=bandwidth, flops=flops, slots=slots)
    if any(block.bytes < 0 or block.flops < 0 for block in blocks):
        raise InputError("blocks: costs must not be negative")
    uploaded, computed, offloaded = 0.0, 0.0, [0.0] * slots
    last, position = 0.0, 0
    for block in blocks:
        move = block.bytes / bandwidth
        ready = computed
        if block.bytes:
            uploaded = max(uploaded, offloaded[position % slots]) + move
            ready = max(ready, uploaded)
        computed = ready + block.flops / flops
        if block.bytes:
            last = max(last, computed) + move
            offloaded[position % slots] = last
            position += 1
    compute = sum(block.flops for block in blocks) / flops
    return Forecast(max(computed, last), compute + 2 * sum(block.bytes for block in blocks) / bandwidth, compute)


def _union(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _length(intervals: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in intervals)

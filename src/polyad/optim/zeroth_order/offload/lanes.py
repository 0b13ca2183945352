"""The two directions of the link, each a thread with a stream of its own, beside the thread that computes.

    lanes = Lanes(device, timeline, staging=largest)
    arrived = lanes.upload(3, host, slot, after=left)    # a future; waits for `left`, which frees the slot
    arrived.result()                                     # now the block may be computed with
    left = lanes.offload(3, slot, host, mark=lanes.mark())

All that knows of CUDA is `_PinnedCopy` and `mark`: copies run in their own streams through reusable pinned buffers, and
a future is done when its copy is. The computing stream is only waited for by the offload of what it computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import torch
from torch import Tensor

from polyad.optim.zeroth_order.offload.timeline import Span, Timeline


@final
class Lanes:
    """The link between host and device.

    Args:
        device: of the slots.
        timeline: where moves are noted; it may be exchanged between passes.
        overlap: whether moves run beside the computing; else they are done when asked for.
        bandwidth: bytes a second of a link that is slower than this machine's, for trials; None is as fast as it goes.
        staging: bytes of the largest block, for pinned buffers.
    """

    def __init__(
        self,
        device: torch.device,
        timeline: Timeline,
        *,
        overlap: bool = True,
        bandwidth: float | None = None,
        staging: int = 0,
    ) -> None:
        self.timeline = timeline
        self._device, self._bandwidth = device, bandwidth
        self._workers = {lane: ThreadPoolExecutor(1, lane) for lane in ("upload", "offload")} if overlap else {}
        cuda = device.type == "cuda"
        self._copies: dict[str, Callable[[Tensor, Tensor], Any]] = {
            lane: _PinnedCopy(device, staging) if cuda else _copy for lane in ("upload", "offload")
        }

    def upload(self, block: int, host: Tensor, slot: Tensor, *, after: Future[None] | None = None) -> Future[None]:
        """Copy bytes to the device; `after` is the offload that frees the slot."""
        return self._ask("upload", block, host, slot, lambda: after.result() if after else None)

    def offload(self, block: int, slot: Tensor, host: Tensor, *, mark: Any = None) -> Future[None]:
        """Copy bytes to the host, once the device has passed the mark."""
        return self._ask("offload", block, slot, host, lambda: mark.synchronize() if mark else None)

    def mark(self) -> Any:
        """A point in the computing stream, to be given to `offload`; None where computing is done when it returns."""
        return torch.cuda.current_stream(self._device).record_event() if self._device.type == "cuda" else None

    def close(self) -> None:
        """End the threads."""
        for worker in self._workers.values():
            worker.shutdown(wait=True)

    def _ask(self, lane: str, block: int, source: Tensor, target: Tensor, wait: Callable[[], Any]) -> Future[None]:
        if worker := self._workers.get(lane):
            return worker.submit(self._move, lane, block, source, target, wait)
        done: Future[None] = Future()
        self._move(lane, block, source, target, wait)
        done.set_result(None)
        return done

    def _move(self, lane: str, block: int, source: Tensor, target: Tensor, wait: Callable[[], Any]) -> None:
        wait()
        start = time.perf_counter()
        self._copies[lane](source, target)
        if self._bandwidth is not None:
            time.sleep(max(0.0, start + len(source) / self._bandwidth - time.perf_counter()))
        self.timeline.add(Span(lane, block, start, time.perf_counter(), len(source)))


def _copy(source: Tensor, target: Tensor) -> None:
    target.copy_(source)


@final
class _PinnedCopy:
    """Copies between host and a CUDA device in a stream of their own, through one pinned buffer; returns when done."""

    def __init__(self, device: torch.device, size: int) -> None:
        self._stream = torch.cuda.Stream(device)
        self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def __call__(self, source: Tensor, target: Tensor) -> None:
        buffer = self._buffer[: len(source)]
        if source.is_cuda:
            with torch.cuda.stream(self._stream):
                buffer.copy_(source, non_blocking=True)
            self._stream.synchronize()
            target.copy_(buffer)
        else:
            buffer.copy_(source)
            with torch.cuda.stream(self._stream):
                target.copy_(buffer, non_blocking=True)
            self._stream.synchronize()

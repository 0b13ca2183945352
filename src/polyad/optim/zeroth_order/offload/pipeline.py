"""A pass over all blocks in order, each on the device while something is done with it, its neighbours on their way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import final

import torch
from torch import Tensor

from polyad.optim.zeroth_order.offload.lanes import Lanes
from polyad.optim.zeroth_order.offload.layout import BlockLayout
from polyad.optim.zeroth_order.offload.timeline import Span
from polyad.optim.zeroth_order.offload.wire import arrival, compress, expand, is_short

Action = Callable[[int, dict[str, Tensor]], None]
"""What is done with a block: its number and its tensors on the device."""


@final
class Pipeline:
    """Host memory, slots and link of a list of blocks.

    Args:
        layouts: of the blocks.
        host: bytes of every block in host memory; pinned blocks have none.
        pinned: bytes on the device of the blocks that stay there, by number.
        slots: number of blocks the device has room for.
        device: where they are.
        lanes: the link.

    Attributes:
        scales: of every block's short form, one for each of its tensors.
        slots: bytes on the device.
    """

    def __init__(
        self,
        layouts: Sequence[BlockLayout],
        host: dict[int, Tensor],
        pinned: dict[int, Tensor],
        *,
        slots: int,
        device: torch.device,
        lanes: Lanes,
    ) -> None:
        self.layouts, self.host, self.pinned, self.lanes = layouts, host, pinned, lanes
        self.scales = [[1.0] * len(layout.entries) for layout in layouts]
        self.travelling = [k for k, layout in enumerate(layouts) if k not in pinned and layout.device_bytes]
        largest = max((layouts[k].device_bytes for k in self.travelling), default=0)
        count = min(slots, len(self.travelling))
        self.slots = [torch.zeros(largest, dtype=torch.uint8, device=device) for _ in range(count)]
        self._empty = torch.zeros(0, dtype=torch.uint8, device=device)

    def visit(self, action: Action, *, write: bool = True) -> None:
        """Bring every block to the device in order, do something with it, and bring it back.

        Args:
            action: called once for every block; what it raises is raised here, when the link is at rest.
            write: whether blocks changed and must go back.
        """
        arrived: dict[int, Future[None]] = {}
        left: dict[int, Future[None]] = {}
        place = {block: position for position, block in enumerate(self.travelling)}
        try:
            for position in range(len(self.slots)):
                self._request(position, arrived, None)
            for block in range(len(self.layouts)):
                if block not in place:
                    self._compute(block, self.pinned.get(block, self._empty), action)
                    continue
                position = place[block]
                arrived[block].result()
                slot = self.slots[position % len(self.slots)]
                self._compute(block, slot, action, write=write)
                if write:
                    sent = slot[: self.layouts[block].host_bytes]
                    left[block] = self.lanes.offload(block, sent, self.host[block], mark=self.lanes.mark())
                elif mark := self.lanes.mark():
                    mark.synchronize()  # nothing else would keep the next upload from the slot
                self._request(position + len(self.slots), arrived, left.get(block))
            for future in left.values():
                future.result()
        finally:
            wait([*arrived.values(), *left.values()])

    def put(self, block: int, tensors: dict[str, Tensor]) -> None:
        """Write a block's tensors where it lies."""
        here, layout = self.pinned.get(block), self.layouts[block]
        memory = torch.zeros(layout.device_bytes, dtype=torch.uint8) if here is None and is_short(layout) else here
        full = layout.in_host(self.host[block]) if memory is None else layout.in_slot(memory)
        for name, view in full.items():
            view.copy_(tensors[name])
        if memory is not None and here is None:
            self.scales[block] = compress(layout, memory)
            self.host[block].copy_(memory[: layout.host_bytes])

    def get(self, block: int) -> dict[str, Tensor]:
        """A block's tensors in full, on the CPU; views of host memory where they lie there in full."""
        here, layout = self.pinned.get(block), self.layouts[block]
        if here is not None:
            return layout.in_slot(here.cpu().clone())
        if not is_short(layout):
            return layout.in_host(self.host[block])
        memory = torch.zeros(layout.device_bytes, dtype=torch.uint8)
        arrival(layout, memory).copy_(self.host[block])
        expand(layout, memory, self.scales[block])
        return layout.in_slot(memory)

    def _request(self, position: int, arrived: dict[int, Future[None]], after: Future[None] | None) -> None:
        if position < len(self.travelling):
            block = self.travelling[position]
            slot = arrival(self.layouts[block], self.slots[position % len(self.slots)])
            arrived[block] = self.lanes.upload(block, self.host[block], slot, after=after)

    def _compute(self, block: int, memory: Tensor, action: Action, *, write: bool = False) -> None:
        start, layout = time.perf_counter(), self.layouts[block]
        if block not in self.pinned:
            expand(layout, memory, self.scales[block])
        action(block, layout.in_slot(memory))
        if write:
            self.scales[block] = compress(layout, memory)
        self.lanes.timeline.add(Span("compute", block, start, time.perf_counter()))

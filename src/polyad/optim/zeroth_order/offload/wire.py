"""Short forms of a block on the link: float32 parameters as bfloat16, or as 8-bit floats with a scale each.

The short form shares the slot's memory with the long one: it arrives at the slot's end and is expanded from the front,
and is compressed to the front again, so that neither direction needs more than one piece of scratch memory.
Scales are powers of two, so that a parameter that did not change is the same after any number of journeys.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyad.optim.zeroth_order.mezo import PIECE
from polyad.optim.zeroth_order.offload.layout import BlockLayout

EIGHT_BITS = torch.float8_e4m3fn


def is_short(layout: BlockLayout) -> bool:
    """Whether the host holds the block in another form than the device."""
    return any(entry.dtype != entry.host_dtype for entry in layout.entries)


def arrival(layout: BlockLayout, slot: Tensor) -> Tensor:
    """The bytes of a slot into which the host's form of a block is copied."""
    return slot[layout.device_bytes - layout.host_bytes : layout.device_bytes]


def expand(layout: BlockLayout, slot: Tensor, scales: list[float]) -> None:
    """The block in full from its short form at `arrival(layout, slot)`; nothing where the forms are the same.

    Args:
        layout: of the block.
        slot: bytes, at least `layout.device_bytes`.
        scales: one for each entry, as `compress` returned them.
    """
    if not is_short(layout):
        return
    short, full = layout.in_host(arrival(layout, slot)), layout.in_slot(slot)
    for entry, scale in zip(layout.entries, scales, strict=True):
        # front to back: what is written never reaches what is still to be read
        pieces = zip(short[entry.name].view(-1).split(PIECE), full[entry.name].view(-1).split(PIECE), strict=True)
        for source, target in pieces:
            piece = source.to(entry.dtype, copy=True)
            target.copy_(piece.mul_(scale) if scale != 1 else piece)
            del piece  # before the next is made


def compress(layout: BlockLayout, slot: Tensor) -> list[float]:
    """The short form of a block in a slot, at the slot's front; returns the scale of each entry.

    Args:
        layout: of the block.
        slot: bytes with the block in full, which is lost where the forms differ.
    """
    if not is_short(layout):
        return [1.0] * len(layout.entries)
    short, full = layout.in_host(slot), layout.in_slot(slot)
    scales = []
    for entry in layout.entries:
        whole = full[entry.name].view(-1)
        scale = _scale(whole) if entry.host_dtype == EIGHT_BITS != entry.dtype else 1.0
        for source, target in zip(whole.split(PIECE), short[entry.name].view(-1).split(PIECE), strict=True):
            piece = source.clone()
            target.copy_(piece.div_(scale) if scale != 1 else piece)
            del piece
        scales.append(scale)
    return scales


def _scale(values: Tensor) -> float:
    """The power of two that brings the largest value into [128, 256); the format ends at 448."""
    if not values.numel():
        return 1.0
    smallest, largest = torch.aminmax(values)
    reach = max(abs(float(smallest)), abs(float(largest)))
    if reach == 0:
        return 1.0
    if not math.isfinite(reach):
        return math.nan  # the format has no infinity and would hide one: the whole parameter comes back as NaN
    return 2.0 ** max(math.frexp(reach)[1] - 8, -120)

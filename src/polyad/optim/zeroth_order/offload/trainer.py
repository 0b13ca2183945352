"""MeZO for a model that visits the device block by block, once a step, with the same numbers to the bit.

A step of `MeZO` goes over all parameters four times and runs the model twice. Here both runs go through the blocks
together, and everything a block needs is done while it is there:

    upload;  theta -= lr slope' z'  (of the step before, whose slope was not known when the block was here last);
    theta += eps z, forward x+;  theta -= 2 eps z, forward x-;  theta += eps z;  offload

These are the float operations of MeZO in MeZO's order, since theta + eps z - 2 eps z + eps z is not theta in floats.
The device holds `device_slots` blocks, the pinned ones, the activations of one block boundary twice and what a block
needs to run. In a short form (bfloat16, 8-bit floats) blocks take half or a quarter of host memory and link, are
computed with in float32, and every visit ends with a rounding.

Deviations from the paper: noise in pieces, as in `polyad.optim.zeroth_order.mezo`; short forms share the slot's memory.

When not to use it: where the model fits on the device (the link costs time), or where one block and the batch do not.
In a short form steps below half a unit in the last place are lost: with 8 bits only what moves weights by more than a
few percent is learned.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polyad.errors import FileFormatError, InputError
from polyad.optim.checks import check_positive, one_number, warn_skipped
from polyad.optim.zeroth_order.mezo import PIECE, slope_of, step_seed
from polyad.optim.zeroth_order.offload.lanes import Lanes
from polyad.optim.zeroth_order.offload.layout import check_blocks, layout_of
from polyad.optim.zeroth_order.offload.memory import DeviceMeter, host_memory, mapped
from polyad.optim.zeroth_order.offload.pipeline import Pipeline
from polyad.optim.zeroth_order.offload.random_states import RandomStates
from polyad.optim.zeroth_order.offload.saving import load_state, save_state
from polyad.optim.zeroth_order.offload.timeline import Timeline

HOST_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float8": torch.float8_e4m3fn}
"""What float32 parameters can be in host memory and on the link; parameters of other dtypes stay as they are."""

Loss = Callable[[Any], Any]
"""From what the last block returns to one number; called twice a step, without gradients."""


@final
class ZO2Trainer:
    """Zeroth-order training of blocks in host memory; `step(inputs, loss)`.

        with ZO2Trainer(blocks, lr=1e-6, device="cuda", host_folder="/scratch") as trainer:
            for tokens, targets in batches:
                trainer.step(tokens, lambda logits: cross_entropy(logits.flatten(0, 1), targets.flatten()))

    Until `close`, which the end of the `with` block calls, the parameters are the trainer's; then they are back.

    Args:
        blocks: parts of a model on the CPU, each called with what the one before returned (a tuple as arguments).
        lr: step size; may be changed between steps.
        eps: half distance of the two losses.
        seed: of all steps, as in `MeZO`.
        device_slots: blocks that are on the device at once; with 3 both directions of the link run beside computing.
        host_dtype: one of `HOST_DTYPES`.
        overlap: whether the link runs beside the computing.
        pinned: numbers of blocks that stay on the device; by default first and last, embedding and head.
        device: where blocks are computed.
        host_folder: where a mapped file holds the blocks; None takes memory.
        device_budget: bytes the device may hold, or None.
        link_bandwidth: bytes a second of a link slower than this machine's, for trials.

    Attributes:
        steps: taken so far.
        skipped_steps: at which the losses were not finite, and nothing was updated.
        timeline: of the last pass.

    Raises:
        InputError: numbers that are not positive, unknown dtypes or blocks, or blocks that cannot travel.
    """

    def __init__(
        self,
        blocks: Sequence[Any],
        *,
        lr: float = 1e-6,
        eps: float = 1e-3,
        seed: int = 0,
        device_slots: int = 3,
        host_dtype: str = "float32",
        overlap: bool = True,
        pinned: Sequence[int] = (0, -1),
        device: torch.device | str = "cpu",
        host_folder: str | os.PathLike[str] | None = None,
        device_budget: int | None = None,
        link_bandwidth: float | None = None,
    ) -> None:
        check_positive(lr=lr, eps=eps, device_slots=device_slots)
        check_positive(**{} if link_bandwidth is None else {"link_bandwidth": link_bandwidth})
        if host_dtype not in HOST_DTYPES:
            raise InputError(f"host_dtype: {host_dtype!r} is unknown; choose one of {', '.join(HOST_DTYPES)}")
        self.blocks: list[nn.Module] = list(blocks)
        check_blocks(self.blocks)
        if bad := [number for number in pinned if not -len(self.blocks) <= number < len(self.blocks)]:
            raise InputError(f"pinned: there is no block {bad[0]}; the blocks are 0 to {len(self.blocks) - 1}")
        self.lr, self.eps, self.seed = lr, eps, seed
        self.steps = self.skipped_steps = 0
        self.timeline = Timeline()
        self._device = torch.device(device)
        self._pending: float | None = None
        self._unusable = ""
        stays = {number % len(self.blocks) for number in pinned}
        layouts = [
            layout_of(block, wire=torch.float32 if number in stays else HOST_DTYPES[host_dtype])
            for number, block in enumerate(self.blocks)
        ]
        travelling = [layout for number, layout in enumerate(layouts) if number not in stays and layout.device_bytes]
        largest = max((layout.device_bytes for layout in travelling), default=0)
        scratch = PIECE * (8 if any(e.dtype == torch.float64 for layout in layouts for e in layout.entries) else 4)
        fixed = min(device_slots, len(travelling)) * largest + sum(layouts[k].device_bytes for k in stays) + scratch
        self._meter = DeviceMeter(fixed, budget=device_budget)
        self._states = RandomStates(len(self.blocks), self._device)
        memory = host_memory(sum(layout.host_bytes for layout in travelling), folder=host_folder)
        host, place = {}, 0
        for number, layout in enumerate(layouts):
            if number not in stays:
                host[number] = memory[place : place + layout.host_bytes]
                place += layout.host_bytes
        self._pipeline = Pipeline(
            layouts,
            host,
            {k: torch.zeros(layouts[k].device_bytes, dtype=torch.uint8, device=self._device) for k in sorted(stays)},
            slots=device_slots,
            device=self._device,
            lanes=Lanes(self._device, self.timeline, overlap=overlap, bandwidth=link_bandwidth, staging=largest),
        )
        self._take_parameters()

    def __enter__(self) -> ZO2Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @torch.no_grad()
    def step(self, inputs: Any, loss: Loss) -> float:
        """One step; returns the mean of both losses, as `MeZO.step` does.

        Args:
            inputs: of the first block: a tensor of any shape, or a tuple or dict of such (a tuple as arguments).
            loss: from what the last block returns to one real number.

        Raises:
            InputError: the loss is no number, the budget is exceeded, or the trainer was closed or interrupted.
        """
        self._begin()
        self._states.begin(step_seed(self.seed, self.steps))
        plus = minus = mapped(inputs, lambda x: x.to(self._device))
        layouts, states, pending = self._pipeline.layouts, self._states, self._pending

        def both(number: int, tensors: dict[str, Tensor]) -> None:
            nonlocal plus, minus
            parameters = layouts[number].trained(tensors)
            if pending is not None:
                states.update(number, parameters, pending, last=True)
            states.enter(number)
            states.shift(number, parameters, self.eps)
            after = self._forward(number, tensors, plus)
            self._meter.see(plus, minus, after)
            plus = after
            states.shift(number, parameters, -2 * self.eps)
            after = self._forward(number, tensors, minus)
            self._meter.see(plus, minus, after)
            minus = after
            states.shift(number, parameters, self.eps)

        self._visit(both)
        self._pending, self._unusable = None, ""
        up, down = one_number(loss(plus), "loss"), one_number(loss(minus), "loss")
        slope = slope_of(up, down, self.eps)
        self._pending = -self.lr * slope if math.isfinite(slope) else None
        if self._pending is None:
            self._count_skipped()
        self.steps += 1
        return float((up + down) / 2)

    @torch.no_grad()
    def flush(self) -> None:
        """Apply the update of the last step, which otherwise waits for the next, in a pass of its own.

        Raises:
            InputError: the trainer was closed or interrupted.
        """
        if self._pending is not None:
            self._begin()
            self._visit(self._update)
            self._pending, self._unusable = None, ""

    @torch.no_grad()
    def evaluate(self, inputs: Any) -> Any:
        """What the last block returns at the parameters as they are now.

        Args:
            inputs: as in `step`.

        Raises:
            InputError: the budget is exceeded, or the trainer was closed or interrupted.
        """
        self._begin()
        values = mapped(inputs, lambda x: x.to(self._device))

        def forward(number: int, tensors: dict[str, Tensor]) -> None:
            nonlocal values
            if self._pending is not None:
                self._update(number, tensors)
            after = self._forward(number, tensors, values)
            self._meter.see(values, after)
            values = after

        self._visit(forward, write=self._pending is not None)
        self._pending, self._unusable = None, ""
        return values

    @property
    def peak_device_bytes(self) -> int:
        """Most bytes held so far: slots, pinned blocks, scratch, and activations at the borders of blocks."""
        return self._meter.peak

    @property
    def activation_bytes(self) -> int:
        """Most bytes of activations at the borders of blocks so far."""
        return self._meter.activations

    @property
    def model_bytes(self) -> int:
        """Bytes of all blocks on the device, were they there at once."""
        return sum(layout.device_bytes for layout in self._pipeline.layouts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and state to a safetensors file, whole or not at all; training is not changed by it.

        Args:
            path: of the file. It holds the last update as a number and random states: `flush` first for bare weights.

        Raises:
            InputError: the trainer was closed or interrupted, or the path cannot be written.
        """
        self._check()
        save_state(path, self._tensors() | {"states": self._states.saved()}, self._facts())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on, to the bit, from what `save` wrote; also after a step was interrupted.

        Args:
            path: of the file.

        Raises:
            FileFormatError: it cannot be read.
            InputError: it is of other blocks or of another host dtype, or the trainer was closed.
        """
        self._check(interrupted=True)
        own = self._tensors()
        found, facts = load_state(path, own | {"states": self._states.saved()})
        if sorted(facts) != sorted(self._facts()) or [len(x) for x in facts["scales"]] != [
            len(x) for x in self._pipeline.scales
        ]:
            raise FileFormatError(os.fspath(path), "has an incomplete header; copy it again")
        self._states.restore(found["states"])
        for name, tensor in own.items():
            tensor.copy_(found[name])
        self._pending, self._pipeline.scales = facts["pending"], facts["scales"]
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        self._unusable = ""

    def close(self) -> None:
        """Apply what is pending and give the blocks their parameters back, on the CPU; further calls do nothing.

        Where the host holds them as they are, parameters are views of its memory, mapped file included. After an
        interrupted step they are what it left, some perturbed.
        """
        if self._unusable == _CLOSED:
            return
        try:
            if not self._unusable:
                self.flush()
        finally:
            self._pipeline.lanes.close()
            self._return_parameters()
            self._unusable = _CLOSED

    def _forward(self, number: int, tensors: dict[str, Tensor], values: Any) -> Any:
        arguments = values if isinstance(values, tuple) else (values,)
        # as parameters: attention takes another path, with other roundings, for tensors that need no gradient
        seen = {
            entry.name: nn.Parameter(tensors[entry.name], entry.trained) if entry.parameter else tensors[entry.name]
            for entry in self._pipeline.layouts[number].entries
        }
        result = functional_call(self.blocks[number], seen, arguments)
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors.values() if tensor.numel()}
        # a block that returns its parameters must not have them changed behind its back
        return mapped(result, lambda x: x.clone() if x.untyped_storage().data_ptr() in own else x)

    def _update(self, number: int, tensors: dict[str, Tensor]) -> None:
        assert self._pending is not None
        self._states.update(number, self._pipeline.layouts[number].trained(tensors), self._pending, last=False)

    def _visit(self, action: Callable[[int, dict[str, Tensor]], None], *, write: bool = True) -> None:
        self._pipeline.visit(action, write=write)
        self.timeline.peak_device_bytes = self._meter.peak

    def _begin(self) -> None:
        self._check()
        self._unusable = _INTERRUPTED
        self.timeline = self._pipeline.lanes.timeline = Timeline()

    def _check(self, *, interrupted: bool = False) -> None:
        if self._unusable and not (interrupted and self._unusable == _INTERRUPTED):
            raise InputError(self._unusable)

    def _count_skipped(self) -> None:
        if not self.skipped_steps:
            warn_skipped("ZO2Trainer", what="a loss", stacklevel=5)
        self.skipped_steps += 1

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTERS} | {
            "pending": self._pending,
            "scales": self._pipeline.scales,
        }

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors where they lie, by number of the block and name."""
        found: dict[str, Tensor] = {}
        for number, layout in enumerate(self._pipeline.layouts):
            here = self._pipeline.pinned.get(number)
            views = layout.in_slot(here) if here is not None else layout.in_host(self._pipeline.host[number])
            found |= {f"{number}.{name}": view for name, view in views.items()}
        return found

    @torch.no_grad()
    def _take_parameters(self) -> None:
        for number, block in enumerate(self.blocks):
            self._pipeline.put(number, dict(block.named_parameters()) | dict(block.named_buffers()))
            for parameter in block.parameters():
                parameter.data = parameter.data.new_zeros(()).expand(parameter.shape)  # takes no memory

    @torch.no_grad()
    def _return_parameters(self) -> None:
        for number, block in enumerate(self.blocks):
            tensors = self._pipeline.get(number)
            for name, parameter in block.named_parameters():
                parameter.data = tensors[name]
            for name, buffer in block.named_buffers():
                buffer.copy_(tensors[name])


_COUNTERS = ("steps", "skipped_steps", "seed", "lr", "eps")
_CLOSED = "ZO2Trainer: is closed; make a new one from the blocks"
_INTERRUPTED = "ZO2Trainer: a step was interrupted and blocks may be half changed; load() a saved state"

"""Where, in the stream of normal numbers, each block's own begin: of this step, and of the step before.

The stream of a step is that of `MeZO`: from the step's seed through all parameters in order. A block can be shifted
along this step's direction, and updated along the last one's, without its neighbours having to draw.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.zeroth_order.mezo import add_normal


@final
class RandomStates:
    """The generator's states at the beginning of every block.

    Args:
        blocks: number of them.
        device: that draws.
    """

    def __init__(self, blocks: int, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._current: list[Tensor] = [self._generator.get_state()] * blocks
        self._last = self._current
        self._end = self._current[0]

    def begin(self, seed: int) -> None:
        """A new step: this step's states become the last one's."""
        self._last, self._current = self._current, list(self._current)
        self._end = self._generator.manual_seed(seed).get_state()

    def enter(self, block: int) -> None:
        """This step's direction of a block begins where that of the block before it ended."""
        self._current[block] = self._end

    def shift(self, block: int, parameters: list[Tensor], factor: float) -> None:
        """parameters += factor z, z of this step; to be called for every block between `enter` and the next."""
        self._end = self._add(self._current[block], parameters, factor)

    def update(self, block: int, parameters: list[Tensor], factor: float, *, last: bool) -> None:
        """parameters += factor z, z of the last step, or of the one that ended just now."""
        self._add((self._last if last else self._current)[block], parameters, factor)

    def saved(self) -> Tensor:
        """The states of the step that ended last, "blocks bytes"."""
        return torch.stack(self._current)

    def restore(self, states: Tensor) -> None:
        """Go on from saved states.

        Raises:
            InputError: they are of another number of blocks, or of another device's generator.
        """
        if states.shape != self.saved().shape or states.dtype != torch.uint8:
            raise InputError(
                f"states: have shape {tuple(states.shape)}, here {tuple(self.saved().shape)}; they are of another "
                "number of blocks or another kind of device"
            )
        self._current = [state.clone() for state in states]  # own memory: a generator reads whole words

    def _add(self, state: Tensor, parameters: list[Tensor], factor: float) -> Tensor:
        self._generator.set_state(state)
        add_normal(parameters, factor, generator=self._generator)
        return self._generator.get_state()

"""The two ways in which everything here is computed: array operations on any device, or loops on a processor.

Both give the same numbers. Small genomes leave array operations little to do at a time, so that on a processor a
compiled loop over genomes is faster; on other devices there are array operations only.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from polyad.errors import InputError

Engine = Literal["auto", "torch", "compiled"]
"""Array operations ("torch"), loops ("compiled"), or loops where they can run ("auto")."""


def runs_compiled(engine: Engine, tensor: Tensor) -> bool:
    """Whether loops are to run on tensors such as this.

    Raises:
        InputError: loops asked for on another device than a processor.
    """
    if engine == "compiled" and tensor.device.type != "cpu":
        raise InputError(f"engine: 'compiled' runs on a CPU, the tensors are on {tensor.device}; choose 'torch'")
    return engine != "torch" and tensor.device.type == "cpu"

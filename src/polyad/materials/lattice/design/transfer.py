"""Tasks as plain arrays, for executors in other processes.

torch sends tensors between processes through shared memory, one open file a tensor; arrays travel by value.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.run import Run, Task, run_start
from polyad.materials.lattice.design.variables import Variables
from polyad.materials.lattice.nets.net import Net, net_of


def pack(task: Task) -> dict[str, Any]:
    """The task with arrays for tensors."""
    numbers = {field.name: _to_array(getattr(task.variables, field.name)) for field in fields(Variables)}
    rest = {field.name: getattr(task, field.name) for field in fields(Task) if field.name != "variables"}
    rest["frame"] = {name: _to_array(value) for name, value in task.frame.items()}
    return {"variables": numbers, **rest}


def unpack(packed: dict[str, Any]) -> Task:
    """The inverse of `pack`."""
    variables = Variables(**{name: _to_tensor(value) for name, value in packed["variables"].items()})
    frame = {name: _to_tensor(value) for name, value in packed["frame"].items()}
    return Task(**(packed | {"variables": variables, "frame": frame}))


def run_packed(packed: dict[str, Any], number: int) -> Run:
    """`run_start` for an executor."""
    return run_start(unpack(packed), number)


def _to_array(value: Any) -> Any:
    if isinstance(value, StrutLattice):
        return net_of(value)
    return value.numpy() if isinstance(value, torch.Tensor) else value


def _to_tensor(value: Any) -> Any:
    if isinstance(value, Net):
        return StrutLattice(*value)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

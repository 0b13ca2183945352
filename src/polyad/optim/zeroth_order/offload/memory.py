"""Host memory for the blocks, and what the device holds, counted in bytes.

Host memory is ordinary memory, or a file without a name that is mapped into it: it needs disk instead of memory, the
system writes it back when it likes, and it vanishes with the process, however that ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError


def host_memory(size: int, *, folder: str | os.PathLike[str] | None = None) -> Tensor:
    """Bytes of host memory, a uint8 tensor.

    Args:
        size: bytes.
        folder: where the mapped file lies; None takes ordinary memory.

    Raises:
        InputError: there is no such folder, or no room in it.
    """
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"host_folder: {os.fspath(folder)} is no folder; create it, or leave host_folder out")
    if folder is None or size == 0:
        return torch.zeros(size, dtype=torch.uint8)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here, not by a signal later
            else:
                file.truncate(size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.uint8)  # the tensor keeps the map
    except OSError as error:
        raise InputError(
            f"host_folder: {os.fspath(folder)} cannot hold {size} bytes ({error.strerror}); give one with more room"
        ) from error


@final
class DeviceMeter:
    """What is held on the device: slots and pinned blocks for good, activations while they last.

    Args:
        fixed: bytes held for good.
        budget: bytes that may be held, or None.

    Attributes:
        peak: most bytes held so far.
        activations: most bytes of activations so far.

    Raises:
        InputError: the budget does not even hold what is held for good.
    """

    def __init__(self, fixed: int, *, budget: int | None = None) -> None:
        self.fixed, self.budget = fixed, budget
        self.peak, self.activations = fixed, 0
        self._check(fixed, "for slots, pinned blocks and scratch; lower device_slots or pin fewer blocks")

    def see(self, *values: Any) -> None:
        """Count the activations that are alive now: tensors, or tuples, lists and dicts of them.

        Raises:
            InputError: with them the budget is exceeded.
        """
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_in(values)}
        now = sum(storages.values())
        self.activations = max(self.activations, now)
        self.peak = max(self.peak, self.fixed + now)
        self._check(self.fixed + now, f"of which {now} for activations; take a smaller batch or fewer slots")

    def _check(self, needed: int, remedy: str) -> None:
        if self.budget is not None and needed > self.budget:
            raise InputError(f"device_budget: {self.budget} bytes, but {needed} are needed {remedy}")


def tensors_in(value: Any) -> Iterable[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def mapped(value: Any, change: Any) -> Any:
    """The nested value with every tensor changed by a function."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change) for item in value)
    return value

"""Means over the processes of torch.distributed; with one process, the numbers themselves."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of the tensors that all processes give, the same on each; the tensor itself where there is one."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and (workers := torch.distributed.get_world_size()) > 1:
        tensor = tensor / workers
        torch.distributed.all_reduce(tensor)
    return tensor

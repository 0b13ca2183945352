"""The processes that train one model together: torch.distributed as it is, started by torchrun.

    torchrun --nproc-per-node 2 train.py        # one process a device, on one node or several

A program that torchrun did not start is a group of one, and nothing here costs it anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from polyad.errors import InputError


@final
@dataclass(frozen=True)
class Processes:
    """This process within its group.

    Args:
        rank: its number, 0 leads: it alone writes files.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Sums over all processes, the same numbers in each."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device if device.type == "cuda" else "cpu")
        torch.distributed.all_reduce(total)
        return total.tolist()

    def lead(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The leading process's values, in each: what depends on its clock is decided once."""
        if self.count == 1:
            return list(values)
        decided = torch.tensor(values, dtype=torch.float64, device=device if device.type == "cuda" else "cpu")
        torch.distributed.broadcast(decided, src=0)
        return decided.tolist()

    def wait(self) -> None:
        """Until all have come this far."""
        if self.count > 1:
            torch.distributed.barrier()


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """The group that torchrun started, or that the caller has set up; a group of one otherwise.

    Raises:
        InputError: torchrun's variables are there, but this torch has no distributed package.
    """
    if not torch.distributed.is_available():
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError("torchrun: this build of torch has no distributed package; start one process")
        yield Processes()
        return
    started = torch.distributed.is_initialized()
    if not started and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if not started:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        if not started:
            torch.distributed.destroy_process_group()


def own_device(device: str | torch.device) -> torch.device:
    """The device of this process: `cuda` becomes the one that torchrun assigned.

    Raises:
        InputError: there is no such device.
    """
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device: {device!r} is none; give cpu, cuda or cuda:NUMBER") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError("device: cuda was asked for, but torch sees no CUDA device; give device='cpu'")
        number = int(os.environ.get("LOCAL_RANK", "0")) if chosen.index is None else chosen.index
        if number >= torch.cuda.device_count():
            raise InputError(f"device: cuda:{number} does not exist, there are {torch.cuda.device_count()}")
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    return chosen


def distribute(model: nn.Module, processes: Processes, strategy: str) -> nn.Module:
    """The model as the group trains it: gradients averaged (`ddp`), or weights sharded as well (`fsdp`).

    Raises:
        InputError: an unknown strategy.
    """
    if strategy not in ("ddp", "fsdp"):
        raise InputError(f"strategy: {strategy!r} is none; give 'ddp', or 'fsdp' for models larger than one device")
    if processes.count == 1:
        return model
    if strategy == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    for part in _blocks(model):
        fully_shard(part)
    fully_shard(model)
    return model


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Children that have weights and are called; containers that are only iterated stand for their members."""
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


def whole_states(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """Weights and optimiser state, complete on the leading process even where each holds a shard.

    The state of an optimiser that has not stepped yet is empty: torch would make one by a step of its own and count it.
    """
    from torch.distributed.checkpoint import state_dict as whole

    options = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = whole.get_model_state_dict(model, options=options)
    if not optimizer.state:
        return weights, {}  # type: ignore[return-value]
    return weights, whole.get_optimizer_state_dict(model, optimizer, options=options)  # type: ignore[return-value]


def set_whole_states(model: nn.Module, optimizer: torch.optim.Optimizer, weights: dict, state: dict) -> None:
    """The inverse of `whole_states`, called on every process with the whole state."""
    from torch.distributed.checkpoint import state_dict as whole

    options = whole.StateDictOptions(full_state_dict=True)
    whole.set_model_state_dict(model, weights, options=options)
    if state:
        whole.set_optimizer_state_dict(model, optimizer, state, options=options)

"""Which samples a step sees: a new random order every epoch, the same for everybody who has the seed.

The order is a function of seed and epoch alone, so a resumed run, or one on another number of processes, meets the same
batches without any state.
"""

from __future__ import annotations

import functools
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from polyad.errors import InputError

Batch = TypeVar("Batch", covariant=True)


@runtime_checkable
class Dataset(Protocol[Batch]):
    """Samples that can be asked for by several numbers at once, as one batch.

    `polyad.materials.structures.Structures` is one; `TensorData` makes one of tensors.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: Tensor, /) -> Batch:
        """The samples with these numbers."""


class TensorData:
    """Tensors with one row a sample; a batch is a tuple of their rows."""

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors or len({len(x) for x in tensors}) != 1:
            raise InputError(f"TensorData: tensors must have one number of rows, got {[len(x) for x in tensors]}")
        self.tensors = tensors

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.tensors[0])

    def __getitem__(self, index: Tensor, /) -> tuple[Tensor, ...]:
        """The rows with these numbers."""
        return tuple(x[index.to(x.device)] for x in self.tensors)


def batches_per_epoch(samples: int, batch_size: int) -> int:
    """Steps that see every sample once; the last batch may be smaller."""
    return -(-samples // batch_size)


def training_batch(samples: int, batch_size: int, step: int, *, seed: int) -> Int[Tensor, " batch"]:
    """Numbers of the samples of step number `step`, counted from 0 over all epochs."""
    epoch, place = divmod(step, batches_per_epoch(samples, batch_size))
    return epoch_order(samples, epoch, seed=seed)[place * batch_size : (place + 1) * batch_size]


@functools.lru_cache(maxsize=4)
def epoch_order(samples: int, epoch: int, *, seed: int) -> Int[Tensor, " samples"]:
    """All samples in the order of one epoch; kept, so do not write into it."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)


def own_share(batch: Int[Tensor, " batch"], rank: int, processes: int) -> tuple[Int[Tensor, " share"], float]:
    """What one of several processes takes of a batch, and the weight that makes the mean over processes right.

    Shares differ by at most one sample. A process for which nothing is left repeats the first sample with weight 0.
    """
    share = batch[rank::processes]
    if len(share) == 0:
        return batch[:1], 0.0
    return share, len(share) * processes / len(batch)

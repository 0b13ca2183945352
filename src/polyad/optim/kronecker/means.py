"""Mean input and mean output gradient of every matrix of a model: one vector each, in place of covariance factors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.curvature.layers import DENSE, Rows
from polyad.optim.curvature.watching import LayerWatcher
from polyad.optim.kronecker.matrices import matrices_of


@final
@dataclass(frozen=True, eq=False)
class Means:
    """Of one matrix: the input averaged over samples and positions, and the loss gradient of a shift of its output.

    Args:
        inputs: (p,), 1 last where there is a bias.
        gradients: (d,), the output gradients summed over samples and positions: for a loss that is a mean over samples,
            the mean of each sample's gradient.
    """

    inputs: Float[Tensor, " p"]
    gradients: Float[Tensor, " d"]


@final
class MeanRecorder:
    """Watches linear and convolutional layers and the projections of attention, and averages what passes.

    Args:
        model: is watched until `remove`.
        wanted: asked in each pass whether to record.

    Attributes:
        matrices: what is watched, by layer.
    """

    def __init__(self, model: nn.Module, *, wanted: Callable[[], bool] = lambda: True) -> None:
        self._sums: dict[str, tuple[Tensor, int, Tensor]] = {}
        self._watcher = LayerWatcher(model, self._add, wanted=wanted, kinds=(DENSE,))
        self.matrices = matrices_of(model, self._watcher.layers)

    def remove(self) -> None:
        """Let go of the model."""
        self._watcher.remove()

    def forget(self) -> None:
        """Drop what was recorded."""
        self._sums = {}

    def means(self) -> dict[str, Means]:
        """Means of all passes since `forget`, in float32 at least; layers that no pass reached are left out."""
        return {name: Means(inputs / count, gradients) for name, (inputs, count, gradients) in self._sums.items()}

    def _add(self, rows: Rows) -> None:
        wide = torch.promote_types(rows.gradients.dtype, torch.float32)
        inputs = rows.inputs.sum((0, 1), dtype=wide)
        count = rows.inputs.shape[0] * rows.inputs.shape[1]
        shift = rows.gradients.sum((0, 1), dtype=wide)
        if rows.layer.name in self._sums:
            before = self._sums[rows.layer.name]
            inputs, count, shift = before[0] + inputs, before[1] + count, before[2] + shift
        self._sums[rows.layer.name] = inputs, count, shift


def averaged(workers: Iterable[dict[str, Means]]) -> dict[str, Means]:
    """Means over workers with batches of equal size, as one worker would have them on the union.

    Raises:
        InputError: no workers, or workers with other layers.
    """
    given = list(workers)
    if not given or any(set(one) != set(given[0]) for one in given):
        raise InputError("workers: need the means of the same layers from one worker at least")
    return {
        name: Means(
            torch.stack([one[name].inputs for one in given]).mean(0),
            torch.stack([one[name].gradients for one in given]).mean(0),
        )
        for name in given[0]
    }


def averaged_over_processes(means: dict[str, Means], *, half_precision: bool = False) -> dict[str, Means]:
    """Means over the processes of torch.distributed, in one message; the means themselves where there is one process.

    Args:
        means: of this process.
        half_precision: round to bfloat16 first, which halves the message; also where there is one process.
    """
    names = sorted(means)
    vectors = [vector for name in names for vector in (means[name].inputs, means[name].gradients)]
    if half_precision:
        vectors = [vector.bfloat16() for vector in vectors]
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and vectors and (workers := torch.distributed.get_world_size()) > 1:
        message = torch.cat(vectors) / workers
        torch.distributed.all_reduce(message)
        vectors = list(message.split([len(vector) for vector in vectors]))
    wide = [vector.float() if vector.dtype == torch.bfloat16 else vector for vector in vectors]
    return {name: Means(a, g) for name, a, g in zip(names, wide[::2], wide[1::2], strict=True)}

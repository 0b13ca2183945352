"""Mean input and mean output gradient of every matrix of a model: one vector each, in place of covariance factors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.curvature.layers import DENSE, Layer, attention_forward, layers_of, rows_of


@final
@dataclass(frozen=True, eq=False)
class Matrix:
    """A layer's weight matrix, with what belongs to it.

    Args:
        weight: (d, ...), the rest flattened are the columns.
        bias: (d,), the last column; None without.
        rows: which rows of a packed weight belong to the layer.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    rows: slice

    @property
    def key(self) -> str:
        """Tells the matrices of one packed weight apart."""
        return str(self.rows.start or 0)


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
        wanted: asked in each backward pass whether to record.

    Attributes:
        matrices: what is watched, by layer.
    """

    def __init__(self, model: nn.Module, *, wanted: Callable[[], bool] = lambda: True) -> None:
        self.matrices: dict[str, Matrix] = {}
        self._wanted = wanted
        self._sums: dict[str, tuple[Tensor, int, Tensor]] = {}
        self._handles: list[Any] = []
        self._patched: list[nn.Module] = []
        self._names: dict[tuple[int, str], str] = {}
        parameters = dict(model.named_parameters(remove_duplicate=False))
        attention = tuple(f"{name}." for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))
        for name, module in model.named_modules():
            layers = [layer for layer in layers_of(name, module) if layer.kind == DENSE]
            if layers and not name.startswith(attention):
                self._watch(module, layers, parameters)

    def remove(self) -> None:
        """Let go of the model."""
        for handle in self._handles:
            handle.remove()
        for module in self._patched:
            del module.forward  # the class's own forward comes back
        self._handles, self._patched = [], []

    def forget(self) -> None:
        """Drop what was recorded."""
        self._sums = {}

    def means(self) -> dict[str, Means]:
        """Means of all passes since `forget`, in float32 at least; layers that no pass reached are left out."""
        return {name: Means(inputs / count, gradients) for name, (inputs, count, gradients) in self._sums.items()}

    def _watch(self, module: nn.Module, layers: list[Layer], parameters: dict[str, nn.Parameter]) -> None:
        names = {}
        for layer in layers:
            bias = parameters[layer.bias] if layer.bias is not None else None
            matrix = Matrix(parameters[layer.weight], bias, slice(*(layer.rows or (None,))))
            names[layer.name] = self._names.setdefault((id(matrix.weight), matrix.key), layer.name)
            self.matrices.setdefault(names[layer.name], matrix)  # a shared weight is one matrix
        if isinstance(module, nn.MultiheadAttention):
            parts = {layer.name.rpartition(".")[2]: layer for layer in layers}

            def emit(part: str, inputs: Tensor, output: Tensor) -> None:
                self._expect(names[parts[part].name], parts[part], module, inputs, output)

            module.forward = functools.partial(attention_forward, module, emit)  # type: ignore[method-assign]
            self._patched.append(module)
            return
        (layer,) = layers

        def seen(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._expect(names[layer.name], layer, module, inputs[0], output)

        self._handles.append(module.register_forward_hook(seen))

    def _expect(self, name: str, layer: Layer, module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        if output.requires_grad:
            kept = inputs.detach()
            output.register_hook(lambda gradient: self._add(name, layer, module, kept, gradient.detach()))

    def _add(self, name: str, layer: Layer, module: nn.Module, inputs: Tensor, gradients: Tensor) -> None:
        if not self._wanted():
            return
        with torch.no_grad():
            rows = rows_of(layer, module, inputs, gradients)
            wide = torch.promote_types(gradients.dtype, torch.float32)
            total = rows.inputs.sum((0, 1), dtype=wide), rows.inputs.shape[0] * rows.inputs.shape[1]
            shift = rows.gradients.sum((0, 1), dtype=wide)
            if name in self._sums:
                before = self._sums[name]
                self._sums[name] = before[0] + total[0], before[1] + total[1], before[2] + shift
            else:
                self._sums[name] = (*total, shift)


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

"""Watching the layers of a model: what goes in, and the loss gradient of what comes out.

Hooks sit on outputs, so any model and any loss will do, and several backward passes. What is seen goes, layer by layer
and pass by pass, as `Rows` to a function of the caller, who sums what his method needs.

    watcher = LayerWatcher(model, lambda rows: print(rows.layer.name, rows.inputs.shape))
    loss(model(x)).backward()
    watcher.remove()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, final

from torch import Tensor, nn, no_grad

from polyad.optim.curvature.layers import DENSE, SCALE, TABLE, Layer, Rows, attention_forward, layers_of, rows_of


@final
class LayerWatcher:
    """Calls `observe` in every backward pass for every layer that it reaches.

    Args:
        model: is watched until `remove`.
        observe: what is done with the rows of a layer, without gradients.
        wanted: asked in each pass, forwards and backwards; where it says no, the pass costs nothing.
        kinds: of layers to watch.

    Attributes:
        layers: what is watched, by name. A weight that several layers share is one layer, the first; where a later one
            differs in having a bias, its passes are not seen.
    """

    def __init__(
        self,
        model: nn.Module,
        observe: Callable[[Rows], None],
        *,
        wanted: Callable[[], bool] = lambda: True,
        kinds: Collection[str] = (DENSE, TABLE, SCALE),
    ) -> None:
        self.layers: dict[str, Layer] = {}
        self._observe, self._wanted = observe, wanted
        self._handles: list[Any] = []
        self._patched: list[nn.Module] = []
        parameters = dict(model.named_parameters(remove_duplicate=False))
        first: dict[tuple[Any, ...], Layer] = {}
        attention = tuple(f"{name}." for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))
        for name, module in model.named_modules():
            if name.startswith(attention):
                continue  # the output projection, which its attention covers
            found = []
            for layer in layers_of(name, module):
                weight = parameters[layer.weight]
                known = first.setdefault((id(weight), layer.rows, layer.kind), layer)
                if weight.requires_grad and layer.kind in kinds and (known.bias is None) == (layer.bias is None):
                    self.layers[known.name] = known
                    found.append((layer.name.rpartition(".")[2], known))
            if found:
                self._watch(module, found)

    def remove(self) -> None:
        """Let go of the model."""
        for handle in self._handles:
            handle.remove()
        for module in self._patched:
            del module.forward  # the class's own forward comes back
        self._handles, self._patched = [], []

    def _watch(self, module: nn.Module, layers: list[tuple[str, Layer]]) -> None:
        if isinstance(module, nn.MultiheadAttention):
            parts = dict(layers)

            def emit(part: str, inputs: Tensor, output: Tensor) -> None:
                if part in parts:
                    self._expect(parts[part], module, inputs, output)

            module.forward = functools.partial(attention_forward, module, emit)  # type: ignore[method-assign]
            self._patched.append(module)
            return
        ((_, layer),) = layers

        def seen(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._expect(layer, module, inputs[0], output)

        self._handles.append(module.register_forward_hook(seen))

    def _expect(self, layer: Layer, module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """In the forward pass: wait for the gradient of this output."""
        if self._wanted() and output.requires_grad:
            kept = inputs.detach()
            output.register_hook(lambda gradient: self._seen(layer, module, kept, gradient.detach()))

    def _seen(self, layer: Layer, module: nn.Module, inputs: Tensor, gradients: Tensor) -> None:
        """In the backward pass: inputs and gradient of one call."""
        if self._wanted():
            with no_grad():
                self._observe(rows_of(layer, module, inputs, gradients))

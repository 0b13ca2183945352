"""Kronecker factors of the Fisher matrix, collected while a model trains.

For the weight matrix (d, p) of a layer, with inputs a and per-sample output gradients g over N samples of S positions,

    F ~ A (x) B,     A = (1/(N S)) sum of a a^T  (p x p),     B = (1/N) sum of g g^T  (d x d)

(exact for one sample with one position). Embeddings have a diagonal A, kept as a vector; layer normalisation has the
diagonal of F itself. Everything else is listed in `uncovered`: an optimiser steps there without curvature.

    with KroneckerCollector(model) as collector:
        loss(model(x)).backward()
        for name, factors in collector.factors().items(): ...

Hooks are put on outputs, so any model and any loss will do, one or several backward passes, in several processes
(`factors` reduces sums once). The leading dimension of inputs counts samples (attention: its batch dimension).

Sources: J. Martens and R. Grosse, ICML 2015, arXiv:1503.05671; R. Grosse and J. Martens, ICML 2016, arXiv:1602.01407;
R. Eschenhagen et al., NeurIPS 2023, arXiv:2311.00636 (the 'expand' form for positions).

*Deviations*: a layer that is called k times in a pass counts k N samples.

*When not to use it*: where gradients of a batch's samples depend on one another (batch normalisation) the factors are
those of the batch as it was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.curvature.layers import DENSE, SCALE, TABLE, Layer, Rows
from polyad.optim.curvature.watching import LayerWatcher


@final
@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    """Factors of one weight.

    Args:
        layer: which one.
        input: A, (p, p) with the bias last; for a table the diagonal (p,); None for a scale.
        output: B, (d, d); for a scale the mean square of per-sample gradients (d, 1 or 2): weight, bias.
        mean_input: (p,) mean of a; None for a scale.
        mean_output: (d,) sum of g over all positions, over N; None for a scale.
        samples: N.
    """

    layer: Layer
    input: Tensor | None
    output: Float[Tensor, "d columns"]
    mean_input: Float[Tensor, " p"] | None
    mean_output: Float[Tensor, " d"] | None
    samples: int


class KroneckerCollector:
    """Watches a model's layers and sums their Kronecker factors until `reset`.

    Args:
        model: watched until `remove`, or to the end of the `with` block.
        loss_reduction: 'mean' if the loss is a mean over the samples of a pass, whose gradients are then multiplied by
            their number; 'sum' if it is a sum.
        keep_rows: keep what every pass has shown in `rows`, for per-sample gradients (memory!).
        kinds: of layers to watch.

    Attributes:
        layers: covered weights by the name of their layer.
        uncovered: names of trainable parameters that no layer covers.
        enabled: switch it off where a pass shall not be seen; a pass then costs nothing.
        rows: of every layer the passes since `reset`, where `keep_rows`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss_reduction: str = "mean",
        keep_rows: bool = False,
        kinds: Collection[str] = (DENSE, TABLE, SCALE),
    ) -> None:
        if loss_reduction not in ("mean", "sum"):
            raise InputError(f"loss_reduction: {loss_reduction!r}; allowed are 'mean' and 'sum'")
        self.enabled = True
        self.rows: dict[str, list[Rows]] = {}
        self._reduction, self._keep_rows = loss_reduction, keep_rows
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._watcher = LayerWatcher(model, self._add, wanted=lambda: self.enabled, kinds=kinds)
        self.layers = self._watcher.layers
        covered = {name for layer in self.layers.values() for name in (layer.weight, layer.bias)}
        self.uncovered = [name for name, p in model.named_parameters() if p.requires_grad and name not in covered]

    def __enter__(self) -> KroneckerCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Let go of the model; what was collected stays."""
        self._watcher.remove()

    def reset(self) -> None:
        """Forget what was collected."""
        self._sums, self.rows = {}, {}

    def factors(self) -> dict[str, KroneckerFactors]:
        """Factors by layer name, of all passes since `reset`, over all processes; layers never reached are left out."""
        return {name: _finished(self.layers[name], sums) for name, sums in self._reduced().items()}

    def _add(self, rows: Rows) -> None:
        """In the backward pass: what one call of a layer has shown."""
        name, samples = rows.layer.name, len(rows.gradients)
        if self._reduction == "mean":
            rows = Rows(rows.layer, rows.inputs, rows.gradients * samples, rows.num_rows)
        if self._keep_rows:
            self.rows.setdefault(name, []).append(rows)
        sums = _sums(rows)
        known = self._sums.setdefault(name, {key: torch.zeros_like(x) for key, x in sums.items()})
        for key, value in sums.items():
            known[key] += value

    def _reduced(self) -> dict[str, dict[str, Tensor]]:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self._sums
        total = {name: {key: value.clone() for key, value in sums.items()} for name, sums in self._sums.items()}
        for dtype in sorted({x.dtype for sums in total.values() for x in sums.values()}, key=str):
            tensors = [x for name in sorted(total) for x in total[name].values() if x.dtype == dtype]
            flat = torch.cat([x.flatten() for x in tensors])
            torch.distributed.all_reduce(flat)  # one message, not one a layer
            for tensor, part in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))
        return total


def _sums(rows: Rows) -> dict[str, Tensor]:
    """What is added over passes and processes, at least in float32."""
    wide = torch.promote_types(rows.gradients.dtype, torch.float32)
    gradients = rows.gradients.to(wide)
    samples, positions = gradients.shape[:2]
    counts = {"samples": torch.tensor(samples, dtype=torch.float64, device=gradients.device)}
    counts["positions"] = counts["samples"] * positions
    if rows.layer.kind == SCALE:
        same = Rows(rows.layer, rows.inputs.to(wide), gradients)
        return counts | {"output": same.per_sample_gradient().square().sum(0)}
    g = gradients.flatten(0, 1)
    sums = counts | {"output": g.mT @ g, "mean_output": g.sum(0)}
    if rows.layer.kind == TABLE:
        ones = torch.ones_like(rows.inputs.flatten(), dtype=wide)
        diagonal = g.new_zeros(rows.num_rows).index_add_(0, rows.inputs.flatten(), ones)
        return sums | {"input": diagonal, "mean_input": diagonal}
    a = rows.inputs.flatten(0, 1).to(wide)
    return sums | {"input": a.mT @ a, "mean_input": a.sum(0)}


def _finished(layer: Layer, sums: dict[str, Tensor]) -> KroneckerFactors:
    """Means of the sums."""
    samples = sums["samples"].clamp_min(1)
    positions = sums["positions"].clamp_min(1)
    a, mean_a, mean_g = sums.get("input"), sums.get("mean_input"), sums.get("mean_output")
    return KroneckerFactors(
        layer=layer,
        input=None if a is None else a / positions.to(a.dtype),
        output=sums["output"] / samples.to(sums["output"].dtype),
        mean_input=None if mean_a is None else mean_a / positions.to(mean_a.dtype),
        mean_output=None if mean_g is None else mean_g / samples.to(mean_g.dtype),
        samples=int(sums["samples"]),
    )


def gram_matrix(rows: dict[str, list[Rows]]) -> Float[Tensor, "samples samples"]:
    """Inner products of per-sample gradients, summed over layers, from `KroneckerCollector.rows`.

    For dense layers with one position it is (A A^T) * (G G^T): no gradient is formed.

    Raises:
        InputError: nothing was kept, or layers saw different samples.
    """
    kept = [_joined(list_of_rows) for list_of_rows in rows.values()]
    if not kept or len({len(x.gradients) for x in kept}) != 1:
        raise InputError("rows: keep them (keep_rows=True) of one pass that reaches every layer once")
    total = torch.zeros(len(kept[0].gradients), len(kept[0].gradients), dtype=torch.float64)
    for one in kept:
        if one.layer.kind not in (SCALE, TABLE) and one.gradients.shape[1] == 1:
            a, g = one.inputs[:, 0].double(), one.gradients[:, 0].double()
            total += ((a @ a.mT) * (g @ g.mT)).cpu()
        else:
            each = one.per_sample_gradient().flatten(1).double()
            total += (each @ each.mT).cpu()
    return total


def _joined(rows: list[Rows]) -> Rows:
    """Several passes as one."""
    if len(rows) == 1:
        return rows[0]
    inputs, gradients = torch.cat([x.inputs for x in rows]), torch.cat([x.gradients for x in rows])
    return Rows(rows[0].layer, inputs, gradients, rows[0].num_rows)

"""A layer of a classifier whose weight matrix is a tensor network, trained by cross entropy.

    logits = relu(x W + b) V + c,        W_{i1..id, o1..od} = X_{(i1 o1) .. (id od)}

The dense tensor X, mode k of size rows_k columns_k, lives as a network; b, V and c are trained along.

Source of the pairing of modes: A. Novikov, D. Podoprikhin, A. Osokin, D. Vetrov, NeurIPS 2015.

When not to use it: for layers so large that W itself must not be formed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.structure_search.losses import GradientLoss


@final
@dataclass(frozen=True, eq=False)
class ClassifierLayer:
    """A classifier whose large weight matrix is a network; see the module.

    Args:
        inputs: (samples, features).
        labels: class of every sample.
        rows, columns: sizes whose products are the inputs and outputs of the layer; pair k is mode k.
        classes: number of classes.
        batch: samples of a training step.
        seed: of the read-out and of the batches.
    """

    inputs: Tensor
    labels: Tensor
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    classes: int
    batch: int = 256
    seed: int = 0
    weights: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        if prod(self.rows) != self.inputs.shape[1] or len(self.rows) != len(self.columns):
            raise InputError(
                f"rows: {self.rows} and columns {self.columns} for {self.inputs.shape[1]} features; as many of both, "
                "and the product of rows must be the number of features"
            )
        generator = torch.Generator().manual_seed(self.seed)
        hidden = prod(self.columns)
        out = torch.randn(hidden, self.classes, generator=generator, dtype=self.inputs.dtype) * hidden**-0.5
        zeros = (self.inputs.new_zeros(hidden), self.inputs.new_zeros(self.classes))
        object.__setattr__(self, "weights", tuple(w.requires_grad_(True) for w in (zeros[0], out, zeros[1])))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes: rows times columns."""
        return tuple(r * c for r, c in zip(self.rows, self.columns, strict=True))

    def matrix(self, dense: Float[Tensor, "..."]) -> Float[Tensor, "features hidden"]:
        """The weight matrix of a dense tensor."""
        count = len(self.rows)
        pairs = [size for pair in zip(self.rows, self.columns, strict=True) for size in pair]
        order = [*range(0, 2 * count, 2), *range(1, 2 * count, 2)]
        return dense.reshape(pairs).permute(order).reshape(prod(self.rows), prod(self.columns))

    def logits(self, dense: Float[Tensor, "..."], inputs: Float[Tensor, "samples features"]) -> Tensor:
        """Scores (samples, classes)."""
        bias, out, last = self.weights
        return torch.relu(inputs @ self.matrix(dense) + bias) @ out + last

    def accuracy(self, dense: Tensor, inputs: Tensor, labels: Int[Tensor, "samples"]) -> float:
        """Share of samples whose largest score is their class's."""
        with torch.no_grad():
            return float((self.logits(dense, inputs).argmax(1) == labels).double().mean())

    def cross_entropy(self, dense: Tensor, step: int | None) -> Tensor:
        """Mean over all samples, or over the batch of a step."""
        inputs, labels = self.inputs, self.labels
        if step is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            chosen = torch.randint(len(labels), (self.batch,), generator=generator)
            inputs, labels = inputs[chosen], labels[chosen]
        return torch.nn.functional.cross_entropy(self.logits(dense, inputs), labels)

    def loss(self, *, steps: int = 200, score_steps: int = 10, learning_rate: float = 1e-2) -> GradientLoss:
        """The loss that a network is grown for."""
        return GradientLoss(
            self.shape,
            self.cross_entropy,
            extra=self.weights,
            steps=steps,
            score_steps=score_steps,
            learning_rate=learning_rate,
            dtype=self.inputs.dtype,
            scale=(2 / prod(self.rows)) ** 0.5,
        )

"""Weight matrices of a model as preconditioners see them: the bias as a last column, packed weights taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.optim.curvature.layers import Layer


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

    def gradient(self, dtype: torch.dtype) -> Float[Tensor, "d p"]:
        """Of weight and bias side by side; a bias without a gradient counts as zero.

        Args:
            dtype: of the result.
        """
        assert self.weight.grad is not None
        rows = self.weight.grad.flatten(1)[self.rows].to(dtype)
        if self.bias is None:
            return rows
        column = rows.new_zeros(len(rows)) if self.bias.grad is None else self.bias.grad[self.rows].to(dtype)
        return torch.cat([rows, column[:, None]], 1)

    def place(self, direction: Float[Tensor, "d p"], directions: dict[Tensor, Tensor]) -> None:
        """Write a direction of weight and bias where their gradients would be.

        Args:
            direction: as `gradient` lays it out.
            directions: of parameters; those of this matrix are added where they are missing.
        """
        assert self.weight.grad is not None
        whole = directions.setdefault(self.weight, _writable(self.weight.grad, direction.dtype)).flatten(1)
        whole[self.rows] = direction[:, : whole.shape[1]]
        if self.bias is not None and self.bias.grad is not None:
            column = directions.setdefault(self.bias, _writable(self.bias.grad, direction.dtype))
            column[self.rows] = direction[:, -1]


def matrices_of(model: nn.Module, layers: Mapping[str, Layer]) -> dict[str, Matrix]:
    """The matrices of dense layers, by the layers' names."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: Matrix(
            parameters[layer.weight],
            parameters[layer.bias] if layer.bias is not None else None,
            slice(*(layer.rows or (None,))),
        )
        for name, layer in layers.items()
    }


def _writable(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy whose flattened form is a view, whatever the order of the gradient in memory."""
    return gradient.to(dtype, copy=True, memory_format=torch.contiguous_format)

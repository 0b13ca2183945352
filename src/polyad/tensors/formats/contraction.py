"""Contraction of tensor networks along good paths, found by opt_einsum and remembered.

A diagram is a list of tensors with a label for each dimension and the labels that stay. A label may join any number
of tensors (a hyperedge); labels that do not stay are summed.

Source: D. G. A. Smith and J. Gray, J. Open Source Softw. 3 (2018) 753.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError

Label = Hashable


class ContractionCost(NamedTuple):
    """What a contraction takes: multiply-add operations and the numbers in its largest intermediate result."""

    operations: float
    largest: int


def contract_network(
    tensors: Sequence[Num[Tensor, "..."]], indices: Sequence[Sequence[Label]], output: Sequence[Label]
) -> Num[Tensor, "..."]:
    """Sum over every label that is not in `output`; the result's dimensions are in the order of `output`."""
    equation, shapes = _equation(tensors, indices, output)
    return _expression(equation, shapes)(*tensors, backend="torch")


def contraction_cost(
    shapes: Sequence[Sequence[int]], indices: Sequence[Sequence[Label]], output: Sequence[Label]
) -> ContractionCost:
    """Cost of the path that `contract_network` would take, without contracting."""
    import opt_einsum

    names = _names(indices)
    _, info = opt_einsum.contract_path(
        _written(names, indices, output),
        *[tuple(shape) for shape in shapes],
        shapes=True,
        optimize=_method(len(shapes)),
    )
    return ContractionCost(float(info.opt_cost), int(info.largest_intermediate))


def check_labels(tensors: Sequence[Tensor], indices: Sequence[Sequence[Label]], output: Sequence[Label]) -> None:
    """One label a dimension, one size a label, every output label somewhere, no label twice on one tensor."""
    if len(tensors) != len(indices):
        raise InputError(f"indices: {len(indices)} label lists for {len(tensors)} tensors; give one each")
    sizes: dict[Label, int] = {}
    for place, (tensor, labels) in enumerate(zip(tensors, indices, strict=True)):
        if tensor.ndim != len(labels) or len(set(labels)) != len(labels):
            raise InputError(
                f"indices: tensor {place} has {tensor.ndim} dimensions and labels {tuple(labels)}; "
                "give one label a dimension, each once"
            )
        for label, size in zip(labels, tensor.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise InputError(f"indices: label {label!r} has size {sizes[label]} and, on tensor {place}, {size}")
    missing = [label for label in output if label not in sizes]
    if missing or len(set(output)) != len(output):
        raise InputError(f"output: {tuple(output)} must name labels of the tensors, each once; unknown: {missing}")


def _equation(
    tensors: Sequence[Tensor], indices: Sequence[Sequence[Label]], output: Sequence[Label]
) -> tuple[str, tuple[tuple[int, ...], ...]]:
    check_labels(tensors, indices, output)
    return _written(_names(indices), indices, output), tuple(tuple(tensor.shape) for tensor in tensors)


def _names(indices: Sequence[Sequence[Label]]) -> dict[Label, str]:
    from opt_einsum import get_symbol

    labels = dict.fromkeys(label for group in indices for label in group)
    return {label: get_symbol(number) for number, label in enumerate(labels)}


def _written(names: dict[Label, str], indices: Sequence[Sequence[Label]], output: Sequence[Label]) -> str:
    groups = ("".join(names[label] for label in group) for group in indices)
    return f"{','.join(groups)}->{''.join(names[label] for label in output)}"


def _method(count: int) -> str:
    return "auto-hq" if count <= 8 else "auto"


@lru_cache(maxsize=256)
def _expression(equation: str, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """The path depends on the shapes alone, so it is searched once for each."""
    import opt_einsum

    return opt_einsum.contract_expression(equation, *shapes, optimize=_method(len(shapes)))

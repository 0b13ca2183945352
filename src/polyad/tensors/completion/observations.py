"""Counts that were seen: index tuples, counts and attributes, one row an observation; the rest is unknown.

A cell may have several rows (repeated surveys), each with its own attributes. Attributes that nobody recorded are
masked, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import check_indices


@final
@dataclass(frozen=True, eq=False)
class CountObservations:
    """Observed counts of a tensor of this shape.

    Args:
        shape: sizes of the modes.
        indices: index tuples (m, order); a cell may come more than once.
        counts: (m,), floating point, >= 0. Whole numbers, except where only the Kullback-Leibler fit is wanted.
        attributes: (m, D), what detection may depend on; None where nothing is known.
        attributes_known: (m, D), False where an attribute is missing; its value is never read.

    Raises:
        InputError: lengths that differ, indices out of range, counts that are negative, not finite or all zero,
            attributes that are not finite where they count as known.
    """

    shape: tuple[int, ...]
    indices: Tensor
    counts: Tensor
    attributes: Tensor | None = None
    attributes_known: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if len(self.shape) < 2 or min(self.shape) < 1:
            raise InputError(f"shape: {self.shape} was given; at least two modes of size 1 or more are needed")
        check_indices(self.indices, self.shape)
        _check_counts(self.counts, len(self.indices))
        if self.attributes is None:
            if self.attributes_known is not None:
                raise InputError("attributes_known: given without attributes; give both or neither")
            return
        object.__setattr__(
            self,
            "attributes",
            checked_attributes(self.attributes.to(self.counts), self.attributes_known, len(self.counts)),
        )

    @classmethod
    def from_dense(
        cls,
        counts: Num[Tensor, "..."],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        attributes: Float[Tensor, "... features"] | None = None,
        attributes_known: Bool[Tensor, "... features"] | None = None,
    ) -> CountObservations:
        """From a whole tensor: the entries where `mask` is True (all without one), in row-major order.

        Attributes have the tensor's shape and one more dimension; they are read at observed entries only.
        """
        if mask is None:
            mask = torch.ones(counts.shape, dtype=torch.bool, device=counts.device)
        for name, tensor, wanted in (
            ("mask", mask, counts.shape),
            ("attributes", attributes, None if attributes is None else (*counts.shape, attributes.shape[-1])),
            ("attributes_known", attributes_known, None if attributes is None else attributes.shape),
        ):
            if tensor is not None and tensor.shape != wanted:
                raise InputError(f"{name}: shape {tuple(tensor.shape)} was given beside counts {tuple(counts.shape)}")
        values = counts[mask]
        return cls(
            tuple(counts.shape),
            mask.nonzero(),
            values if values.is_floating_point() else values.double(),
            None if attributes is None else attributes[mask],
            None if attributes_known is None else attributes_known[mask],
        )

    def __len__(self) -> int:
        return len(self.counts)

    def select(self, rows: Int[Tensor, " chosen"]) -> CountObservations:
        """Only these rows, in this order."""
        return CountObservations(
            self.shape,
            self.indices[rows],
            self.counts[rows],
            None if self.attributes is None else self.attributes[rows],
            None if self.attributes_known is None else self.attributes_known[rows],
        )

    def with_counts(self, counts: Float[Tensor, " m"]) -> CountObservations:
        """The same cells and attributes with other counts."""
        return replace(self, counts=counts)


def check_slices(observations: CountObservations) -> None:
    """Refuse slices without a single observation: nothing says how large their rates are."""
    for mode, size in enumerate(observations.shape):
        seen = torch.bincount(observations.indices[:, mode], minlength=size)
        empty = (seen == 0).nonzero()[:, 0].tolist()
        if empty:
            named = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
            raise InputError(
                f"observations: {len(empty)} slices of mode {mode} were never observed (index {named}); "
                "drop them from the shape or observe them"
            )


def checked_attributes(attributes: Tensor, known: Tensor | None, count: int) -> Tensor:
    """Attributes of the right length, finite, with zeros where they are not known."""
    if attributes.ndim != 2 or attributes.shape[0] != count or attributes.shape[1] < 1:
        raise InputError(f"attributes: shape {tuple(attributes.shape)} was given, ({count}, features) is needed")
    if known is not None:
        if known.shape != attributes.shape or known.dtype != torch.bool:
            raise InputError(
                f"attributes_known: {known.dtype} {tuple(known.shape)} was given, "
                f"bool {tuple(attributes.shape)} is needed"
            )
        attributes = torch.where(known, attributes, 0)
    if not bool(torch.isfinite(attributes).all()):
        raise InputError("attributes: NaN or infinity; mark missing ones with attributes_known=False")
    return attributes


def _check_counts(counts: Tensor, rows: int) -> None:
    if counts.ndim != 1 or len(counts) != rows or rows == 0:
        raise InputError(f"counts: shape {tuple(counts.shape)} was given beside {rows} index tuples; one count a row")
    if not counts.is_floating_point():
        raise InputError(f"counts: {counts.dtype} was given; convert them to floating point, as in counts.double()")
    if not bool(torch.isfinite(counts).all()) or bool((counts < 0).any()):
        raise InputError("counts: NaN, infinity or a negative number; leave out rows that were not observed")
    if not bool((counts > 0).any()):
        raise InputError("counts: all are zero; every rate is then zero and there is nothing to fit")


def whole_numbers(counts: Sequence[float] | Tensor, what: str) -> None:
    """Refuse counts with a fraction where the probability of a count is needed."""
    values = torch.as_tensor(counts)
    if bool((values != values.round()).any()):
        raise InputError(f"counts: some are no whole numbers; {what} needs counts of individuals")

"""Elements as numbers 0, 1, ... in the order that a model was made for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from polyad.errors import InputError


def check_species(species: Sequence[int]) -> Int[Tensor, " kinds"]:
    """The atomic numbers that a model is made for.

    Raises:
        InputError: none, one twice, or a negative one.
    """
    numbers = list(species)
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < 0:
        raise InputError(f"species: {numbers} was given; give different atomic numbers, at least one")
    return torch.tensor(numbers, dtype=torch.int64)


def number_kinds(
    species: Int[Tensor, " nodes"], known: Int[Tensor, " kinds"], *, owner: str = "model"
) -> Int[Tensor, " nodes"]:
    """Number of every atom's element among the atomic numbers `known`.

    Raises:
        InputError: an element that is not among them; `owner` says whose they are.
    """
    match = species[:, None] == known
    found = match.any(1)
    if not bool(found.all()):
        strangers = sorted(set(species[~found].tolist()))
        raise InputError(
            f"species: atomic numbers {strangers} are unknown to this {owner}, made for {known.tolist()}; "
            "train one on data that has them"
        )
    return match.int().argmax(1)

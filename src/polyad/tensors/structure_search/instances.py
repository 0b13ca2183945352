"""Tensors with a known structure: planted rings, and the files in which published ones come.

A file is a NumPy archive with the tensor `goal` and, for planted ones, `adj_matrix`: the sizes of the modes on the
diagonal and of the bonds beside it, 0 where there is none. Nothing in a file is executed.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.tensors.structure_search.plans import to_dense
from polyad.tensors.structure_search.structures import NetworkStructure
from polyad.tensors.structure_search.templates import ring


@final
@dataclass(frozen=True, eq=False)
class Instance:
    """A tensor, and the structure that it was made from where that is known."""

    tensor: Tensor
    structure: NetworkStructure | None


def planted_ring(order: int, *, size: int = 3, r_min: int = 1, r_max: int = 4, seed: int = 0) -> Instance:
    """A random tensor ring with uniform ranks in r_min..r_max and its modes in random order."""
    if order < 3 or size < 2 or not 1 <= r_min <= r_max:
        raise InputError(f"order, size, ranks: {order}, {size}, {r_min}..{r_max}; at least 3, 2, and 1 <= min <= max")
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.randint(r_min, r_max + 1, (order,), generator=generator).tolist()
    permutation = torch.randperm(order, generator=generator).tolist()
    structure = ring(order).structure((size,) * order, ranks, permutation)
    return Instance(to_dense(structure, structure.random_cores(generator))[0], structure)


def structure_from_adjacency(
    adjacency: Float[Tensor, "nodes nodes"] | np.ndarray | list[list[int]],
) -> NetworkStructure:
    """Structure of an adjacency matrix: modes on the diagonal, bonds beside it, 0 or 1 where there is none."""
    rows = [[int(entry) for entry in row] for row in adjacency]
    shape = tuple(row[k] for k, row in enumerate(rows))
    return NetworkStructure(shape, tuple(tuple(max(1, entry) for entry in row) for row in rows))


def read_instance(path: str | Path) -> Instance:
    """Read a NumPy archive; see the module for its arrays.

    Raises:
        FileFormatError: no archive, no `goal`, objects instead of numbers, or a matrix that does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "goal" not in archive.files:
                raise FileFormatError(path, f"holds {sorted(archive.files)}; an array named 'goal' is needed")
            goal = np.asarray(archive["goal"], dtype=np.float64)
            adjacency = archive["adj_matrix"] if "adj_matrix" in archive.files else None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise FileFormatError(
            path, f"is no NumPy archive of plain numbers ({error}); write it with numpy.savez"
        ) from error
    structure = None
    if adjacency is not None and adjacency.shape == (goal.ndim, goal.ndim):
        structure = structure_from_adjacency(adjacency)
        if structure.shape != goal.shape:
            raise FileFormatError(path, f"has a tensor of shape {goal.shape} and an adjacency of {structure.shape}")
    return Instance(torch.from_numpy(goal), structure)

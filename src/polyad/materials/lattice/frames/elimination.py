"""Compiled block elimination of small cells, spread over threads; see `elimination_kernels` for the method.

Each lattice is one sequence of operations in one thread, so a result depends neither on its neighbours in the batch nor
on the number of threads.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from polyad.errors import NumericalWarning
from polyad.linalg.minimum_degree import minimum_degree
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.frames import elimination_kernels
from polyad.materials.lattice.frames.dense import least_squares_energy
from polyad.materials.lattice.frames.frame import FrameArrays

SMALLEST_PIVOT = 1e-13
"""A pivot this small beside its diagonal means that elimination has lost its digits: least squares takes over."""


def eliminate(arrays: FrameArrays, first: int, last: int, energy: np.ndarray, displacements: np.ndarray) -> None:
    """Fill in energy (batch, 6, 6) = V C of cells first .. last-1, and displacements (nodes, 6, 6) unless empty.

    Warns:
        NumericalWarning: a cell is nearly a mechanism and was solved by least squares instead.
    """
    smallest = np.empty(len(energy))

    def solve(start: int, stop: int) -> None:
        elimination_kernels.solve_cells(start, stop, *arrays, energy, displacements, smallest)

    in_threads(solve, arrays.edge_start, first, last)
    for lattice in first + np.nonzero(~(smallest[first:last] > SMALLEST_PIVOT))[0]:
        _fall_back(arrays, int(lattice), float(smallest[lattice]), energy, displacements)


def in_threads(work: Callable[[int, int], None], edge_start: np.ndarray, first: int, last: int) -> None:
    """Call work(start, stop) on ranges of cells with about equally many struts, in torch's number of threads."""
    threads = torch.get_num_threads()
    if threads == 1 or last - first < 2 * threads:
        work(first, last)
        return
    # a few ranges a thread, so that one with larger cells does not hold up the rest
    targets = np.linspace(edge_start[first], edge_start[last], 4 * threads + 1)[1:-1]
    cuts = np.unique(np.clip(np.searchsorted(edge_start, targets), first, last))
    bounds = np.unique(np.concatenate([[first], cuts, [last]]))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in itertools.pairwise(bounds)]:
            done.result()


def elimination_flops(batch: LatticeBatch) -> Int[Tensor, " batch"]:
    """Floating-point operations that eliminating every lattice takes in the order used: the floor of `eliminate`.

    A pivot with c later block rows costs 91 for its factor, 216 c for the panel and 216 c (c + 1) for the update.
    """
    node_start, edge_start = batch.node_start.tolist(), batch.edge_start.tolist()
    source, target = (np.ascontiguousarray(row.numpy()) for row in batch.edge_index)
    flops = []
    for n0, n1, e0, e1 in zip(node_start, node_start[1:], edge_start, edge_start[1:], strict=False):
        _, later_start, _ = minimum_degree(n1 - n0, source[e0:e1], target[e0:e1], n0)
        rows = np.diff(later_start) + 1
        flops.append(int((91 + 216 * rows + 216 * rows * (rows + 1)).sum()))
    return torch.tensor(flops)


def _fall_back(
    arrays: FrameArrays, lattice: int, smallest: float, energy: np.ndarray, displacements: np.ndarray
) -> None:
    warnings.warn(
        f"lattice {lattice} is nearly a mechanism (pivot {smallest:.1e}): solved by least squares, digits are lost",
        NumericalWarning,
        stacklevel=2,
    )
    nodes = slice(arrays.node_start[lattice], arrays.node_start[lattice + 1])
    edges = slice(arrays.edge_start[lattice], arrays.edge_start[lattice + 1])
    index = torch.from_numpy(np.stack([arrays.source[edges], arrays.target[edges]]) - nodes.start)
    vectors, coefficients = torch.from_numpy(arrays.vectors[edges]), torch.from_numpy(arrays.coefficients[edges])
    result, moved = least_squares_energy(vectors, coefficients, index, int(nodes.stop - nodes.start))
    energy[lattice] = result.numpy()
    if len(displacements):
        displacements[nodes] = moved.numpy()

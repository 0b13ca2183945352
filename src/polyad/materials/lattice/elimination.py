"""Energy of small frames by compiled block elimination, a ragged batch at a time, with its exact gradient.

`block_energy` hands ranges of lattices to threads; each lattice is one sequence of operations in one thread, so a
result depends neither on its neighbours in the batch nor on the number of threads. See `frame_kernels` for the method.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice import frame_kernels, gradient_kernels
from polyad.materials.lattice.dense import least_squares_energy

SMALLEST_PIVOT = 1e-13
"""A pivot this small beside its diagonal means that elimination has lost its digits: least squares takes over."""


class Grounding(NamedTuple):
    """Where rigid motions are held by springs: one node a component.

    `start` (batch + 1,) first component of every lattice; `node` (components,); `rotation` (components, 3, 3)
    projector on the rotations that the component's rigid motions leave free.
    """

    start: Int[Tensor, " batch_plus_one"]
    node: Int[Tensor, " components"]
    rotation: Float[Tensor, "components 3 3"]


def block_energy(
    vectors: Float[Tensor, "edges 3"],
    coefficients: Float[Tensor, "edges 4"],
    edge_index: Int[Tensor, "2 edges"],
    node_start: Int[Tensor, " batch_plus_one"],
    edge_start: Int[Tensor, " batch_plus_one"],
    grounding: Grounding,
    keep_displacements: bool = True,
) -> tuple[Float[Tensor, "batch 6 6"], Float[Tensor, "nodes 6 6"] | None]:
    """V C of every lattice and, where wanted, the displacements under the six unit strains.

    Differentiable in `vectors` and `coefficients`; displacements carry no gradient. Float64 on the CPU.
    """
    if vectors.device.type != "cpu":
        raise InputError(f"method 'block' runs on the CPU; the lattice is on {vectors.device}: use method='dense'")
    energy, displacements = _BlockEnergy.apply(
        vectors, coefficients, edge_index, node_start, edge_start, grounding, keep_displacements
    )
    return energy, displacements if keep_displacements else None


class _BlockEnergy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        vectors: Tensor,
        coefficients: Tensor,
        edge_index: Tensor,
        node_start: Tensor,
        edge_start: Tensor,
        grounding: Grounding,
        keep_displacements: bool,
    ) -> tuple[Tensor, Tensor]:
        batch = len(node_start) - 1
        topology = [_array(x) for x in (node_start, edge_start, edge_index[0], edge_index[1])]
        numbers = [_array(vectors), _array(coefficients)]
        ground = [_array(x) for x in grounding]
        energy = np.empty((batch, 6, 6))
        displacements = np.empty((int(node_start[-1]) if keep_displacements else 0, 6, 6))
        smallest, flops = np.empty(batch), np.empty(batch, np.int64)

        def solve(first: int, last: int) -> None:
            frame_kernels.solve_cells(first, last, *topology, *numbers, *ground, energy, displacements, smallest, flops)

        in_threads(solve, topology[1])
        for lattice in np.nonzero(~(smallest > SMALLEST_PIVOT))[0]:
            _fall_back(int(lattice), smallest[lattice], topology, numbers, energy, displacements)
        result, kept = torch.from_numpy(energy), torch.from_numpy(displacements)
        context.save_for_backward(vectors, coefficients, edge_index, edge_start, kept)
        context.mark_non_differentiable(kept)
        return result, kept

    @staticmethod
    def backward(context: Any, grad_energy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return (*frame_gradient(grad_energy, *context.saved_tensors), None, None, None, None, None)


def frame_gradient(
    grad_energy: Float[Tensor, "batch 6 6"],
    vectors: Float[Tensor, "edges 3"],
    coefficients: Float[Tensor, "edges 4"],
    edge_index: Int[Tensor, "2 edges"],
    edge_start: Int[Tensor, " batch_plus_one"],
    displacements: Float[Tensor, "nodes 6 6"],
) -> tuple[Float[Tensor, "edges 3"], Float[Tensor, "edges 4"]]:
    """Gradient by strut vectors and coefficients of sum(grad_energy * V C), at the displacements that minimise it."""
    weight = _array(0.5 * (grad_energy + grad_energy.transpose(1, 2)))
    grad_vectors, grad_coefficients = np.empty((len(vectors), 3)), np.empty((len(vectors), 4))
    arrays = [_array(x) for x in (edge_start, edge_index[0], edge_index[1], vectors, coefficients, displacements)]

    def differentiate(first: int, last: int) -> None:
        gradient_kernels.energy_gradient(first, last, *arrays, weight, grad_vectors, grad_coefficients)

    in_threads(differentiate, arrays[0])
    return torch.from_numpy(grad_vectors), torch.from_numpy(grad_coefficients)


def in_threads(work: Callable[[int, int], None], edge_start: np.ndarray) -> None:
    """Call work(first, last) on ranges of lattices with about equally many struts, in torch's number of threads."""
    batch, threads = len(edge_start) - 1, torch.get_num_threads()
    if threads == 1 or batch < 2 * threads:
        work(0, batch)
        return
    # a few ranges a thread, so that one with larger cells does not hold up the rest
    targets = np.linspace(0, edge_start[-1], 4 * threads + 1)[1:-1]
    cuts = np.unique(np.concatenate([[0], np.searchsorted(edge_start, targets), [batch]]))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in itertools.pairwise(cuts)]:
            done.result()


def _fall_back(
    lattice: int,
    smallest: float,
    topology: list[np.ndarray],
    numbers: list[np.ndarray],
    energy: np.ndarray,
    displacements: np.ndarray,
) -> None:
    node_start, edge_start, source, target = topology
    warnings.warn(
        f"lattice {lattice} is nearly a mechanism (pivot {smallest:.1e}): solved by least squares, digits are lost",
        NumericalWarning,
        stacklevel=2,
    )
    nodes = slice(node_start[lattice], node_start[lattice + 1])
    edges = slice(edge_start[lattice], edge_start[lattice + 1])
    index = torch.from_numpy(np.stack([source[edges], target[edges]]) - node_start[lattice])
    vectors, coefficients = (torch.from_numpy(x[edges]) for x in numbers)
    result, moved = least_squares_energy(vectors, coefficients, index, nodes.stop - nodes.start)
    energy[lattice] = result.numpy()
    if len(displacements):
        displacements[nodes] = moved.numpy()


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())

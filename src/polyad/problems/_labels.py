"""Energies and forces of structures from a formula for the energies of atoms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyad.graphs.neighbors import edge_vectors
from polyad.materials.structures import Structures

AtomEnergies = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Edge vectors (edges, 3), edge_index (2, edges) sorted by source, species (nodes,) -> energies (nodes,)."""


def labelled(structures: Structures, cutoff: float, atom_energies: AtomEnergies) -> Structures:
    """The structures with neighbours, the target `energy` and the node target `forces`, minus the energy's slope."""
    structures = structures.with_neighbors(cutoff)
    with torch.enable_grad():
        positions = structures.positions.detach().requires_grad_()
        index, structure = structures.edge_index, structures.structure
        vectors = edge_vectors(positions, index, structures.edge_shift, structures.cell, structure)
        atomic = atom_energies(vectors, index, structures.species)
        energy = atomic.new_zeros(len(structures)).index_add(0, structure, atomic)
        (slope,) = torch.autograd.grad(energy.sum(), positions)
    return structures.replace(
        targets={**structures.targets, "energy": energy.detach()},
        node_targets={**structures.node_targets, "forces": -slope},
    )


def settled(
    structures: Structures, label: Callable[[Structures], Structures], *, steps: int, length: float
) -> Structures:
    """Atoms moved along their forces, at most `length` a step and ever less: what overlaps comes apart."""
    for step in range(steps):
        forces = label(structures).node_targets["forces"]
        reach = length * 0.93**step
        size = torch.linalg.vector_norm(forces, dim=-1, keepdim=True)
        move = forces * (reach / size.clamp_min(10 * length))
        structures = structures.replace(positions=structures.positions + move)
    return structures

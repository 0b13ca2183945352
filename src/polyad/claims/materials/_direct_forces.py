"""Train networks that read forces out directly, and measure them; steps counted by the processor's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from polyad.graphs.points import PointGraph
from polyad.materials.potentials import force_scale, reference_energies
from polyad.materials.structures import Structures
from polyad.training import fit


@final
class DirectForces(nn.Module):
    """A network with `energies_and_forces`, in the data's units."""

    species: Tensor

    def __init__(self, network: nn.Module, data: Structures) -> None:
        super().__init__()
        numbers, _ = reference_energies(data)
        self.network, self.scale = network, force_scale(data)
        self.register_buffer("species", torch.tensor(numbers))

    def forward(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Energies of the structures without those of free atoms, and forces, both over the scale of the forces."""
        vectors = structures.edge_vectors()
        graph = PointGraph(
            edge_index=structures.edge_index,
            vectors=vectors,
            kind=torch.bucketize(structures.species, self.species),
            structure=structures.structure,
            num_structures=len(structures),
            positions=structures.positions,
            edge_scalars=vectors.new_zeros(len(vectors), 0),
        )
        energies, forces = self.network.energies_and_forces(graph)  # type: ignore[operator]
        return graph.sum_nodes(energies), forces


def interaction_energies(structures: Structures, *, like: Structures) -> Structures:
    """The target `energy` less the energies of free atoms, by least squares over the training data `like`."""
    numbers, shift = reference_energies(like)
    per_atom = shift[torch.bucketize(structures.species, torch.tensor(numbers))]
    free = per_atom.new_zeros(len(structures)).index_add(0, structures.structure, per_atom)
    return structures.replace(targets={"energy": structures.targets["energy"] - free})


def direct_loss(model: nn.Module, batch: Structures) -> Tensor:
    """Mean length of the force errors, and a tenth of the mean error of the energies an atom; in units of the scale."""
    energies, forces = model(batch)
    scale = float(model.scale)  # type: ignore[arg-type]
    wrong = torch.linalg.vector_norm(forces - batch.node_targets["forces"] / scale, dim=-1).mean()
    atoms = batch.node_start.diff()
    return wrong + 0.1 * ((energies - batch.targets["energy"] / scale) / atoms).abs().mean()


def train(
    model: DirectForces,
    data: Structures,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Train in place, averaged weights at the end; returns the processor's seconds."""
    began = time.process_time()
    fit(
        model, direct_loss, data, steps=steps, batch_size=batch_size, learning_rate=learning_rate, ema=0.99,
        clip_norm=10.0, progress=progress,
    )  # fmt: skip
    return time.process_time() - began


def step_seconds(model: DirectForces, data: Structures, *, batch_size: int, repeats: int = 7) -> float:
    """Median of the processor's time of a step of training; the weights stay as they are."""
    batch = data[:batch_size].to(torch.float32)
    times = []
    for _ in range(repeats):
        began = time.process_time()
        direct_loss(model, batch).backward()
        times.append(time.process_time() - began)
        model.zero_grad()
    return sorted(times)[repeats // 2]


@torch.no_grad()
def force_error(model: DirectForces, data: Structures, *, batch_size: int = 20) -> float:
    """Mean absolute error of a force component, in the data's unit."""
    total = 0.0
    for low in range(0, len(data), batch_size):
        batch = data[low : low + batch_size].to(torch.float32)
        _, forces = model(batch)
        total += float((forces * model.scale - batch.node_targets["forces"]).abs().sum())
    return total / (3 * data.num_nodes)

"""Forces from a head of their own, beside the energy, and a loss that holds them to its gradient.

    F_i = scale * head_i,        loss + weight * mean over components of (F_i + dE/dx_i)^2

A direct head saves the derivative of the energy in every step; it is no gradient of anything, unless the last term, the
gradient consistency, makes it nearly one.

Source: A. Duval et al., FAENet, ICML 2023, arXiv:2305.05577, section 4.4.

*When not to use it*: for dynamics that must conserve energy; take `Potential`, whose forces are derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.losses import PotentialLoss
from polyad.materials.potentials.potential import Potential
from polyad.materials.structures import Structures


@final
class DirectForces(nn.Module):
    """A network of energies and forces with its units; to be trained and used as a `Potential`, without stress.

    Args:
        network: `PointGraph` -> {"energy": (nodes,), "forces": (nodes, 3)}.
        species, cutoff, shift, scale: as of `Potential`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        species: Sequence[int],
        cutoff: float,
        shift: Float[Tensor, " species"] | Sequence[float] | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.units = Potential(network, species=species, cutoff=cutoff, shift=shift, scale=scale)

    @property
    def scale(self) -> Tensor:
        """Unit of the network's outputs."""
        return self.units.scale

    def free_energy(self, structures: Structures) -> Float[Tensor, " structures"]:
        """Sum of the shifts of a structure's atoms, float64."""
        return self.units.free_energy(structures)

    def forward(
        self, structures: Structures, *, forces: bool = True, stress: bool = False, gradient: bool = False
    ) -> dict[str, Float[Tensor, "..."]]:
        """Predictions by name: energy, interaction_energy (structures,), forces (nodes, 3) of the head.

        With `gradient` also `gradient_forces` (nodes, 3), the derivative of the energy, through the frames if there are
        any; in training mode it can be differentiated.

        Raises:
            InputError: stress, or a species it was not made for.
        """
        if stress:
            raise InputError("stress: a head for forces has none; use Potential")
        if structures.num_edges == 0 and structures.num_nodes > 1:
            structures = structures.with_neighbors(self.units.cutoff)
        positions, structure = structures.positions, structures.structure
        with torch.set_grad_enabled(torch.is_grad_enabled() or gradient):
            if gradient:
                positions = positions + positions.new_zeros(positions.shape).requires_grad_()
            vectors = edge_vectors(positions, structures.edge_index, structures.edge_shift, structures.cell, structure)
            graph = PointGraph(
                edge_index=structures.edge_index,
                vectors=vectors,
                kind=self.units.kinds(structures.species),
                structure=structure,
                num_structures=len(structures),
                positions=positions,
                edge_scalars=vectors.new_zeros(len(vectors), 0),
            )
            outputs = self.units.network(graph)
            varying = graph.sum_nodes(outputs["energy"] * self.scale)
            whole = varying.sum()
        found = {"interaction_energy": varying, "energy": varying + self.free_energy(structures)}
        if forces:
            found["forces"] = outputs["forces"] * self.scale
        if gradient:
            (slope,) = torch.autograd.grad(whole, positions, create_graph=self.training, allow_unused=True)
            found["gradient_forces"] = torch.zeros_like(positions) if slope is None else -slope
        return found if self.training else {name: value.detach() for name, value in found.items()}


@final
@dataclass(frozen=True)
class ConsistentLoss:
    """A loss of energies and forces, and the squared gap between the force head and the energy's gradient.

    Args:
        base: what energies and forces are compared by.
        consistency: weight of the gap's mean square.
    """

    base: PotentialLoss
    consistency: float

    def __post_init__(self) -> None:
        if not self.consistency > 0:
            raise InputError(f"consistency: {self.consistency} was given; give a positive weight, or use the base loss")

    def __call__(self, model: nn.Module, batch: Structures) -> Tensor:
        """The loss of a batch."""
        found = model(batch, gradient=True)
        gap = (found["forces"] - found["gradient_forces"]).square().mean()
        return self.base(_Remembered(found), batch) + self.consistency * gap

    def metrics(self, model: nn.Module, batch: Structures) -> dict[str, Tensor]:
        """Those of the base, and `consistency_mae` a component."""
        found = model(batch, gradient=True)
        gap = (found["forces"] - found["gradient_forces"]).abs().mean()
        return {**self.base.metrics(_Remembered(found), batch), "consistency_mae": gap}


class _Remembered(nn.Module):
    """Predictions that were made already, as a model."""

    def __init__(self, found: dict[str, Tensor]) -> None:
        super().__init__()
        self.found = found

    def forward(self, batch: Structures, **options: Any) -> dict[str, Tensor]:
        return self.found

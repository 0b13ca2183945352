"""From a network that gives every atom an energy to a potential: energy, forces and stress, in the data's units.

    E = sum over atoms of ( scale * e_i + shift[element of i] )
    F_i = -dE/dx_i,    stress = (1/V) dE/d(strain), symmetric, positive under tension,

by automatic differentiation, so forces are conservative and stress belongs to the same energy. The network sees
differences of positions and element numbers only; shifts (energies of free atoms, by least squares) and scale (root
mean square of the forces) carry the units.

When not to use it: for networks that predict forces directly; they are no gradients of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors
from polyad.graphs.points import PointGraph
from polyad.materials.structures import Structures
from polyad.materials.structures.kinds import check_species, number_kinds


@final
class Potential(nn.Module):
    """A network with its units.

    Args:
        network: `PointGraph` -> (nodes,) energies of the atoms, or (nodes, 1).
        species: atomic numbers it is made for, in the order of the network's kinds.
        cutoff: of the neighbour list, in the unit of the positions.
        shift: energy of every species, in the unit of the energies; by default 0.
        scale: unit of the network's output; by default 1.
    """

    species: Tensor
    shift: Tensor
    scale: Tensor

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
        self.network = network
        self.cutoff = float(cutoff)
        numbers = check_species(species)
        values = torch.zeros(len(numbers)) if shift is None else torch.as_tensor(shift)
        if len(values) != len(numbers):
            raise InputError(f"shift: {len(values)} energies for {len(numbers)} species; give one each")
        self.register_buffer("species", numbers)
        self.register_buffer("shift", values.double())
        self.register_buffer("scale", torch.tensor(float(scale), dtype=torch.float64))

    def forward(
        self, structures: Structures, *, forces: bool = True, stress: bool = False
    ) -> dict[str, Float[Tensor, "..."]]:
        """Predictions by name: energy (structures,), forces (nodes, 3), stress (structures, 3, 3).

        `interaction_energy` is the energy without the shifts, in the network's dtype; `energy` is float64, for totals
        of thousands of units have differences of thousandths. Structures without edges get their neighbours first. In
        training mode, all can be differentiated.

        Raises:
            InputError: a species it was not made for, or stress of what does not repeat in three directions.
        """
        if structures.num_edges == 0 and structures.num_nodes > 1:
            structures = structures.with_neighbors(self.cutoff)
        kind = self.kinds(structures.species)
        differentiable = forces or stress
        positions, cell, structure = structures.positions, structures.cell, structures.structure
        sources: list[Tensor] = []
        if stress and not bool(structures.periodic.all()):
            raise InputError("stress: needs structures that repeat in three directions; leave it out for molecules")
        with torch.set_grad_enabled(torch.is_grad_enabled() or differentiable):
            if stress:
                strain = positions.new_zeros(len(structures), 3, 3).requires_grad_()
                sources.append(strain)
                deform = torch.eye(3, dtype=positions.dtype, device=positions.device) + 0.5 * (strain + strain.mT)
                positions = torch.bmm(positions[:, None], deform[structure])[:, 0]
                cell = cell @ deform
            if forces:
                positions = positions + positions.new_zeros(positions.shape).requires_grad_()
                sources.insert(0, positions)
            vectors = edge_vectors(positions, structures.edge_index, structures.edge_shift, cell, structure)
            graph = PointGraph(
                edge_index=structures.edge_index,
                vectors=vectors,
                kind=kind,
                structure=structure,
                num_structures=len(structures),
                positions=positions,
                edge_scalars=vectors.new_zeros(len(vectors), 0),
            )
            atomic = self.network(graph).reshape(-1) * self.scale
            varying = graph.sum_nodes(atomic)
            total = varying.sum()
        found: dict[str, Tensor] = {"interaction_energy": varying, "energy": varying + self.free_energy(structures)}
        if differentiable:
            gradients = list(torch.autograd.grad(total, sources, create_graph=self.training, allow_unused=True))
            gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, sources, strict=True)]
            if forces:
                found["forces"] = -gradients.pop(0)
            if stress:
                found["stress"] = gradients.pop(0) / torch.linalg.det(structures.cell).abs()[:, None, None]
        return found if self.training else {name: value.detach() for name, value in found.items()}

    def free_energy(self, structures: Structures) -> Float[Tensor, " structures"]:
        """Sum of the shifts of a structure's atoms, float64."""
        shift = self.shift[self.kinds(structures.species)].double()
        total = shift.new_zeros(len(structures))
        return total.index_add(0, structures.structure, shift)

    def kinds(self, species: Int[Tensor, " nodes"]) -> Int[Tensor, " nodes"]:
        """Number of every atom's element among those the potential is made for.

        Raises:
            InputError: another element.
        """
        return number_kinds(species, self.species, owner="potential")


def reference_energies(
    structures: Structures, *, target: str = "energy"
) -> tuple[list[int], Float[Tensor, " species"]]:
    """Species of the data and the energy of an atom of each, by least squares over the compositions.

    Where compositions do not tell species apart (one molecule), the solution of least norm is taken: the mean energy
    an atom, shared in proportion to how often each occurs.

    Raises:
        InputError: no such target, or values that are not finite.
    """
    if target not in structures.targets:
        raise InputError(f"target: {target!r} is not among {list(structures.targets)}")
    energy = structures.targets[target].double()
    bad = torch.nonzero(~torch.isfinite(energy))
    if len(bad):
        raise InputError(f"target: {target!r} of structure {int(bad[0])} is {float(energy[bad[0]])}; remove it")
    numbers, kind = structures.species.unique(return_inverse=True)
    counts = torch.zeros(len(structures), len(numbers), dtype=torch.float64, device=energy.device)
    counts.index_put_((structures.structure, kind), torch.ones_like(kind, dtype=torch.float64), accumulate=True)
    shift = torch.linalg.pinv(counts, rtol=1e-10) @ energy
    return numbers.tolist(), shift


def force_scale(structures: Structures) -> float:
    """Root mean square of the force components; 1 where there are none, or all vanish."""
    forces: Mapping[str, Tensor] = structures.node_targets
    if "forces" not in forces:
        return 1.0
    scale = float(forces["forces"].double().square().mean().sqrt())
    return scale if scale > 0 else 1.0

"""From a network that gives irreps to a property in the data's units.

    features = network(graph),   B = harmonic basis of the target, transposed, times features
    property = shift + scale * density * positivity(B)

The density stands there for tensors of lattices only: stiffness over relative density is what strut networks learn
well. It is computed from positions and radii, so the prediction can be differentiated in both. Positivity is a function
of the matrix (`positivity`), the basis an orthonormal one (`targets`): nothing here breaks the network's symmetry.

When not to use it: for energies and forces of atoms, which belong to `polyad.materials.potentials`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.positivity import check_positivity, make_positive
from polyad.materials.properties.targets import PropertyTarget
from polyad.materials.structures import Structures
from polyad.materials.structures.kinds import check_species, number_kinds


@final
class PropertyModel(nn.Module):
    """A network with its target and units.

    Args:
        network: `PointGraph` -> (structures, target.irreps.dim) in the flat layout of irreps.
        target: what is predicted.
        species: atomic numbers it is made for, in the order of the network's kinds.
        cutoff: of the neighbour list; of no use with struts.
        struts: the graph is the structures' own edges, their radius an edge scalar; otherwise neighbours are found.
        positivity: one of `polyad.materials.properties.positivity.POSITIVITY`, "none" for tensors that may be anything.
        scale: unit of the network's output.
        shift: added to scalars.

    Raises:
        InputError: no species, or positivity of a target that is no symmetric matrix.
    """

    species: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        target: PropertyTarget,
        *,
        species: Sequence[int],
        cutoff: float,
        struts: bool = False,
        positivity: str = "none",
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        if check_positivity(positivity) != "none" and not target.positive:
            raise InputError(f"positivity: {target.name} need not be positive; only 'none' fits, {positivity!r} given")
        self.network, self.target, self.cutoff = network, target, float(cutoff)
        self.struts, self.positivity, self.width = struts, positivity, target.irreps.dim
        self.register_buffer("species", check_species(species))
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("shift", torch.tensor(float(shift)))

    def forward(self, structures: Structures) -> Float[Tensor, "structures ..."]:
        """The property of every structure, (structures, *target.shape), differentiable in geometry and radii.

        Structures without edges get their neighbours first.

        Raises:
            InputError: a species it was not made for, or struts that are missing.
        """
        features = self.network(self.graph(structures))
        if features.shape != (len(structures), self.width):
            raise InputError(
                f"network: gave shape {tuple(features.shape)}, {self.target.name} of {len(structures)} structures "
                f"needs {(len(structures), self.width)}"
            )
        array = self.target.to_array(features)
        if self.positivity != "none":
            array = make_positive(array, self.positivity)
        if self.per_density:
            array = array * strut_density(structures).view(-1, *[1] * len(self.target.shape))
        return array * self.scale + self.shift if self.target.basis is None else array * self.scale

    @property
    def per_density(self) -> bool:
        """Whether the output is multiplied by the relative density."""
        return self.struts and self.target.basis is not None

    def graph(self, structures: Structures) -> PointGraph:
        """What the network sees."""
        if self.struts and "radius" not in structures.edge_features:
            raise InputError("model: was trained on lattices and needs struts with a radius; give lattices")
        structures = self.prepared(structures)
        vectors = structures.edge_vectors()
        radius = structures.edge_features["radius"][:, None] if self.struts else vectors.new_zeros(len(vectors), 0)
        return PointGraph(
            edge_index=structures.edge_index,
            vectors=vectors,
            kind=number_kinds(structures.species, self.species),
            structure=structures.structure,
            num_structures=len(structures),
            positions=structures.positions,
            edge_scalars=radius,
            cell=structures.cell if bool(structures.periodic.all()) else None,
        )

    def prepared(self, structures: Structures) -> Structures:
        """With neighbours, where the model needs them and they are not there yet."""
        if self.struts or structures.num_edges or structures.num_nodes < 2:
            return structures
        return structures.with_neighbors(self.cutoff)


def strut_density(structures: Structures) -> Float[Tensor, " structures"]:
    """Relative density of lattices: sum of pi r^2 L over the volume, each strut once, though it is two edges."""
    length = torch.linalg.vector_norm(structures.edge_vectors(), dim=-1)
    half = 0.5 * math.pi * structures.edge_features["radius"].square() * length
    volume = torch.linalg.det(structures.cell).abs()
    structure = structures.structure.index_select(0, structures.edge_index[0])
    return torch.zeros_like(volume).index_add(0, structure, half) / volume

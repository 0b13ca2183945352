"""Ponita on atoms: energies, or vectors, from signals on a grid of orientations at every atom.

Elements are embedded constantly over the grid; everything else comes from `polyad.symmetry.position_orientation`. The
energy is a readout of scalars, and forces are its gradient; `output="vector"` reads vectors instead, such as forces
without an energy (cheaper, and no gradient of anything). The distance of a neighbour to the line along an orientation
enters by its square, so that forces have no jump on that line.

Turns that permute the grid leave the energy alone exactly; under others it changes by an error that falls fast with the
number of orientations. With "icosahedron" (12 of them) the 120 symmetries of the icosahedron are exact.

Source: E. Bekkers et al., ICLR 2024, arXiv:2310.02970, section 5.

*Deviations*: kernels end at the cutoff, where the paper's graphs are complete, and lengths are in
halves of it.

`PRESETS` has the sizes of networks that are trained on GPUs; they are options of the class, learning rate aside:

    PonitaPotential(kinds=4, cutoff=6.0, **PRESETS["rmd17"])     AdamW 5e-4, batch 5, force weight 500, 5000 epochs
    PonitaPotential(kinds=5, cutoff=6.0, **PRESETS["qm9"])       AdamW 5e-4, batch 96, 500 epochs

*When not to use it*: where a small change of the energy under rotation cannot be accepted.
"""

from __future__ import annotations

from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.position_orientation import Ponita, icosahedron

PRESETS: dict[str, dict[str, Any]] = {
    "rmd17": {"channels": 128, "layers": 5, "orientations": 20, "basis": 256},
    "qm9": {"channels": 256, "layers": 9, "orientations": 20, "basis": 256},
}
"""Options of the sizes that were published for these data (QM9's with orientations along bonds, here on a grid)."""


@final
class PonitaPotential(nn.Module):
    """A network of positions and orientations, `PointGraph` -> output of every atom.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        channels: of the features.
        layers: number of blocks.
        orientations: points of the grid, or "icosahedron".
        basis: functions that kernels are combined of.
        output: "energy" gives (nodes,), "vector" (nodes, 3).
        turning: whether the grid is turned at random in training.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        channels: int = 64,
        layers: int = 3,
        orientations: int | str = 20,
        basis: int = 64,
        output: str = "energy",
        turning: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(orientations, str) and orientations != "icosahedron":
            raise InputError(f"orientations: {orientations!r} was given; give a number, or 'icosahedron'")
        if output not in ("energy", "vector"):
            raise InputError(f"output: {output!r} was given; allowed are 'energy' and 'vector'")
        self.kinds, self.output = kinds, output
        scalars, vectors = (1, 0) if output == "energy" else (0, 1)
        self.network = Ponita(
            scalars=kinds, out_scalars=scalars, out_vectors=vectors, channels=channels, layers=layers, basis=basis,
            orientations=icosahedron() if isinstance(orientations, str) else orientations, cutoff=cutoff,
            length=cutoff / 2, smooth=True, turning=turning, seed=seed,
        )  # fmt: skip

    def forward(self, graph: PointGraph) -> Float[Tensor, "nodes"] | Float[Tensor, "nodes 3"]:
        """The output of every atom."""
        elements = nn.functional.one_hot(graph.kind, self.kinds).to(graph.vectors.dtype)
        scalars, vectors = self.network(elements, -graph.vectors, graph.edge_index)
        found: Tensor = scalars[:, 0] if self.output == "energy" else vectors[:, 0]
        return found

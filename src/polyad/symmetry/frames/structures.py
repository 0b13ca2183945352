"""Any network on the graph of a structure, seen in a frame: averaged over all elements, or in one drawn at random.

    full         invariants <f>(X) = 1/|F| sum of f((X - t) U S); vectors are turned back by (U S)' before the mean
    stochastic   one element for every structure and step: the cost of one pass, the average as expectation
    augmented    no frame: a random rotation in training, coordinates as they come in evaluation

    model = FrameAveraged(network, outputs={"energy": "structure_scalar", "dipole": "structure_vector"}, cutoff=5.0)

Draws come from a generator that starts from `seed` and the number of draws so far, which is kept among the weights. So
torch's global generator is left alone, and a training that goes on from a checkpoint draws what it would have drawn.

Source: A. Duval et al., ICML 2023, arXiv:2305.05577, section 3.2.

*When not to use it*: with one draw, symmetry is learned, not exact; look at the error that is left. The average over a
frame is exact, but not continuous: where two principal moments cross, energies jump, and close by forces grow as
1 / gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.frames.euclidean import REPRESENTATIONS, EuclideanFrames
from polyad.symmetry.frames.space import edge_covariance, frames_3d, random_axes
from polyad.symmetry.irreps import Irreps

_MODES, _INFERENCES = ("stochastic", "full", "augmented"), ("full", "stochastic")
_SCALARS = {"scalar": "scalar", "structure_scalar": "scalar"}


@final
class FrameAveraged(nn.Module):
    """A network on `PointGraph`, made equivariant by frames, in expectation or exactly.

    Args:
        model: takes a `PointGraph`, whose vectors and centred positions are given in the axes of a frame, and returns a
            tensor or a dictionary of tensors. Elements are handed over together, as further structures.
        outputs: how the tensor, or each of the named ones, turns: "scalar", "vector", "matrix" of nodes, or
            "structure_scalar", "structure_vector", "structure_matrix", or the `Irreps` of a flat feature of structures.
        cutoff: of the neighbour list, where the weights of edges in the covariance end.
        mode: "stochastic", "full" or "augmented", in training.
        inference: "full" or "stochastic" in evaluation, for the first two modes.
        group: "E", or "SE" without reflections.
        plane: axes within the plane of x and y only, for slabs.
        covariance: "edges", or "positions" for clouds without edges; the latter is wrong for crystals.
        detach: take frames as constants in gradients.
        tolerance: of principal moments that count as equal.
        seed: of the draws. In evaluation every call draws alike.
    """

    draws: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        outputs: str | Irreps | Mapping[str, str | Irreps],
        cutoff: float,
        mode: str = "stochastic",
        inference: str = "full",
        group: str = "E",
        plane: bool = False,
        covariance: str = "edges",
        detach: bool = False,
        tolerance: float = 1e-5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if mode not in _MODES or inference not in _INFERENCES or covariance not in ("edges", "positions"):
            raise InputError(
                f"FrameAveraged: mode {mode!r}, inference {inference!r}, covariance {covariance!r}; "
                f"allowed are {', '.join(_MODES)}; {', '.join(_INFERENCES)}; edges, positions"
            )
        names = list(outputs.values()) if isinstance(outputs, Mapping) else [outputs]
        unknown = [name for name in names if isinstance(name, str) and name not in {*_SCALARS, *REPRESENTATIONS}]
        if unknown or not names:
            raise InputError(f"outputs: {unknown or 'none'}; give each of {', '.join({*_SCALARS, *REPRESENTATIONS})}")
        self.model, self.outputs = model, dict(outputs) if isinstance(outputs, Mapping) else outputs
        self.cutoff, self.mode, self.inference, self.group = float(cutoff), mode, inference, group
        self.plane, self.covariance, self.detach, self.tolerance = plane, covariance, detach, tolerance
        self.seed = seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, graph: PointGraph, **of_nodes: Tensor) -> Any:
        """What the model returns, in the axes of the input.

        Args:
            graph: structures.
            of_nodes: further arguments of the model, invariants of the nodes.

        Raises:
            InputError: another set of outputs than was promised.
        """
        frames = self._chosen(graph)
        copies = {name: value.repeat(len(frames), *[1] * (value.ndim - 1)) for name, value in of_nodes.items()}
        found = self.model(turned(graph, frames), **copies)
        if not isinstance(self.outputs, dict):
            return _averaged(frames, found, self.outputs)
        if set(found) != set(self.outputs):
            raise InputError(f"outputs: the model gave {sorted(found)}, promised are {sorted(self.outputs)}")
        return {name: _averaged(frames, found[name], kind) for name, kind in self.outputs.items()}

    def frames(self, graph: PointGraph) -> EuclideanFrames:
        """All elements of the structures' frames, and which structures are degenerate."""
        vectors, positions = graph.vectors, graph.positions
        if self.detach:
            vectors, positions = vectors.detach(), positions.detach()
        moments = None
        if self.covariance == "edges":
            owner = graph.structure[graph.edge_index[0]]
            moments = edge_covariance(vectors, owner, num_structures=graph.num_structures, cutoff=self.cutoff)
        return frames_3d(
            positions,
            graph.structure,
            num_structures=graph.num_structures,
            group=self.group,
            covariance=moments,
            plane=self.plane,
            tolerance=self.tolerance,
        )

    def _chosen(self, graph: PointGraph) -> EuclideanFrames:
        if self.mode == "augmented":
            own = _as_given(graph, plane=self.plane)
            if not self.training:
                return own
            return random_axes(own, group=self.group, plane=self.plane, generator=self._generator())
        frames = self.frames(graph)
        full = (self.mode if self.training else self.inference) == "full"
        return frames if full else frames.sample(generator=self._generator())

    def _generator(self) -> torch.Generator:
        """For the next draw; the count goes on in training only."""
        number = int(self.draws) + 1 if self.training else 0
        if self.training:
            self.draws += 1
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)


def turned(graph: PointGraph, frames: EuclideanFrames) -> PointGraph:
    """The structures in the axes of all elements of their frames, as (elements x structures) of one graph."""
    count, steps = len(frames), torch.arange(len(frames), device=graph.kind.device)
    of_edges = replace(frames, structure=graph.structure[graph.edge_index[0]])
    edges = graph.edge_index[:, None] + graph.num_nodes * steps[None, :, None]
    return PointGraph(
        edge_index=edges.flatten(1),
        vectors=of_edges.to_frame(graph.vectors, "vector").flatten(0, 1),
        kind=graph.kind.repeat(count),
        structure=(graph.structure + graph.num_structures * steps[:, None]).flatten(),
        num_structures=count * graph.num_structures,
        positions=frames.to_frame(graph.positions, "position").flatten(0, 1),
        edge_scalars=graph.edge_scalars.repeat(count, 1),
        cell=None if graph.cell is None else frames.to_frame(graph.cell, "structure_vector").flatten(0, 1),
    )


def _averaged(frames: EuclideanFrames, values: Tensor, kind: str | Irreps) -> Tensor:
    of_nodes = isinstance(kind, str) and not kind.startswith("structure")
    rows = frames.structure if of_nodes else frames.translation
    if len(values) != len(frames) * len(rows):
        raise InputError(f"{kind}: the model gave {len(values)} rows for {len(frames)} elements of {len(rows)} rows")
    by_element = values.unflatten(0, (len(frames), len(rows)))
    if isinstance(kind, Irreps):
        return kind.rotate(by_element, frames.rotation, check=False).mean(0)
    return frames.average(by_element, _SCALARS.get(kind, kind))


def _as_given(graph: PointGraph, *, plane: bool) -> EuclideanFrames:
    """The axes in which the coordinates came, about the centroids, or above them."""
    count, origin = graph.num_structures, graph.mean_nodes(graph.positions)
    if plane:
        origin = origin * origin.new_tensor([1.0, 1.0, 0.0])
    axes = torch.eye(3, dtype=graph.positions.dtype, device=graph.positions.device).expand(1, count, 3, 3)
    fine = torch.zeros(count, dtype=torch.bool, device=graph.positions.device)
    return EuclideanFrames(axes, origin, graph.structure, fine)

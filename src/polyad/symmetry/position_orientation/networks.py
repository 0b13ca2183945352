"""Ponita: networks on positions and orientations, as signals on a grid at every node or on points that have their own.

Both embed lifted inputs, h(o) = W (scalars, <v, o> of every vector v), go through ConvNeXt blocks, and read a scalar as
the mean over o of a value and a vector as the mean of value times o, summed over layers.

*Deviations*: a grid of K points has moments M = mean of o o' that are not quite 1 / d; vectors are read with the dual
vectors (d M)^-1 o, which are o where they are, so a vector that is lifted and read comes back whole from any grid.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.position_orientation.invariants import invariants_r3s2
from polyad.symmetry.position_orientation.layers import ConvNeXtBlock, KernelBasis, Readout
from polyad.symmetry.position_orientation.spaces import dual_axes, space_of
from polyad.symmetry.radial import polynomial_window


@final
class Ponita(nn.Module):
    """The fibre-bundle network: every node carries a signal on a grid of orientations that all nodes share.

    Under rotations that permute the grid it is exactly equivariant, under others nearly, better with every point.
    In training, the grid is turned at random once a call (by torch's own generator, as dropout), so no direction is
    learned and the error averages out. The grid is part of the state dict.

    Args:
        scalars: features that a node comes with.
        vectors: vectors that a node comes with; none without orientations.
        edge_scalars: invariants that an edge comes with; its kernels see them.
        out_scalars: invariants that a node leaves with.
        out_vectors: vectors that a node leaves with.
        channels: of the features.
        layers: number of blocks.
        space: "r3s2", "r2s1", "se3" (rotations at every node), or "rn" (no orientations).
        orientations: points of the grid (in "se3" 8 for every direction, in "rn" 1), or the grid itself.
        cutoff: radius at which kernels vanish, with two derivatives; None ends them nowhere.
        length: unit of the lengths that kernels see; invariants should be of order one, for their cubes enter.
        basis: functions that kernels are combined of.
        degree: of the monomials of invariants.
        smooth: square the invariants that have a kink (a2 on the line along o), for continuous forces.
        widening: hidden channels for every channel in a block.
        layer_scale: initial factor of every block's change; None for none.
        every_layer: read after every layer and sum, or after the last alone.
        turning: whether the grid is turned in training.
        seed: of the weights.

    Raises:
        InputError: numbers that are too small, an unknown space, or vectors without orientations.
    """

    grid: Tensor

    def __init__(
        self,
        *,
        scalars: int,
        vectors: int = 0,
        edge_scalars: int = 0,
        out_scalars: int = 1,
        out_vectors: int = 0,
        channels: int = 64,
        layers: int = 4,
        space: str = "r3s2",
        orientations: int | Tensor = 20,
        cutoff: float | None = None,
        length: float = 1.0,
        basis: int = 64,
        degree: int = 3,
        smooth: bool = False,
        widening: int = 4,
        layer_scale: float | None = None,
        every_layer: bool = True,
        turning: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.space = space_of(space)
        if space == "rn" and vectors:
            raise InputError(f"vectors: {vectors}, but space 'rn' has no orientations to lift them to; give lengths")
        grid = self.space.grid(orientations) if isinstance(orientations, int) else orientations
        self.register_buffer("grid", grid.double())  # not rounded before anyone asks for less
        self.inputs, self.edge_scalars, self.smooth, self.turning = (scalars, vectors), edge_scalars, smooth, turning
        directed = self.space.fibre_size > 0
        with seeded(seed):
            self.trunk = _Trunk(
                inputs=scalars + vectors, invariants=self.space.edge_size + edge_scalars, out_scalars=out_scalars,
                out_vectors=out_vectors, channels=channels, layers=layers, cutoff=cutoff, length=length, basis=basis,
                degree=degree, directed=directed, fibre=directed, widening=widening, layer_scale=layer_scale,
                every_layer=every_layer,
            )  # fmt: skip
            self.fibre_basis = KernelBasis(self.space.fibre_size, basis, degree) if directed else None

    def forward(
        self,
        scalars: Float[Tensor, "nodes features"],
        relative: Float[Tensor, "edges d"],
        edge_index: Int[Tensor, "2 edges"],
        *,
        vectors: Float[Tensor, "nodes number d"] | None = None,
        edge_scalars: Float[Tensor, "edges edge_features"] | None = None,
    ) -> tuple[Float[Tensor, "nodes out_scalars"], Float[Tensor, "nodes out_vectors d"]]:
        """Scalars and vectors of every node.

        Args:
            scalars: of nodes.
            relative: vectors of the edges, from receiver to sender or the other way, but all alike.
            edge_index: source and target; the target receives.
            vectors: of nodes.
            edge_scalars: of edges.

        Raises:
            InputError: features of another number than the network was made for.
        """
        vectors, edge_scalars = _checked(scalars, relative, vectors, edge_scalars, self.inputs, self.edge_scalars)
        grid = self.grid.to(relative)
        if self.training and self.turning:
            grid = self.space.turned(grid)
        axes = self.space.axes(grid)
        points = len(grid)
        lifted = [scalars[:, None].expand(-1, points, -1)]
        if axes is not None:
            lifted.append(torch.einsum("nvd,kd->nkv", vectors, axes))
        scaled = relative / self.trunk.length
        seen = [self.space.edges(scaled, grid, smooth=self.smooth)]
        seen.append(edge_scalars[:, None].expand(-1, points, -1))
        fibre = self.space.fibre(grid)
        return self.trunk(
            torch.cat(lifted, dim=-1),
            relative,
            edge_index,
            torch.cat(seen, dim=-1),
            None if self.fibre_basis is None or fibre is None else self.fibre_basis(fibre),
            None if axes is None else dual_axes(axes)[None],
        )


@final
class PointPonita(nn.Module):
    """The point-cloud form: every node is one position with one orientation, and kernels see the whole invariants.

    Exactly equivariant; with `complete` under rotations only, since a5 tells mirror images apart. The other arguments
    are those of `Ponita`.

    Args:
        complete: kernels of all five invariants, or of the paper's three.
    """

    def __init__(
        self,
        *,
        scalars: int,
        vectors: int = 0,
        edge_scalars: int = 0,
        out_scalars: int = 1,
        out_vectors: int = 0,
        channels: int = 64,
        layers: int = 4,
        complete: bool = True,
        cutoff: float | None = None,
        length: float = 1.0,
        basis: int = 64,
        degree: int = 3,
        widening: int = 4,
        layer_scale: float | None = None,
        every_layer: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.inputs, self.edge_scalars, self.complete = (scalars, vectors), edge_scalars, complete
        with seeded(seed):
            self.trunk = _Trunk(
                inputs=scalars + vectors, invariants=(5 if complete else 3) + edge_scalars, out_scalars=out_scalars,
                out_vectors=out_vectors, channels=channels, layers=layers, cutoff=cutoff, length=length, basis=basis,
                degree=degree, directed=True, fibre=False, widening=widening, layer_scale=layer_scale,
                every_layer=every_layer,
            )  # fmt: skip

    def forward(
        self,
        scalars: Float[Tensor, "nodes features"],
        orientations: Float[Tensor, "nodes 3"],
        relative: Float[Tensor, "edges 3"],
        edge_index: Int[Tensor, "2 edges"],
        *,
        vectors: Float[Tensor, "nodes number 3"] | None = None,
        edge_scalars: Float[Tensor, "edges edge_features"] | None = None,
    ) -> tuple[Float[Tensor, "nodes out_scalars"], Float[Tensor, "nodes out_vectors 3"]]:
        """Scalars of every node, and vectors along its orientation.

        Args:
            scalars: of nodes.
            orientations: unit vectors of nodes.
            relative: position of the source less that of the target, of every edge.
            edge_index: source and target; the target receives.
            vectors: of nodes.
            edge_scalars: of edges.

        Raises:
            InputError: features of another number than the network was made for, or orientations of another length.
        """
        vectors, edge_scalars = _checked(scalars, relative, vectors, edge_scalars, self.inputs, self.edge_scalars)
        length = torch.linalg.vector_norm(orientations, dim=-1)
        if bool((length - 1).abs().max() > 1e-3):
            raise InputError(
                f"orientations: lengths from {float(length.min()):.3g} to {float(length.max()):.3g}; give unit vectors"
            )
        lifted = torch.cat([scalars, torch.einsum("nvd,nd->nv", vectors, orientations)], dim=-1)
        own, other = orientations.index_select(0, edge_index[1]), orientations.index_select(0, edge_index[0])
        invariants = invariants_r3s2(relative / self.trunk.length, own, other, complete=self.complete)
        seen = torch.cat([invariants, edge_scalars], dim=-1)
        return self.trunk(lifted[:, None], relative, edge_index, seen[:, None], None, orientations[:, None])


class _Trunk(nn.Module):
    """Embedding, blocks and readouts, of features (nodes, orientations, channels)."""

    def __init__(
        self,
        *,
        inputs: int,
        invariants: int,
        out_scalars: int,
        out_vectors: int,
        channels: int,
        layers: int,
        cutoff: float | None,
        length: float,
        basis: int,
        degree: int,
        directed: bool,
        fibre: bool,
        widening: int,
        layer_scale: float | None,
        every_layer: bool,
    ) -> None:
        super().__init__()
        if min(inputs, channels, layers, basis, widening, out_scalars + out_vectors) < 1:
            raise InputError(
                f"Ponita: {inputs} inputs, {out_scalars} + {out_vectors} outputs, channels {channels}, "
                f"layers {layers}, basis {basis}, widening {widening}; give positive numbers"
            )
        if not (0 < length < math.inf and (cutoff is None or 0 < cutoff < math.inf)):
            raise InputError(f"cutoff {cutoff}, length {length}; give positive lengths, or no cutoff")
        self.cutoff, self.length = cutoff, float(length)
        self.edge_basis = KernelBasis(invariants, basis, degree)
        self.embedding = nn.Linear(inputs, channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, basis, fibre=fibre, widening=widening, layer_scale=layer_scale)
            for _ in range(layers)
        )
        sizes = {"scalars": out_scalars, "vectors": out_vectors}
        self.first_read = 0 if every_layer else layers - 1
        self.readouts = nn.ModuleList(
            Readout(channels, basis, **sizes, directed=directed) for _ in range(layers - self.first_read)
        )

    def forward(
        self,
        lifted: Tensor,
        relative: Tensor,
        edge_index: Tensor,
        invariants: Tensor,
        fibre_basis: Tensor | None,
        axes: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        edge_basis = self.edge_basis(invariants)
        if self.cutoff is not None:
            distance = torch.linalg.vector_norm(relative, dim=-1)
            edge_basis = edge_basis * polynomial_window(distance, self.cutoff)[:, None, None]
        features, found = self.embedding(lifted), []
        for number, block in enumerate(self.blocks):
            features = block(features, edge_index, edge_basis, fibre_basis)
            if number >= self.first_read:
                read = self.readouts[number - self.first_read]
                found.append(read(features, axes, relative, edge_index, edge_basis))
        scalars, vectors = zip(*found, strict=True)
        return torch.stack(scalars).sum(0), torch.stack(vectors).sum(0)


def _checked(
    scalars: Tensor,
    relative: Tensor,
    vectors: Tensor | None,
    edge_scalars: Tensor | None,
    inputs: tuple[int, int],
    edge_inputs: int,
) -> tuple[Tensor, Tensor]:
    """Vectors and edge scalars, without columns where none were given."""
    if vectors is None:
        vectors = relative.new_zeros(len(scalars), 0, relative.shape[1])
    if edge_scalars is None:
        edge_scalars = relative.new_zeros(len(relative), 0)
    given = (scalars.shape[1], vectors.shape[1], edge_scalars.shape[1])
    if given != (*inputs, edge_inputs):
        raise InputError(
            f"Ponita: {given[0]} scalars and {given[1]} vectors a node and {given[2]} scalars an edge were given; "
            f"the network takes {inputs[0]}, {inputs[1]} and {edge_inputs}"
        )
    return vectors, edge_scalars

"""Effective conductivity of strut lattices: heat, electric current, diffusion; exact for conduction along struts.

A strut of length L and section A conducts g = k A / L between its nodes. Under a macroscopic gradient H the potential
of a node's image differs by H times its lattice vector and is periodic otherwise; minimising the dissipation over the
periodic potentials u of the nodes leaves

    H . V K H = min over u of sum_e g_e (H . v_e + u_j - u_i)^2,

a graph Laplacian with three right-hand sides. Every connected component of the net is held at one node, which draws no
current, so islands, chains and sheets need no care: they conduct where they repeat and nowhere else. The dissipation is
stationary in u, so its gradient is taken with u held fixed and costs no second solve.

No lattice conducts more than tr K = k rho in all three directions together (parallel struts; Wiener's bound), and cubic
ones whose nodes stay on the linear potential reach K = k rho / 3: simple cubic, bcc, octet, diamond, Kelvin.

Small cells are factorised in padded dense batches of like size, large ones solved by conjugate gradients.

Source: Kirchhoff's laws; Milton, The Theory of Composites (2002), section 2 (periodic media) and chapter 6 (bounds).

When not to use: thick struts, where current spreads in the nodes, or heat carried by the gas or by radiation between
struts. Second derivatives are refused.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components_batched
from polyad.linalg.krylov import conjugate_gradients
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice, vector_lengths
from polyad.materials.lattice.frames.sections import Circle, Section

LARGEST_DENSE = 600
"""Cells with more nodes than this are solved by conjugate gradients."""

_ENTRIES = 2**23
"""Matrix entries of one dense batch."""


def effective_conductivity(
    lattice: StrutLattice | LatticeBatch,
    *,
    conductivity: float | Tensor = 1.0,
    section: Section | None = None,
    tolerance: float = 1e-10,
) -> Float[Tensor, "*batch 3 3"]:
    """Effective conductivity tensor, symmetric and positive semi-definite, in the unit of `conductivity`.

    Args:
        lattice: one lattice, (3, 3), or a batch, (batch, 3, 3); differentiable in cell, positions and radius.
        conductivity: of the solid: one number, or one a strut (of the whole batch); positive; differentiable.
        section: `Circle()` where not given.
        tolerance: relative residual at which conjugate gradients stop (cells of more than 600 nodes).

    Raises:
        InputError: a conductivity that is not positive.
        ConvergenceError: conjugate gradients stopped short of their tolerance.
    """
    batch = lattice if isinstance(lattice, LatticeBatch) else LatticeBatch.from_lattices([lattice])
    vectors, radius = batch.edge_vectors.double(), batch.radius.double()
    solid = torch.as_tensor(conductivity, dtype=radius.dtype, device=radius.device)
    if solid.ndim and solid.shape != radius.shape:
        raise InputError(
            f"conductivity: shape is {tuple(solid.shape)}; give one number or one a strut ({len(radius)},)"
        )
    if not bool((torch.isfinite(solid) & (solid > 0)).all()):
        raise InputError("conductivity: must be positive and finite for every strut; leave out struts that insulate")
    conductance = solid * (section or Circle()).area(radius) / vector_lengths(vectors)
    potentials = _potentials(batch, vectors.detach(), conductance.detach(), tolerance)
    dissipation = _Dissipation.apply(vectors, conductance, potentials, batch.edge_index, batch.edge_batch, len(batch))
    result = (dissipation / batch.volume.double()[:, None, None]).to(batch.positions.dtype)
    return result if isinstance(lattice, LatticeBatch) else result[0]


class _Dissipation(torch.autograd.Function):
    """V K = sum_e g (v + u_j - u_i) (v + u_j - u_i)', differentiated with the potentials held fixed."""

    @staticmethod
    def forward(
        context: Any, vectors: Tensor, conductance: Tensor, u: Tensor, edge_index: Tensor, owner: Tensor, batch: int
    ) -> Tensor:
        drop = vectors + u[edge_index[1]] - u[edge_index[0]]
        context.save_for_backward(drop, conductance, owner)
        each = conductance[:, None, None] * drop[:, :, None] * drop[:, None, :]
        return each.new_zeros(batch, 3, 3).index_add(0, owner, each)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # at fixed potentials they would be wrong, not merely missing
            raise InputError("effective_conductivity: has no second derivatives; differentiate without create_graph")
        drop, conductance, owner = context.saved_tensors
        pulled = torch.einsum("eij,ej->ei", (grad + grad.mT)[owner], drop)
        return conductance[:, None] * pulled, 0.5 * (drop * pulled).sum(-1), None, None, None, None


@torch.no_grad()
def _potentials(
    batch: LatticeBatch, vectors: Tensor, conductance: Tensor, tolerance: float
) -> Float[Tensor, "nodes 3"]:
    """Periodic potential of every node under the three unit gradients."""
    parts = periodic_components_batched(batch.node_start, batch.edge_start, batch.edge_index, batch.edge_shift)
    nodes = len(batch.positions)
    held = torch.full((len(parts),), nodes, device=vectors.device)
    held.scatter_reduce_(0, parts.label, torch.arange(nodes, device=vectors.device), "amin")
    load = _divergence(conductance[:, None] * vectors, batch.edge_index, nodes)
    potentials = torch.zeros_like(load)
    sizes = batch.node_start.diff()
    small = torch.nonzero((sizes <= LARGEST_DENSE) & (sizes > 1)).flatten()
    for group in _groups(small, sizes):
        _solve_dense(batch, group, conductance, held, load, potentials)
    for number in torch.nonzero(sizes > LARGEST_DENSE).flatten().tolist():
        nodes_of = slice(int(batch.node_start[number]), int(batch.node_start[number + 1]))
        edges_of = slice(int(batch.edge_start[number]), int(batch.edge_start[number + 1]))
        index, g = batch.edge_index[:, edges_of] - nodes_of.start, conductance[edges_of]
        potentials[nodes_of] = _solve_iteratively(index, g, vectors[edges_of], load[nodes_of], tolerance)
    return potentials


def _divergence(flow: Tensor, edge_index: Tensor, nodes: int) -> Float[Tensor, "nodes columns"]:
    """Sum of what leaves every node for its neighbours: -B' flow."""
    total = flow.new_zeros(nodes, flow.shape[-1])
    return total.index_add(0, edge_index[0], flow).index_add(0, edge_index[1], -flow)


def _groups(cells: Int[Tensor, " cells"], sizes: Int[Tensor, " batch"]) -> list[Int[Tensor, " group"]]:
    """Cells of like size together: padded to less than twice their entries, and not too many at once."""
    groups = []
    by_size = cells[torch.argsort(sizes[cells], stable=True)]
    while len(by_size):
        largest = max(int(1.4 * int(sizes[by_size[0]])), 8)
        count = int(torch.searchsorted(sizes[by_size], largest, right=True))
        count = min(count, max(1, _ENTRIES // largest**2))
        groups.append(by_size[:count])
        by_size = by_size[count:]
    return groups


def _solve_dense(
    batch: LatticeBatch, cells: Tensor, conductance: Tensor, held: Tensor, load: Tensor, potentials: Tensor
) -> None:
    """Fill in the potentials of some cells by one batched Cholesky factorisation, padded to the largest of them."""
    sizes, device = batch.node_start.diff()[cells], load.device
    count, width = len(cells), int(sizes.max())
    step = torch.arange(width, device=device)
    present = step[None] < sizes[:, None]
    node = (batch.node_start[cells][:, None] + step[None])[present]
    place = torch.full((len(load),), -1, device=device)  # row of every node in the padded batch
    place[node] = (torch.arange(count, device=device)[:, None] * width + step[None])[present]
    source, target = place[batch.edge_index]
    chosen = source >= 0
    source, target, g = source[chosen], target[chosen], conductance[chosen]
    matrix = load.new_zeros(count * width * width)
    for row, column, sign in ((source, source, 1), (target, target, 1), (source, target, -1), (target, source, -1)):
        matrix.index_add_(0, row * width + column % width, sign * g)
    matrix = matrix.reshape(count, width, width)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    # one node a component is held by a spring as stiff as its struts; rows of padding hold themselves
    spring = torch.zeros(count * width, dtype=load.dtype, device=device)
    ground = place[held][place[held] >= 0]
    stiff = diagonal.reshape(-1)[ground]
    spring[ground] = torch.where(stiff > 0, stiff, 1.0)
    diagonal += spring.reshape(count, width) + (~present).to(load.dtype)
    right = load.new_zeros(count, width, 3)
    right[present] = load[node]
    potentials[node] = torch.cholesky_solve(right, torch.linalg.cholesky(matrix))[present]


def _solve_iteratively(
    edge_index: Tensor, conductance: Tensor, vectors: Tensor, load: Tensor, tolerance: float
) -> Float[Tensor, "nodes 3"]:
    """Potentials of one cell by conjugate gradients with the diagonal as preconditioner."""
    nodes, (source, target) = len(load), edge_index

    def laplacian(u: Tensor) -> Tensor:
        return _divergence(conductance[:, None] * (u[source] - u[target]), edge_index, nodes)

    ends = torch.cat([source, target])
    diagonal = conductance.new_zeros(nodes).index_add(0, ends, conductance.repeat(2))
    inverse = torch.where(diagonal > 0, diagonal.reciprocal(), 0.0)[:, None]
    # where symmetry cancels the load of a direction, what is left is rounding: nothing to solve for
    flow = torch.linalg.vector_norm(conductance[:, None] * vectors)
    load = load * (torch.linalg.vector_norm(load, dim=0) > 1e-13 * flow)
    return conjugate_gradients(laplacian, load, preconditioner=lambda r: inverse * r, tolerance=tolerance).solution

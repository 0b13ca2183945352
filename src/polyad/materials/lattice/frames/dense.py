"""Energy of small frames by dense matrices in plain torch: any device, any order of derivative, an oracle in tests.

A strut's generalised strains (eta, delta) are linear in the unknowns of its two nodes and in the macroscopic strain,

    eta = E(v) + u_j - u_i + v x (theta_i + theta_j) / 2,    delta = theta_j - theta_i,

and its energy is 1/2 (eta' D_u eta + delta' D_theta delta) with D_u = a n n' + b (1 - n n'), D_theta = t n n' +
g (1 - n n'). The matrices are assembled as written, padded to the largest cell, and the nodes condensed out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.materials.lattice.frames.frame import Frame
from polyad.tensors.notation import mandel_basis


def dense_energy(frame: Frame) -> tuple[Float[Tensor, "batch 6 6"], Float[Tensor, "nodes 6 6"]]:
    """V C of every cell and the displacements under the six unit strains; differentiable as written."""
    vectors, coefficients, node_start = frame.vectors, frame.coefficients, frame.node_start
    sizes = node_start.diff()
    batch, nodes = len(sizes), int(sizes.max())
    owner = torch.repeat_interleave(torch.arange(batch, device=vectors.device), frame.edge_start.diff())
    matrix = _assemble(vectors, coefficients, frame.edge_index - node_start[owner], owner, batch, nodes)
    size = 6 * nodes
    # padding: unknowns that no lattice has are held at zero
    missing = torch.arange(nodes, device=vectors.device)[None] >= sizes[:, None]
    held = vectors.new_zeros(batch, nodes, 6, 6)
    held[missing] = torch.eye(6).to(vectors)
    scale = coefficients.detach().mean(0)
    lattice = torch.repeat_interleave(torch.arange(batch, device=vectors.device), frame.ground_start.diff())
    spring = vectors.new_zeros(len(lattice), 6, 6)
    spring[:, :3, :3] = scale[0] * torch.eye(3).to(vectors)
    spring[:, 3:, 3:] = (scale[2] + scale[3]) * frame.ground_rotation
    held[lattice, frame.ground_node - node_start[lattice]] += spring
    stiffness = matrix[:, :size, :size] + _block_diagonal(held)
    load = matrix[:, :size, size:]
    moved = -torch.cholesky_solve(load, torch.linalg.cholesky(stiffness))
    energy = matrix[:, size:, size:] + load.mT @ moved
    return 0.5 * (energy + energy.mT), moved.detach().reshape(batch, nodes, 6, 6)[~missing]


def least_squares_energy(
    vectors: Float[Tensor, "edges 3"],
    coefficients: Float[Tensor, "edges 4"],
    edge_index: Int[Tensor, "2 edges"],
    nodes: int,
) -> tuple[Float[Tensor, "6 6"], Float[Tensor, "nodes 6 6"]]:
    """V C of one lattice by the pseudo-inverse, for cells that are mechanisms or nearly so."""
    owner = torch.zeros(len(vectors), dtype=torch.int64)
    matrix = _assemble(vectors, coefficients, edge_index, owner, 1, nodes)[0]
    size = 6 * nodes
    # unit diagonal first, so that lengths and moduli of any unit meet one threshold
    scale = matrix.diagonal()[:size].clamp_min(torch.finfo(matrix.dtype).tiny).rsqrt()
    values, modes = torch.linalg.eigh(scale[:, None] * matrix[:size, :size] * scale)
    stiff = values > 1e-13 * values[-1]
    load = modes[:, stiff].T @ (scale[:, None] * matrix[:size, size:])
    moved = -scale[:, None] * (modes[:, stiff] @ (load / values[stiff, None]))
    energy = matrix[size:, size:] - load.T @ (load / values[stiff, None])
    return 0.5 * (energy + energy.T), moved.reshape(nodes, 6, 6)


def _assemble(
    vectors: Tensor, coefficients: Tensor, edge_index: Tensor, owner: Tensor, batch: int, nodes: int
) -> Float[Tensor, "batch size size"]:
    """Matrix of the energy in (unknowns of all nodes, six strains), one a lattice."""
    edges = len(vectors)
    eye, zero = torch.eye(3).to(vectors).expand(edges, 3, 3), vectors.new_zeros(edges, 3, 3)
    turn = 0.5 * torch.linalg.cross(vectors[:, None, :].expand(edges, 3, 3), eye, dim=-1).mT  # half of [v]x
    stretch = torch.einsum("cpq,eq->epc", mandel_basis().to(vectors), vectors)
    strain = torch.cat(
        [
            torch.cat([-eye, turn, eye, turn, stretch], dim=2),
            torch.cat([zero, -eye, zero, eye, vectors.new_zeros(edges, 3, 6)], dim=2),
        ],
        dim=1,
    )
    direction = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    axial = direction[:, :, None] * direction[:, None, :]
    a, b, t, g = (x[:, None, None] for x in coefficients.unbind(-1))
    response = torch.cat([b * eye + (a - b) * axial, g * eye + (t - g) * axial], dim=2)
    force = torch.cat([response[:, :, :3] @ strain[:, :3], response[:, :, 3:] @ strain[:, 3:]], dim=1)
    local = strain.mT @ force
    steps = torch.arange(6, device=vectors.device)
    unknown = torch.cat(
        [
            6 * edge_index[0][:, None] + steps,
            6 * edge_index[1][:, None] + steps,
            (6 * nodes + steps).expand(edges, 6),
        ],
        dim=1,
    )
    size = 6 * nodes + 6
    place = (owner[:, None, None] * size + unknown[:, :, None]) * size + unknown[:, None, :]
    matrix = vectors.new_zeros(batch * size * size).index_add(0, place.reshape(-1), local.reshape(-1))
    return matrix.reshape(batch, size, size)


def _block_diagonal(blocks: Float[Tensor, "batch nodes 6 6"]) -> Float[Tensor, "batch size size"]:
    batch, nodes = blocks.shape[:2]
    matrix = blocks.new_zeros(batch, nodes, 6, nodes, 6)
    steps = torch.arange(nodes, device=blocks.device)
    matrix[:, steps, :, steps, :] = blocks.transpose(0, 1)
    return matrix.reshape(batch, 6 * nodes, 6 * nodes)

"""The peer of the lattice benchmark: one cell at a time in plain NumPy, vectorised over struts, one dense solve."""

from __future__ import annotations

import numpy as np
import scipy.linalg

ROOT_HALF = 0.5**0.5
BASIS = np.zeros((6, 3, 3))
for k, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
    BASIS[k, i, j] = BASIS[k, j, i] = 1.0 if i == j else ROOT_HALF


def stiffness(
    cell: np.ndarray,
    positions: np.ndarray,
    edge_index: np.ndarray,
    edge_shift: np.ndarray,
    radius: np.ndarray,
    poisson: float = 0.3,
    kappa: float = 0.89,
) -> np.ndarray:
    """Effective stiffness (6, 6) of one lattice with E = 1 by a dense Cholesky solve for the six load cases."""
    i, j = edge_index
    nodes, edges = len(positions), len(i)
    v = positions[j] - positions[i] + edge_shift @ cell
    length = np.linalg.norm(v, axis=1)
    n = v / length[:, None]
    area, second = np.pi * radius**2, np.pi * radius**4 / 4
    shear = 1 / (2 * (1 + poisson))
    slide = 12 * second / length**3
    slide = slide / (1 + slide * length / (kappa * shear * area))
    strain = np.zeros((edges, 6, 18))
    eye = np.eye(3)
    turn = np.zeros((edges, 3, 3))
    turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    turn[:, 1, 0], turn[:, 2, 0], turn[:, 2, 1] = v[:, 2], -v[:, 1], v[:, 0]
    strain[:, :3, 0:3], strain[:, :3, 6:9] = -eye, eye
    strain[:, :3, 3:6] = strain[:, :3, 9:12] = turn / 2
    strain[:, 3:, 3:6], strain[:, 3:, 9:12] = -eye, eye
    strain[:, :3, 12:] = np.tensordot(v, BASIS, axes=(1, 2)).transpose(0, 2, 1)
    nn = n[:, :, None] * n[:, None, :]
    response = np.zeros((edges, 6, 6))
    for block, stiff, soft in (
        (slice(0, 3), area / length, slide),
        (slice(3, 6), shear * 2 * second / length, second / length),
    ):
        response[:, block, block] = soft[:, None, None] * eye + (stiff - soft)[:, None, None] * nn
    element = strain.transpose(0, 2, 1) @ (response @ strain)
    size = 6 * nodes
    steps = np.arange(6)
    place = np.concatenate(
        [6 * i[:, None] + steps, 6 * j[:, None] + steps, np.broadcast_to(size + steps, (edges, 6))], axis=1
    )
    total = size + 6
    flat = place[:, :, None] * total + place[:, None, :]
    matrix = np.bincount(flat.ravel(), element.ravel(), minlength=total * total).reshape(total, total)
    load = matrix[3:size, size:]
    moved = scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix[3:size, 3:size], check_finite=False), load)
    return (matrix[size:, size:] - load.T @ moved) / abs(np.linalg.det(cell))

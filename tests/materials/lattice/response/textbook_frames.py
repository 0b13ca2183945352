"""Frames solved element by element with textbook 12x12 matrices: the oracle of everything that goes by strut forces."""

import numpy as np

from polyad.tensors.notation import mandel_basis
from tests.materials.lattice.test_homogenization import beam_element


def element_matrices(vectors, radius, young=1.0, poisson=0.3, kappa=0.89):
    young = np.broadcast_to(young, len(vectors))
    return [
        beam_element(np.asarray(v), float(r), e, poisson, kappa) for v, r, e in zip(vectors, radius, young, strict=True)
    ]


def gather(edge_index, nodes):
    """For every strut the (12, 6 nodes) matrix that picks the unknowns of its two ends."""
    picks = []
    for i, j in np.asarray(edge_index).T.tolist():
        pick = np.zeros((12, 6 * nodes))
        pick[:6, 6 * i : 6 * i + 6] = np.eye(6)
        pick[6:, 6 * j : 6 * j + 6] = np.eye(6)
        picks.append(pick)
    return picks


def periodic_end_forces(lattice, strain, *, free_strain=0.0, **material):
    """End forces (edges, 12) of a periodic frame under a macroscopic Mandel strain; struts want to grow by
    `free_strain`. Forces and moments on the struts: at the source, then at the target."""
    matrices = element_matrices(lattice.edge_vectors.numpy(), lattice.radius.numpy(), **material)
    picks = gather(lattice.edge_index.numpy(), lattice.num_nodes)
    image = (lattice.edge_shift.double() @ lattice.cell).numpy()
    tensor = np.einsum("a,aij->ij", strain, mandel_basis().numpy())
    free_strain = np.broadcast_to(free_strain, len(picks))
    imposed = np.zeros((len(picks), 12))
    imposed[:, 6:9] = image @ tensor - free_strain[:, None] * lattice.edge_vectors.numpy()
    stiffness = sum(p.T @ k @ p for p, k in zip(picks, matrices, strict=True))
    load = sum(p.T @ k @ x for p, k, x in zip(picks, matrices, imposed, strict=True))
    moved = -np.linalg.lstsq(stiffness, load, rcond=1e-12)[0]
    return np.stack([k @ (p @ moved + x) for p, k, x in zip(picks, matrices, imposed, strict=True)])


def pressed_block(positions, edge_index, radius, constraints, values, **material):
    """Displacements (nodes, 6) and reactions of a finite frame whose unknowns meet constraints @ u = values."""
    positions, edge_index = np.asarray(positions), np.asarray(edge_index)
    nodes, vectors = len(positions), positions[edge_index[1]] - positions[edge_index[0]]
    matrices = element_matrices(vectors, radius, **material)
    picks = gather(edge_index, nodes)
    stiffness = sum(p.T @ k @ p for p, k in zip(picks, matrices, strict=True))
    size, rows = 6 * nodes, len(constraints)
    scale = np.abs(stiffness).max()
    whole = np.block([[stiffness, scale * constraints.T], [scale * constraints, np.zeros((rows, rows))]])
    right = np.concatenate([np.zeros(size), scale * values])
    solution = np.linalg.lstsq(whole, right, rcond=1e-13)[0]
    return solution[:size].reshape(nodes, 6), -scale * solution[size:]

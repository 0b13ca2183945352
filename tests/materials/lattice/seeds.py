"""The classic cells written out by hand, independent of the package's catalogue of named cells."""

import numpy as np
import torch

from polyad.materials.lattice import StrutLattice

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
ORIGIN = [[0.0, 0.0, 0.0]]


def simple_cubic(radius=0.03):
    return StrutLattice(np.eye(3), ORIGIN, np.zeros((2, 3)), np.eye(3), radius)


def octet(radius=0.03):
    shift = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [1, 0, -1], [0, 1, -1]]
    return StrutLattice(FCC, ORIGIN, np.zeros((2, 6)), shift, radius)


def body_centred(radius=0.03):
    shift = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    return StrutLattice(BCC, ORIGIN, np.zeros((2, 4)), shift, radius)


def diamond(radius=0.02):
    shift = [[0, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    return StrutLattice(FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [[0] * 4, [1] * 4], shift, radius)


def body_centred_with_cube(radius=0.04):
    """bcc struts from the centre to the corners, simple cubic struts along the edges."""
    corners = [[x, y, z] for x in (0, -1) for y in (0, -1) for z in (0, -1)]
    edge_index = [[0] * 3 + [1] * 8, [0] * 3 + [0] * 8]
    shift = np.concatenate([np.eye(3), -np.array(corners)])
    return StrutLattice(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], edge_index, shift, radius)


def kelvin(radius=0.02):
    """Edges of truncated octahedra in the primitive body-centred cell: 6 nodes, 12 struts of length sqrt(2)/4."""
    nodes = np.array([[0.5, 0.25, 0], [0.5, 0.75, 0], [0, 0.5, 0.25], [0, 0.5, 0.75], [0.25, 0, 0.5], [0.75, 0, 0.5]])
    edges, shifts = [], []
    images = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
    for i in range(6):
        for j in range(i, 6):
            for s in images:
                v = nodes[j] - nodes[i] + s @ BCC
                if abs(np.linalg.norm(v) - np.sqrt(2) / 4) < 1e-9 and (i < j):
                    edges.append((i, j))
                    shifts.append(s)
    return StrutLattice(BCC, nodes, np.array(edges).T, shifts, radius)


def random_net(seed, nodes=6, extra=5, radius=0.01):
    """A connected three-periodic net without any symmetry, in a triclinic cell."""
    generator = np.random.default_rng(seed)
    cell = np.eye(3) + 0.2 * generator.standard_normal((3, 3))
    positions = generator.random((nodes, 3)) @ cell
    ring = np.arange(nodes)
    source = np.concatenate([ring, generator.integers(0, nodes, 3 + extra)])
    target = np.concatenate([(ring + 1) % nodes, generator.integers(0, nodes, 3 + extra)])
    shift = np.concatenate([np.zeros((nodes, 3)), np.eye(3), generator.integers(-1, 2, (extra, 3))])
    shift[nodes + 3 :][(shift[nodes + 3 :] == 0).all(1) & (source[nodes + 3 :] == target[nodes + 3 :])] = [1, 1, 0]
    radii = radius * (0.5 + generator.random(len(source)))
    return StrutLattice(cell, positions, np.stack([source, target]), shift, radii)


def random_rotation(seed, *, reflect=False):
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    if (torch.linalg.det(q) < 0) != reflect:
        q = -q
    return q

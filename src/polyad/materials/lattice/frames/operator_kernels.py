"""Compiled kernels of the matrix-free frame operator: forces of struts summed into their nodes, all columns at once.

The generalised strains eta, delta and the element energy are those of `elimination_kernels`; the forces that a strut
returns are D_u eta and D_theta delta, turned back on its nodes by the transposed strain operator.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

from polyad.materials.lattice.frames.gradient_kernels import strut_strains

_FAST = {"contract", "reassoc", "nsz", "arcp"}


@numba.njit(cache=True, nogil=True, inline="always", fastmath=_FAST, error_model="numpy")
@no_type_check
def _return_forces(v, i, j, eta, delta, a, b, t, g, columns, out):
    """Add B' D (eta, delta) to the two nodes; eta and delta (3, columns) are overwritten."""
    length2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    stretch, twist = (a - b) / length2, (t - g) / length2
    v0, v1, v2 = v[0], v[1], v[2]
    out_i, out_j = out[i], out[j]
    for c in range(columns):
        along = stretch * (v0 * eta[0, c] + v1 * eta[1, c] + v2 * eta[2, c])
        f0 = b * eta[0, c] + along * v0
        f1 = b * eta[1, c] + along * v1
        f2 = b * eta[2, c] + along * v2
        spin = twist * (v0 * delta[0, c] + v1 * delta[1, c] + v2 * delta[2, c])
        m0 = g * delta[0, c] + spin * v0
        m1 = g * delta[1, c] + spin * v1
        m2 = g * delta[2, c] + spin * v2
        # (1/2) [v]x' f = (1/2) f x v
        h0 = 0.5 * (f1 * v2 - f2 * v1)
        h1 = 0.5 * (f2 * v0 - f0 * v2)
        h2 = 0.5 * (f0 * v1 - f1 * v0)
        out_i[0, c] -= f0
        out_i[1, c] -= f1
        out_i[2, c] -= f2
        out_i[3, c] += h0 - m0
        out_i[4, c] += h1 - m1
        out_i[5, c] += h2 - m2
        out_j[0, c] += f0
        out_j[1, c] += f1
        out_j[2, c] += f2
        out_j[3, c] += h0 + m0
        out_j[4, c] += h1 + m1
        out_j[5, c] += h2 + m2


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def apply_struts(first, last, source, target, vectors, coefficients, x, out):
    """out += K x over struts first .. last-1; x and out are (nodes, 6, columns)."""
    columns = x.shape[2]
    eta, delta = np.empty((3, columns)), np.empty((3, columns))
    for s in range(first, last):
        i, j = source[s], target[s]
        v = vectors[s]
        v0, v1, v2 = 0.5 * v[0], 0.5 * v[1], 0.5 * v[2]
        x_i, x_j = x[i], x[j]
        for c in range(columns):
            w0 = x_i[3, c] + x_j[3, c]
            w1 = x_i[4, c] + x_j[4, c]
            w2 = x_i[5, c] + x_j[5, c]
            eta[0, c] = x_j[0, c] - x_i[0, c] + v1 * w2 - v2 * w1
            eta[1, c] = x_j[1, c] - x_i[1, c] + v2 * w0 - v0 * w2
            eta[2, c] = x_j[2, c] - x_i[2, c] + v0 * w1 - v1 * w0
            delta[0, c] = x_j[3, c] - x_i[3, c]
            delta[1, c] = x_j[4, c] - x_i[4, c]
            delta[2, c] = x_j[5, c] - x_i[5, c]
        k = coefficients[s]
        _return_forces(v, i, j, eta, delta, k[0], k[1], k[2], k[3], columns, out)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def strain_load(first, last, source, target, vectors, coefficients, out):
    """out += forces on nodes (nodes, 6, 6) under the six Mandel unit strains, periodic displacements at rest."""
    rest = np.zeros((6, 6))
    eta, delta, mean = np.empty((3, 6)), np.empty((3, 6)), np.empty((3, 6))
    for s in range(first, last):
        strut_strains(vectors[s], rest, rest, eta, delta, mean)
        k = coefficients[s]
        _return_forces(vectors[s], source[s], target[s], eta, delta, k[0], k[1], k[2], k[3], 6, out)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def energies(first, last, edge_start, source, target, vectors, coefficients, displacements, energy):
    """V C of lattices first .. last-1 from given displacements: sum over struts of the strain energies' products."""
    eta, delta, mean = np.empty((3, 6)), np.empty((3, 6)), np.empty((3, 6))
    along, spin = np.empty(6), np.empty(6)
    for lattice in range(first, last):
        total = energy[lattice]
        total[:] = 0.0
        for s in range(edge_start[lattice], edge_start[lattice + 1]):
            v = vectors[s]
            length = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
            a, b, t, g = coefficients[s, 0], coefficients[s, 1], coefficients[s, 2], coefficients[s, 3]
            strut_strains(v, displacements[source[s]], displacements[target[s]], eta, delta, mean)
            for c in range(6):
                along[c] = (v[0] * eta[0, c] + v[1] * eta[1, c] + v[2] * eta[2, c]) / length
                spin[c] = (v[0] * delta[0, c] + v[1] * delta[1, c] + v[2] * delta[2, c]) / length
            for c in range(6):
                for d in range(c + 1):
                    value = (a - b) * along[c] * along[d] + (t - g) * spin[c] * spin[d]
                    for p in range(3):
                        value += b * eta[p, c] * eta[p, d] + g * delta[p, c] * delta[p, d]
                    total[c, d] += value
        for c in range(6):
            for d in range(c):
                total[d, c] = total[c, d]


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def node_blocks(vectors, coefficients, source, target, blocks):
    """Add every strut to the 6x6 diagonal blocks of its two nodes (a strut to its own image couples only rotations)."""
    for s in range(source.shape[0]):
        v = vectors[s]
        i, j = source[s], target[s]
        a, b, t, g = coefficients[s, 0], coefficients[s, 1], coefficients[s, 2], coefficients[s, 3]
        length2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
        for p in range(3):
            for q in range(3):
                same = 1.0 if p == q else 0.0
                nn = v[p] * v[q] / length2
                du = b * same + (a - b) * nn
                ss = 0.25 * b * (length2 * same - v[p] * v[q])
                dt = g * same + (t - g) * nn
                if i == j:
                    blocks[i, 3 + p, 3 + q] += 4.0 * ss
                else:
                    blocks[i, p, q] += du
                    blocks[j, p, q] += du
                    blocks[i, 3 + p, 3 + q] += ss + dt
                    blocks[j, 3 + p, 3 + q] += ss + dt
        if i != j:
            for p in range(3):
                p1, p2 = (p + 1) % 3, (p + 2) % 3
                blocks[i, p, 3 + p2] -= 0.5 * b * v[p1]
                blocks[i, 3 + p2, p] -= 0.5 * b * v[p1]
                blocks[i, p, 3 + p1] += 0.5 * b * v[p2]
                blocks[i, 3 + p1, p] += 0.5 * b * v[p2]
                blocks[j, p, 3 + p2] += 0.5 * b * v[p1]
                blocks[j, 3 + p2, p] += 0.5 * b * v[p1]
                blocks[j, p, 3 + p1] -= 0.5 * b * v[p2]
                blocks[j, 3 + p1, p] -= 0.5 * b * v[p2]

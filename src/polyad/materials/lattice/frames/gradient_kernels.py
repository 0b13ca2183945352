"""Compiled kernels for what follows a frame's solution: generalised strains of struts, and the gradient of the energy.

See `elimination_kernels` for the strut's energy in its generalised strains eta (stretch, shear) and delta (twist,
curvature).
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

_FAST = {"contract", "reassoc", "nsz", "arcp"}
_ROOT_HALF = 0.7071067811865476


@numba.njit(cache=True, nogil=True, inline="always", fastmath=_FAST)
@no_type_check
def strut_strains(v, u_i, u_j, eta, delta, mean_rotation):
    """Generalised strains (3, 6) of one strut under the six unit strains, and its mean rotation."""
    for c in range(6):
        for p in range(3):
            mean_rotation[p, c] = 0.5 * (u_i[3 + p, c] + u_j[3 + p, c])
            delta[p, c] = u_j[3 + p, c] - u_i[3 + p, c]
            eta[p, c] = u_j[p, c] - u_i[p, c]
        for p in range(3):
            p1, p2 = (p + 1) % 3, (p + 2) % 3
            eta[p, c] += v[p1] * mean_rotation[p2, c] - v[p2] * mean_rotation[p1, c]
    eta[0, 0] += v[0]
    eta[1, 1] += v[1]
    eta[2, 2] += v[2]
    eta[1, 3] += _ROOT_HALF * v[2]
    eta[2, 3] += _ROOT_HALF * v[1]
    eta[0, 4] += _ROOT_HALF * v[2]
    eta[2, 4] += _ROOT_HALF * v[0]
    eta[0, 5] += _ROOT_HALF * v[1]
    eta[1, 5] += _ROOT_HALF * v[0]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
@no_type_check
def energy_gradient(
    first,
    last,
    edge_start,
    source,
    target,
    vectors,
    coefficients,
    displacements,
    weight,
    grad_vectors,
    grad_coefficients,
):
    """Gradient of sum_ab weight_ab energy_ab (weight symmetric) with the displacements held fixed.

    The energy is stationary in the displacements, so this is the whole derivative: no second solve.
    """
    eta, delta, mean = np.empty((3, 6)), np.empty((3, 6)), np.empty((3, 6))
    weighted = np.empty((3, 6))
    n, along, pull = np.empty(3), np.empty(6), np.empty(3)
    for lattice in range(first, last):
        h = weight[lattice]
        for s in range(edge_start[lattice], edge_start[lattice + 1]):
            v = vectors[s]
            length = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
            for p in range(3):
                n[p] = v[p] / length
            a, b, t, g = coefficients[s, 0], coefficients[s, 1], coefficients[s, 2], coefficients[s, 3]
            strut_strains(v, displacements[source[s]], displacements[target[s]], eta, delta, mean)
            grad = grad_vectors[s]
            grad[:] = 0.0
            pull[:] = 0.0
            for part in range(2):
                strain = eta if part == 0 else delta
                stiff, soft = (a, b) if part == 0 else (t, g)
                whole, axial = 0.0, 0.0
                for p in range(3):
                    for c in range(6):
                        value = 0.0
                        for d in range(6):
                            value += strain[p, d] * h[d, c]
                        weighted[p, c] = value
                        whole += value * strain[p, c]
                for c in range(6):
                    along[c] = n[0] * weighted[0, c] + n[1] * weighted[1, c] + n[2] * weighted[2, c]
                    axial += along[c] * (n[0] * strain[0, c] + n[1] * strain[1, c] + n[2] * strain[2, c])
                grad_coefficients[s, 2 * part] = axial
                grad_coefficients[s, 2 * part + 1] = whole - axial
                for p in range(3):
                    for c in range(6):
                        pull[p] += 2.0 * (stiff - soft) * along[c] * strain[p, c]
                if part == 0:
                    # forces w = 2 D (H eta), and d eta = epsilon dv + dv x theta
                    for c in range(6):
                        w0 = 2.0 * (b * weighted[0, c] + (a - b) * along[c] * n[0])
                        w1 = 2.0 * (b * weighted[1, c] + (a - b) * along[c] * n[1])
                        w2 = 2.0 * (b * weighted[2, c] + (a - b) * along[c] * n[2])
                        grad[0] += mean[1, c] * w2 - mean[2, c] * w1
                        grad[1] += mean[2, c] * w0 - mean[0, c] * w2
                        grad[2] += mean[0, c] * w1 - mean[1, c] * w0
                        if c < 3:
                            grad[c] += w0 if c == 0 else (w1 if c == 1 else w2)
                        elif c == 3:
                            grad[1] += _ROOT_HALF * w2
                            grad[2] += _ROOT_HALF * w1
                        elif c == 4:
                            grad[0] += _ROOT_HALF * w2
                            grad[2] += _ROOT_HALF * w0
                        else:
                            grad[0] += _ROOT_HALF * w1
                            grad[1] += _ROOT_HALF * w0
            radial = n[0] * pull[0] + n[1] * pull[1] + n[2] * pull[2]
            for p in range(3):
                grad[p] += (pull[p] - radial * n[p]) / length

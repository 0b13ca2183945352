"""Compiled block elimination of small periodic frames.

A node carries six unknowns (u, theta). For a strut with vector v from node i to node j define, with the macroscopic
strain epsilon and the periodic fluctuation u,

    eta   = epsilon v + u_j - u_i + v x (theta_i + theta_j) / 2      (stretch and shear at mid-length)
    delta = theta_j - theta_i                                        (twist and curvature)

With n = v / |v| the exact Timoshenko element has the energy

    1/2 [ a (n.eta)^2 + b |eta - n (n.eta)|^2 + t (n.delta)^2 + g |delta - n (n.delta)|^2 ],

so a strut is four numbers (a, b, t, g) and a vector; no local axes are needed for doubly symmetric sections. The six
macroscopic strains form one more 6x6 block row behind the nodes: eliminating all nodes by block Cholesky leaves the
Schur complement V C in that row, and no right-hand side is ever solved for the value.

Nodes are eliminated in minimum-degree order of the graph with fill. Everything of one lattice is done by one thread in
one order, so results do not depend on the batch around it or on the number of threads.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

from polyad.linalg.minimum_degree import minimum_degree

# contraction to fused multiply-add and reordered sums; NaN and infinity keep their meaning
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_ROOT_HALF = 0.7071067811865476


@numba.njit(cache=True, nogil=True, inline="always", fastmath=_FAST)
@no_type_check
def _add_strut(block, ii, jj, ij, i_before_j, i_strain, j_strain, strain, v, a, b, t, g, e):
    """Add one strut's blocks: block[.., 6, 6] holds rows of the later unknowns, columns of the earlier ones."""
    length2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    # columns of e: the strut's elongation vector under each of the six Mandel unit strains
    e[:] = 0.0
    e[0, 0] = v[0]
    e[1, 1] = v[1]
    e[2, 2] = v[2]
    e[1, 3] = _ROOT_HALF * v[2]
    e[2, 3] = _ROOT_HALF * v[1]
    e[0, 4] = _ROOT_HALF * v[2]
    e[2, 4] = _ROOT_HALF * v[0]
    e[0, 5] = _ROOT_HALF * v[1]
    e[1, 5] = _ROOT_HALF * v[0]
    for p in range(3):
        for q in range(3):
            nn = v[p] * v[q] / length2
            du = (a - b) * nn
            dt = (t - g) * nn
            ss = -0.25 * b * v[p] * v[q]  # (1/4) b S'S, S = [v]x
            if p == q:
                du += b
                dt += g
                ss += 0.25 * b * length2
            block[ii, p, q] += du
            block[jj, p, q] += du
            block[ii, 3 + p, 3 + q] += ss + dt
            block[jj, 3 + p, 3 + q] += ss + dt
            if ij >= 0:
                block[ij, p, q] -= du
                block[ij, 3 + p, 3 + q] += ss - dt
            else:
                # a strut to its own image: translations cancel, rotations meet themselves
                block[ii, p, q] -= 2.0 * du
                block[ii, 3 + p, 3 + q] += 2.0 * (ss - dt)
            # strain rows: row = load case, column = the node's unknown
            for c in range(6):
                force = du * e[q, c]
                block[i_strain, c, p] -= force
                block[j_strain, c, p] += force
    for p in range(3):
        # (S x)_p = v_{p+1} x_{p+2} - v_{p+2} x_{p+1}
        p1, p2 = (p + 1) % 3, (p + 2) % 3
        for sign in range(2):
            q, s = (p2, 0.5 * b * v[p1]) if sign == 0 else (p1, -0.5 * b * v[p2])
            # s = (1/2) b S[p, q]; u row p, theta column q
            if ij >= 0:
                block[ii, p, 3 + q] -= s
                block[ii, 3 + q, p] -= s
                block[jj, p, 3 + q] += s
                block[jj, 3 + q, p] += s
                # K[u_i, theta_j] = -S b/2, K[theta_i, u_j] = S' b/2; K[u_j, theta_i] = S b/2, K[theta_j, u_i] = -S' b/2
                flip = 1.0 if i_before_j else -1.0
                block[ij, p, 3 + q] += flip * s
                block[ij, 3 + q, p] -= flip * s
            # theta rows meet the strain through (b/2) S' E, at both ends alike
            for c in range(6):
                moment = s * e[p, c]
                block[i_strain, c, 3 + q] += moment
                block[j_strain, c, 3 + q] += moment
    for c in range(6):
        along = 0.0
        for p in range(3):
            along += v[p] * e[p, c]
        for d in range(c + 1):
            across = 0.0
            along_d = 0.0
            for p in range(3):
                across += e[p, c] * e[p, d]
                along_d += v[p] * e[p, d]
            block[strain, c, d] += b * across + (a - b) * along * along_d / length2


@numba.njit(cache=True, nogil=True, inline="always", fastmath=_FAST)
@no_type_check
def _factor_pivot(block, diagonal):
    """Cholesky of the pivot's 6x6 block in place (lower part); returns the smallest pivot over its diagonal before."""
    smallest = np.inf
    for j in range(6):
        before = diagonal[j]
        value = block[j, j]
        for k in range(j):
            value -= block[j, k] * block[j, k]
        ratio = value / before if before > 0.0 else -1.0
        if not ratio >= smallest:
            smallest = ratio
        if not value > 0.0:
            return -1.0
        root = np.sqrt(value)
        block[j, j] = root
        for i in range(j + 1, 6):
            value = block[i, j]
            for k in range(j):
                value -= block[i, k] * block[j, k]
            block[i, j] = value / root
    return smallest


@numba.njit(cache=True, nogil=True, inline="always", fastmath=_FAST)
@no_type_check
def _eliminate(block, table, step, rows, count, panel, row):
    """Eliminate pivot `step`, whose later block rows are rows[:count] (the strain row last)."""
    pivot = block[table[step, step]]
    width = 6 * count
    # panel = inv(L) A[rows, pivot]': six long rows
    for q in range(count):
        source = block[table[rows[q], step]]
        for j in range(6):
            for k in range(6):
                panel[k, 6 * q + j] = source[j, k]
    for k in range(6):
        for m in range(k):
            factor = pivot[k, m]
            for j in range(width):
                panel[k, j] -= factor * panel[m, j]
        inverse = 1.0 / pivot[k, k]
        for j in range(width):
            panel[k, j] *= inverse
    for q in range(count):
        into = table[rows[q]]
        end = 6 * (q + 1)
        for i in range(6):
            c = 6 * q + i
            p0, p1, p2 = panel[0, c], panel[1, c], panel[2, c]
            p3, p4, p5 = panel[3, c], panel[4, c], panel[5, c]
            for j in range(end):
                row[j] = (
                    p0 * panel[0, j]
                    + p1 * panel[1, j]
                    + p2 * panel[2, j]
                    + p3 * panel[3, j]
                    + p4 * panel[4, j]
                    + p5 * panel[5, j]
                )
            for r in range(q + 1):
                out = block[into[rows[r]], i]
                for j in range(6):
                    out[j] -= row[6 * r + j]
    # keep inv(L) A' for the back substitution, transposed as it was read
    for q in range(count):
        kept = block[table[rows[q], step]]
        for j in range(6):
            for k in range(6):
                kept[j, k] = panel[k, 6 * q + j]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
@no_type_check
def solve_cells(
    first,
    last,
    node_start,
    edge_start,
    source,
    target,
    vectors,
    coefficients,
    ground_start,
    ground_node,
    ground_rotation,
    energy,
    displacements,
    smallest_pivot,
):
    """Lattices first .. last-1: energy (batch, 6, 6) = V C, displacements (nodes, 6, 6) = unknown x load case.

    `ground_*` name one node a component and the rotations that its rigid motion leaves free: springs there take no
    force, since the load on every component is in equilibrium. `displacements` of size 0 are not computed.
    `smallest_pivot` (batch,) is over the diagonal before elimination; where it is not positive the energy is NaN.
    """
    wanted = displacements.shape[0] > 0
    e = np.empty((3, 6))
    diagonal = np.empty(6)
    for lattice in range(first, last):
        n0, n1 = node_start[lattice], node_start[lattice + 1]
        e0, e1 = edge_start[lattice], edge_start[lattice + 1]
        nodes = n1 - n0
        order, later_start, later = minimum_degree(nodes, source[e0:e1], target[e0:e1], n0)
        place = np.empty(nodes, np.int64)
        for step in range(nodes):
            place[order[step]] = step
        # table[row, column]: block of a later row and an earlier column; the strain is row `nodes`
        table = np.full((nodes + 1, nodes + 1), -1, np.int32)
        blocks = 0
        widest = 0
        for step in range(nodes):
            table[step, step] = blocks
            table[nodes, step] = blocks + 1
            blocks += 2
            widest = max(widest, later_start[step + 1] - later_start[step])
            for k in range(later_start[step], later_start[step + 1]):
                table[place[later[k]], step] = blocks
                blocks += 1
        table[nodes, nodes] = blocks
        block = np.zeros((blocks + 1, 6, 6))
        scale_u, scale_r = 0.0, 0.0
        for s in range(e0, e1):
            i, j = place[source[s] - n0], place[target[s] - n0]
            a, b, t, g = coefficients[s, 0], coefficients[s, 1], coefficients[s, 2], coefficients[s, 3]
            ij = -1 if i == j else table[max(i, j), min(i, j)]
            _add_strut(
                block,
                table[i, i],
                table[j, j],
                ij,
                i < j,
                table[nodes, i],
                table[nodes, j],
                table[nodes, nodes],
                vectors[s],
                a,
                b,
                t,
                g,
                e,
            )
            scale_u += a
            scale_r += t + g
        scale_u /= e1 - e0
        scale_r /= e1 - e0
        for c in range(ground_start[lattice], ground_start[lattice + 1]):
            ground = block[table[place[ground_node[c] - n0], place[ground_node[c] - n0]]]
            for p in range(3):
                ground[p, p] += scale_u
                for q in range(3):
                    ground[3 + p, 3 + q] += scale_r * ground_rotation[c, p, q]

        original = np.empty((nodes, 6))
        for step in range(nodes):
            for j in range(6):
                original[step, j] = block[table[step, step], j, j]
        rows = np.empty(widest + 1, np.int64)
        panel = np.empty((6, 6 * (widest + 1)))
        row = np.empty(6 * (widest + 1))
        worst = np.inf
        for step in range(nodes):
            count = 0
            for k in range(later_start[step], later_start[step + 1]):
                rows[count] = place[later[k]]
                count += 1
            rows[:count].sort()
            rows[count] = nodes
            count += 1
            diagonal[:] = original[step]
            ratio = _factor_pivot(block[table[step, step]], diagonal)
            if not ratio >= worst:
                worst = ratio
            if not ratio > 0.0:
                break
            _eliminate(block, table, step, rows, count, panel, row)
        smallest_pivot[lattice] = worst
        if not worst > 0.0:
            energy[lattice] = np.nan
            continue
        result = block[table[nodes, nodes]]
        for c in range(6):
            for d in range(c + 1):
                energy[lattice, c, d] = result[c, d]
                energy[lattice, d, c] = result[c, d]
        if not wanted:
            continue
        x = np.empty((6, 6))
        for step in range(nodes - 1, -1, -1):
            kept = block[table[nodes, step]]
            for k in range(6):
                for c in range(6):
                    x[k, c] = -kept[c, k]
            for k in range(later_start[step], later_start[step + 1]):
                kept = block[table[place[later[k]], step]]
                known = displacements[n0 + later[k]]
                for j in range(6):
                    for m in range(6):
                        for c in range(6):
                            x[m, c] -= kept[j, m] * known[j, c]
            pivot = block[table[step, step]]
            out = displacements[n0 + order[step]]
            for k in range(5, -1, -1):
                for c in range(6):
                    value = x[k, c]
                    for m in range(k + 1, 6):
                        value -= pivot[m, k] * out[m, c]
                    out[k, c] = value / pivot[k, k]

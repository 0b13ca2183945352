"""Compiled searches in lattices: reduced bases, pure translations, and the shortest independent lattice vectors."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

_REACH = 2  # coefficients of short vectors in a reduced basis are at most 1; one more costs little


@numba.njit(cache=True, nogil=True)
@no_type_check
def reduce_basis(cell):
    """Minkowski-reduced rows of the same lattice, ascending, and the integers `change` with reduced = change @ cell."""
    basis, change = cell.copy(), np.eye(3)
    while True:
        order = np.argsort((basis * basis).sum(axis=1))
        basis, change = basis[order], change[order]
        factor = np.rint(basis[1] @ basis[0] / (basis[0] @ basis[0]))
        if factor != 0.0 and _shorter(basis[1] - factor * basis[0], basis[1]):
            basis[1] -= factor * basis[0]
            change[1] -= factor * change[0]
            continue
        # the vector of the plane of the first two that is nearest to the third
        g00, g01, g11 = basis[0] @ basis[0], basis[0] @ basis[1], basis[1] @ basis[1]
        r0, r1, det = basis[2] @ basis[0], basis[2] @ basis[1], g00 * g11 - g01 * g01
        first, second = np.rint((r0 * g11 - r1 * g01) / det), np.rint((r1 * g00 - r0 * g01) / det)
        best, best0, best1 = basis[2], 0.0, 0.0
        for i in range(-1, 2):
            for j in range(-1, 2):
                found = basis[2] - (first + i) * basis[0] - (second + j) * basis[1]
                if _shorter(found, best):
                    best, best0, best1 = found, first + i, second + j
        if best0 == 0.0 and best1 == 0.0:
            return basis, change
        basis[2] = best
        change[2] -= best0 * change[0] + best1 * change[1]


@numba.njit(cache=True, nogil=True, inline="always")
@no_type_check
def _shorter(one, other):
    return one @ one < (1 - 1e-12) * (other @ other)


@numba.njit(cache=True, nogil=True)
@no_type_check
def pure_translations(fractional, kind, basis, tolerance):
    """Translations within the cell that carry every atom to one of its kind, as integers over their number.

    They form a group of order N, so N times each is a lattice vector: the true translation is a multiple of 1 / N. A
    tolerance (a length) that accepts what is no group is halved until it does not.
    """
    count = len(kind)
    rarest, fewest = 0, count + 1
    for i in range(count):
        same = (kind == kind[i]).sum()
        if same < fewest:
            rarest, fewest = i, same
    while True:
        found = np.zeros((fewest, 3))
        size = 1
        for j in range(count):
            if j == rarest or kind[j] != kind[rarest]:
                continue
            move = fractional[j] - fractional[rarest]
            move -= np.rint(move)
            if _length(move, basis) > tolerance and _maps(fractional, kind, basis, move, tolerance):
                found[size] = move
                size += 1
        steps = np.rint(size * found[:size])
        if count % size == 0 and _is_group(steps, size):
            return steps
        tolerance *= 0.5
        if tolerance < 1e-12:  # atoms on top of one another: no tolerance makes a group of them
            return np.zeros((1, 3))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _length(fractional, basis):
    vector = fractional @ basis
    return np.sqrt(vector @ vector)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _maps(fractional, kind, basis, move, tolerance):
    difference = np.empty(3)
    for i in range(len(kind)):
        met = False
        for j in range(len(kind)):
            if kind[j] != kind[i]:
                continue
            for k in range(3):
                x = fractional[i, k] + move[k] - fractional[j, k]
                difference[k] = x - np.rint(x)
            if _length(difference, basis) <= tolerance:
                met = True
                break
        if not met:
            return False
    return True


@numba.njit(cache=True, nogil=True)
@no_type_check
def _is_group(steps, size):
    residues = np.mod(steps, size)
    for i in range(len(residues)):
        for j in range(i + 1):
            total = np.mod(residues[i] + residues[j], size)
            known = 0
            for k in range(len(residues)):
                if (residues[k] == total).all():
                    known += 1
            if known != 1:
                return False
    return True


@numba.njit(cache=True, nogil=True)
@no_type_check
def _short_vectors(basis, steps):
    """Coefficients in the reduced basis of all vectors that can be among the shortest, without 0."""
    size, width = len(steps), 2 * _REACH + 1
    found = np.empty((size * width**3 - 1, 3))
    place = 0
    for t in range(size):
        for a in range(-_REACH, _REACH + 1):
            for b in range(-_REACH, _REACH + 1):
                for c in range(-_REACH, _REACH + 1):
                    if t == 0 and a == 0 and b == 0 and c == 0:
                        continue
                    found[place, 0] = steps[t, 0] / size + a
                    found[place, 1] = steps[t, 1] / size + b
                    found[place, 2] = steps[t, 2] / size + c
                    place += 1
    return found


@numba.njit(cache=True, nogil=True)
@no_type_check
def _triples(basis, steps, tolerance):
    """All admissible triples of one lattice, as coefficients in the reduced basis."""
    coefficients = _short_vectors(basis, steps)
    vectors = coefficients @ basis
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    order = np.argsort(lengths)
    limit = np.empty(3)
    first = order[0]
    limit[0] = lengths[first]
    second = first
    for i in order:
        if _area(vectors[first], vectors[i]) > 0.1 * lengths[first] * lengths[i]:
            second = i
            break
    limit[1] = lengths[second]
    for i in order:
        volume = _volume(vectors[first], vectors[second], vectors[i])
        if abs(volume) > 0.1 * lengths[first] * lengths[second] * lengths[i]:
            limit[2] = lengths[i]
            break
    limit *= 1 + tolerance
    near = order[: np.searchsorted(lengths[order], limit[2], side="right")]
    found = np.empty((8, 3, 3))
    size = 0
    for i in near:
        if lengths[i] > limit[0]:
            break
        for j in near:
            if lengths[j] > limit[1]:
                break
            scale = lengths[i] * lengths[j]
            if vectors[i] @ vectors[j] < -tolerance * scale or _area(vectors[i], vectors[j]) < 0.1 * scale:
                continue
            for k in near:
                if vectors[i] @ vectors[k] < -tolerance * lengths[i] * lengths[k]:
                    continue
                # independent shortest vectors fill at least 1 / sqrt 2 of the box of their lengths
                if _volume(vectors[i], vectors[j], vectors[k]) < 0.1 * scale * lengths[k]:
                    continue
                if size == len(found):
                    found = np.concatenate((found, np.empty_like(found)))
                found[size, 0], found[size, 1] = coefficients[i], coefficients[j]
                found[size, 2] = coefficients[k]
                size += 1
    return found[:size]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _area(a, b):
    x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    return np.sqrt(x * x + y * y + z * z)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _volume(a, b, c):
    x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    return x * c[0] + y * c[1] + z * c[2]


@numba.njit(cache=True, nogil=True)
@no_type_check
def triples_of_all(positions, kind, start, cells, tolerance):
    """Admissible triples of every structure as coefficients in its own cell, the structure of each, and orders.

    `orders` holds the number of pure translations of every structure: how many primitive cells its cell is.
    """
    found, owner = np.empty((2 * len(cells) + 8, 3, 3)), np.empty(2 * len(cells) + 8, np.int64)
    orders = np.empty(len(cells), np.int64)
    size = 0
    for b in range(len(cells)):
        low, high = start[b], start[b + 1]
        basis, change = reduce_basis(cells[b])
        fractional = positions[low:high] @ np.linalg.inv(basis)
        spacing = (abs(np.linalg.det(basis)) / (high - low)) ** (1 / 3)
        steps = pure_translations(fractional, kind[low:high], basis, tolerance * spacing)
        orders[b] = len(steps)
        own = _triples(basis, steps, tolerance)
        while size + len(own) > len(found):
            found, owner = np.concatenate((found, found)), np.concatenate((owner, owner))
        for i in range(len(own)):
            found[size], owner[size] = own[i] @ change, b
            size += 1
    return found[:size], owner[:size], orders


@numba.njit(cache=True, nogil=True)
@no_type_check
def fold_atoms(positions, kind, cell, order, tolerance):
    """Atoms of a primitive cell, each the mean over its `order` copies; the first atom of each, -1 if none fit."""
    count = len(kind) // order
    inverse = np.linalg.inv(cell)
    first, members = np.full(count, -1), np.zeros(count, np.int64)
    mean = np.zeros((count, 3))
    size = 0
    for i in range(len(kind)):
        best, nearest, copy = -1, tolerance, np.zeros(3)
        for a in range(size):
            if kind[first[a]] != kind[i]:
                continue
            difference = (positions[i] - positions[first[a]]) @ inverse
            moved = (difference - np.rint(difference)) @ cell
            distance = np.sqrt(moved @ moved)
            if distance < nearest:
                best, nearest, copy = a, distance, moved
        if best < 0:
            if size == count:
                return mean, np.full(count, -1)
            best, copy = size, np.zeros(3)
            first[size] = i
            size += 1
        members[best] += 1
        mean[best] += copy
    for a in range(count):
        if members[a] != order:
            return mean, np.full(count, -1)
        mean[a] = positions[first[a]] + mean[a] / order
    return mean, first

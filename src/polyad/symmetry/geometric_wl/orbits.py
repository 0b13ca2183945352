"""Orbits of labelled vectors: when does one rotation, or reflection, carry one set into another?

An object is a multiset of elements, each a label and m vectors. A and B lie in one orbit of the group when some Q in it
maps A to B. Were there such a Q, it would carry any independent vectors of A to vectors of B with the same labels and
the same Gram matrix, and these determine Q on their span. So

    choose up to three independent vectors of A, those with the fewest partners (same label, same length) in B
    for every tuple of vectors of B with their labels and their Gram matrix, one vector joining at a time:
        Q = (frame of the tuple in B) (frame of the chosen in A)^T, frames by Gram-Schmidt
        compare Q A with B

If the vectors span a plane or a line only, Q is free on the complement, where A has nothing: any completion serves, and
one with determinant 1 is always there, so that O(3) and SO(3) agree on flat objects.

Cost: a vector without partner ends the search at once, O(n^2) for n vectors. Otherwise the tuples number at most n^2
times a constant (two images fix the third up to a reflection): 1 for generic objects, the order of the symmetry for
symmetric ones. A comparison is O(n^2). Tolerance: vectors that differ by less are the same. It is absolute, so scale to
lengths of about 1; differences between it and a few times it may be seen or not.

Source: C. Joshi et al., On the Expressive Power of Geometric Graph Neural Networks, ICML 2023, arXiv:2301.09308,
section 3 (I-HASH).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, final, get_args

import numpy as np

from polyad.errors import InputError

Group = Literal["O(3)", "SO(3)"]
"""Whether reflections count as symmetries."""

Array = np.ndarray
"""Of NumPy: the searches work on small pieces, one by one."""

TOLERANCE = 1e-6
"""Differences that do not count, in units of the largest length."""

_INDEPENDENT = 0.5  # a chosen vector has at least this share of the longest remainder


def same_orbit(
    labels_a: Array, vectors_a: Array, labels_b: Array, vectors_b: Array, *, group: Group, tolerance: float = TOLERANCE
) -> bool:
    """Whether an element of the group carries one multiset of labelled vectors into another.

    Args:
        labels_a, labels_b: (elements,) whole numbers.
        vectors_a, vectors_b: (elements, m, 3); the m vectors of an element belong together, in order.
        group: "O(3)" or "SO(3)".
        tolerance: see the module's docstring.
    """
    check_group(group)
    if vectors_a.shape != vectors_b.shape or not np.array_equal(np.sort(labels_a), np.sort(labels_b)):
        return False
    slots = vectors_a.shape[1]
    alone_a, alone_b = ((labels[:, None] * slots + np.arange(slots)).ravel() for labels in (labels_a, labels_b))
    candidates = matching_maps(
        alone_a, vectors_a.reshape(-1, 3), alone_b, vectors_b.reshape(-1, 3), group=group, tolerance=tolerance
    )
    for candidate in candidates:
        moved = vectors_a @ candidate.T
        equal = labels_a[:, None] == labels_b
        if slots:
            equal &= np.abs(moved[:, None] - vectors_b).max((2, 3)) <= tolerance
        rows, columns = equal.sum(1), equal.sum(0)
        # near-equal elements form classes; every class must have as many members on both sides
        if rows.all() and columns.all() and (rows[:, None] == columns)[equal].all():
            return True
    return False


def matching_maps(
    labels_a: Array, vectors_a: Array, labels_b: Array, vectors_b: Array, *, group: Group, tolerance: float = TOLERANCE
) -> Iterator[Array]:
    """The elements of the group that could carry a set of labelled vectors (n, 3) into another: a necessary condition.

    Every Q that does agrees with one of these on the span of A. Multiplicities of a vector do not count here.
    """
    if not np.array_equal(np.unique(labels_a), np.unique(labels_b)):
        return
    lengths_a, lengths_b = np.linalg.norm(vectors_a, axis=1), np.linalg.norm(vectors_b, axis=1)
    partner = (labels_a[:, None] == labels_b) & (np.abs(lengths_a[:, None] - lengths_b) <= tolerance)
    partners = partner.sum(1)
    if not (partners.all() and partner.any(0).all()):
        return
    chosen = _independent(vectors_a, partners, tolerance)
    gram = vectors_a[chosen] @ vectors_a[chosen].T
    tuples = np.zeros((1, 0), np.int64)
    for step, vector in enumerate(chosen):
        images = partner[vector].nonzero()[0]
        fits = np.ones((len(tuples), len(images)), bool)
        for earlier in range(step):
            inner = vectors_b[tuples[:, earlier]] @ vectors_b[images].T
            fits &= np.abs(inner - gram[step, earlier]) <= tolerance
        row, column = fits.nonzero()
        tuples = np.concatenate([tuples[row], images[column, None]], axis=1)
    frame, seen = _frame(vectors_a[chosen]), set()
    for image in tuples:
        candidate = _frame(vectors_b[image]) @ frame.T
        if group == "SO(3)" and np.linalg.det(candidate) < 0:
            if len(chosen) == 3:
                continue
            candidate = candidate - 2 * np.outer(candidate @ frame[:, 2], frame[:, 2])  # free there: turn it over
        if (key := map_key(candidate)) not in seen:
            seen.add(key)
            yield candidate


def map_key(candidate: Array) -> bytes:
    """Equal for equal maps, for use in tables."""
    return (np.round(candidate, 6) + 0.0).tobytes()


def check_group(group: str) -> None:
    """Raise InputError unless it is one of the two groups."""
    if group not in get_args(Group):
        raise InputError(f"group: {group!r} was given; choose 'O(3)' or 'SO(3)'")


@final
class OrbitTable:
    """I-HASH: whole numbers for objects, equal exactly for objects in one orbit; a new orbit gets the next number."""

    def __init__(self, *, group: Group = "O(3)", tolerance: float = TOLERANCE) -> None:
        check_group(group)
        self.group, self.tolerance = group, tolerance
        self._known: dict[tuple[Any, ...], list[tuple[int, Array, Array]]] = {}
        self._count = 0

    def number(self, labels: Array, vectors: Array) -> int:
        """Of an object with labels (elements,) and vectors (elements, m, 3); only equal label sets are compared."""
        bucket = self._known.setdefault((vectors.shape, *np.sort(labels).tolist()), [])
        for number, known_labels, known_vectors in bucket:
            if same_orbit(known_labels, known_vectors, labels, vectors, group=self.group, tolerance=self.tolerance):
                return number
        bucket.append((self._count, labels, vectors))
        self._count += 1
        return self._count - 1


def _independent(vectors: Array, partners: Array, tolerance: float) -> list[int]:
    """Up to three independent vectors: among those that stand out of the others' span well, the fewest partners."""
    chosen: list[int] = []
    rest = vectors.copy()
    while len(chosen) < 3 and len(rest):
        remainder = np.linalg.norm(rest, axis=1)
        if remainder.max() <= tolerance:
            break
        standing = (remainder >= _INDEPENDENT * remainder.max()).nonzero()[0]
        chosen.append(int(standing[partners[standing].argmin()]))
        direction = rest[chosen[-1]] / remainder[chosen[-1]]
        rest = rest - np.outer(rest @ direction, direction)
    return chosen


def _frame(vectors: Array) -> Array:
    """Orthonormal columns: Gram-Schmidt of up to three independent rows, completed to a basis."""
    if not len(vectors):
        return np.eye(3)
    basis, triangle = np.linalg.qr(vectors.T, mode="complete")
    basis[:, : len(vectors)] *= np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return basis

"""Orbits of labelled vectors against the search over all permutations, and the maps that are proposed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.orbits import Group, OrbitTable, check_group, matching_maps, same_orbit

Array = np.ndarray


def random_orthogonal(generator: np.random.Generator, *, determinant: int) -> Array:
    q = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    return q * (determinant * np.sign(np.linalg.det(q)))


def oracle(labels_a: Array, vectors_a: Array, labels_b: Array, vectors_b: Array, group: str) -> bool:
    """Whether some order of B has the labels and the Gram matrix of A, and for SO(3) its triple products."""

    def invariants(vectors: Array) -> Array:
        flat = vectors.reshape(-1, 3)
        triple = np.einsum("ia,jb,kc,abc->ijk", flat, flat, flat, LEVI_CIVITA)
        return np.concatenate([(flat @ flat.T).ravel(), triple.ravel() * (group == "SO(3)")])

    wanted = invariants(vectors_a)
    for order in map(list, itertools.permutations(range(len(labels_b)))):
        if (labels_b[order] == labels_a).all() and np.allclose(invariants(vectors_b[order]), wanted, atol=1e-6):
            return True
    return False


LEVI_CIVITA = np.zeros((3, 3, 3))
for _order in itertools.permutations(range(3)):
    LEVI_CIVITA[_order] = np.linalg.det(np.eye(3)[list(_order)])


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("slots", [1, 2])
def test_same_orbit_is_the_search_over_all_orders(group: Any, slots: int) -> None:
    generator = np.random.default_rng(slots)
    answers = []
    for trial in range(60):
        count = int(generator.integers(1, 5))
        labels_a = generator.integers(0, 2, count)
        vectors_a = generator.integers(-1, 2, (count, slots, 3)).astype(float)
        q = random_orthogonal(generator, determinant=-1 if trial % 2 else 1)
        order = generator.permutation(count)
        labels_b, vectors_b = labels_a[order], vectors_a[order] @ q.T
        if trial % 3 == 0:  # one vector turned over: often the same orbit, often not
            vectors_b[0, 0] *= -1
        if trial % 7 == 0:
            labels_b = np.roll(labels_b, 1)
        found = same_orbit(labels_a, vectors_a, labels_b, vectors_b, group=group)
        assert found == oracle(labels_a, vectors_a, labels_b, vectors_b, group)
        answers.append(found)
    assert 10 < sum(answers) < 55


def test_mirror_images_are_one_orbit_of_reflections_only() -> None:
    labels, vectors = np.arange(3), np.diag([1.0, 2.0, 3.0])[:, None]
    cases: list[tuple[Group, bool]] = [("O(3)", True), ("SO(3)", False)]
    for group, expected in cases:
        assert same_orbit(labels, vectors, labels, -vectors, group=group) is expected
    flat = vectors[:2]  # turned over by a rotation
    assert same_orbit(labels[:2], flat, labels[:2], -flat, group="SO(3)")
    assert same_orbit(labels[:2], flat, labels[:2], flat * [-1.0, 1, 1], group="SO(3)")


def test_multiplicities_count() -> None:
    x, y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    one, other = np.stack([x, x, y])[:, None], np.stack([x, y, y, ])[:, None]  # fmt: skip
    labels = np.zeros(3, int)
    assert same_orbit(labels, one, labels, other, group="O(3)")  # exchange x and y
    assert not same_orbit(np.array([0, 0, 1]), one, np.array([0, 1, 1]), other, group="O(3)")
    marked = np.array([0, 0, 0, 1])
    first, second = np.stack([x, x, y, x])[:, None], np.stack([x, y, y, x])[:, None]
    assert not same_orbit(marked, first, marked, second, group="O(3)")


@pytest.mark.parametrize(("shift", "expected"), [(1e-9, True), (1e-4, False)])
def test_tolerance(shift: float, expected: bool) -> None:
    generator = np.random.default_rng(0)
    labels, vectors = np.zeros(6, int), generator.normal(size=(6, 1, 3))
    moved = vectors @ random_orthogonal(generator, determinant=1).T + shift * generator.normal(size=(6, 1, 3))
    assert same_orbit(labels, vectors, labels, moved, group="SO(3)") is expected


def test_maps_are_the_symmetries_of_the_object() -> None:
    """A cube's face normals have the 48 elements of the cube's group, 24 of them rotations; a generic object one."""
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    labels = np.zeros(6, int)
    cases: list[tuple[Group, int]] = [("O(3)", 48), ("SO(3)", 24)]
    for group, count in cases:
        maps = list(matching_maps(labels, normals, labels, normals, group=group))
        assert len(maps) == count
        for q in maps:
            assert np.allclose(q @ q.T, np.eye(3))
            assert sorted((normals @ q.T).round(6).tolist()) == sorted((normals + 0.0).tolist())
    generic = np.random.default_rng(0).normal(size=(5, 3))
    (only,) = matching_maps(np.zeros(5, int), generic, np.zeros(5, int), generic, group="O(3)")
    assert np.allclose(only, np.eye(3))
    turned = list(matching_maps(np.zeros(1, int), np.eye(3)[:1], np.zeros(1, int), -np.eye(3)[:1], group="SO(3)"))
    assert np.allclose(turned[0][:, 0], [-1, 0, 0])
    assert np.isclose(np.linalg.det(turned[0]), 1)


def test_table_numbers_orbits() -> None:
    generator = np.random.default_rng(0)
    objects = [generator.normal(size=(4, 1, 3)) for _ in range(3)]
    labels, table = np.array([0, 0, 1, 1]), OrbitTable(group="SO(3)")
    assert [table.number(labels, item) for item in objects] == [0, 1, 2]
    for number, item in enumerate(objects):
        order = generator.permutation(4)
        turned = item[order] @ random_orthogonal(generator, determinant=1).T
        assert table.number(labels[order], turned) == number
    assert table.number(labels, -objects[0]) == 3
    assert table.number(labels + 1, objects[0]) == 4


def test_unknown_group_is_refused() -> None:
    with pytest.raises(InputError, match="U"):
        check_group("U(1)")

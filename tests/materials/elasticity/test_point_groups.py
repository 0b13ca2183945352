"""Point groups and projectors: orders, ranks, invariance, and the standard matrices of every class."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.elasticity.point_groups import check_symmetry, rotation_21
from polyad.tensors.notation import (
    mandel_to_vector,
    mandel_to_voigt_stiffness,
    rotate_mandel,
    vector_to_mandel,
    voigt_stiffness_to_mandel,
)
from polyad.tensors.rotations import random_rotations, rotation_from_vector

ORDERS = {"isotropic": 60, "cubic": 24, "hexagonal": 12, "trigonal": 6, "tetragonal": 8, "orthotropic": 4}
ORDERS |= {"monoclinic": 2, "triclinic": 1}


def voigt_pattern(symmetry: str) -> torch.Tensor:
    """A Voigt stiffness in the standard setting with arbitrary constants, by hand from the tables (Nye, table 9)."""
    names = ["11", "12", "13", "14", "22", "23", "33", "44", "55", "66", "16", "26", "36", "45"]
    c = {name: 1.0 + 0.37 * k for k, name in enumerate(names)}
    matrix = torch.zeros(6, 6, dtype=torch.float64)

    def put(row: int, column: int, value: float) -> None:
        matrix[row - 1, column - 1] = matrix[column - 1, row - 1] = value

    if symmetry in ("isotropic", "cubic"):
        shear = (c["11"] - c["12"]) / 2 if symmetry == "isotropic" else c["44"]
        for i in (1, 2, 3):
            put(i, i, c["11"])
            put(i + 3, i + 3, shear)
        for i, j in ((1, 2), (1, 3), (2, 3)):
            put(i, j, c["12"])
        return matrix
    for name in ("11", "12", "13", "22", "23", "33", "44", "55", "66"):
        put(int(name[0]), int(name[1]), c[name])
    if symmetry in ("hexagonal", "trigonal", "tetragonal"):
        put(2, 2, c["11"])
        put(2, 3, c["13"])
        put(5, 5, c["44"])
        if symmetry != "tetragonal":
            put(6, 6, (c["11"] - c["12"]) / 2)
        if symmetry == "trigonal":
            put(1, 4, c["14"])
            put(2, 4, -c["14"])
            put(5, 6, c["14"])
    if symmetry == "monoclinic":
        for name in ("16", "26", "36", "45"):
            put(int(name[0]), int(name[1]), c[name])
    return matrix


@pytest.mark.parametrize("symmetry", elasticity.SYMMETRIES)
def test_group_is_a_group_of_the_right_order(symmetry):
    group = elasticity.point_group(symmetry)
    assert len(group) == ORDERS[symmetry]
    torch.testing.assert_close(group[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(group), torch.ones(len(group), dtype=torch.float64))
    products = torch.einsum("aij,bjk->abik", group, group).flatten(0, 1)
    distance = (products[:, None] - group).abs().amax(dim=(2, 3))
    assert float(distance.amin(dim=1).max()) < 1e-12  # closed
    assert int(((group[:, None] - group).abs().amax(dim=(2, 3)) < 1e-3).sum()) == len(group)  # no element twice


@pytest.mark.parametrize("symmetry", elasticity.SYMMETRIES)
def test_projector_has_the_number_of_constants_for_rank_and_keeps_the_group_invariant(symmetry):
    projector = elasticity.symmetry_projector(symmetry)
    torch.testing.assert_close(projector @ projector, projector, rtol=0, atol=1e-14)
    torch.testing.assert_close(projector, projector.T, rtol=0, atol=1e-14)
    assert round(float(projector.trace()), 12) == elasticity.INDEPENDENT_CONSTANTS[symmetry]
    turned = rotation_21(elasticity.point_group(symmetry)) @ projector
    torch.testing.assert_close(turned, projector.expand_as(turned), rtol=0, atol=1e-14)


@pytest.mark.parametrize("symmetry", [name for name in elasticity.SYMMETRIES if name != "triclinic"])
def test_standard_matrix_of_the_class(symmetry, random_stiffness):
    projector = elasticity.symmetry_projector(symmetry)
    pattern = mandel_to_vector(voigt_stiffness_to_mandel(voigt_pattern(symmetry)))
    torch.testing.assert_close(projector @ pattern, pattern, rtol=0, atol=1e-13)
    # and nothing outside of the pattern survives
    projected = mandel_to_voigt_stiffness(vector_to_mandel(projector @ mandel_to_vector(random_stiffness())))
    outside = projected[voigt_pattern(symmetry) == 0]
    assert float(outside.abs().max()) < 1e-13


def test_finite_groups_stand_for_the_continuous_ones(random_stiffness):
    tensor = mandel_to_vector(random_stiffness())
    isotropic = vector_to_mandel(elasticity.symmetry_projector("isotropic") @ tensor)
    turned = rotate_mandel(isotropic, random_rotations(5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(turned, isotropic.expand_as(turned), rtol=0, atol=1e-13)
    hexagonal = vector_to_mandel(elasticity.symmetry_projector("hexagonal") @ tensor)
    angles = torch.tensor([0.3, 1.1, 2.0], dtype=torch.float64)
    about_z = rotation_from_vector(angles[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    turned = rotate_mandel(hexagonal, about_z)
    torch.testing.assert_close(turned, hexagonal.expand_as(turned), rtol=0, atol=1e-13)


@pytest.mark.parametrize("symmetry", elasticity.SYMMETRIES)
def test_normalizer_maps_the_class_onto_itself(symmetry):
    projector = elasticity.symmetry_projector(symmetry)
    moved = rotation_21(elasticity.normalizer(symmetry)) @ projector
    torch.testing.assert_close(projector @ moved, moved, rtol=0, atol=1e-14)


def test_rotation_of_21_vectors_is_the_rotation_of_matrices(random_stiffness):
    stiffness = random_stiffness(3)
    rotations = random_rotations(3, generator=torch.Generator().manual_seed(0), reflections=True)
    turned = torch.einsum("nab,nb->na", rotation_21(rotations), mandel_to_vector(stiffness))
    torch.testing.assert_close(vector_to_mandel(turned), rotate_mandel(stiffness, rotations))


def test_unknown_class_is_refused():
    with pytest.raises(InputError, match="symmetry: 'orthorhombic' is unknown; give one of isotropic, cubic"):
        check_symmetry("orthorhombic")


def test_order_of_the_trigonal_axis():
    turn = rotation_from_vector(torch.tensor([0.0, 0.0, 2 * math.pi / 3], dtype=torch.float64))
    group = elasticity.point_group("trigonal")
    assert float((group - turn).abs().amax(dim=(1, 2)).min()) < 1e-12

"""Every layer is positive, symmetric, and commutes with rotations in Kelvin-Mandel notation, and in no other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.positivity import POSITIVITY, make_positive
from polyad.tensors.notation import (
    mandel_to_voigt_stiffness,
    rotate_mandel,
    voigt_stiffness_to_mandel,
)
from polyad.tensors.rotations import random_rotations

FORMULAS = {
    "square": lambda x: x**2,
    "fourth": lambda x: x**4,
    "exp": lambda x: x.exp(),
    "shifted-square": lambda x: (1 + x / 2) ** 2,
    "shifted-fourth": lambda x: (1 + x / 4) ** 4,
    "none": lambda x: x,
}


def symmetric(count: int = 6) -> Tensor:
    matrix = torch.randn(count, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return matrix + matrix.mT


@pytest.mark.parametrize("method", sorted(POSITIVITY))
def test_it_acts_on_eigenvalues(method: str) -> None:
    matrix = symmetric()
    values, vectors = torch.linalg.eigh(matrix)
    expected = vectors @ torch.diag_embed(FORMULAS[method](values)) @ vectors.mT
    found = make_positive(matrix, method)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    lowest = torch.linalg.eigvalsh(found)[:, 0]
    assert bool((lowest > -1e-12).all()) == (method != "none")


@pytest.mark.parametrize("method", sorted(POSITIVITY))
def test_it_commutes_with_rotations_and_reflections(method: str) -> None:
    matrix = symmetric()
    rotation = random_rotations(6, generator=torch.Generator().manual_seed(1), reflections=True)
    turned = make_positive(rotate_mandel(matrix, rotation), method)
    expected = rotate_mandel(make_positive(matrix, method), rotation)
    assert torch.allclose(turned, expected, rtol=1e-10, atol=1e-9)


def test_a_square_in_voigt_notation_does_not_turn() -> None:
    def voigt_square(matrix: Tensor) -> Tensor:
        return voigt_stiffness_to_mandel(make_positive(mandel_to_voigt_stiffness(matrix)))

    matrix = symmetric()
    rotation = random_rotations(6, generator=torch.Generator().manual_seed(1))
    gap = voigt_square(rotate_mandel(matrix, rotation)) - rotate_mandel(voigt_square(matrix), rotation)
    assert float(gap.norm() / voigt_square(matrix).norm()) > 0.05


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match="there are square, fourth"):
        make_positive(symmetric(), "cube")

"""Couplings against sympy, quadrature, invariance, orthogonality, and e3nn with its signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.coupling import (
    clebsch_gordan,
    complex_3j,
    gaunt_coefficients,
    gaunt_factor,
    gaunt_tensor,
    is_triangle,
    real_from_complex,
    sparse_wigner_3j,
    wigner_3j,
)
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.wigner import wigner_d
from polyad.tensors.rotations import random_rotations

TRIPLES = [(a, b, c) for a in range(7) for b in range(7) for c in range(7) if is_triangle(a, b, c)]


@pytest.mark.parametrize(
    "symbol",
    [(1, 1, 2, 0, 0, 0), (2, 3, 4, 1, -2, 1), (3, 3, 3, -1, 3, -2), (12, 11, 9, 5, -9, 4), (12, 12, 12, 7, -11, 4)],
)
def test_complex_symbols_equal_sympy(symbol: tuple[int, ...]) -> None:
    wigner = pytest.importorskip("sympy.physics.wigner")
    assert complex_3j(*symbol) == pytest.approx(float(wigner.wigner_3j(*symbol)), rel=1e-14)
    assert complex_3j(1, 1, 1, 0, 0, 0) == 0.0


def test_real_basis_is_the_one_of_the_harmonics() -> None:
    sympy = pytest.importorskip("sympy")
    theta, phi, degree = 0.9, 2.1, 3
    values = [complex(sympy.Ynm(degree, m, theta, phi).expand(func=True).evalf()) for m in range(-degree, degree + 1)]
    direction = [math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)]
    ours = spherical_harmonics(torch.tensor(direction, dtype=torch.float64), degree)[degree * degree :]
    np.testing.assert_allclose(real_from_complex(degree) @ np.array(values), ours.numpy(), rtol=0, atol=1e-13)


def test_blocks_are_invariant_and_of_unit_norm() -> None:
    turns = random_rotations(3, generator=torch.Generator().manual_seed(0))
    blocks = wigner_d(turns, 6)
    for l1, l2, l3 in TRIPLES:
        block = wigner_3j(l1, l2, l3)
        assert float(block.norm()) == pytest.approx(1.0, abs=1e-13)
        turned = torch.einsum("abc,rax,rby,rcz->rxyz", block, blocks[l1], blocks[l2], blocks[l3])
        torch.testing.assert_close(turned, block.expand_as(turned), rtol=0, atol=1e-12)


def test_gaunt_coefficients_equal_quadrature() -> None:
    heights, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(10))
    azimuths = torch.arange(19, dtype=torch.float64) * (2 * math.pi / 19)
    height, azimuth = (grid.flatten() for grid in torch.meshgrid(heights, azimuths, indexing="ij"))
    radius = (1 - height.square()).sqrt()
    values = spherical_harmonics(torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), height], -1), 6)
    weighted = values * (weights.repeat_interleave(19) * 2 * math.pi / 19)[:, None]
    integrals = torch.einsum("na,nb,nc->abc", values, values, weighted)
    torch.testing.assert_close(gaunt_tensor(6, 6, 6), integrals, rtol=0, atol=1e-13)


def test_gaunt_coefficients_equal_sympy_in_the_complex_basis() -> None:
    wigner = pytest.importorskip("sympy.physics.wigner")
    changes = (real_from_complex(degree) for degree in (1, 2, 3))
    block = np.einsum("abc,am,bn,cr->mnr", gaunt_coefficients(1, 2, 3).numpy(), *changes)
    for m1, m2 in [(0, 0), (1, -2), (-1, 2), (1, 1)]:
        expected = float(wigner.gaunt(1, 2, 3, m1, m2, -m1 - m2))
        assert block[1 + m1, 2 + m2, 3 - m1 - m2] == pytest.approx(expected, abs=1e-14)


def test_even_blocks_are_positive_multiples_and_odd_ones_change_sign_under_exchange() -> None:
    for l1, l2, l3 in TRIPLES:
        block = wigner_3j(l1, l2, l3)
        sign = (-1) ** (l1 + l2 + l3)
        torch.testing.assert_close(wigner_3j(l2, l1, l3), sign * block.permute(1, 0, 2), rtol=0, atol=0)
        torch.testing.assert_close(wigner_3j(l3, l2, l1), sign * block.permute(2, 1, 0), rtol=0, atol=0)
        torch.testing.assert_close(wigner_3j(l2, l3, l1), block.permute(1, 2, 0), rtol=0, atol=0)
        if sign == 1:
            assert gaunt_factor(l1, l2, l3) > 0
            torch.testing.assert_close(gaunt_coefficients(l1, l2, l3), gaunt_factor(l1, l2, l3) * block)


def test_vectors_couple_to_the_scalar_and_the_cross_product() -> None:
    first, second = torch.randn(2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    order = [1, 2, 0]  # components of degree 1 are (y, z, x)
    cross = torch.einsum("abc,a,b->c", wigner_3j(1, 1, 1), first[order], second[order]) * math.sqrt(6)
    torch.testing.assert_close(cross, torch.linalg.cross(first, second)[order])
    dot = torch.einsum("abc,a,b->c", clebsch_gordan(1, 1, 0), first[order], second[order]) * math.sqrt(3)
    torch.testing.assert_close(dot[0], first @ second)


def test_clebsch_gordan_blocks_are_one_orthogonal_matrix() -> None:
    for l1, l2 in [(1, 2), (3, 3), (6, 4)]:
        blocks = [clebsch_gordan(l1, l2, l3).flatten(0, 1) for l3 in range(abs(l1 - l2), l1 + l2 + 1)]
        matrix = torch.cat(blocks, dim=1)
        torch.testing.assert_close(matrix.T @ matrix, torch.eye(len(matrix), dtype=torch.float64), rtol=0, atol=1e-13)


def test_equal_to_e3nn_signs_included() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    for triple in [*TRIPLES, (8, 7, 5), (9, 9, 9), (11, 10, 4)]:
        peer = o3.wigner_3j(*triple, dtype=torch.float64)
        torch.testing.assert_close(wigner_3j(*triple), peer, rtol=0, atol=1e-11)


def test_sparse_blocks_and_degree_twelve() -> None:
    positions, values = sparse_wigner_3j(12, 12, 11)
    dense = torch.zeros(25, 25, 23, dtype=torch.float64)
    dense[tuple(positions.T)] = values
    torch.testing.assert_close(dense, wigner_3j(12, 12, 11), rtol=0, atol=0)
    assert float(dense.square().sum()) == pytest.approx(1.0, abs=1e-12)
    assert len(values) < 0.1 * dense.numel()
    turn = random_rotations(1, generator=torch.Generator().manual_seed(5))[0]
    blocks = wigner_d(turn, 12)
    turned = torch.einsum("abc,ax,by,cz->xyz", dense, blocks[12], blocks[12], blocks[11])
    torch.testing.assert_close(turned, dense, rtol=0, atol=1e-12)


def test_degrees_that_do_not_couple_are_refused() -> None:
    with pytest.raises(InputError, match="do not couple"):
        wigner_3j(1, 1, 3)
    assert not gaunt_coefficients(1, 1, 3).any()
    assert not gaunt_coefficients(1, 1, 1).any()

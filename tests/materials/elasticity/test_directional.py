"""Directional moduli against index formulas, closed forms and two peers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.tensors.notation import mandel_to_tensor, mandel_to_voigt_stiffness, rotate_mandel
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches, assert_rotation_covariant

COPPER = (168.4, 121.4, 75.4)  # GPa


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    frames = random_rotations(12, generator=torch.Generator().manual_seed(1))
    return frames[..., 0], frames[..., 1]


def test_index_formulas(random_stiffness, pairs):
    stiffness = random_stiffness(4)
    compliance = mandel_to_tensor(torch.linalg.inv(stiffness))
    n, m = pairs
    s_nnnn = torch.einsum("bijkl,pi,pj,pk,pl->bp", compliance, n, n, n, n)
    s_nnmm = torch.einsum("bijkl,pi,pj,pk,pl->bp", compliance, n, n, m, m)
    s_nmnm = torch.einsum("bijkl,pi,pj,pk,pl->bp", compliance, n, m, n, m)
    c_nnnn = torch.einsum("bijkl,pi,pj,pk,pl->bp", mandel_to_tensor(stiffness), n, n, n, n)
    torch.testing.assert_close(elasticity.young_modulus(stiffness, n), 1 / s_nnnn)
    torch.testing.assert_close(elasticity.poisson_ratio(stiffness, n, m), -s_nnmm / s_nnnn)
    torch.testing.assert_close(elasticity.shear_modulus(stiffness, n, m), 1 / (4 * s_nmnm))
    torch.testing.assert_close(elasticity.longitudinal_stiffness(stiffness, n), c_nnnn)
    beta = torch.einsum("bijkk,pi,pj->bp", compliance, n, n)
    torch.testing.assert_close(elasticity.linear_compressibility(stiffness, n), beta)
    bulk = 1 / torch.einsum("biikk->b", compliance)
    torch.testing.assert_close(elasticity.bulk_modulus(stiffness), bulk)


def test_isotropic_moduli_are_the_constants(pairs):
    stiffness = elasticity.isotropic(2.0, 0.3)
    n, m = pairs
    one = torch.ones(12, dtype=torch.float64)
    torch.testing.assert_close(elasticity.young_modulus(stiffness, n), 2.0 * one)
    torch.testing.assert_close(elasticity.poisson_ratio(stiffness, n, m), 0.3 * one)
    torch.testing.assert_close(elasticity.shear_modulus(stiffness, n, m), 2.0 / 2.6 * one)
    torch.testing.assert_close(elasticity.linear_compressibility(stiffness, n), 0.4 / 2.0 * one)
    torch.testing.assert_close(elasticity.longitudinal_stiffness(stiffness, n), 2.0 * 0.7 / (1.3 * 0.4) * one)
    torch.testing.assert_close(elasticity.bulk_modulus(stiffness), 2.0 / 1.2 * one[0])


def test_cubic_closed_forms():
    c11, c12, c44 = COPPER
    stiffness = elasticity.cubic(*COPPER)
    s11 = (c11 + c12) / ((c11 - c12) * (c11 + 2 * c12))
    s12 = -c12 / ((c11 - c12) * (c11 + 2 * c12))
    along = {"100": (1.0, 0.0, 0.0), "110": (1.0, 1.0, 0.0), "111": (1.0, 1.0, 1.0)}
    for direction, share in (("100", 0.0), ("110", 0.25), ("111", 1 / 3)):
        expected = 1 / (s11 - 2 * (s11 - s12 - 1 / (2 * c44)) * share)
        vector = torch.tensor(along[direction], dtype=torch.float64)
        assert float(elasticity.young_modulus(stiffness, vector)) == pytest.approx(expected, rel=1e-13)
    normal, side = torch.tensor([1.0, 1.0, 0.0]).double(), torch.tensor([1.0, -1.0, 0.0]).double()
    assert float(elasticity.shear_modulus(stiffness, normal, side)) == pytest.approx((c11 - c12) / 2, rel=1e-13)
    axis = torch.tensor([0.0, 0.0, 1.0]).double()
    assert float(elasticity.shear_modulus(stiffness, axis, side)) == pytest.approx(c44, rel=1e-13)
    assert float(elasticity.poisson_ratio(stiffness, axis, side)) == pytest.approx(-s12 / s11, rel=1e-13)


def test_elasticipy_agrees(random_stiffness, pairs):
    peer = pytest.importorskip("elasticipy.tensors.elasticity", reason="elasticipy is not installed (peers group)")
    stiffness = random_stiffness()
    theirs = peer.StiffnessTensor(mandel_to_voigt_stiffness(stiffness).numpy())
    n, m = pairs
    for normal, side in zip(n, m, strict=True):
        a, b = normal.numpy(), side.numpy()
        compared = [
            (elasticity.young_modulus(stiffness, normal), theirs.Young_modulus.eval(a)),
            (elasticity.shear_modulus(stiffness, normal, side), theirs.shear_modulus.eval(a, b)),
            (elasticity.poisson_ratio(stiffness, normal, side), theirs.Poisson_ratio.eval(a, b)),
            (elasticity.linear_compressibility(stiffness, normal), theirs.linear_compressibility.eval(a)),
            (elasticity.bulk_modulus(stiffness), theirs.bulk_modulus),
        ]
        assert [float(ours) for ours, _ in compared] == pytest.approx(
            [np.asarray(value).item() for _, value in compared], rel=1e-9
        )


def test_pymatgen_agrees_on_young_modulus(random_stiffness, pairs):
    peer = pytest.importorskip("pymatgen.analysis.elasticity.elastic", reason="pymatgen is not installed (peers group)")
    stiffness = random_stiffness()
    theirs = peer.ElasticTensor.from_voigt(mandel_to_voigt_stiffness(stiffness).numpy())
    for normal, side in zip(*pairs, strict=True):
        a, b = np.asarray(normal), np.asarray(side)
        compliance = theirs.compliance_tensor
        assert float(elasticity.young_modulus(stiffness, normal)) == pytest.approx(
            1 / float(compliance.einsum_sequence([a] * 4)), rel=1e-9
        )
        assert float(elasticity.poisson_ratio(stiffness, normal, side)) == pytest.approx(
            float(theirs.directional_poisson_ratio(a, b)), rel=1e-6
        )


def test_shapes_of_batches_and_directions(random_stiffness, pairs):
    stiffness = random_stiffness(3, 2)
    n, m = pairs
    assert elasticity.young_modulus(stiffness, n[0]).shape == (3, 2)
    assert elasticity.young_modulus(stiffness, n).shape == (3, 2, 12)
    assert elasticity.young_modulus(stiffness[0, 0], n).shape == (12,)
    own = n.reshape(3, 2, 2, 3)  # two directions for each tensor
    values = elasticity.young_modulus(stiffness, own)
    assert values.shape == (3, 2, 2)
    torch.testing.assert_close(values[2, 1], elasticity.young_modulus(stiffness[2, 1], own[2, 1]))
    assert elasticity.poisson_ratio(stiffness, n[0], torch.stack([m[0], torch.linalg.cross(n[0], m[0])])).shape == (
        3,
        2,
        2,
    )


def test_moduli_turn_with_the_material(random_stiffness, pairs):
    def turn(rotation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return rotate_mandel(value, rotation) if value.shape[-2:] == (6, 6) else value @ rotation.T

    for function in (elasticity.poisson_ratio, elasticity.shear_modulus):
        assert_rotation_covariant(
            function, (random_stiffness(2), *pairs), act_on_input=turn, act_on_output=lambda _, y: y, tolerance=1e-9
        )


def test_gradients(random_stiffness, pairs):
    n, m = (vectors[:2] for vectors in pairs)

    def moduli(root: torch.Tensor, tilt: torch.Tensor) -> torch.Tensor:
        stiffness = root @ root.mT
        normal, side = (
            n + tilt,
            m - (m * (n + tilt)).sum(-1, keepdim=True) * (n + tilt) / (n + tilt).square().sum(-1, True),
        )
        pair = [f(stiffness, normal, side) for f in (elasticity.shear_modulus, elasticity.poisson_ratio)]
        single = (elasticity.young_modulus, elasticity.longitudinal_stiffness, elasticity.linear_compressibility)
        return torch.cat([*pair, *(f(stiffness, normal) for f in single), elasticity.bulk_modulus(stiffness)[None]])

    tilt = torch.full((2, 3), 0.05, dtype=torch.float64)
    assert_gradient_matches(moduli, (torch.linalg.cholesky(random_stiffness()), tilt), tolerance=1e-6)


def test_bad_directions_are_refused(random_stiffness):
    stiffness, x = random_stiffness(), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(InputError, match="directions: a vector is zero"):
        elasticity.young_modulus(stiffness, 0 * x)
    with pytest.raises(InputError, match=r"transverse: not orthogonal to directions, largest \|cosine\| is 0.707"):
        elasticity.shear_modulus(stiffness, x, x + torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    with pytest.raises(InputError, match="not positive definite"):
        elasticity.young_modulus(0 * stiffness, x)

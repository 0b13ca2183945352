"""Constructors: the engineering constants come back from the tensor, and a peer agrees."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.tensors.notation import mandel_to_voigt_compliance, mandel_to_voigt_stiffness, rotate_mandel
from polyad.tensors.rotations import rotation_from_vector
from polyad.testing import assert_gradient_matches

YOUNG, POISSON, SHEAR = (10.0, 8.0, 3.0), (0.3, 0.25, 0.2), (1.5, 2.0, 4.0)
X, Y, Z = torch.eye(3, dtype=torch.float64)


def test_isotropic_is_hookes_law():
    stiffness = elasticity.isotropic(2.0, 0.3)
    lame, shear = 2.0 * 0.3 / (1.3 * 0.4), 2.0 / 2.6
    strain = torch.tensor([0.1, -0.2, 0.3, 0.4, 0.5, 0.6], dtype=torch.float64)
    expected = 2 * shear * strain
    expected[:3] += lame * strain[:3].sum()
    torch.testing.assert_close(stiffness @ strain, expected)


def test_cubic_holds_voigts_constants():
    voigt = mandel_to_voigt_stiffness(elasticity.cubic(3, 1, 1.2))
    assert [float(voigt[0, 0]), float(voigt[1, 2]), float(voigt[4, 4])] == pytest.approx([3, 1, 1.2])
    assert float(voigt[0, 3].abs() + voigt[3, 4].abs()) == 0


def test_orthotropic_constants_come_back():
    stiffness = elasticity.orthotropic(YOUNG, POISSON, SHEAR)
    for axis, modulus in zip((X, Y, Z), YOUNG, strict=True):
        assert float(elasticity.young_modulus(stiffness, axis)) == pytest.approx(modulus, rel=1e-12)
    for (load, side), ratio, shear in zip(((Y, Z), (X, Z), (X, Y)), POISSON, SHEAR, strict=True):
        assert float(elasticity.poisson_ratio(stiffness, load, side)) == pytest.approx(ratio, rel=1e-12)
        assert float(elasticity.shear_modulus(stiffness, load, side)) == pytest.approx(shear, rel=1e-12)
    assert float(elasticity.symmetry_distance(stiffness, "orthotropic")) < 1e-14


def test_transversely_isotropic_constants_come_back():
    stiffness = elasticity.transversely_isotropic(10.0, 4.0, 0.25, 0.4, 2.0)
    moduli = [elasticity.young_modulus(stiffness, axis) for axis in (X, Y, Z)]
    assert [float(value) for value in moduli] == pytest.approx([4.0, 4.0, 10.0], rel=1e-12)
    assert float(elasticity.poisson_ratio(stiffness, Z, X)) == pytest.approx(0.25, rel=1e-12)
    assert float(elasticity.poisson_ratio(stiffness, X, Y)) == pytest.approx(0.4, rel=1e-12)
    assert float(elasticity.shear_modulus(stiffness, Y, Z)) == pytest.approx(2.0, rel=1e-12)
    turned = rotate_mandel(stiffness, rotation_from_vector(0.7 * Z))
    torch.testing.assert_close(turned, stiffness)


def test_elasticipy_agrees():
    peer = pytest.importorskip("elasticipy.tensors.elasticity", reason="elasticipy is not installed (peers group)")
    (ex, ey, ez), (yz, xz, xy), (gyz, gxz, gxy) = YOUNG, POISSON, SHEAR
    theirs = peer.StiffnessTensor.orthotropic(
        Ex=ex, Ey=ey, Ez=ez, nu_yx=xy * ey / ex, nu_zx=xz * ez / ex, nu_zy=yz * ez / ey, Gxy=gxy, Gxz=gxz, Gyz=gyz
    )
    ours = mandel_to_voigt_stiffness(elasticity.orthotropic(YOUNG, POISSON, SHEAR))
    torch.testing.assert_close(ours, torch.from_numpy(theirs.matrix()), rtol=1e-9, atol=1e-12)


def test_constants_broadcast_and_keep_their_dtype():
    young = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    stiffness = elasticity.isotropic(young[:, None], torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert stiffness.shape == (3, 2, 6, 6)
    torch.testing.assert_close(stiffness[2, 1], elasticity.isotropic(3.0, 0.2))
    assert elasticity.isotropic(young.float(), 0.3).dtype == torch.float32
    assert elasticity.cubic(3, 1, 1).dtype == torch.float64
    batch = elasticity.orthotropic((young, 2.0, 3.0), POISSON, SHEAR)
    torch.testing.assert_close(mandel_to_voigt_compliance(elasticity.compliance_of(batch))[:, 0, 0], 1 / young)


def test_gradients():
    constants = torch.tensor([*YOUNG, *POISSON, *SHEAR], dtype=torch.float64)
    assert_gradient_matches(lambda c: elasticity.orthotropic(tuple(c[:3]), tuple(c[3:6]), tuple(c[6:])), constants)
    assert_gradient_matches(lambda c: elasticity.isotropic(c[0], c[3]), constants)
    assert_gradient_matches(lambda c: elasticity.cubic(c[0], c[3], c[6]), constants)
    assert_gradient_matches(lambda c: elasticity.transversely_isotropic(c[0], c[1], c[3], c[4], c[6]), constants)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: elasticity.isotropic(1.0, 0.5), "young, poisson: 1 and 0.5 were given"),
        (lambda: elasticity.isotropic(float("nan"), 0.3), "young, poisson: nan"),
        (lambda: elasticity.cubic(1.0, 2.0, 1.0), r"cubic\(c11, c12, c44\): not positive definite"),
        (lambda: elasticity.orthotropic((1.0, -1.0, 1.0), POISSON, SHEAR), "young: -1 was given"),
        (lambda: elasticity.orthotropic(YOUNG, (2.0, 2.0, 2.0), SHEAR), "not positive definite"),
        (lambda: elasticity.transversely_isotropic(1.0, 1.0, 0.3, 0.3, 0.0), "shear: 0 was given"),
    ],
)
def test_constants_of_no_stable_material_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()

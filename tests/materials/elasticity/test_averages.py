"""Voigt, Reuss, Hill and the indices of anisotropy against two peers and closed forms."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.tensors.notation import mandel_to_voigt_stiffness, rotate_mandel
from polyad.tensors.rotations import random_rotations, spread_rotations
from polyad.testing import assert_gradient_matches


def test_pymatgen_agrees(random_stiffness):
    peer = pytest.importorskip("pymatgen.analysis.elasticity.elastic", reason="pymatgen is not installed (peers group)")
    stiffness = random_stiffness(5)
    for tensor in stiffness:
        theirs = peer.ElasticTensor.from_voigt(mandel_to_voigt_stiffness(tensor).numpy())
        voigt, reuss, hill = (
            average(tensor) for average in (elasticity.voigt_average, elasticity.reuss_average, elasticity.hill_average)
        )
        ours = [voigt.bulk, voigt.shear, reuss.bulk, reuss.shear, hill.bulk, hill.shear, hill.young, hill.poisson]
        expected = [theirs.k_voigt, theirs.g_voigt, theirs.k_reuss, theirs.g_reuss, theirs.k_vrh, theirs.g_vrh]
        expected += [theirs.y_mod / 1e9, theirs.homogeneous_poisson]  # pymatgen takes GPa and answers in Pa
        assert [float(value) for value in ours] == pytest.approx([float(value) for value in expected], rel=1e-9)
        index = float(elasticity.universal_anisotropy(tensor))
        assert index == pytest.approx(float(theirs.universal_anisotropy), rel=1e-9)


def test_elasticipy_agrees(random_stiffness):
    peer = pytest.importorskip("elasticipy.tensors.elasticity", reason="elasticipy is not installed (peers group)")
    stiffness = random_stiffness()
    theirs = peer.StiffnessTensor(mandel_to_voigt_stiffness(stiffness).numpy())
    assert float(elasticity.universal_anisotropy(stiffness)) == pytest.approx(float(theirs.universal_anisotropy))
    hill = elasticity.hill_average(stiffness)
    average = theirs.Hill_average()
    assert float(hill.bulk) == pytest.approx(float(average.bulk_modulus), rel=1e-9)
    copper = peer.StiffnessTensor.cubic(C11=168.4, C12=121.4, C44=75.4)
    ours = float(elasticity.zener_ratio(elasticity.cubic(168.4, 121.4, 75.4)))
    assert ours == pytest.approx(float(copper.Zener_ratio()), rel=1e-12)
    assert ours == pytest.approx(2 * 75.4 / (168.4 - 121.4), rel=1e-13)


def test_averages_are_the_means_over_rotations(random_stiffness):
    stiffness = random_stiffness()
    # the icosahedral group is a design that averages fourth-order tensors exactly
    group = elasticity.point_group("isotropic")
    voigt = elasticity.voigt_average(stiffness)
    mean = rotate_mandel(stiffness, group).mean(0)
    torch.testing.assert_close(mean, elasticity.isotropic(voigt.young, voigt.poisson))
    reuss = elasticity.reuss_average(stiffness)
    mean = rotate_mandel(torch.linalg.inv(stiffness), spread_rotations(20000)).mean(0)
    torch.testing.assert_close(
        torch.linalg.inv(mean), elasticity.isotropic(reuss.young, reuss.poisson), rtol=1e-2, atol=1e-2
    )


def test_isotropic_material_has_no_anisotropy():
    stiffness = elasticity.isotropic(3.0, 0.2)
    for average in (elasticity.voigt_average, elasticity.reuss_average, elasticity.hill_average):
        moduli = average(stiffness)
        assert [float(moduli.young), float(moduli.poisson)] == pytest.approx([3.0, 0.2], rel=1e-13)
    assert float(elasticity.universal_anisotropy(stiffness)) == pytest.approx(0, abs=1e-13)
    assert float(elasticity.log_euclidean_anisotropy(stiffness)) == pytest.approx(0, abs=1e-13)
    assert float(elasticity.zener_ratio(stiffness)) == pytest.approx(1, rel=1e-13)


def test_order_and_invariance(random_stiffness):
    stiffness = random_stiffness(20)
    voigt, reuss = elasticity.voigt_average(stiffness), elasticity.reuss_average(stiffness)
    assert bool((voigt.bulk >= reuss.bulk).all())
    assert bool((voigt.shear >= reuss.shear).all())
    turned = rotate_mandel(
        stiffness, random_rotations(20, generator=torch.Generator().manual_seed(0), reflections=True)
    )
    torch.testing.assert_close(elasticity.universal_anisotropy(turned), elasticity.universal_anisotropy(stiffness))


def test_log_euclidean_anisotropy_is_the_distance_of_the_averages(random_stiffness):
    stiffness = random_stiffness(3)
    voigt, reuss = elasticity.voigt_average(stiffness), elasticity.reuss_average(stiffness)
    distance = elasticity.log_euclidean_distance(
        elasticity.isotropic(voigt.young, voigt.poisson), elasticity.isotropic(reuss.young, reuss.poisson)
    )
    torch.testing.assert_close(elasticity.log_euclidean_anisotropy(stiffness), distance)


def test_zener_refuses_what_is_not_cubic(random_stiffness):
    with pytest.raises(InputError, match=r"not cubic in its axes, relative distance is 0\.\d+, allowed is 1e-06"):
        elasticity.zener_ratio(random_stiffness())


def test_gradients(random_stiffness):
    def indices(root: torch.Tensor) -> torch.Tensor:
        stiffness = root @ root.mT
        hill = elasticity.hill_average(stiffness)
        cubic = elasticity.project_symmetry(stiffness, "cubic")
        values = [hill.young, hill.poisson, elasticity.universal_anisotropy(stiffness), elasticity.zener_ratio(cubic)]
        return torch.stack([*values, elasticity.log_euclidean_anisotropy(stiffness)])

    assert_gradient_matches(indices, torch.linalg.cholesky(random_stiffness()))

"""Bounds: exactly known mixtures, published closed forms, and laminates that reach them."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.elasticity import IsotropicModuli
from polyad.testing import assert_gradient_matches, assert_positive_semidefinite


def moduli(bulk: float, shear: float) -> IsotropicModuli:
    return IsotropicModuli(torch.tensor(bulk, dtype=torch.float64), torch.tensor(shear, dtype=torch.float64))


def fraction(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_published_closed_forms_of_two_phases():
    # Hashin and Shtrikman 1963, equations (4.1)-(4.4), for K_1 < K_2 and G_1 < G_2
    k1, g1, k2, g2, f2 = 2.0, 1.0, 5.0, 4.0, fraction(0.0, 0.3, 0.8, 1.0)
    f1 = 1 - f2
    found = elasticity.hashin_shtrikman_bounds(moduli(k1, g1), moduli(k2, g2), f2)
    torch.testing.assert_close(found.lower.bulk, k1 + f2 / (1 / (k2 - k1) + 3 * f1 / (3 * k1 + 4 * g1)))
    torch.testing.assert_close(found.upper.bulk, k2 + f1 / (1 / (k1 - k2) + 3 * f2 / (3 * k2 + 4 * g2)))
    lower = g1 + f2 / (1 / (g2 - g1) + 6 * (k1 + 2 * g1) * f1 / (5 * g1 * (3 * k1 + 4 * g1)))
    upper = g2 + f1 / (1 / (g1 - g2) + 6 * (k2 + 2 * g2) * f2 / (5 * g2 * (3 * k2 + 4 * g2)))
    torch.testing.assert_close(found.lower.shear, lower)
    torch.testing.assert_close(found.upper.shear, upper)
    swapped = elasticity.hashin_shtrikman_bounds(moduli(k2, g2), moduli(k1, g1), f1)
    torch.testing.assert_close(swapped.upper.shear, found.upper.shear)


def test_bounds_of_equal_shear_moduli_coincide_at_hills_exact_value():
    k1, k2, shear, f2 = 1.0, 7.0, 2.0, fraction(0.25, 0.5)
    found = elasticity.hashin_shtrikman_bounds(moduli(k1, shear), moduli(k2, shear), f2)
    exact = 1 / ((1 - f2) / (k1 + 4 * shear / 3) + f2 / (k2 + 4 * shear / 3)) - 4 * shear / 3
    torch.testing.assert_close(found.lower.bulk, exact)
    torch.testing.assert_close(found.upper.bulk, exact)
    torch.testing.assert_close(found.lower.shear, torch.full_like(exact, shear))


def test_porous_solid():
    solid, density = moduli(2.0, 1.5), fraction(1e-6, 0.1, 0.5, 1.0)
    found = elasticity.porous_bounds(solid, density)
    void = 1 - density
    torch.testing.assert_close(found.upper.bulk, 4 * 1.5 * 2.0 * density / (4 * 1.5 + 3 * 2.0 * void))
    torch.testing.assert_close(
        found.upper.shear, density * 1.5 * (9 * 2.0 + 8 * 1.5) / (9 * 2.0 + 8 * 1.5 + 6 * (2.0 + 2 * 1.5) * void)
    )
    assert found.lower.bulk[:3].tolist() == found.lower.shear[:3].tolist() == [0, 0, 0]
    torch.testing.assert_close(found.upper.young[-1], solid.young)
    torch.testing.assert_close(found.lower.bulk[-1], solid.bulk)
    # thin: an isotropic lattice of struts, E = rho E_s / 6, lies below the bound of about rho E_s / 2
    assert 1 / 6 < float(found.upper.young[0] / solid.young / 1e-6) < 0.6


def test_hashin_shtrikman_lies_between_reuss_and_voigt():
    generator = torch.Generator().manual_seed(0)
    k1, g1, k2, g2, f2 = torch.rand(5, 200, generator=generator, dtype=torch.float64) + 1e-3
    f2 = f2.clamp(max=1.0)
    found = elasticity.hashin_shtrikman_bounds(IsotropicModuli(k1, g1), IsotropicModuli(k2, g2), f2)
    for name, first, second in (("bulk", k1, k2), ("shear", g1, g2)):
        reuss, voigt = 1 / ((1 - f2) / first + f2 / second), (1 - f2) * first + f2 * second
        lower, upper = getattr(found.lower, name), getattr(found.upper, name)
        for small, large in ((reuss, lower), (lower, upper), (upper, voigt)):
            assert float((small - large).max()) < 1e-12


def test_voigt_and_reuss_bound_a_laminate(random_stiffness):
    # a laminate with normal z is exactly solvable: stresses 33, 23, 13 and strains 11, 22, 12 are common to the phases
    phases, weight = random_stiffness(2), fraction(0.3, 0.7)
    n, t = [2, 3, 4], [0, 1, 5]

    def block(matrix: torch.Tensor, rows: list[int], columns: list[int]) -> torch.Tensor:
        return matrix[:, rows][:, :, columns]

    inverse = torch.linalg.inv(block(phases, n, n))
    mean = [torch.einsum("p,pij->ij", weight, x) for x in (inverse, inverse @ block(phases, n, t))]
    nn = torch.linalg.inv(mean[0])
    nt = nn @ mean[1]
    schur = block(phases, t, t) - block(phases, t, n) @ inverse @ block(phases, n, t)
    laminate = torch.zeros(6, 6, dtype=torch.float64)
    laminate[torch.tensor(n)[:, None], n], laminate[torch.tensor(n)[:, None], t] = nn, nt
    laminate[torch.tensor(t)[:, None], n] = nt.T
    laminate[torch.tensor(t)[:, None], t] = torch.einsum("p,pij->ij", weight, schur) + mean[1].T @ nn @ mean[1]
    bounds = elasticity.voigt_reuss_bounds(phases, weight)
    assert_positive_semidefinite(bounds.upper - laminate, tolerance=1e-12)
    assert_positive_semidefinite(laminate - bounds.lower, tolerance=1e-12)
    assert float(torch.linalg.eigvalsh(bounds.upper - bounds.lower)[-1]) > 0.1
    # one phase alone is its own bound
    alone = elasticity.voigt_reuss_bounds(phases, fraction(1.0, 0.0))
    torch.testing.assert_close(alone.lower, phases[0])
    torch.testing.assert_close(alone.upper, phases[0])


def test_a_void_phase_has_no_lower_bound(random_stiffness):
    phases = torch.stack([random_stiffness(), torch.zeros(6, 6, dtype=torch.float64)])
    bounds = elasticity.voigt_reuss_bounds(phases, fraction(0.4, 0.6))
    assert float(bounds.lower.abs().max()) == 0
    torch.testing.assert_close(bounds.upper, 0.4 * phases[0])
    torch.testing.assert_close(elasticity.voigt_reuss_bounds(phases, fraction(1.0, 0.0)).lower, phases[0])


def test_gradients_with_void(random_stiffness):
    def upper(bulk: torch.Tensor, shear: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
        found = elasticity.porous_bounds(IsotropicModuli(bulk, shear), density)
        return found.upper.young

    inputs = (fraction(2.0), fraction(1.5), fraction(0.3))
    assert_gradient_matches(upper, inputs, tolerance=1e-8)
    density = fraction(0.3).requires_grad_()
    found = elasticity.porous_bounds(moduli(2.0, 1.5), density)
    found.lower.shear.sum().backward()
    assert float(density.grad) == 0.0
    assert_gradient_matches(
        lambda f: elasticity.voigt_reuss_bounds(random_stiffness(2), f / f.sum()).lower, fraction(0.3, 0.7)
    )


def test_bad_input_is_refused(random_stiffness):
    with pytest.raises(InputError, match=r"fraction: values from 1\.2 to 1\.2"):
        elasticity.porous_bounds(moduli(1.0, 1.0), fraction(-0.2))
    with pytest.raises(InputError, match="first: a modulus is negative"):
        elasticity.hashin_shtrikman_bounds(moduli(-1.0, 1.0), moduli(1.0, 1.0), fraction(0.5))
    with pytest.raises(InputError, match=r"fraction: sums to 0\.9"):
        elasticity.voigt_reuss_bounds(random_stiffness(2), fraction(0.4, 0.5))

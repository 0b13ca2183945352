"""Objectives against closed forms of isotropic and cubic tensors, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.elasticity import cubic, extrema, isotropic, symmetry_distance, universal_anisotropy
from polyad.materials.lattice.design import (
    BulkModulus,
    Custom,
    Isotropy,
    MatchTarget,
    PoissonRatio,
    ShearModulus,
    StiffnessAlong,
    WeightedSum,
)

X, Y, Z = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]
DIAGONAL = [1.0, 1.0, 1.0]


def random_stiffness(seed: int = 0) -> torch.Tensor:
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / 6 + 0.5 * torch.eye(6, dtype=torch.float64)


ISOTROPIC = isotropic(young=2.0, poisson=0.25)
CUBIC = cubic(3.0, 1.0, 0.5)

SMOOTH = [
    MatchTarget(random_stiffness(1)),
    MatchTarget(random_stiffness(1), "log_euclidean"),
    Isotropy(),
    Isotropy("log_euclidean"),
    Isotropy("universal"),
    StiffnessAlong(Z),
    StiffnessAlong([X, DIAGONAL], goal="minimise", modulus="longitudinal"),
    StiffnessAlong([X, DIAGONAL, Z], mean="minimum"),
    StiffnessAlong([X, DIAGONAL], goal=0.7),
    PoissonRatio(X, Y),
    PoissonRatio([X, Y], [Z, Z], goal=-0.2),
    PoissonRatio(goal="maximise"),
    ShearModulus(X, Y),
    ShearModulus(goal=0.3),
    BulkModulus(),
    BulkModulus(goal=0.4),
    0.3 * Isotropy() + 2 * StiffnessAlong(Z) + Custom(lambda stiffness: stiffness[0, 3] * stiffness[1, 1]),
]


@pytest.mark.parametrize("objective", SMOOTH, ids=lambda x: type(x).__name__)
def test_gradients_are_exact(objective) -> None:
    def value(matrix: torch.Tensor) -> torch.Tensor:
        return objective.value(0.5 * (matrix + matrix.T))

    assert torch.autograd.gradcheck(value, random_stiffness().requires_grad_(), eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("objective", SMOOTH, ids=lambda x: type(x).__name__)
def test_residuals_are_of_the_value(objective) -> None:
    residuals = objective.residuals(random_stiffness())
    squares = isinstance(objective, MatchTarget) or getattr(objective, "metric", "universal") != "universal"
    assert (residuals is not None) == (squares or isinstance(getattr(objective, "goal", ""), float))
    if residuals is not None:
        torch.testing.assert_close(residuals.square().sum(), objective.value(random_stiffness()))


def test_match_target_measures_relative_and_logarithmic_error() -> None:
    target = random_stiffness()
    assert float(MatchTarget(target).value(1.1 * target)) == pytest.approx(0.01, rel=1e-12)
    assert MatchTarget(target).quantities(1.1 * target)["relative error"] == pytest.approx(0.1, rel=1e-12)
    # log(a C) = log(a) + log C, six eigenvalues
    logarithmic = MatchTarget(target, "log_euclidean").value(2 * target)
    assert float(logarithmic) == pytest.approx(6 * math.log(2) ** 2, rel=1e-12)


def test_isotropy_is_zero_for_isotropic_tensors_only() -> None:
    for metric in ("frobenius", "log_euclidean", "universal"):
        assert float(Isotropy(metric).value(ISOTROPIC)) == pytest.approx(0, abs=1e-14)
        assert float(Isotropy(metric).value(CUBIC)) > 1e-2
    assert float(Isotropy().value(CUBIC)) == pytest.approx(float(symmetry_distance(CUBIC, "isotropic")) ** 2)
    logarithmic = symmetry_distance(CUBIC, "isotropic", metric="log_euclidean")
    assert Isotropy("log_euclidean").quantities(CUBIC).popitem()[1] == pytest.approx(float(logarithmic))
    assert float(Isotropy("universal").value(CUBIC)) == pytest.approx(float(universal_anisotropy(CUBIC)))


def test_moduli_of_an_isotropic_tensor() -> None:
    # E = 2, nu = 0.25: K = E / 3(1-2nu) = 4/3, G = E / 2(1+nu) = 0.8, c = K + 4G/3 = 2.4
    assert float(StiffnessAlong([X, DIAGONAL]).value(ISOTROPIC)) == pytest.approx(-math.log(2.0))
    assert float(StiffnessAlong(Z, modulus="longitudinal").value(ISOTROPIC)) == pytest.approx(-math.log(2.4))
    assert float(BulkModulus().value(ISOTROPIC)) == pytest.approx(-math.log(4 / 3))
    for shear in (ShearModulus(), ShearModulus(X, DIAGONAL_FREE)):
        assert shear.quantities(ISOTROPIC).popitem()[1] == pytest.approx(0.8)
    for poisson in (PoissonRatio(), PoissonRatio(X, Y)):
        assert float(poisson.value(ISOTROPIC)) == pytest.approx(0.25)
    assert float(StiffnessAlong(Z, goal=1.0).value(ISOTROPIC)) == pytest.approx(math.log(2.0) ** 2)
    assert float(BulkModulus("minimise").value(ISOTROPIC)) == pytest.approx(math.log(4 / 3))


DIAGONAL_FREE = [0.0, 1.0, -1.0]


def test_smooth_minimum_lies_between_the_least_modulus_and_its_bound() -> None:
    stiffest, softest = DIAGONAL, X
    if StiffnessAlong(X).quantities(CUBIC).popitem()[1] > StiffnessAlong(DIAGONAL).quantities(CUBIC).popitem()[1]:
        stiffest, softest = softest, stiffest
    least = float(extrema(CUBIC, "young_modulus").minimum)
    assert StiffnessAlong(softest).quantities(CUBIC).popitem()[1] == pytest.approx(least)
    combined = math.exp(-float(StiffnessAlong([stiffest, softest], mean="minimum").value(CUBIC)))
    assert least <= combined <= 2 ** (1 / 20) * least


def test_objectives_compose() -> None:
    stiffness = random_stiffness()
    total = 2 * Isotropy() + StiffnessAlong(Z) * 0.5 + BulkModulus()
    assert isinstance(total, WeightedSum)
    expected = (
        2 * Isotropy().value(stiffness) + 0.5 * StiffnessAlong(Z).value(stiffness) + BulkModulus().value(stiffness)
    )
    torch.testing.assert_close(total.value(stiffness), expected)
    assert set(total.quantities(stiffness)) == {"distance to isotropy", "E(0, 0, 1)", "K"}
    squares = 3 * MatchTarget(random_stiffness(1)) + Isotropy()
    torch.testing.assert_close(squares.residuals(stiffness).square().sum(), squares.value(stiffness))
    assert (-1 * Isotropy()).residuals(stiffness) is None


def test_least_values_are_those_of_the_largest_modulus() -> None:
    assert StiffnessAlong(Z).least(0.1) == pytest.approx(-math.log(0.1))
    assert StiffnessAlong(Z, goal=0.2).least(0.1) == pytest.approx(math.log(2) ** 2)
    assert StiffnessAlong(Z, goal=0.05).least(0.1) == 0
    assert BulkModulus().least(0.9) == pytest.approx(-math.log(0.1))
    assert (2 * StiffnessAlong(Z) + Isotropy()).least(0.1) == pytest.approx(-2 * math.log(0.1))
    assert (-1 * StiffnessAlong(Z)).least(0.1) == -math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatchTarget(random_stiffness().triu()), "symmetric"),
        (lambda: MatchTarget(-random_stiffness()), "positive definite"),
        (lambda: MatchTarget(torch.full((6, 6), math.nan)), "NaN"),
        (lambda: MatchTarget(torch.eye(3)), "shape"),
        (lambda: MatchTarget(random_stiffness(), "universal"), "metric"),
        (lambda: Isotropy("log"), "metric"),
        (lambda: StiffnessAlong([0, 0, 0]), "zero"),
        (lambda: StiffnessAlong([1.0, 0]), "shape"),
        (lambda: StiffnessAlong(Z, goal=-1.0), "positive"),
        (lambda: StiffnessAlong(Z, goal="max"), "goal"),
        (lambda: StiffnessAlong(Z, mean="harmonic"), "mean"),
        (lambda: PoissonRatio(X, X), "orthogonal"),
        (lambda: PoissonRatio(X), "both"),
        (lambda: PoissonRatio([X, Y], [Z]), "one for each"),
        (lambda: math.nan * Isotropy(), "weight"),
        (lambda: Custom(lambda stiffness: stiffness).value(ISOTROPIC), "scalar"),
    ],
)
def test_bad_input_is_one_line(make, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)

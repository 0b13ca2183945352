"""Corrections against general constrained solvers, soft thresholding and stationarity; what they guarantee."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polyad.errors import InputError
from polyad.tensors.formats import CP, cp_als
from polyad.tensors.stable_cp import (
    FactorPath,
    balance,
    cp_epc,
    cp_least_error,
    cp_sensitivity,
    factor_path,
    mode_sensitivities,
    relax,
)
from polyad.tensors.stable_cp.factor_path import contract_others, residual_norm


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_start(shape: tuple[int, ...], rank: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> CP:
    return CP.random(shape, rank, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def border_rank(size: int) -> torch.Tensor:
    """a a b + a b a + b a a: rank three, the limit of tensors of rank two; norm sqrt(3)."""
    a, b = torch.linalg.qr(gaussian(size, 2, seed=7)).Q.T
    return sum(torch.einsum("i,j,k->ijk", *triple) for triple in ((a, a, b), (a, b, a), (b, a, a)))


def collinear(size: int, rank: int, cosine: float, seed: int = 0) -> torch.Tensor:
    """Terms whose columns have this cosine with each other in every mode, up to the directions that are left."""
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for _ in range(3):
        basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
        apart = basis[:, 1:] @ torch.randn(size - 1, rank, generator=generator, dtype=torch.float64)
        apart = apart / torch.linalg.vector_norm(apart, dim=0)
        factors.append(math.sqrt(cosine) * basis[:, :1] + math.sqrt(1 - cosine) * apart)
    return CP(torch.ones(rank, dtype=torch.float64), tuple(factors)).to_dense()


def weighted(path_mode: int, factors: list[torch.Tensor], factor: torch.Tensor) -> float:
    trial = [*factors[:path_mode], factor, *factors[path_mode + 1 :]]
    return float(cp_sensitivity(CP(torch.ones(factor.shape[1], dtype=factor.dtype), tuple(trial))))


# ---------------------------------------------------------------- one factor


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_step_equals_a_general_constrained_solver(mode):
    tensor, factors = gaussian(2, 3, 4, seed=1), list(random_start((2, 3, 4), 2, seed=3).factors)
    path = factor_path(tensor, factors, mode)
    delta = 0.5 * (math.sqrt(path.least) + math.sqrt(path.total))
    found = path.with_error(delta)
    assert found is not None
    shape = factors[mode].shape

    def dense(vector: np.ndarray) -> np.ndarray:
        arrays = [f.numpy() for f in factors]
        arrays[mode] = vector.reshape(shape)
        return np.einsum("ir,jr,kr->ijk", *arrays)

    def goal(vector: np.ndarray) -> float:
        squares = [(f.numpy() ** 2).sum(0) for f in factors]
        squares[mode] = (vector.reshape(shape) ** 2).sum(0)
        a, b, c = squares
        return float(4 * (a * b).sum() + 2 * (b * c).sum() + 3 * (a * c).sum())

    room = {"type": "ineq", "fun": lambda v: delta**2 - ((tensor.numpy() - dense(v)) ** 2).sum()}
    solved = minimize(
        goal,
        path.factor(0.0).numpy().ravel(),
        method="SLSQP",
        constraints=room,
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert goal(found.numpy().ravel()) == pytest.approx(solved.fun, rel=1e-8)
    np.testing.assert_allclose(found.numpy(), solved.x.reshape(shape), atol=1e-6)
    # the other constrained problem on the same path, at the ss just found, must give the factor back
    back = path.with_sensitivity(weighted(mode, factors, found))
    torch.testing.assert_close(back, found, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4, 5), (2, 3, 2, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_path_knows_its_residual_and_norm(shape, dtype):
    tensor, factors = gaussian(*shape, dtype=dtype), list(random_start(shape, 2, dtype=dtype).factors)
    for mode in range(len(shape)):
        path = factor_path(tensor, factors, mode)
        least = residual_norm(tensor, [*factors[:mode], path.factor(0.0), *factors[mode + 1 :]])
        assert path.least == pytest.approx(least**2, rel=1e-9)
        for share in (0.1, 0.5, 0.9):
            delta = least + share * (math.sqrt(path.total) - least)
            found = path.with_error(delta)
            assert found is not None
            assert residual_norm(tensor, [*factors[:mode], found, *factors[mode + 1 :]]) == pytest.approx(
                delta, rel=1e-10
            )
            bound = path.fixed + share * (weighted(mode, factors, path.factor(0.0)) - path.fixed)
            closest = path.with_sensitivity(bound)
            assert closest is not None
            assert weighted(mode, factors, closest) == pytest.approx(bound, rel=1e-10)


def test_path_at_its_ends():
    tensor, factors = gaussian(3, 4, 5), list(random_start((3, 4, 5), 2).factors)
    path = factor_path(tensor, factors, 1)
    assert isinstance(path, FactorPath)
    assert path.with_error(0.99 * math.sqrt(path.least)) is None
    assert path.with_sensitivity(0.99 * path.fixed) is None
    zero = path.with_error(1.01 * math.sqrt(path.total))
    assert zero is not None
    assert bool((zero == 0).all())
    unbounded = path.with_sensitivity(1e9)
    unfolded = tensor.movedim(1, 0).flatten(1)
    kr = torch.einsum("ir,kr->ikr", factors[0], factors[2]).flatten(0, 1)
    torch.testing.assert_close(unbounded, torch.linalg.lstsq(kr, unfolded.mT).solution.mT)


def test_contraction_is_the_einsum():
    tensor = gaussian(2, 3, 4, 5, dtype=torch.complex128)
    factors = list(random_start((2, 3, 4, 5), 3, dtype=torch.complex128).factors)
    letters = "ijkl"
    for mode in range(4):
        terms = [f"{letters[m]}r" for m in range(4) if m != mode]
        rest = [factors[m].conj() for m in range(4) if m != mode]
        expected = torch.einsum(f"{letters},{','.join(terms)}->{letters[mode]}r", tensor, *rest)
        torch.testing.assert_close(contract_others(tensor, factors, mode), expected)


# ---------------------------------------------------------------- all factors


@pytest.mark.parametrize("order", [3, 4])
def test_bound_holds_and_sensitivity_falls_at_every_sweep(order):
    shape = (4, 5, 3, 2)[:order]
    tensor = gaussian(*shape)
    fit = cp_als(tensor, 3, sweeps=200)
    begun = balance(fit.value)
    for slack in (0.0, 0.05):
        delta = float(torch.linalg.vector_norm(tensor - begun.to_dense())) * (1 + slack)
        before = float(cp_sensitivity(begun))
        for sweeps in range(1, 8):
            found = cp_epc(tensor, fit.value, slack=slack, sweeps=sweeps, tolerance=0.0)
            assert float(torch.linalg.vector_norm(tensor - found.value.to_dense())) <= delta * (1 + 1e-8)
            assert float(cp_sensitivity(found.value)) <= before * (1 + 1e-12)
            before = float(cp_sensitivity(found.value))
        assert found.met
        assert found.sensitivity == pytest.approx(before, rel=1e-12)
        shares = mode_sensitivities(found.value)
        torch.testing.assert_close(shares, shares[:1].expand(order))


@pytest.mark.parametrize("size", [2, 5])
def test_border_rank_tensor_reaches_the_global_optimum_from_any_start(size):
    """20.330 and 50.824, the values of a general solver below; 0.4 % below those of an alternation that stalls."""
    tensor = border_rank(size)
    for seed in range(4):
        found = cp_epc(tensor, random_start((size,) * 3, 2, seed=seed), error=0.1, tolerance=1e-10, sweeps=3000)
        assert found.met
        assert found.error <= 0.1 * (1 + 1e-8)
        assert found.sensitivity == pytest.approx(20.329767 * size / 2, rel=1e-6)


def test_border_rank_optimum_by_a_general_solver_on_all_factors():
    tensor = border_rank(2)

    def at(vector: np.ndarray, *, goal: bool) -> tuple[float, np.ndarray]:
        factors = torch.tensor(vector.reshape(3, 2, 2), requires_grad=True)
        if goal:
            result = cp_sensitivity(CP(torch.ones(2, dtype=torch.float64), tuple(factors)))
        else:
            result = 0.03 - (tensor - torch.einsum("ir,jr,kr->ijk", *factors)).square().sum()
        result.backward()
        assert factors.grad is not None
        return float(result.detach()), factors.grad.numpy().ravel()

    room = {"type": "ineq", "fun": lambda v: at(v, goal=False)[0], "jac": lambda v: at(v, goal=False)[1]}
    for seed in range(2):
        solved = minimize(
            lambda v: at(v, goal=True),
            np.random.default_rng(seed).normal(size=12),
            jac=True,
            method="SLSQP",
            constraints=room,
            options={"ftol": 1e-12, "maxiter": 2000},
        )
        assert solved.fun == pytest.approx(20.329767, rel=1e-6)


def test_least_squares_creeps_on_a_border_rank_tensor_and_correction_stops_it():
    tensor = border_rank(2)
    start = random_start((2, 2, 2), 2, seed=1)
    growth = []
    for sweeps in (100, 1000):
        fit = cp_als(tensor, 2, initial=start.factors, sweeps=sweeps, tolerance=0.0)
        growth.append(float(cp_sensitivity(balance(fit.value))) / 3)
    assert growth[0] == pytest.approx(16, rel=0.1)
    assert growth[1] == pytest.approx(32, rel=0.1)
    corrected = cp_epc(tensor, fit.value, error=0.1)
    assert corrected.sensitivity < 3 * growth[1] / 4
    same_error = cp_epc(tensor, fit.value)  # nothing to gain on the way to the border
    assert same_error.sensitivity == pytest.approx(3 * growth[1], rel=1e-3)


@pytest.mark.parametrize("seed", [0, 2, 6])
def test_collinear_terms_are_corrected_at_equal_error(seed):
    """Plain fits end with ss of 400 to 600; at their own error 60 is enough, and that from every start."""
    tensor = collinear(4, 5, 0.99)
    fit = cp_als(tensor, 5, initial=random_start((4, 4, 4), 5, seed=seed).factors, sweeps=150, tolerance=0.0)
    plain = float(cp_sensitivity(balance(fit.value)))
    found = cp_epc(tensor, fit.value, tolerance=1e-4)
    assert found.error <= fit.error * (1 + 1e-8)
    assert found.sensitivity * 6 < plain
    looser = cp_epc(tensor, fit.value, error=1e-3, tolerance=1e-4)
    assert looser.sensitivity == pytest.approx(59.803, rel=1e-3)


def tangent_kernel(terms: int) -> torch.Tensor:
    """A sum of derivatives of rank-one tensors: the limit of tensors of rank 2 terms, with no best one among them."""
    generator = torch.Generator().manual_seed(3)
    points, tangents = ([torch.randn(n, terms, generator=generator).double() for n in (8, 7, 9)] for _ in range(2))
    kernel = torch.zeros(8, 7, 9, dtype=torch.float64)
    for mode in range(3):
        factors = [tangents[k] if k == mode else points[k] for k in range(3)]
        kernel = kernel + torch.einsum("ir,jr,kr->ijk", *factors)
    return kernel


def test_severely_degenerate_starts_are_left():
    """Within 5 % error ss falls by seven orders of magnitude, to what a start that never degenerated reaches too."""
    kernel = tangent_kernel(2)
    degenerate = cp_als(kernel, 4, starts=1, sweeps=300, tolerance=0.0)
    plain = float(cp_sensitivity(balance(degenerate.value)))
    found = cp_epc(kernel, degenerate.value, error=0.05, tolerance=1e-6)
    assert found.met
    assert found.error <= 0.05 * (1 + 1e-8)
    assert found.sensitivity * 1e6 < plain
    relaxed = relax(kernel, random_start((8, 7, 9), 4, seed=1), 0.05 * float(torch.linalg.vector_norm(kernel)))
    assert relaxed is not None
    other = cp_epc(kernel, relaxed, error=0.05, tolerance=1e-6)
    assert other.sensitivity == pytest.approx(found.sensitivity, rel=1e-3)


def test_relaxation_gives_up_where_no_fit_is_close_enough():
    assert relax(gaussian(4, 4, 4), random_start((4, 4, 4), 2), 1e-3) is None


@pytest.mark.parametrize(("share", "accuracy"), [(0.03, 1e-6), (0.4, 1e-3)])  # slower where values vanish
def test_two_modes_are_singular_value_thresholding(share, accuracy):
    """For matrices the least ss is 2 sqrt(I J) times the nuclear norm: soft thresholding is the answer."""
    matrix = gaussian(5, 4)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = (values - share * float(values[0])).clamp_min(0)
    error = float(torch.linalg.vector_norm(values - kept) / torch.linalg.vector_norm(values))
    found = cp_epc(matrix, random_start((5, 4), 4), error=error, tolerance=1e-13, sweeps=3000)
    assert found.sensitivity == pytest.approx(2 * math.sqrt(20) * float(kept.sum()), rel=1e-6)
    torch.testing.assert_close(found.value.to_dense(), left * kept @ right, atol=accuracy, rtol=0)


def gradients(tensor: torch.Tensor, value: CP) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ss and of the squared error, all factors in one vector."""
    factors = [factor.clone().requires_grad_() for factor in value.factors]
    model = CP(value.weights, tuple(factors))
    of_ss = torch.autograd.grad(cp_sensitivity(model), factors)
    of_error = torch.autograd.grad((tensor - model.to_dense()).square().sum(), factors)
    return torch.cat([g.flatten() for g in of_ss]), torch.cat([g.flatten() for g in of_error])


def test_where_it_rests_all_factors_are_stationary_together():
    tensor = gaussian(3, 4, 5)
    fit = cp_als(tensor, 2, sweeps=300)
    found = cp_epc(tensor, fit.value, slack=0.1, tolerance=1e-14, sweeps=5000)
    one, two = gradients(tensor, found.value)
    assert float(torch.linalg.vector_norm(one)) > 1
    cosine = float(one @ two / torch.linalg.vector_norm(one) / torch.linalg.vector_norm(two))
    assert cosine == pytest.approx(-1, abs=1e-8)
    bounded = cp_least_error(tensor, found.value, sensitivity=found.sensitivity)
    assert bounded.error == pytest.approx(found.error, rel=1e-6)


def test_least_error_within_a_sensitivity():
    tensor = border_rank(3)
    found = cp_least_error(tensor, random_start((3, 3, 3), 2), sensitivity=30.494651, tolerance=1e-12, sweeps=3000)
    assert found.met
    assert found.sensitivity <= 30.494651 * (1 + 1e-8)
    assert found.error == pytest.approx(0.1, rel=1e-5)
    assert all(
        later <= earlier * (1 + 1e-12) for earlier, later in zip(found.errors[1:], found.errors[2:], strict=False)
    )


def test_complex_tensor_keeps_its_bound():
    tensor = gaussian(3, 4, 5, dtype=torch.complex128)
    fit = cp_als(tensor, 3, sweeps=100)
    found = cp_epc(tensor, fit.value, slack=0.05)
    plain = float(cp_sensitivity(balance(fit.value)))
    assert float(torch.linalg.vector_norm(tensor - found.value.to_dense()) / torch.linalg.vector_norm(tensor)) <= (
        1.05 * fit.error * (1 + 1e-8)
    )
    assert found.sensitivity < 0.9 * plain
    real = gaussian(3, 4, 5)
    start = cp_als(real, 3, sweeps=100).value
    turned = CP(start.weights.to(torch.complex128), tuple(f.to(torch.complex128) for f in start.factors))
    expected = cp_epc(real, start, slack=0.05).sensitivity
    assert cp_epc(real.to(torch.complex128), turned, slack=0.05).sensitivity == pytest.approx(expected, rel=1e-8)


def test_float32_agrees_with_float64():
    tensor = gaussian(4, 5, 6)
    fit = cp_als(tensor, 3, sweeps=100)
    single = CP(fit.value.weights.float(), tuple(factor.float() for factor in fit.value.factors))
    found = cp_epc(tensor.float(), single, error=1.05 * fit.error)
    assert found.value.dtype == torch.float32
    assert found.sensitivity == pytest.approx(cp_epc(tensor, fit.value, slack=0.05).sensitivity, rel=1e-3)


def test_small_errors_do_not_drown_in_rounding():
    exact = random_start((4, 5, 6), 3)
    tensor = exact.to_dense() + 1e-9 * gaussian(4, 5, 6, seed=5)
    found = cp_epc(tensor, exact, slack=0.5, sweeps=5)
    delta = 1.5 * float(torch.linalg.vector_norm(tensor - exact.to_dense()))
    assert float(torch.linalg.vector_norm(tensor - found.value.to_dense())) <= delta * (1 + 1e-6)
    assert found.sensitivity <= float(cp_sensitivity(balance(exact)))


def test_everything_within_the_bound_gives_zero():
    tensor = gaussian(3, 4, 5)
    found = cp_epc(tensor, random_start((3, 4, 5), 2), error=1.0)
    assert found.sensitivity == 0
    assert found.met


def test_bound_out_of_reach_is_said():
    tensor = gaussian(4, 4, 4)
    found = cp_epc(tensor, random_start((4, 4, 4), 2), error=0.01, sweeps=50)
    assert not found.met
    assert found.error > 0.01


def test_stops_and_reports():
    tensor, start = gaussian(3, 4, 5), random_start((3, 4, 5), 2)
    calls = []
    found = cp_epc(tensor, start, error=0.9, sweeps=3, tolerance=0.0, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert found.stopped_by == "sweeps"
    assert len(found.errors) == len(found.sensitivities) == 4
    assert cp_epc(tensor, start, error=0.9, sweeps=10_000, seconds=1e-9, tolerance=0.0).stopped_by == "seconds"
    assert cp_epc(tensor, start, error=0.9, tolerance=0.5).stopped_by == "tolerance"
    kept = cp_epc(tensor, start, error=0.9, sweeps=0)
    torch.testing.assert_close(kept.value.to_dense(), start.to_dense())


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 4), 2)), "initial: shape"),
        (lambda: cp_epc(gaussian(3, 4, 5).float(), random_start((3, 4, 5), 2)), "bring both to one"),
        (lambda: cp_epc(gaussian(3, 4, 5) * math.nan, random_start((3, 4, 5), 2)), "NaN"),
        (lambda: cp_epc(torch.zeros(3, 4, 5).double(), random_start((3, 4, 5), 2)), "every entry is zero"),
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 5), 2).scale(math.nan)), "initial: it holds NaN"),
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 5), 2), slack=-0.1), "slack"),
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 5), 2), slack=math.nan), "slack"),
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 5), 2), error=math.nan), "error"),
        (lambda: cp_epc(gaussian(3, 4, 5), random_start((3, 4, 5), 2), seconds=0.0), "seconds"),
        (lambda: cp_epc(gaussian(3), random_start((3,), 2)), "at least 2"),
        (lambda: cp_least_error(gaussian(3, 4, 5), random_start((3, 4, 5), 2), sensitivity=0.0), "sensitivity"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_follows_the_input():
    tensor = border_rank(2).cuda()
    start = random_start((2, 2, 2), 2)
    found = cp_epc(tensor, CP(start.weights.cuda(), tuple(f.cuda() for f in start.factors)), error=0.1)
    assert found.value.device.type == "cuda"
    assert found.sensitivity == pytest.approx(20.329767, rel=1e-5)


def test_a_fit_of_another_library_is_corrected():
    """tensorly's parafac as start: its error is kept, and its ss (columns balanced) lowered."""
    decomposition = pytest.importorskip("tensorly.decomposition")
    tensor = gaussian(6, 7, 5)
    weights, factors = decomposition.parafac(tensor.numpy(), 4, n_iter_max=100, init="svd", tol=1e-10)
    start = CP(torch.as_tensor(weights), tuple(torch.as_tensor(factor) for factor in factors))
    error = float(torch.linalg.vector_norm(tensor - start.to_dense()) / torch.linalg.vector_norm(tensor))
    found = cp_epc(tensor, start, tolerance=1e-5)
    assert found.error <= error * (1 + 1e-8)
    assert found.sensitivity < float(cp_sensitivity(balance(start)))

"""Norms, dual norms and dual maps: against random and climbing rivals, a numerical minimiser, and singular values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.optimize import minimize
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.matrix_roots import polar_factor
from polyad.optim.norms import NORMS, dual_map, dual_norm, norm

KINDS = (*NORMS, "schatten-3", "schatten-1.25")
every_norm = pytest.mark.parametrize("kind", KINDS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(matrix: Tensor, kind: str) -> float:
    """Norms from their definitions, entry by entry or as the largest stretch of a vector."""
    w = matrix.numpy()
    m, n = w.shape
    values = np.sqrt(np.linalg.eigvalsh(w @ w.T if m <= n else w.T @ w).clip(0))
    lengths = {
        "inf": max(abs(x) for x in w.flat),
        "l2": math.sqrt(sum(x * x for x in w.flat)),
        "row": max(math.sqrt(sum(x * x for x in row)) for row in w),
        "col": max(math.sqrt(sum(x * x for x in column)) for column in w.T),
        "spectral": values.max(),
        "nuclear": values.sum(),
        "schatten-3": (values**3).sum() ** (1 / 3),
        "schatten-1.25": (values**1.25).sum() ** (1 / 1.25),
    }
    lengths["fro"] = lengths["l2"]
    lengths["rms"] = lengths["l2"] / math.sqrt(m * n)
    lengths["rms_rms"] = lengths["spectral"] * math.sqrt(n / m)
    lengths["l1_rms"] = lengths["col"] / math.sqrt(m)
    return float(lengths[kind])


@every_norm
@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (4, 1), (1, 1)])
def test_norms_are_what_their_names_say(kind: str, shape: tuple[int, int]) -> None:
    batch = random(3, *shape)
    assert norm(batch, kind).tolist() == pytest.approx([by_definition(w, kind) for w in batch], rel=1e-12)


OPERATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "row": (lambda x: x.norm(dim=0), lambda y: y.abs().amax(0)),
    "col": (lambda x: x.abs().sum(0), lambda y: y.norm(dim=0)),
    "spectral": (lambda x: x.norm(dim=0), lambda y: y.norm(dim=0)),
    "rms_rms": (lambda x: x.square().mean(0).sqrt(), lambda y: y.square().mean(0).sqrt()),
    "l1_rms": (lambda x: x.abs().sum(0), lambda y: y.square().mean(0).sqrt()),
}
"""Sizes of inputs and outputs, one sample a column."""


@pytest.mark.parametrize("kind", OPERATORS)
def test_operator_norms_bound_what_leaves_a_layer(kind: str) -> None:
    """|W x| <= |W| |x| in the layer's own sizes, and nearly attained by some x."""
    weight = random(3, 2)
    inputs = torch.cat([random(2, 20_000, seed=1), torch.eye(2, dtype=torch.float64)], 1)
    before, after = OPERATORS[kind]
    stretch = (after(weight @ inputs) / before(inputs)).amax()
    assert float(norm(weight, kind)) * 0.9999 <= float(stretch) <= float(norm(weight, kind)) * (1 + 1e-12)


@every_norm
@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (4, 4), (6, 1)])
def test_dual_map_has_norm_one_and_attains_the_dual_norm(kind: str, shape: tuple[int, int]) -> None:
    gradient = random(3, *shape)
    step = dual_map(gradient, kind)
    assert norm(step, kind).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert (gradient * step).sum((-2, -1)).tolist() == pytest.approx(dual_norm(gradient, kind).tolist(), rel=1e-6)


@every_norm
def test_no_other_unit_step_gains_more(kind: str) -> None:
    """Of 10^4 random ones, and of those that climb <G, T> by projected ascent from the best of them."""
    gradient = random(4, 3, seed=3)
    best = float(dual_norm(gradient, kind))
    rivals = random(10_000, 4, 3, seed=4)
    rivals = rivals / norm(rivals, kind)[:, None, None]
    gains = (rivals * gradient).sum((-2, -1))
    assert float(gains.max()) <= best * (1 + 1e-12)
    climbing = rivals[gains.topk(100).indices]
    noise = torch.Generator().manual_seed(5)
    for k in range(400):
        moved = climbing + 0.3 * 0.99**k * torch.randn(climbing.shape, generator=noise, dtype=torch.float64)
        moved = moved + 0.02 * gradient
        moved = moved / norm(moved, kind)[:, None, None]
        better = ((moved - climbing) * gradient).sum((-2, -1)) > 0
        climbing = torch.where(better[:, None, None], moved, climbing)
    found = float((climbing * gradient).sum((-2, -1)).max())
    assert float(gains.max()) < found <= best * (1 + 1e-12)
    assert found > 0.9 * best  # the ascent does climb: the bound is not met by rivals that are weak


def singular(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 3 x 3 matrix from two rotations and three numbers, which are its singular values up to sign."""

    def rotation(a: np.ndarray) -> np.ndarray:
        return expm(np.array([[0, a[0], a[1]], [-a[0], 0, a[2]], [-a[1], -a[2], 0]]))

    values = parameters[6:9]
    return rotation(parameters[:3]) * values @ rotation(parameters[3:6]), values


def numerical_minimum(gradient: np.ndarray, kind: str, lam: float) -> tuple[float, np.ndarray]:
    """min <G, D> + lam t^2 / 2 subject to |D| <= t, by sequential quadratic programming from several starts."""
    by_values = kind in ("spectral", "rms_rms", "nuclear") or kind.startswith("schatten")

    def place(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return singular(x) if by_values else (x[:9].reshape(3, 3), x[:9])

    def slack(x: np.ndarray) -> np.ndarray:
        matrix, values = place(x)
        if kind == "inf":
            return np.concatenate([x[-1] - values, x[-1] + values])
        if kind in ("spectral", "rms_rms"):
            return np.concatenate([x[-1] - values, x[-1] + values])
        if kind == "nuclear":
            signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
            return x[-1] - signs @ values
        if kind.startswith("schatten"):
            return np.array([x[-1] - (np.abs(values) ** float(kind[9:])).sum() ** (1 / float(kind[9:]))])
        axis = {"row": 1, "col": 0, "l1_rms": 0}.get(kind)
        scale = {"rms": 1 / 9, "l1_rms": 1 / 3}.get(kind, 1.0)
        squares = (matrix**2).sum(axis) if axis is not None else np.atleast_1d((matrix**2).sum())
        return x[-1] ** 2 - scale * squares

    best, place_of_best = np.inf, np.zeros((3, 3))
    generator = np.random.default_rng(0)
    for _ in range(4):
        start = np.concatenate([generator.normal(size=9), [5.0]])
        found = minimize(
            lambda x: (gradient * place(x)[0]).sum() + lam / 2 * x[-1] ** 2,
            start,
            method="SLSQP",
            bounds=[(None, None)] * 9 + [(1e-6, None)],
            constraints={"type": "ineq", "fun": slack},
            options={"maxiter": 500, "ftol": 1e-13},
        )
        if found.fun < best and slack(found.x).min() > -1e-8:
            best, place_of_best = found.fun, place(found.x)[0]
    return best, place_of_best


@every_norm
def test_closed_form_minimiser_is_the_numerical_one(kind: str) -> None:
    gradient, lam = random(3, 3, seed=7), 0.7
    step = -dual_norm(gradient, kind) / lam * dual_map(gradient, kind)
    value, minimiser = numerical_minimum(gradient.numpy(), kind, lam)
    ours = float((gradient * step).sum() + lam / 2 * norm(step, kind) ** 2)
    assert ours == pytest.approx(-(float(dual_norm(gradient, kind)) ** 2) / (2 * lam), rel=1e-12)
    assert ours == pytest.approx(value, rel=1e-4)
    assert np.abs(step.numpy() - minimiser).max() < 3e-4 * np.abs(minimiser).max()


def with_singular_values(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A matrix with singular values in [0.05, 1], and its polar factor."""
    left, right = (torch.linalg.qr(random(size, size, seed=seed + k)).Q for k in range(2))
    values = torch.linspace(0.05, 1, size, dtype=torch.float64)
    return left * values @ right.mT, left @ right.mT


@pytest.mark.parametrize(("size", "steps"), [(2, 15), (16, 15), (64, 15), (128, 18), (256, 18)])
def test_cubic_newton_schulz_is_the_svd_form(size: int, steps: int) -> None:
    matrix, exact = with_singular_values(size, seed=size)
    found = dual_map(matrix, "spectral", polar="cubic", steps=steps)
    assert float((found - exact).abs().max()) < 1e-4
    assert torch.allclose(dual_map(matrix, "spectral"), exact, atol=1e-12)
    assert torch.equal(dual_map(matrix, "spectral", polar="cubic"), polar_factor(matrix, method="cubic", steps=18))


@pytest.mark.parametrize("size", [16, 64, 256])
def test_quintic_newton_schulz_leaves_singular_values_near_one(size: int) -> None:
    matrix, exact = with_singular_values(size, seed=size)
    found = dual_map(matrix, "spectral", polar="quintic", steps=5)
    values = torch.linalg.svdvals(found)
    assert 0.68 <= float(values.min()) <= float(values.max()) <= 1.14
    aligned = exact.mT @ found  # the same singular vectors: symmetric, with those values
    assert torch.allclose(aligned, aligned.mT, atol=1e-10)
    assert float(values.max() - values.min()) > 0.2  # and it does not converge, as the module says


def test_scaled_polar_factors_by_iteration() -> None:
    matrix = random(6, 4)
    exact = dual_map(matrix, "rms_rms")
    assert torch.allclose(dual_map(matrix, "rms_rms", polar="cubic", steps=40), exact, atol=1e-12)
    assert torch.allclose(exact.mT @ exact, torch.eye(4, dtype=torch.float64) * 6 / 4, atol=1e-12)


@every_norm
def test_zero_extreme_and_deficient_gradients(kind: str) -> None:
    assert not bool(dual_map(torch.zeros(2, 3, 4), kind).any())
    assert float(dual_norm(torch.zeros(3, 4), kind)) == 0
    gradient = random(3, 4)
    for factor in (1e-200, 1e200):
        assert torch.allclose(dual_map(gradient * factor, kind), dual_map(gradient, kind), rtol=1e-9)
    deficient = random(4, 1) @ random(1, 5, seed=1)
    assert float(norm(dual_map(deficient, kind), kind)) == pytest.approx(1, abs=1e-6)
    assert dual_map(gradient.float(), kind).dtype == torch.float32


def test_what_is_refused() -> None:
    for kind in ("l3", "schatten-1", "schatten-inf", "schatten-", "spectral-2"):
        with pytest.raises(InputError, match="unknown"):
            norm(torch.eye(2), kind)
    with pytest.raises(InputError, match="no entries"):
        dual_map(torch.zeros(2, 0), "inf")
    with pytest.raises(InputError, match="not finite"):
        dual_norm(torch.tensor([[1.0, math.nan]]), "fro")
    with pytest.raises(InputError, match="method"):
        dual_map(torch.eye(2), "spectral", polar="qr")

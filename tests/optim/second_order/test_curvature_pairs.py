"""Inverse BFGS matrices from pairs against the dense update and the loop of Nocedal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.optim.second_order import curvature_pairs


def pair(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """A step, and the gradient difference of a convex quadratic of its own."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.randn(size, generator=generator, dtype=torch.float64)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return step, factor @ factor.mT @ step + 0.1 * step


def dense(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """H <- (1 - r s y') H (1 - r y s') + r s s' from gamma I."""
    step, difference = pairs[-1]
    one = torch.eye(len(step), dtype=torch.float64)
    inverse = one * (step @ difference) / (difference @ difference)
    for s, y in pairs:
        left = one - torch.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.mT + torch.outer(s, s) / (s @ y)
    return inverse


def two_loops(pairs: list[tuple[Tensor, Tensor]], vector: Tensor) -> Tensor:
    factors = []
    for s, y in reversed(pairs):
        factors.append((s @ vector) / (s @ y))
        vector = vector - factors[-1] * y
    s, y = pairs[-1]
    vector = vector * (s @ y) / (y @ y)
    for (s, y), factor in zip(pairs, reversed(factors), strict=True):
        vector = vector + (factor - (y @ vector) / (s @ y)) * s
    return vector


@pytest.mark.parametrize("number", [1, 2, 7])
def test_the_product_is_that_of_the_dense_matrix(number: int) -> None:
    given = [pair(seed, 9) for seed in range(number)]
    kept = curvature_pairs.new_pairs(1, 9, given[0][0])
    vector = torch.arange(9.0, dtype=torch.float64)
    assert torch.equal(curvature_pairs.inverse_times(kept, vector[None])[0], vector)
    for s, y in given:
        assert curvature_pairs.add_pair(kept, s[None], y[None], history=10)
    product = curvature_pairs.inverse_times(kept, vector[None])[0]
    torch.testing.assert_close(product, dense(given) @ vector, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(product, two_loops(given, vector), atol=1e-10, rtol=1e-10)
    secant = curvature_pairs.inverse_times(kept, given[-1][1][None])[0]
    torch.testing.assert_close(secant, given[-1][0], atol=1e-10, rtol=1e-10)


def test_the_oldest_pairs_make_room() -> None:
    given = [pair(seed, 6) for seed in range(11)]
    kept = curvature_pairs.new_pairs(1, 6, given[0][0])
    vector = torch.ones(6, dtype=torch.float64)
    for number, (s, y) in enumerate(given, start=1):
        curvature_pairs.add_pair(kept, s[None], y[None], history=4)
        assert curvature_pairs.count(kept) == min(number, 4)
        expected = two_loops(given[max(0, number - 4) : number], vector)
        torch.testing.assert_close(curvature_pairs.inverse_times(kept, vector[None])[0], expected, atol=1e-9, rtol=1e-9)


def test_blocks_are_independent_and_leave_out_pairs_of_their_own() -> None:
    """Three blocks; the second has no use for the third pair, the third for any."""
    given = [[pair(10 * block + k, 5) for k in range(6)] for block in range(3)]
    vector = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = curvature_pairs.new_pairs(3, 5, vector)
    for k in range(6):
        signs = torch.tensor([1.0, -1.0 if k == 2 else 1.0, 0.0], dtype=torch.float64)
        steps = torch.stack([given[block][k][0] for block in range(3)])
        differences = torch.stack([given[block][k][1] for block in range(3)]) * signs[:, None]
        curvature_pairs.add_pair(kept, steps, differences, history=4)
    product = curvature_pairs.inverse_times(kept, vector)
    expected = torch.stack([two_loops(given[0][2:], vector[0]), two_loops(given[1][3:], vector[1]), vector[2]])
    torch.testing.assert_close(product, expected, atol=1e-9, rtol=1e-9)
    assert kept["left_out"] == 7


def test_pairs_without_positive_curvature_change_nothing() -> None:
    step, difference = pair(0, 4)
    kept = curvature_pairs.new_pairs(1, 4, step)
    orthogonal = difference - (difference @ step) / (step @ step) * step
    for bad in (-difference, orthogonal, 0 * difference, difference * torch.nan):
        assert not curvature_pairs.add_pair(kept, step[None], bad[None], history=3)
    assert curvature_pairs.count(kept) == 0
    assert kept["left_out"] == 4

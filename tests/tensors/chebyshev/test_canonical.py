"""Canonical sums: reduction exact to rounding, agreement with sampling, splines, cancellation, blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev import (
    CanonicalBlock,
    canonical_to_tucker,
    from_canonical,
    from_canonical_blocks,
    from_function,
)
from polyad.tensors.chebyshev.rhosvd import split_terms
from polyad.tensors.formats import CP

BOX = ((-1.0, 1.0), (-0.5, 1.5), (0.0, 1.0))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inside(count: int) -> Tensor:
    ends = torch.tensor(BOX, dtype=torch.float64)
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * draws


def rational(centres: Tensor) -> Callable[[Tensor], Tensor]:
    """1 / (1 + (x - a)^2 / 2): (points, terms)."""
    return lambda x: 1 / (1 + (x[:, None] - centres).square() / 2)


def terms(count: int = 40) -> tuple[Tensor, list[Callable[[Tensor], Tensor]], Tensor]:
    centres = normal(count, 3, seed=1)
    return normal(count), [rational(centres[:, k]) for k in range(3)], centres


def direct(weights: Tensor, profiles: list[Callable[[Tensor], Tensor]], points: Tensor) -> Tensor:
    product = weights
    for mode, profile in enumerate(profiles):
        product = product * profile(points[:, mode])
    return product.sum(-1)


# ---------------------------------------------------------------- reduced HOSVD


def decaying(sizes: tuple[int, ...], rank: int, count: int) -> CP:
    """Terms whose columns fall off, of rank `rank` a mode."""
    factors = []
    for mode, size in enumerate(sizes):
        scale = 10.0 ** -torch.arange(size, dtype=torch.float64)
        factors.append(scale[:, None] * normal(size, rank, seed=mode) @ normal(rank, count, seed=9 + mode))
    return CP(normal(count, seed=3), tuple(factors))


@pytest.mark.parametrize("count", [1, 5, 300])
def test_reduction_is_exact_with_orthonormal_factors(count: int) -> None:
    value = decaying((12, 9, 14), 4, count)
    found = canonical_to_tucker(value)
    assert found.ranks == (min(4, count),) * 3
    for factor in found.factors:
        assert torch.allclose(factor.mT @ factor, torch.eye(factor.shape[1]).double(), atol=1e-13)
    gap = torch.linalg.vector_norm(found.to_dense() - value.to_dense())
    assert float(gap) < 1e-14 * float(value.weights.abs().sum()) * 100


def test_blocks_are_summed_in_a_common_basis() -> None:
    one, two = decaying((12, 9, 14), 3, 50), decaying((12, 9, 14), 5, 70)
    padded = canonical_to_tucker(one, shape=(12, 10, 20)).to_dense()
    assert torch.allclose(padded[:, :9, :14], one.to_dense(), atol=1e-12)
    assert float(padded[:, 9:].abs().sum() + padded[:, :, 14:].abs().sum()) == 0
    found = canonical_to_tucker([one, two])
    assert torch.allclose(found.to_dense(), one.to_dense() + two.to_dense(), atol=1e-12)
    pieces = split_terms(two, 32)
    assert [len(piece.weights) for piece in pieces] == [32, 32, 6]
    again = canonical_to_tucker(iter(pieces))
    assert again.ranks == (5, 5, 5)
    assert torch.allclose(again.to_dense(), two.to_dense(), atol=1e-12)


def test_small_directions_survive_where_large_terms_cancel() -> None:
    # two opposite terms, equal but for a part of 1e-7 that the weighted columns hardly show, and that is all of the sum
    large, small = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    large[0], small[4] = 1.0, 1e-7
    columns = torch.stack([large + small, large], dim=1)
    value = CP(torch.tensor([1.0, -1.0]).double(), (columns, large[:, None].expand(6, 2).clone()))
    dense = canonical_to_tucker(value).to_dense()
    assert float(dense[4, 0]) == pytest.approx(1e-7, rel=1e-8)


# ---------------------------------------------------------------- functions


def test_canonical_sum_agrees_with_the_sampled_function_and_the_sum() -> None:
    weights, profiles, _ = terms()
    canonical = from_canonical(weights, profiles, BOX, tolerance=1e-11)
    sampled = from_function(lambda x: direct(weights, profiles, x), BOX, tolerance=1e-11)
    points = inside(1000)
    exact = direct(weights, profiles, points)
    scale = float(exact.abs().max())
    assert float((canonical.value.evaluate(points) - sampled.value.evaluate(points)).abs().max()) < 1e-8 * scale
    assert float((canonical.value.evaluate(points) - exact).abs().max()) < 1e-9 * scale
    assert max(canonical.tails) <= 1e-11


def test_coefficients_are_those_of_the_interpolant() -> None:
    weights, profiles, _ = terms(7)
    canonical = from_canonical(weights, profiles, BOX, counts=(9, 12, 5), tolerance=1e-15)
    sampled = from_function(
        lambda x: direct(weights, profiles, x), BOX, counts=(9, 12, 5), tolerance=1e-15, kind="nodes"
    )
    gap = canonical.value.coefficients.to_dense() - sampled.value.coefficients.to_dense()
    assert float(gap.abs().max()) < 1e-12
    assert canonical.evaluations == 7 * (9 + 12 + 5)


def test_profiles_on_grids_are_interpolated() -> None:
    weights, profiles, _ = terms()
    grids = [torch.linspace(*ends, 257, dtype=torch.float64) for ends in BOX]
    values = [profile(grid) for profile, grid in zip(profiles, grids, strict=True)]
    points = inside(500)
    exact = direct(weights, profiles, points)
    mixed = from_canonical(
        weights, [values[0], profiles[1], values[2]], BOX, grids=[grids[0], None, grids[2]], tolerance=1e-10
    )
    assert float((mixed.value.evaluate(points) - exact).abs().max()) < 1e-8 * float(exact.abs().max())


def test_opposite_terms_that_cancel_keep_their_relative_accuracy() -> None:
    shift = 1e-4
    centres = normal(30, 3, seed=1)
    both = torch.cat([centres, centres + shift])
    weights = torch.cat([torch.ones(30), -torch.ones(30)]).double()
    profiles = [rational(both[:, k]) for k in range(3)]
    found = from_canonical(weights, profiles, BOX, counts=41, tolerance=1e-8)
    points = inside(500)
    exact = direct(weights, profiles, points)
    assert float(exact.abs().max()) < 1e-3 * float(direct(weights.abs(), profiles, points).abs().max())
    assert float((found.value.evaluate(points) - exact).abs().max()) < 1e-7 * float(exact.abs().max())


def test_a_priori_counts_change_nothing() -> None:
    centres = normal(25, 3, seed=1)
    profiles = [lambda x, a=centres[:, k]: (x[:, None] - a).square() for k in range(3)]  # polynomials of degree 2
    weights = normal(25)
    plain = from_canonical_blocks([CanonicalBlock(weights, profiles)], BOX, counts=9, tolerance=1e-12)
    short = from_canonical_blocks([CanonicalBlock(weights, profiles, (3, 3, 3))], BOX, counts=9, tolerance=1e-12)
    assert short.value.counts == (9, 9, 9)
    assert short.evaluations == 25 * 9
    gap = plain.value.coefficients.to_dense() - short.value.coefficients.to_dense()
    assert float(gap.abs().max()) < 1e-12


def test_single_precision() -> None:
    weights, _, centres = terms()
    profiles = [rational(centres[:, k].float()) for k in range(3)]
    found = from_canonical(weights.float(), profiles, BOX, tolerance=1e-5)
    points = inside(200)
    exact = direct(weights, [rational(centres[:, k]) for k in range(3)], points)
    assert found.value.dtype == torch.float32
    assert float((found.value.evaluate(points.float()) - exact).abs().max()) < 1e-4 * float(exact.abs().max())


def test_gradients_reach_weights_and_profiles() -> None:
    weights, _, centres = terms(12)
    centres[0] = torch.tensor([0.0, 0.5, 0.5])  # the middle, where a profile is even and its derivative odd
    weights, centres = weights.requires_grad_(), centres.requires_grad_()
    profiles = [rational(centres[:, k]) for k in range(3)]
    points = inside(30)
    found = from_canonical(weights, profiles, BOX, counts=33, tolerance=1e-10).value.evaluate(points)
    pull = normal(30, seed=4)
    gradients = torch.autograd.grad(found @ pull, (weights, centres))
    exact = torch.autograd.grad(direct(weights, profiles, points) @ pull, (weights, centres))
    for mine, wanted in zip(gradients, exact, strict=True):
        assert float((mine - wanted).abs().max()) < 1e-8 * float(wanted.abs().max())


def test_gradient_of_a_single_even_term_is_odd() -> None:
    centre = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    profiles = [rational(centre[:, k]) for k in range(3)]
    box = ((-1.0, 1.0),) * 3
    found = from_canonical(torch.ones(1).double(), profiles, box, counts=33, tolerance=1e-10)
    points = normal(10, 3).tanh()
    (mine,) = torch.autograd.grad(found.value.evaluate(points).sum(), centre)
    (wanted,) = torch.autograd.grad(direct(torch.ones(1).double(), profiles, points).sum(), centre)
    assert float((mine - wanted).abs().max()) < 1e-8 * float(wanted.abs().max())


def test_zero_weights_progress_and_bad_input() -> None:
    weights, profiles, _ = terms(5)
    nothing = from_canonical(0 * weights, profiles, BOX)
    assert float(nothing.value.evaluate(inside(4)).abs().max()) == 0
    seen: list[tuple[int, int]] = []
    blocks = [CanonicalBlock(weights, profiles)] * 3
    from_canonical_blocks(blocks, BOX, counts=9, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(InputError, match="profiles"):
        from_canonical(weights, profiles[:2], BOX)
    with pytest.raises(InputError, match="variable 1"):
        from_canonical(weights, [profiles[0], lambda x: x, profiles[2]], BOX)
    with pytest.raises(InputError, match="NaN"):
        from_canonical(weights * float("nan"), profiles, BOX)
    with pytest.raises(InputError, match="max_count"):
        from_canonical(weights, [lambda x: (x[:, None] - 0.1).abs().expand(-1, 5)] * 3, BOX, max_count=40)
    with pytest.raises(InputError, match="beside it"):
        from_canonical(weights, [torch.ones(9, 5).double(), *profiles[1:]], BOX)
    with pytest.raises(InputError, match="give None"):
        from_canonical(weights, profiles, BOX, grids=[torch.ones(9).double(), None, None])
    with pytest.raises(InputError, match="blocks"):
        from_canonical_blocks([], BOX)
    with pytest.raises(InputError, match="blocks"):
        canonical_to_tucker([])
    with pytest.raises(InputError, match="one shape"):
        canonical_to_tucker([CP.random((3, 3), 2), CP.random((3, 4), 2)])
    with pytest.raises(InputError, match="does not fit"):
        canonical_to_tucker(CP.random((3, 4), 2), shape=(3, 3))
    with pytest.raises(InputError, match="batch"):
        canonical_to_tucker(CP.random((3, 3), 2, batch_shape=(2,)))

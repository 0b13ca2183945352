"""Fits of a dense tensor on a graph within a tolerance: errors kept, planted ranks on a tree, refusals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import TensorNetwork

SIZES = {0: 7, 1: 8, 2: 6, 3: 9}
CHAIN = ((0, "a"), ("a", 1, "b"), ("b", 2, "c"), ("c", 3))
GRID = (("a", "c", 0), ("a", "d", 1), ("c", "b", 2), ("d", "b", 3))
RING = (("a", 0, "b"), ("b", 1, "c"), ("c", 2, "a"))


def planted(indices: tuple[tuple[str | int, ...], ...], ranks: Mapping[str, int]) -> tuple[TensorNetwork, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    modes = range(3 if indices is RING else 4)
    sizes: dict[Hashable, int] = dict([*ranks.items(), *SIZES.items()])
    network = TensorNetwork.random(indices, sizes, output=modes, generator=generator)
    dense = network.to_dense()
    noise = torch.randn(dense.shape, generator=generator, dtype=torch.float64)
    return network, dense + 1e-3 * dense.norm() / noise.norm() * noise


def test_a_planted_tree_is_found_within_the_tolerance() -> None:
    network, noisy = planted(CHAIN, {"a": 2, "b": 4, "c": 3})
    found = TensorNetwork.from_dense(noisy, indices=CHAIN, tolerance=2e-3, output=range(4))
    assert float((found.to_dense() - noisy).norm()) <= 2e-3 * float(noisy.norm())
    assert found.ranks == network.ranks


def test_planted_loops_are_found_within_the_tolerance_and_seeds_decide() -> None:
    _, noisy = planted(GRID, {"a": 2, "b": 2, "c": 3, "d": 2})
    found, again = (
        TensorNetwork.from_dense(noisy, indices=GRID, tolerance=2e-3, output=range(4), seed=1) for _ in range(2)
    )
    assert float((found.to_dense() - noisy).norm()) <= 2e-3 * float(noisy.norm())
    assert max(found.ranks) == 3  # the largest one planted; the others need not be the smallest
    assert all(torch.equal(one, two) for one, two in zip(found.tensors, again.tensors, strict=True))


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 5e-3])
def test_the_error_is_kept_on_a_loop(tolerance: float) -> None:
    _, noisy = planted(RING, {"a": 2, "b": 2, "c": 2})
    found = TensorNetwork.from_dense(noisy, indices=RING, tolerance=tolerance, output=range(3))
    assert float((found.to_dense() - noisy).norm()) <= tolerance * float(noisy.norm())


def test_what_cannot_be_kept_is_refused() -> None:
    _, noisy = planted(RING, {"a": 2, "b": 2, "c": 2})
    noise = torch.randn(7, 8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for tensor, options, message in (
        (noisy, {"tolerance": 1e-4, "ranks": {"a": 1, "b": 2, "c": 1}}, "rank 2 reach .* ranks allows no larger"),
        (noise, {"tolerance": 1e-3}, "larger ones store more than the tensor"),
        (noisy, {"tolerance": 1e-9}, "nothing below 6.0e-08"),
        (noisy, {}, "neither a tolerance nor ranks"),
        (noisy, {"ranks": 2, "starts": 0}, "starts: 0 was given"),
        (noisy.clone().requires_grad_(), {"ranks": 2}, "no gradient"),
    ):
        with pytest.raises(InputError, match=message):
            TensorNetwork.from_dense(tensor, indices=RING, output=range(3), sweeps=20, **options)

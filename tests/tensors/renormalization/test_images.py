"""Blocking, covariance spectra, flows and collapse of image sets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    CRITICAL_BETA,
    block_grey,
    block_links,
    blocking_flow,
    collapse_spread,
    leading_eigenvalue,
    link_degrees,
    loop_statistics,
    momentum_spectrum,
    picture,
    principal_components,
    worm,
)


@pytest.fixture(scope="module")
def loops() -> Tensor:
    return worm(8, CRITICAL_BETA, 20_000, seed=11)


def random_links(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(2, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def blocked_by_loops(image: Tensor, rule: str) -> Tensor:
    """The coarse links of one image, link by link."""
    size = image.shape[-1]
    out = torch.zeros(2, size // 2, size // 2, dtype=torch.uint8)
    for x in range(size // 2):
        for y in range(size // 2):
            # from block (x, y) to (x + 1, y): the links that leave its two right sites; likewise upwards
            right = [int(image[0, 2 * x + 1, 2 * y + k]) for k in (0, 1)]
            above = [int(image[1, 2 * x + k, 2 * y + 1]) for k in (0, 1)]
            for axis, pair in enumerate((right, above)):
                out[axis, x, y] = sum(pair) % 2 if rule == "parity" else max(pair)
    return out


@pytest.mark.parametrize("rule", ["parity", "union"])
def test_blocking_merges_the_links_through_each_face(rule: str) -> None:
    images = random_links(2, 3, 2, 6, 6)
    found = block_links(images, rule)
    assert found.shape == (2, 3, 2, 3, 3)
    for index in ((0, 0), (1, 2)):
        assert torch.equal(found[index], blocked_by_loops(images[index], rule))


def test_parity_keeps_loops_closed_and_union_does_not(loops: Tensor) -> None:
    assert int((link_degrees(loops) % 2).sum()) == 0
    assert int((link_degrees(block_links(loops)) % 2).sum()) == 0
    assert int((link_degrees(block_links(block_links(loops))) % 2).sum()) == 0
    assert int((link_degrees(block_links(loops, "union")) % 2).sum()) > 0


def test_degrees_and_picture_of_one_link() -> None:
    image = torch.zeros(2, 4, 4, dtype=torch.uint8)
    image[0, 3, 1] = 1  # from (3, 1) around the torus to (0, 1)
    image[1, 2, 2] = 1  # from (2, 2) to (2, 3)
    expected = torch.zeros(4, 4, dtype=torch.uint8)
    expected[3, 1] = expected[0, 1] = expected[2, 2] = expected[2, 3] = 1
    assert torch.equal(link_degrees(image), expected)
    pixels = picture(image)
    assert pixels.shape == (8, 8)
    assert sorted(pixels.nonzero().tolist()) == [[0, 2], [4, 4], [4, 5], [4, 6], [6, 2], [7, 2]]


def test_grey_blocks_are_averages_with_a_cutoff() -> None:
    image = torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)
    torch.testing.assert_close(block_grey(image), torch.tensor([[[2.5, 4.5], [10.5, 12.5]]], dtype=torch.float64))
    cut = block_grey(image, cutoff=4.5)
    assert cut.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]
    wide = torch.ones(2, 4, 8)
    assert block_grey(wide).shape == (2, 2, 4)


def test_spectrum_is_that_of_the_covariance_averaged_over_translations() -> None:
    images = random_links(40, 2, 4, 4)
    images[:20, 0] = 0  # something to see, different in the two directions
    shifted = torch.cat([images.roll((x, y), (2, 3)) for x in range(4) for y in range(4)])
    centred = images.double() - images.double().mean(0)
    moved = torch.cat([centred.roll((x, y), (2, 3)) for x in range(4) for y in range(4)]).flatten(1)
    assert moved.shape == shifted.flatten(1).shape
    covariance = moved.T @ moved / (16 * 39)
    expected = torch.linalg.eigvalsh(covariance)
    found = momentum_spectrum(images).flatten().sort().values
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(leading_eigenvalue(images), expected[-1])


@pytest.mark.parametrize(("samples", "side"), [(50, 4), (700, 19)])
def test_principal_components_are_those_of_the_dense_covariance(samples: int, side: int) -> None:
    images = torch.randn(samples, side, 2 * side, generator=torch.Generator().manual_seed(1))
    covariance = torch.cov(images.double().flatten(1).T)
    values, vectors = torch.linalg.eigh(covariance)
    found, components = principal_components(images, 2)
    torch.testing.assert_close(found, values[[-1, -2]], rtol=1e-7, atol=0)
    overlap = (components.flatten(1) * vectors[:, [-1, -2]].T).sum(1).abs()
    torch.testing.assert_close(overlap, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_raw_eigenvalue_lies_between_the_link_variance_and_a_little_above(loops: Tensor) -> None:
    for images in (loops, worm(16, CRITICAL_BETA, 20_000, seed=12)):
        sites = images.shape[-1] ** 2
        links = images.flatten(1).sum(1).double()
        variance = float(links.var()) / (2 * sites)
        raw = float(leading_eigenvalue(images, translations=False))
        averaged = float(leading_eigenvalue(images))
        assert variance <= averaged * (1 + 1e-12)
        assert averaged <= raw * (1 + 1e-9)
        assert raw <= 1.02 * variance


def test_leading_component_is_nearly_uniform(loops: Tensor) -> None:
    _, components = principal_components(loops, 1)
    assert float(components.sum().abs()) / math.sqrt(128) > 0.995


def test_flow_reports_occupation_and_eigenvalue_of_each_step(loops: Tensor) -> None:
    flow = blocking_flow(loops[:2000], steps=2)
    assert flow.sizes == (8, 4, 2)
    images = loops[:2000]
    for step in range(3):
        images = block_links(images) if step else images
        torch.testing.assert_close(flow.occupation[step], images.double().mean())
        torch.testing.assert_close(flow.eigenvalue[step], leading_eigenvalue(images))
    assert blocking_flow(loops[:100]).sizes == (8, 4, 2)


def test_exact_curves_collapse_with_the_exact_exponent() -> None:
    reduced = torch.linspace(-0.125, 0.125, 401, dtype=torch.float64)
    curves = {
        size: (reduced, loop_statistics(CRITICAL_BETA / (1 + reduced), size, size)[1] / (2 * size**2))
        for size in (16, 32, 64)
    }
    spread = {nu: collapse_spread(curves, nu) for nu in (1.0, 2.0, 0.5)}
    assert spread[1.0] == pytest.approx(0.036, abs=1e-3)
    assert spread[2.0] == pytest.approx(0.212, abs=4e-3)
    assert spread[0.5] == pytest.approx(0.190, abs=1e-2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="the side is 3"):
        block_links(random_links(1, 2, 3, 3))
    with pytest.raises(InputError, match="rule is 'sum'"):
        block_links(random_links(1, 2, 4, 4), "sum")
    with pytest.raises(InputError, match="0 or 1"):
        block_links(2 * torch.ones(1, 2, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="3 x 4"):
        block_grey(torch.ones(1, 3, 4))
    with pytest.raises(InputError, match="at least two"):
        leading_eigenvalue(random_links(1, 2, 4, 4))
    with pytest.raises(InputError, match="translations need link images"):
        leading_eigenvalue(torch.ones(5, 4, 4))
    with pytest.raises(InputError, match=r"count is 9; it must lie in 1\.\.4"):
        principal_components(torch.ones(5, 4, 4), 9)
    with pytest.raises(InputError, match="NaN or Inf"):
        principal_components(torch.full((5, 4, 4), math.nan), 1)
    with pytest.raises(InputError, match="can be halved 2 times"):
        blocking_flow(random_links(5, 2, 4, 4), steps=3)
    with pytest.raises(InputError, match="at least two sizes"):
        collapse_spread({8: (torch.zeros(1), torch.zeros(1))}, 1.0)
    curve = (torch.linspace(-0.1, 0.1, 5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
    with pytest.raises(InputError, match="size 8 covers"):
        collapse_spread({8: curve, 16: curve}, 1.0)

"""Tensor products against e3nn's numbers for equal weights, explicit sums over paths, and equivariance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.bridge import to_e3nn
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.tensor_product import DepthwiseTensorProduct, FullyConnectedTensorProduct
from polyad.testing import assert_gradient_matches, assert_rotation_covariant

FIRST, SECOND, PRODUCT = (
    Irreps("3x0e+2x1o+1x2e+1x1e"),
    Irreps("2x0e+1x1o+2x2e"),
    Irreps("2x0e+3x1o+1x1e+2x2e+1x0o+1x3o"),
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fully_connected() -> FullyConnectedTensorProduct:
    return FullyConnectedTensorProduct(
        FIRST, SECOND, PRODUCT, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


def test_fully_connected_equals_the_sum_over_paths() -> None:
    layer, first, second = fully_connected(), normal(4, FIRST.dim), normal(4, SECOND.dim, seed=1)
    expected = torch.zeros(4, PRODUCT.dim, dtype=torch.float64)
    fan_in = [0] * len(PRODUCT)
    for path in layer.paths:
        fan_in[path.product] += FIRST.terms[path.first][0] * SECOND.terms[path.second][0]
    for path, weight in zip(layer.paths, layer.weights, strict=True):
        degrees = [
            irreps.terms[p][1].degree
            for irreps, p in zip((FIRST, SECOND, PRODUCT), (path.first, path.second, path.product), strict=True)
        ]
        one, two = FIRST.split(first)[path.first], SECOND.split(second)[path.second]
        piece = torch.einsum("wuv,abc,nua,nvb->nwc", weight.detach(), clebsch_gordan(*degrees), one, two)
        expected[:, PRODUCT.slices()[path.product]] += piece.flatten(1) / math.sqrt(fan_in[path.product])
    torch.testing.assert_close(layer(first, second).detach(), expected, rtol=0, atol=1e-12)


def test_fully_connected_equals_e3nn_for_equal_weights() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    layer = fully_connected()
    peer = o3.FullyConnectedTensorProduct(str(FIRST), str(SECOND), str(PRODUCT)).double()
    ours = {
        (path.first, path.second, path.product): weight for path, weight in zip(layer.paths, layer.weights, strict=True)
    }
    assert len(ours) == len(peer.instructions)
    with torch.no_grad():
        for path, weight in zip(peer.instructions, peer.weight_views(), strict=True):
            weight.copy_(ours[path.i_in1, path.i_in2, path.i_out].permute(1, 2, 0))
        first, second = normal(5, FIRST.dim), normal(5, SECOND.dim, seed=1)
        expected = peer(to_e3nn(first, FIRST), to_e3nn(second, SECOND))
        # its couplings are float32 tables here
        torch.testing.assert_close(to_e3nn(layer(first, second), PRODUCT), expected, rtol=0, atol=2e-6)


def test_depthwise_equals_e3nn_for_equal_weights() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    channels, harmonics = Irreps("4x0e+4x1o+4x2e"), Irreps.spherical(3)
    layer = DepthwiseTensorProduct(channels, harmonics, keep="0e+1o+2e+1e")
    instructions = [(p.first, p.second, k, "uvu", True) for k, p in enumerate(layer.paths)]
    peer = o3.TensorProduct(
        str(channels), str(harmonics), str(layer.irreps_out), instructions, shared_weights=False, internal_weights=False
    ).double()
    first, second, weights = normal(6, channels.dim), normal(6, 16, seed=1), normal(6, *layer.weight_shape, seed=2)
    expected = peer(to_e3nn(first, channels), to_e3nn(second, harmonics), weights.flatten(1))
    ours = to_e3nn(layer(first, second, weights), layer.irreps_out)
    torch.testing.assert_close(ours, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("keep", [None, 2, "0e+1e+2o"])
def test_depthwise_equals_the_sum_over_orders(keep: str | int | None) -> None:
    first_irreps, second_irreps = Irreps("3x1o+3x0e+3x2o"), Irreps("1x2e+1x0e+1x1o")
    layer = DepthwiseTensorProduct(first_irreps, second_irreps, keep=keep)
    batch = (2, 3)
    first, second = normal(*batch, first_irreps.dim), normal(*batch, second_irreps.dim, seed=1)
    weights = normal(*batch, *layer.weight_shape, seed=2)
    result = layer(first, second, weights)
    assert result.shape == (*batch, layer.irreps_out.dim)
    kept = [irrep for _, irrep in layer.irreps_out]
    assert kept == sorted(kept)
    for position, (path, piece) in enumerate(zip(layer.paths, layer.irreps_out.split(result), strict=True)):
        degrees = (
            first_irreps.terms[path.first][1].degree,
            second_irreps.terms[path.second][1].degree,
            kept[position].degree,
        )
        expected = torch.einsum(
            "...u,abc,...ua,...b->...uc",
            weights[..., position, :], clebsch_gordan(*degrees),
            first_irreps.split(first)[path.first], second[..., second_irreps.slices()[path.second]],
        )  # fmt: skip
        torch.testing.assert_close(piece, expected, rtol=0, atol=1e-13)
    if keep is None:
        assert layer.irreps_out.dim == 3 * 9 * 9


def test_gathered_products_are_sums_of_products() -> None:
    layer = DepthwiseTensorProduct("2x1o+2x0e+2x2o", Irreps.spherical(2))
    inputs = normal(5, 18), normal(5, 9, seed=1), normal(5, *layer.weight_shape, seed=2)
    receiver = torch.tensor([2, 0, 2, 2, 0])

    def gather(edges: Tensor) -> Tensor:
        return edges.new_zeros(3, *edges.shape[1:]).index_add(0, receiver, edges)

    torch.testing.assert_close(layer(*inputs, gather=gather), gather(layer(*inputs)), rtol=0, atol=1e-13)
    with pytest.raises(InputError, match="gather: needs one dimension"):
        layer(*(x[None] for x in inputs), gather=gather)


def test_equivariance() -> None:
    layer = fully_connected()
    with torch.no_grad():
        assert_rotation_covariant(
            layer,
            [normal(4, FIRST.dim), normal(4, SECOND.dim, seed=1)],
            act_on_input=[lambda q, x: FIRST.rotate(x, q), lambda q, y: SECOND.rotate(y, q)],
            act_on_output=lambda q, z: PRODUCT.rotate(z, q),
            tolerance=1e-12,
        )
    depthwise = DepthwiseTensorProduct("2x0e+2x1o+2x3e", Irreps.spherical(4))
    weights = normal(4, *depthwise.weight_shape)
    assert_rotation_covariant(
        lambda x, y: depthwise(x, y, weights),
        [normal(4, depthwise.irreps1.dim), normal(4, 25, seed=1)],
        act_on_input=[lambda q, x: depthwise.irreps1.rotate(x, q), lambda q, y: depthwise.irreps2.rotate(y, q)],
        act_on_output=lambda q, z: depthwise.irreps_out.rotate(z, q),
        tolerance=1e-12,
    )


def test_variance_and_gradients() -> None:
    layer = FullyConnectedTensorProduct(
        "16x0e+16x1o", "8x0e+8x1o", "32x0e+32x1o", generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    result = layer(normal(400, 64), normal(400, 32, seed=1))
    assert float(result.square().mean()) == pytest.approx(1.0, rel=0.15)
    assert_gradient_matches(fully_connected(), [normal(2, FIRST.dim), normal(2, SECOND.dim, seed=1)])
    depthwise = DepthwiseTensorProduct("2x0e+2x1o", Irreps.spherical(2))
    inputs = [normal(2, 8), normal(2, 9, seed=1), normal(2, *depthwise.weight_shape, seed=2)]
    assert_gradient_matches(depthwise, inputs)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="reaches 3e"):
        FullyConnectedTensorProduct("1x1o", "1x1o", "1x0e+1x3e", generator=torch.Generator())
    with pytest.raises(InputError, match="equal multiplicity"):
        DepthwiseTensorProduct("2x0e+3x1o", "1x0e")
    with pytest.raises(InputError, match="equal multiplicity"):
        DepthwiseTensorProduct("2x0e+2x1o", "2x0e")
    with pytest.raises(InputError, match="leaves no product"):
        DepthwiseTensorProduct("2x0e", "1x0e", keep="1o")
    layer = DepthwiseTensorProduct("2x0e", "1x1o")
    with pytest.raises(InputError, match="leading dimensions"):
        layer(torch.zeros(3, 2), torch.zeros(2, 3), torch.zeros(3, 1, 2))
    with pytest.raises(InputError, match="weights"):
        layer(torch.zeros(3, 2), torch.zeros(3, 3), torch.zeros(3, 2, 2))

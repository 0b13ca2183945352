"""Equivariant linear maps against the dense matrix of Schur's lemma and e3nn's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.linear import DegreeLinear, EquivariantLinear
from polyad.symmetry.wigner import rotate
from polyad.testing import assert_gradient_matches, assert_rotation_covariant

IRREPS_IN, IRREPS_OUT = Irreps("3x0e+2x1o+1x0o+2x0e+1x1o+2x2e+1x1e"), Irreps("2x1o+4x0e+1x2e+1x0o+1x1o+3x1e")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(*, bias: bool = True) -> EquivariantLinear:
    layer = EquivariantLinear(
        IRREPS_IN, IRREPS_OUT, generator=torch.Generator().manual_seed(1), bias=bias, dtype=torch.float64
    )
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    return layer


def test_equivariant_under_reflections_too() -> None:
    with torch.no_grad():
        assert_rotation_covariant(
            linear(),
            normal(5, IRREPS_IN.dim),
            act_on_input=lambda q, x: IRREPS_IN.rotate(x, q),
            act_on_output=lambda q, y: IRREPS_OUT.rotate(y, q),
            tolerance=1e-12,
        )


def test_equal_to_explicit_sums_over_copies() -> None:
    layer, features = linear(), normal(4, IRREPS_IN.dim)
    result = layer(features).detach()
    for irrep in {irrep for _, irrep in IRREPS_OUT}:
        copies = torch.cat(
            [piece for piece, (_, found) in zip(IRREPS_IN.split(features), IRREPS_IN, strict=True) if found == irrep], 1
        )
        expected = torch.einsum("wu,num->nwm", layer.weights[str(irrep)], copies) / math.sqrt(copies.shape[1])
        if irrep.is_scalar:
            expected = expected + layer.bias[:, None]
        images = [
            piece for piece, (_, found) in zip(IRREPS_OUT.split(result), IRREPS_OUT, strict=True) if found == irrep
        ]
        torch.testing.assert_close(torch.cat(images, 1), expected.detach(), rtol=0, atol=1e-13)


def test_equal_to_e3nn_for_equal_weights() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    irreps_in, irreps_out = "4x0e+3x1o+2x2e", "2x0e+5x1o+1x2e"
    layer = EquivariantLinear(irreps_in, irreps_out, generator=torch.Generator().manual_seed(1), bias=False)
    peer = o3.Linear(irreps_in, irreps_out)
    with torch.no_grad():
        for path, weight in zip(peer.instructions, peer.weight_views(), strict=True):
            weight.copy_(layer.weights[str(Irreps(irreps_in).terms[path.i_in][1])].T)
    features = normal(6, Irreps(irreps_in).dim).float()
    # a linear map that mixes copies alone is the same in every basis
    torch.testing.assert_close(layer(features), peer(features), rtol=0, atol=1e-6)


def test_variance_is_kept_and_gradients_are_right() -> None:
    layer = EquivariantLinear("64x1o", "64x1o", generator=torch.Generator().manual_seed(0))
    assert float(layer(normal(300, 192).float()).var()) == pytest.approx(1.0, rel=0.1)
    assert_gradient_matches(linear(), normal(2, IRREPS_IN.dim))


def test_channels_first() -> None:
    layer = DegreeLinear(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    coefficients = normal(7, 3, 25)
    with torch.no_grad():
        result = layer(coefficients)
        for degree in range(5):
            place = slice(degree**2, (degree + 1) ** 2)
            expected = torch.einsum("wu,num->nwm", layer.weight[degree], coefficients[..., place]) / math.sqrt(3)
            if degree == 0:
                expected = expected + layer.bias[:, None]
            torch.testing.assert_close(result[..., place], expected, rtol=0, atol=1e-13)
        assert_rotation_covariant(
            layer, coefficients, act_on_input=lambda q, x: rotate(x, q), act_on_output=lambda q, y: rotate(y, q)
        )


def test_state_and_errors() -> None:
    layer = linear()
    assert set(dict(layer.named_parameters())) == {
        "bias",
        *(f"weights.{name}" for name in ("0o", "0e", "1o", "1e", "2e")),
    }
    other = linear()
    other.load_state_dict(layer.state_dict())
    features = normal(2, IRREPS_IN.dim)
    assert torch.equal(other(features), layer(features))
    assert "->" in repr(layer)
    with pytest.raises(InputError, match="2e is not among"):
        EquivariantLinear("3x0e", "1x2e", generator=torch.Generator())
    with pytest.raises(InputError, match="components"):
        layer(features[:, 1:])
    with pytest.raises(InputError, match="channels"):
        DegreeLinear(3, 5, 2, generator=torch.Generator())(torch.zeros(2, 4, 9))

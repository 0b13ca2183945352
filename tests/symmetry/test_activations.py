"""Gates, norms and activations on the sphere: equivariance, closed forms, smoothness at zero."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.activations import (
    Gate,
    NormActivation,
    SphereActivation,
    irrep_norms,
    root_mean_square,
    scale_irreps,
)
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches, assert_rotation_covariant

IRREPS = Irreps("3x0e+2x1o+1x2e+1x0o")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_norms_and_scales() -> None:
    features = normal(4, IRREPS.dim)
    norms = irrep_norms(features, IRREPS, epsilon=0.0)
    assert norms.shape == (4, 7)
    torch.testing.assert_close(norms[:, 4], features[:, 6:9].norm(dim=-1))
    torch.testing.assert_close(norms[:, 5], features[:, 9:14].norm(dim=-1))
    scaled = scale_irreps(features, IRREPS, 1 / norms)
    torch.testing.assert_close(irrep_norms(scaled, IRREPS, epsilon=0.0), torch.ones_like(norms))
    with pytest.raises(InputError, match="copies"):
        scale_irreps(features, IRREPS, norms[:, :3])


def test_root_mean_squares_in_closed_form() -> None:
    assert root_mean_square(torch.relu) == pytest.approx(math.sqrt(0.5), rel=1e-3)  # a kink: the quadrature is slow
    assert root_mean_square(lambda z: z**3) == pytest.approx(math.sqrt(15), rel=1e-12)
    assert root_mean_square(torch.cos) == pytest.approx(math.sqrt((1 + math.exp(-2)) / 2), rel=1e-12)
    with pytest.raises(InputError, match="root mean square"):
        root_mean_square(torch.zeros_like)


def test_gate() -> None:
    gate = Gate("2x0e", "1x0o+2x1o+1x2e", normalize=False)
    assert (str(gate.irreps_in), str(gate.irreps_out)) == ("6x0e+1x0o+2x1o+1x2e", "2x0e+1x0o+2x1o+1x2e")
    features = normal(5, gate.irreps_in.dim)
    result = gate(features)
    torch.testing.assert_close(result[:, :2], torch.nn.functional.silu(features[:, :2]))
    torch.testing.assert_close(result[:, 2], features[:, 2].sigmoid() * features[:, 6])
    torch.testing.assert_close(result[:, 6:9], features[:, 4:5].sigmoid() * features[:, 10:13])
    torch.testing.assert_close(result[:, 9:], features[:, 5:6].sigmoid() * features[:, 13:])
    assert_rotation_covariant(
        gate,
        features,
        act_on_input=lambda q, x: gate.irreps_in.rotate(x, q),
        act_on_output=lambda q, y: gate.irreps_out.rotate(y, q),
        tolerance=1e-12,
    )
    assert Gate("3x0e", "")(normal(2, 3)).shape == (2, 3)
    with pytest.raises(InputError, match="0e alone"):
        Gate("2x0o", "1x1o")


def test_normalised_gate_keeps_the_variance_and_equals_e3nn() -> None:
    gate = Gate("20x0e", "30x1o")
    result = gate(normal(4000, gate.irreps_in.dim))
    assert float(result.square().mean()) == pytest.approx(1.0, rel=0.03)
    nn, o3 = pytest.importorskip("e3nn.nn"), pytest.importorskip("e3nn.o3")
    silu, sigmoid = torch.nn.functional.silu, torch.sigmoid
    peer = nn.Gate(o3.Irreps("20x0e"), [silu], o3.Irreps("30x0e"), [sigmoid], o3.Irreps("30x1o"))
    features = normal(5, gate.irreps_in.dim)
    torch.testing.assert_close(gate(features), peer(features), rtol=5e-3, atol=1e-6)  # its constants are sampled


def test_norm_activation() -> None:
    layer = NormActivation(IRREPS, bias=True, activation=torch.tanh, dtype=torch.float64)
    torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    features = normal(3, IRREPS.dim)
    with torch.no_grad():
        result = layer(features)
        vector = features[:, 3:6]
        norm = vector.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(result[:, 3:6], torch.tanh(norm + layer.bias[3]) * vector / norm)
        assert_rotation_covariant(
            layer,
            features,
            act_on_input=lambda q, x: IRREPS.rotate(x, q),
            act_on_output=lambda q, y: IRREPS.rotate(y, q),
            tolerance=1e-12,
        )
    assert_gradient_matches(layer, features)
    zeros = torch.zeros(2, IRREPS.dim, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(zeros).sum(), zeros)
    assert torch.isfinite(gradient).all()
    assert not layer(zeros).any()


def test_sphere_activation_is_exact_for_polynomials_and_converges_for_others() -> None:
    coefficients = normal(8, 49) * math.sqrt(4 * math.pi / 49)  # standard deviation 1 on the sphere
    turn = random_rotations(1, generator=torch.Generator().manual_seed(3))[0]

    def equivariance_error(layer: SphereActivation) -> float:
        expected = rotate(layer(coefficients), turn)
        return float((layer(rotate(coefficients, turn)) - expected).norm() / expected.norm())

    square = SphereActivation(6, degree=18, activation=torch.square)
    assert equivariance_error(square) < 1e-13
    errors = [equivariance_error(SphereActivation(6, degree=degree)) for degree in (12, 24, 36, 48)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 2e-2
    assert errors[2] < 1e-3
    assert errors[3] < 1e-4
    with pytest.raises(InputError, match="at least 12"):
        SphereActivation(6, degree=11)
    with pytest.raises(InputError, match="lmax 6"):
        square(normal(2, 36))

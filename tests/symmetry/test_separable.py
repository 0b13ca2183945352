"""Separable activations and norms: the grid's error against its degree, norms by their formula, exact symmetry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.separable import DegreeNorm, GateActivation, SeparableActivation, SeparableNorm
from polyad.symmetry.so2 import EdgeFrames
from polyad.symmetry.spherical_harmonics import degree_slices
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(features: Tensor, turn: Tensor) -> Tensor:
    return rotate(features.mT.contiguous(), turn).mT


TURN = random_rotations(1, generator=torch.Generator().manual_seed(0))[0]


def unit_functions(lmax: int, rows: int, channels: int) -> Tensor:
    """Random functions whose values on the sphere have standard deviation 1."""
    return normal(rows, (lmax + 1) ** 2, channels) * math.sqrt(4 * math.pi) / (lmax + 1)


def test_activation_error_falls_with_the_grid() -> None:
    lmax = 6
    features, scalars = unit_functions(lmax, 40, 4), normal(40, 4, seed=1)
    errors = []
    for degree in (2 * lmax, 4 * lmax, 6 * lmax, 8 * lmax):
        layer = SeparableActivation(4, lmax, degree=degree)
        plain = layer(features, scalars)
        gap = layer(turned(features, TURN), scalars) - turned(plain, TURN)
        errors.append(float(gap[:, 1:].norm() / plain[:, 1:].norm()))
        torch.testing.assert_close(plain[:, 0], scalars * torch.sigmoid(scalars))
    assert 0.05 < errors[0] < 0.5  # exact for the linear part only
    assert errors[1] < 2e-2
    assert errors[2] < 1e-3
    assert errors[3] < 1e-4
    by_component = nn.functional.silu(features)
    gap = nn.functional.silu(turned(features, TURN)) - turned(by_component, TURN)
    assert float(gap.norm() / by_component.norm()) > 0.3
    # larger functions bend more sharply at zero: a finer grid is needed
    layer = SeparableActivation(4, lmax, degree=6 * lmax)
    plain = layer(5 * features, scalars)
    gap = layer(turned(5 * features, TURN), scalars) - turned(plain, TURN)
    assert float(gap[:, 1:].norm() / plain[:, 1:].norm()) > 3 * errors[2]


def test_activation_of_small_functions_is_half_of_them() -> None:
    """silu(x) = x / 2 + x^2 / 4 + ...: what is sampled and projected is the function itself."""
    features = 1e-6 * normal(3, 16, 2)
    layer = SeparableActivation(2, 3, degree=6)
    torch.testing.assert_close(layer(features, normal(3, 2))[:, 1:], features[:, 1:] / 2, rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("mmax", [1, 3])
def test_gate_multiplies_each_degree_and_channel_by_its_own_gate(mmax: int) -> None:
    """In the frame and outside it, exactly."""
    features, gates = normal(5, 4, 16), normal(5, 12, seed=2)
    frames = EdgeFrames.from_directions(normal(5, 3, seed=3), 3, mmax=mmax)
    inside = GateActivation(4, 3, mmax=mmax)(frames.to_frame(features), gates)
    whole = frames.from_frame(frames.to_frame(features)).mT
    expected = whole.clone()
    expected[:, 0] = nn.functional.silu(whole[:, 0])
    for degree, place in enumerate(degree_slices(3)):
        if degree:
            expected[:, place] *= torch.sigmoid(gates[:, None, 4 * (degree - 1) : 4 * degree])
    torch.testing.assert_close(GateActivation(4, 3)(whole, gates), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(inside, frames.to_frame(expected.mT), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [SeparableNorm, DegreeNorm])
def test_norms_commute_with_rotations_and_keep_directions(kind: type[nn.Module]) -> None:
    features = normal(7, 16, 5) + 0.5
    layer = kind(5, 3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.scalar.bias)
    plain = layer(features)
    for turn in (TURN, -TURN):
        torch.testing.assert_close(layer(turned(features, turn)), turned(plain, turn), rtol=0, atol=1e-12)
    for place in degree_slices(3)[1:]:
        before, after = features[:, place], plain[:, place]
        cosine = (before * after).sum(1) / (before.norm(dim=1) * after.norm(dim=1))
        torch.testing.assert_close(cosine.abs(), torch.ones(7, 5, dtype=torch.float64))
    with pytest.raises(InputError, match="lmax 3"):
        layer(normal(2, 9, 5))


def test_norms_by_their_formulas() -> None:
    features = normal(6, 9, 4) * torch.tensor([1.0, *[3.0] * 3, *[0.1] * 5], dtype=torch.float64)[:, None]
    separable, each = SeparableNorm(4, 2).double(), DegreeNorm(4, 2).double()
    one, two = separable(features), each(features)
    scalars = features[:, 0]
    centred = scalars - scalars.mean(1, keepdim=True)
    layer_norm = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    for row in range(6):
        sizes = [float(features[row, place].square().sum(0).mean()) for place in degree_slices(2)]
        sigma = math.sqrt((sizes[1] / 3 + sizes[2] / 5) / 2 + 1e-6)
        torch.testing.assert_close(one[row, 1:], features[row, 1:] / sigma)
        for degree, place in enumerate(degree_slices(2)):
            if degree:
                own = math.sqrt(sizes[degree] / (2 * degree + 1) + 1e-6)
                torch.testing.assert_close(two[row, place], features[row, place] / own)
    torch.testing.assert_close(one[:, 0], layer_norm)
    torch.testing.assert_close(two[:, 0], layer_norm)


def test_norms_without_degrees_above_zero_are_layer_norms() -> None:
    features = normal(3, 1, 4)
    for kind in (SeparableNorm, DegreeNorm):
        torch.testing.assert_close(kind(4, 0).double()(features), nn.functional.layer_norm(features, (4,)))

"""The correction: positive definite, turning with the lattice, nothing at zero density."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.elasticity import isotropic, young_modulus
from polyad.materials.lattice.solids.correction.features import INVARIANTS, TENSORS
from polyad.materials.lattice.solids.correction.network import (
    CorrectionNetwork,
    corrected_stiffness,
    logarithmic_distance,
)
from polyad.tensors.notation import rotation_mandel
from tests.materials.lattice.solids.correction.test_features import inputs_of, skew


def loud(seed: int = 0) -> CorrectionNetwork:
    """A network whose every weight matters."""
    network = CorrectionNetwork(4).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, dtype=torch.float64, generator=generator))
    return network


@torch.no_grad()
def test_corrected_tensors_are_positive_and_turn() -> None:
    network, lattice = loud(), skew()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    turn = turn * torch.linalg.det(turn)
    one, two = inputs_of(lattice), inputs_of(lattice.rotate(turn))
    corrected = [corrected_stiffness(network(x.size, x.invariants, x.tensors), x.root) for x in (one, two)]
    assert float(torch.linalg.eigvalsh(corrected[0])[0, 0]) > 0
    assert torch.equal(corrected[0], corrected[0].mT)
    matrix = rotation_mandel(turn)
    torch.testing.assert_close(corrected[1], matrix @ corrected[0] @ matrix.mT, rtol=1e-6, atol=1e-8)
    assert float((corrected[0] - one.root @ one.root).norm() / corrected[0].norm()) > 0.1


@torch.no_grad()
def test_nothing_at_zero_density() -> None:
    """S falls as the root of the density, whatever the weights."""
    lattice, network = skew(), loud()
    sizes = [
        float(network(x.size, x.invariants, x.tensors).norm())
        for x in (inputs_of(lattice.with_density(d)) for d in (1e-4, 1e-6))
    ]
    assert sizes[1] < 0.12 * sizes[0]
    fresh = CorrectionNetwork().double()
    inputs = inputs_of(lattice)
    assert float(fresh(inputs.size, inputs.invariants, inputs.tensors).abs().max()) == 0


@torch.no_grad()
def test_inputs_beyond_what_was_seen_change_nothing() -> None:
    network = loud()
    network.standardise(torch.randn(50, INVARIANTS, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    tensors = torch.eye(6, dtype=torch.float64).expand(2, TENSORS, 6, 6)
    far = torch.tensor([[50.0], [5e6]], dtype=torch.float64).expand(2, INVARIANTS)
    found = network(torch.ones(2, dtype=torch.float64), far, tensors)
    torch.testing.assert_close(found[0], found[1])


def test_the_distance_bounds_every_direction() -> None:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(20, 6, 6, dtype=torch.float64, generator=generator)
    base = isotropic(1.0, 0.3).expand(20, 6, 6)
    root = torch.linalg.cholesky(base)
    other = root @ torch.linalg.matrix_exp(0.1 * (noise + noise.mT)) @ root.mT
    distance = logarithmic_distance(base, other)
    directions = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64, generator=generator), dim=-1)
    ratio = (young_modulus(other, directions) / young_modulus(base, directions)).log()
    assert bool((ratio.abs() <= distance[:, None] + 1e-12).all())
    assert float((ratio.abs().amax(1) / distance).median()) > 0.3  # and is not much too wide
    torch.testing.assert_close(logarithmic_distance(base, 1.5 * base), torch.full((20,), math.log(1.5)).double())
    torch.testing.assert_close(logarithmic_distance(other, base), distance)


def test_a_width_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="width"):
        CorrectionNetwork(-1)

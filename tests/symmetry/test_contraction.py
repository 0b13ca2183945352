"""The symmetric contraction against the brute-force sum over all index tuples, equivariance, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.symmetric_coupling import symmetric_tensors
from polyad.symmetry.wigner import rotate
from polyad.testing import assert_gradient_matches, assert_rotation_covariant


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contraction(
    lmax: int = 2, irreps: str = "0e+1o+2e", *, species: int = 3, correlation: int = 3
) -> SymmetricContraction:
    return SymmetricContraction(
        lmax,
        irreps,
        channels=2,
        species=species,
        correlation=correlation,
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    )


def brute_force(layer: SymmetricContraction, features: Tensor, species: Tensor) -> Tensor:
    blocks = []
    for _, irrep in layer.irreps_out:
        total = torch.zeros(len(features), layer.channels, irrep.dim, dtype=torch.float64)
        for order in range(1, layer.correlation + 1):
            tensors = symmetric_tensors(layer.lmax, order, irrep)
            letters = "ijlm"[:order]
            operands = ",".join(f"nk{letter}" for letter in letters)
            weights = layer.weights[f"{irrep}_{order}"].detach()[species]
            total += torch.einsum(f"nke,ec{letters},{operands}->nkc", weights, tensors, *[features] * order)
        blocks.append(total)
    return torch.cat(blocks, dim=-1)


@pytest.mark.parametrize(
    ("lmax", "irreps", "correlation"),
    [(2, "0e+1o+2e", 3), (1, "1o", 1), (3, "0e+1o", 2), (1, "0e+1o", 4), (2, "1e+0e+3o", 3), (3, "0e", 3)],
)
def test_equal_to_the_sum_over_all_index_tuples(lmax: int, irreps: str, correlation: int) -> None:
    layer = contraction(lmax, irreps, correlation=correlation)
    features, species = normal(7, 2, (lmax + 1) ** 2), torch.tensor([2, 0, 2, 2, 0, 0, 2])  # species 1 is absent
    result = layer(features, species)
    assert result.shape == (7, 2, Irreps(irreps).dim)
    torch.testing.assert_close(result.detach(), brute_force(layer, features, species), rtol=0, atol=1e-11)


def test_one_species_empty_batches_and_kept_polynomials() -> None:
    layer = contraction()
    features, species = normal(4, 2, 9), torch.ones(4, dtype=torch.long)
    torch.testing.assert_close(
        layer(features, species).detach(), brute_force(layer, features, species), rtol=0, atol=1e-11
    )
    assert layer(features[:0], species[:0]).shape == (0, 2, 9)
    kept = layer.precontract().detach()
    mixed = torch.tensor([0, 1, 2, 1])
    torch.testing.assert_close(layer(features, mixed, polynomials=kept), layer(features, mixed).detach())
    single = contraction(species=1)
    result = single(features, torch.zeros(4, dtype=torch.long)).detach()
    torch.testing.assert_close(
        result, brute_force(single, features, torch.zeros(4, dtype=torch.long)), rtol=0, atol=1e-11
    )


def test_equivariance_with_reflections() -> None:
    layer = contraction(3, "0e+1o+2e")
    species = torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        assert_rotation_covariant(
            lambda a: layer(a, species),
            normal(4, 2, 16),
            act_on_input=lambda q, a: rotate(a, q),
            act_on_output=lambda q, b: rotate(b, q),
            tolerance=1e-12,
        )


def test_counts_and_variance() -> None:
    layer = SymmetricContraction(3, "0e+1o", channels=64, species=1, generator=torch.Generator().manual_seed(0))
    assert layer.couplings == {"0e_1": 1, "0e_2": 4, "0e_3": 8, "1o_1": 1, "1o_2": 3, "1o_3": 12}
    assert "couplings" in repr(layer)
    result = layer(normal(200, 64, 16).float(), torch.zeros(200, dtype=torch.long))
    assert 0.3 < float(result.square().mean()) < 20.0  # a cubic has 3! times the square of its norm, and more


def test_first_and_second_derivatives() -> None:
    layer = contraction(1, "0e+1o", species=2)
    species = torch.tensor([0, 1, 0])
    assert_gradient_matches(lambda a: layer(a, species), normal(3, 2, 4))
    inputs = normal(3, 2, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a: layer(a, species), inputs)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="multiplicities"):
        contraction(2, "2x0e")
    with pytest.raises(InputError, match="no coupling"):
        contraction(1, "0o", correlation=2)
    layer = contraction()
    with pytest.raises(InputError, match="expected"):
        layer(normal(3, 2, 16), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match=r"0\.\.2"):
        layer(normal(3, 2, 9), torch.tensor([0, 1, 3]))

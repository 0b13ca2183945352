"""Coarse-grained partition functions against exact ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    CRITICAL_BETA,
    ising_jet,
    ising_tensor,
    kaufman,
    log_partition,
    log_z,
    merge_rows,
    onsager,
    pair_gram,
    split_and_join,
    transfer_matrix,
)

BETAS = torch.tensor([0.3, CRITICAL_BETA, 0.6], dtype=torch.float64)
CRITICAL = BETAS[1]
RULES = ("pair", "svd_pair", "hotrg", "trg")


def random_tensor(vertical: int, horizontal: int, *, batch: tuple[int, ...] = (), seed: int = 0) -> Tensor:
    """A positive tensor without any symmetry."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*batch, *(vertical, horizontal) * 2, dtype=torch.float64, generator=generator)


def dense_contraction(tensor: Tensor, columns: int, rows: int) -> Tensor:
    """The torus contracted without any truncation: a whole column as one tensor, then a power of its matrix."""
    column = tensor
    for _ in range(rows - 1):
        column = torch.einsum("ulmr,mkds->ulkdrs", column, tensor).flatten(-2).flatten(1, 2)
    return torch.linalg.matrix_power(torch.einsum("ulur->lr", column), columns).trace()


def test_the_oracle_is_the_sum_over_all_legs_of_the_torus() -> None:
    tensor = random_tensor(2, 3)
    # sites (x, y) = (0, 0), (0, 1), (1, 0), (1, 1); down is y + 1, right is x + 1
    expected = torch.einsum("albr,bmas,crdl,dscm->", tensor, tensor, tensor, tensor)
    torch.testing.assert_close(dense_contraction(tensor, 2, 2), expected)


def test_ising_tensor_is_the_sum_over_its_spin() -> None:
    field = 0.3
    beta = BETAS[:, None]
    w = torch.stack([torch.cosh(beta).sqrt().expand(3, 2), torch.sinh(beta).sqrt() * torch.tensor([1.0, -1.0])], -1)
    weight = torch.exp(field * torch.tensor([1.0, -1.0], dtype=torch.float64))
    expected = torch.einsum("s,bsu,bsl,bsd,bsr->buldr", weight, w, w, w, w)
    torch.testing.assert_close(ising_tensor(BETAS, field), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("by", ["beta", "field"])
def test_impurities_are_derivatives_of_the_tensor(by: str) -> None:
    step, point = 1e-5, torch.tensor(0.4, dtype=torch.float64)

    def tensor_at(shift: float) -> list[Tensor]:
        return ising_jet(point + shift, 0.1, by="beta") if by == "beta" else ising_jet(point, 0.1 + shift, by="field")

    above, here, below = tensor_at(step), tensor_at(0.0), tensor_at(-step)
    for order in (0, 1):
        difference = (above[order] - below[order]) / (2 * step)
        torch.testing.assert_close(here[order + 1], difference, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("sides", [(2, 2), (4, 2), (2, 4), (4, 4), (1, 8), (16, 1)])
def test_without_truncation_every_rule_is_exact(method: str, sides: tuple[int, int]) -> None:
    torch.testing.assert_close(log_z(BETAS, *sides, bond=16, method=method), kaufman(BETAS, *sides), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", RULES)
def test_without_truncation_a_tensor_without_symmetry_is_exact(method: str) -> None:
    # wrong orientations of legs cancel in the Ising tensor, not here
    tensor = random_tensor(2, 3)
    for sides in ((4, 4), (4, 2), (2, 4)):
        found = log_partition(tensor, *sides, bond=81, method=method)
        torch.testing.assert_close(found, torch.log(dense_contraction(tensor, *sides)), rtol=1e-12, atol=0)


def test_one_step_of_each_kind_keeps_a_small_torus() -> None:
    tensor = random_tensor(3, 2, seed=1)
    identity = torch.eye(4, dtype=torch.float64).reshape(2, 2, 4)
    merged = merge_rows(tensor, tensor, identity)
    torch.testing.assert_close(dense_contraction(merged, 2, 1), dense_contraction(tensor, 2, 2))
    # two turned tensors tile the 2 x 2 torus: each touches the other with all four legs, twice along each diagonal
    turned = split_and_join(tensor, 100)
    found = torch.einsum("aecb,cbae->", turned, turned)
    torch.testing.assert_close(found, dense_contraction(tensor, 2, 2))


def test_gram_matrix_is_that_of_the_fused_pair() -> None:
    tensor = random_tensor(3, 2, batch=(2,), seed=2)
    fused = torch.einsum("bulmr,bmkds->blkudrs", tensor, tensor).reshape(2, 4, -1)
    torch.testing.assert_close(pair_gram(tensor), fused @ fused.mT)


def test_errors_at_criticality_of_a_lattice_of_2_to_the_40_sites() -> None:
    size = 2**20
    for bond, error in {4: 1.73e-4, 8: 1.36e-5, 12: 1.67e-6}.items():
        value = log_z(CRITICAL, size, size, bond=bond) / size**2
        assert float(1 - value / onsager(CRITICAL)) == pytest.approx(error, rel=5e-3)


def test_error_at_criticality_with_sixteen_states() -> None:
    size = 2**20
    value = log_z(CRITICAL, size, size, bond=16, parity=True) / size**2
    assert float(1 - value / onsager(CRITICAL)) == pytest.approx(5.6e-7, rel=1e-2)


def test_field_free_rules_agree_and_differ_for_an_asymmetric_tensor() -> None:
    values = [log_z(BETAS, 64, 64, bond=6, method=method) for method in ("pair", "svd_pair", "hotrg")]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=1e-9, atol=0)
    differences = []
    for seed in range(6):
        tensor = random_tensor(3, 3, seed=seed)
        exact = torch.log(dense_contraction(tensor, 4, 4))
        errors = {m: float((log_partition(tensor, 4, 4, bond=4, method=m) - exact).abs()) for m in RULES[:3]}
        assert errors["pair"] == pytest.approx(errors["svd_pair"], rel=1e-6)
        differences.append(errors["pair"] != pytest.approx(errors["hotrg"], rel=1e-6))
    assert any(differences)


def test_hotrg_takes_the_side_that_discards_less() -> None:
    # 4 columns x 4 rows: one truncation, then an exact close
    for seed in range(4):
        tensor = random_tensor(2, 3, seed=seed)
        mirrored = tensor.transpose(1, 3)
        kept = []
        for view in (tensor, mirrored):
            values = torch.linalg.eigvalsh(pair_gram(view))
            kept.append(float(values[-2:].sum() / values.sum()))
        better = tensor if kept[0] >= kept[1] else mirrored
        worse = mirrored if kept[0] >= kept[1] else tensor
        found = log_partition(tensor, 4, 4, bond=2, method="hotrg")
        torch.testing.assert_close(found, log_partition(better, 4, 4, bond=2, method="pair"), rtol=1e-12, atol=0)
        assert (found - log_partition(worse, 4, 4, bond=2, method="pair")).abs() > 1e-9


@pytest.mark.parametrize("method", ["pair", "hotrg"])
@pytest.mark.parametrize("bond", [2, 5, 8])
def test_parity_blocks_give_the_same_numbers(method: str, bond: int) -> None:
    dense = log_z(BETAS, 32, 8, bond=bond, method=method)
    blocks = log_z(BETAS, 32, 8, bond=bond, method=method, parity=True)
    torch.testing.assert_close(blocks, dense, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["pair", "hotrg"])
def test_parity_blocks_of_a_tensor_without_reflections(method: str) -> None:
    even_states = (2, 1)
    tensor = random_tensor(3, 3, seed=4)
    legs = [torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])]
    odd = legs[0].view(3, 1, 1, 1) + legs[1].view(3, 1, 1) + legs[0].view(3, 1) + legs[1]
    tensor = torch.where(odd % 2 == 0, tensor, 0.0)
    blocks = log_partition(tensor, 16, 16, bond=4, method=method, even_states=even_states)
    torch.testing.assert_close(blocks, log_partition(tensor, 16, 16, bond=4, method=method), rtol=1e-12, atol=0)
    exact = torch.log(dense_contraction(tensor, 4, 4))
    torch.testing.assert_close(
        log_partition(tensor, 4, 4, bond=81, method=method, even_states=even_states), exact, rtol=1e-12, atol=0
    )


def test_gradient_through_parity_blocks_is_that_of_the_dense_flow() -> None:
    gradients = []
    for parity in (False, True):
        beta = BETAS.clone().requires_grad_()
        log_z(beta, 16, 16, bond=6, parity=parity).sum().backward()
        gradients.append(beta.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=0)


def test_field_and_exact_method() -> None:
    found = log_z(BETAS, 4, 4, bond=16, field=0.2)
    torch.testing.assert_close(found, transfer_matrix(BETAS, 4, 4, field=0.2), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_z(BETAS, 5, 7, method="exact"), kaufman(BETAS, 5, 7), rtol=1e-13, atol=0)


def test_batches_are_elementwise_and_keep_dtype() -> None:
    grid = torch.tensor([[0.3, 0.4], [0.5, 0.6]], dtype=torch.float64)
    whole = log_z(grid, 16, 16, bond=4)
    assert whole.shape == (2, 2)
    for index in np.ndindex(2, 2):
        torch.testing.assert_close(whole[index], log_z(grid[index], 16, 16, bond=4), rtol=1e-12, atol=0)
    single = log_z(grid.float(), 16, 16, bond=4)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=3e-6, atol=0)


def test_threshold_drops_weak_states_only() -> None:
    beta = BETAS[0]
    fine = log_z(beta, 32, 32, bond=8)
    torch.testing.assert_close(log_z(beta, 32, 32, bond=8, threshold=1e-15), fine, rtol=1e-12, atol=0)
    coarse = [log_z(beta, 32, 32, bond=8, threshold=0.05, parity=parity) for parity in (False, True)]
    torch.testing.assert_close(coarse[1], coarse[0], rtol=1e-12, atol=0)
    error = [float((value / kaufman(beta, 32, 32) - 1).abs()) for value in (fine, coarse[0])]
    assert error[1] > 10 * error[0]
    torch.testing.assert_close(log_z(beta, 32, 32, bond=8, method="svd_pair", threshold=0.05), coarse[0])
    assert (log_z(beta, 32, 32, bond=8, method="trg", threshold=0.05) - fine).abs() > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tnr"}, "allowed are pair, svd_pair, hotrg, trg, exact"),
        ({"bond": 0}, "bond >= 1"),
        ({"threshold": 1.0}, "threshold < 1"),
        ({"columns": 6}, "powers of two"),
        ({"columns": 0}, "at least 1"),
        ({"parity": True, "field": 0.1}, "breaks the symmetry"),
        ({"parity": True, "method": "trg"}, "'pair' or 'hotrg'"),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    arguments = {"columns": 8, "rows": 8, **options}
    with pytest.raises(InputError, match=message):
        log_z(BETAS, **arguments)


def test_tensors_without_a_logarithm_or_parity_are_refused() -> None:
    with pytest.raises(InputError, match="not positive"):
        log_partition(-torch.ones(1, 1, 1, 1, dtype=torch.float64), 1, 1)
    with pytest.raises(InputError, match="odd parity"):
        log_partition(random_tensor(2, 2), 4, 4, even_states=(1, 1))
    with pytest.raises(InputError, match="even_states is"):
        log_partition(random_tensor(2, 2), 4, 4, even_states=(3, 1))

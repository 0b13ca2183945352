"""Blocks of definite parity against dense tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.blocking import merge_rows, pair_isometry
from polyad.tensors.renormalization.parity import ParityTensor, contract, parity_step


def even_tensor(seed: int) -> Tensor:
    """A tensor with two even and one odd vertical, one even and two odd horizontal states, and no other symmetry."""
    tensor = torch.rand(3, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    up, left = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    odd = up.view(3, 1, 1, 1) + left.view(3, 1, 1) + up.view(3, 1) + left
    return torch.where(odd % 2 == 0, tensor, 0.0)


def test_round_trip_and_reflection() -> None:
    dense = even_tensor(0)
    blocks = ParityTensor.from_dense(dense, (2, 1))
    assert torch.equal(blocks.to_dense(), dense)
    assert torch.equal(blocks.swap().to_dense(), dense.permute(1, 0, 3, 2))
    scaled, logarithm = blocks.normalise()
    torch.testing.assert_close(scaled.to_dense() * torch.exp(logarithm), dense)
    assert float(scaled.to_dense().norm()) == pytest.approx(1.0)


def test_contraction_equals_the_dense_one() -> None:
    first, second = even_tensor(1), even_tensor(2)
    a, b = (ParityTensor.from_dense(x, (2, 1)) for x in (first, second))
    found = contract(a, (2, 3), b, (0, 1)).to_dense()
    torch.testing.assert_close(found, torch.einsum("uldr,drab->ulab", first, second))
    one_leg = contract(a, (2,), b, (0,)).to_dense()
    torch.testing.assert_close(one_leg, torch.einsum("ulmr,mkds->ulrkds", first, second))


@pytest.mark.parametrize("bond", [1, 3, 9])
def test_step_equals_the_dense_step_up_to_a_rotation_of_the_bond(bond: int) -> None:
    dense = even_tensor(3)
    found = parity_step(ParityTensor.from_dense(dense, (2, 1)), bond=bond, both_sides=False).to_dense()
    expected = merge_rows(dense, dense, pair_isometry(dense, bond))
    for rule in ("ulul->", "ulur,urul->", "uldl,dlul->"):
        operands = [found] * (rule.count(",") + 1), [expected] * (rule.count(",") + 1)
        torch.testing.assert_close(torch.einsum(rule, *operands[0]), torch.einsum(rule, *operands[1]))
    torch.testing.assert_close(found.norm(), expected.norm())


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="odd parity"):
        ParityTensor.from_dense(even_tensor(0), (1, 1))
    with pytest.raises(InputError, match="even_states is"):
        ParityTensor.from_dense(even_tensor(0), (4, 1))

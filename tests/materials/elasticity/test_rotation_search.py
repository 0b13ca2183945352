"""The search over rotations: its derivatives against autograd, its minima against closed forms."""

from __future__ import annotations

import pytest
import torch

from polyad.materials.elasticity import rotation_search as search
from polyad.tensors.notation import mandel_to_vector, rotate_mandel, strain_to_mandel
from polyad.tensors.rotations import random_rotations, rotation_from_vector


def row(seed: int) -> torch.Tensor:
    return torch.randn(21, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OBJECTIVES = {
    "sum of squares": search.sum_of_squares(torch.stack([row(0), row(1), row(2)])),
    "linear": search.linear(row(3)),
    "ratio": search.ratio(row(4), row(5)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_derivatives_are_those_of_small_turns(random_stiffness, name):
    objective = OBJECTIVES[name]
    tensor = random_stiffness(1)
    axes = random_rotations(1, generator=torch.Generator().manual_seed(0))

    def value(turn: torch.Tensor) -> torch.Tensor:
        turned = rotate_mandel(tensor, (axes @ rotation_from_vector(turn)).mT, check=False)
        features = mandel_to_vector(turned) @ objective.features.T
        if name == "sum of squares":
            return features.square().sum()
        return (features[0, 0] / features[0, 1]) if name == "ratio" else features.sum()

    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(zero), zero)
    # the Hessian by differences of autograd's gradient
    hessian = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for sign in (1, -1):
            moved = torch.zeros(1, 3, dtype=torch.float64)
            moved[0, i] = sign * 1e-5
            moved.requires_grad_()
            hessian[i] += sign * torch.autograd.grad(value(moved), moved)[0][0] / 2e-5
    table = search._derivative_table(objective.features)
    found = search._expand(tensor, axes, objective, table)
    torch.testing.assert_close(found[0][0], value(zero.detach()))
    torch.testing.assert_close(found[1], gradient, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        found[2][0], (hessian + hessian.T) / 2, rtol=1e-6, atol=1e-6 * float(hessian.abs().max())
    )


def test_minimum_of_a_rank_one_tensor_is_where_it_must_be():
    # for C = (n n)(n n), C_11 in the turned frame is (n . axis)^4: greatest, 1, at axis = +- n
    normal = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64), dim=-1)
    dyad = strain_to_mandel(normal[..., :, None] * normal[..., None, :])
    tensor = (dyad[..., :, None] * dyad[..., None, :]).expand(40, 6, 6)
    pick = torch.zeros(21, dtype=torch.float64)
    pick[0] = -1.0
    starts = random_rotations(40, generator=torch.Generator().manual_seed(0))
    axes, value = search.minimise_over_rotations(tensor, starts, search.linear(pick))
    best = value.argmin()
    assert abs(float(value[best]) + 1) < 1e-14
    assert abs(abs(float(axes[best, :, 0] @ normal[0])) - 1) < 1e-14
    # the value depends on the first axis alone: turns about it have no gradient, and are left out when it is named
    held = search.linear(pick, axis=0)
    assert float(search.minimise_over_rotations(tensor, starts, held)[1].min()) == pytest.approx(-1, abs=1e-14)
    free, kept = (
        search._expand(tensor, starts, o, search._derivative_table(pick[None])) for o in (search.linear(pick), held)
    )
    torch.testing.assert_close(free[1], kept[1], rtol=0, atol=1e-14)
    assert float(kept[2][:, 0].abs().max()) == 0 < float(free[2][:, 0].abs().max())
    # no search ends higher than it began
    begin = search._expand(tensor, starts, search.linear(pick), search._derivative_table(pick[None]))[0]
    assert bool((value <= begin).all())


def test_local_minima_come_first():
    values = torch.tensor([[3.0, 1.0, 2.0, 0.0, 0.5, 4.0, 3.5, 6.0]])
    neighbours = torch.tensor([[(i - 1) % 8, (i + 1) % 8] for i in range(8)])
    index, worth = search.best_local_minima(values, neighbours, 4)
    assert index.tolist() == [[3, 1, 6, 4]]
    assert worth.tolist() == [[True, True, True, False]]
    index, worth = search.best_local_minima(values, neighbours, 20)
    assert index.shape == worth.shape == (1, 8)

"""Problems of a user: what is accepted, and one clear line for what is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.racing.problem import Problem, as_problem


def mean_square(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
    return model(torch.randn(5, 3, generator=generator)).square().mean()


def test_plain_tuples_become_problems_and_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    problem = as_problem((model, mean_square), origin="here")
    assert problem.model is model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert as_problem((model, mean_square, lambda model: 2.5), origin="here").judge() == 2.5
    assert as_problem(problem, origin="here") is problem


def test_the_mean_loss_of_fixed_batches_counts() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    problem = Problem(model, mean_square)
    assert problem.judge() == problem.judge()
    assert model.training
    model[0].weight.data *= 2
    model[0].bias.data *= 2
    assert problem.judge() == pytest.approx(4 * Problem(_halved(model), mean_square).judge())


def test_a_loss_may_hold_derivatives_of_the_model() -> None:
    def slope(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(5, 3, generator=generator).requires_grad_()
        (found,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return found.square().mean()

    model = nn.Linear(3, 1)
    with torch.no_grad():
        assert Problem(model, slope).judge() == pytest.approx(float(model.weight.square().mean()), rel=1e-6)


def test_a_loss_may_be_a_list_of_terms() -> None:
    def terms(model: nn.Module, generator: torch.Generator) -> list[torch.Tensor]:
        x = torch.randn(5, 3, generator=generator)
        return [model(x).square().mean(), 3 * model(x).square().mean().reshape(1)]

    model = nn.Linear(3, 1)
    problem = as_problem((model, terms), origin="here")
    assert problem.judge() == pytest.approx(4 * Problem(model, mean_square).judge())


def _halved(model: Any) -> nn.Module:
    other = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    other.load_state_dict({name: value / 2 for name, value in model.state_dict().items()})
    return other


class _Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2), requires_grad=False)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "returned None; return"),
        (nn.Linear(3, 1), "returned of type Linear"),
        ((3, mean_square), "the model is of type int"),
        ((nn.Linear(3, 1), 3.0), "must be functions"),
        ((nn.ReLU(), mean_square), "no parameter"),
        ((_Frozen(), mean_square), "no parameter"),
        ((nn.Linear(3, 1), lambda model, generator: 3.0), "the loss is of type float"),
        ((nn.Linear(3, 1), lambda model, generator: model.weight), "tensor of shape"),
        ((nn.Linear(3, 1), lambda model, generator: torch.tensor(1.0)), "does not depend"),
        ((nn.Linear(3, 1), lambda model, generator: model.weight.sum() * torch.nan), "before the first step"),
        ((nn.Linear(3, 1), lambda model, generator: []), "the loss is of type list"),
        ((nn.Linear(3, 1), lambda model, generator: [model.weight.sum(), model.weight]), "or a list of such"),
        ((nn.Linear(3, 1), lambda model, generator: [model.weight.sum(), torch.ones(())]), "does not depend"),
        ((nn.Linear(3, 1), mean_square, lambda model: float("inf")), "evaluate gives inf"),
    ],
)
def test_what_is_no_problem_is_refused(value: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"here: .*{words}"):
        as_problem(value, origin="here")

"""Curvature products against explicit Hessians and Jacobians."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.curvature.products import (
    empirical_fisher_operator,
    fisher_operator,
    flat_operator,
    flatten,
    gauss_newton_operator,
    hessian_operator,
    unflatten,
)


def network() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return model, x, torch.tensor([0, 2, 1, 1, 0])


def outputs_of(model: nn.Module, x: Tensor, vector: Tensor) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    values = unflatten(vector, model.parameters())
    return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))


def dense(operator, parameters: list[Tensor]) -> Tensor:
    flat = flat_operator(operator, parameters)
    size = sum(p.numel() for p in parameters)
    return torch.stack([flat(column) for column in torch.eye(size, dtype=torch.float64)], dim=1)


def test_hessian() -> None:
    model, x, labels = network()
    parameters = list(model.parameters())
    point = flatten(p.detach() for p in parameters)
    explicit = torch.func.hessian(lambda v: F.cross_entropy(outputs_of(model, x, v), labels))(point)
    found = dense(hessian_operator(F.cross_entropy(model(x), labels), parameters), parameters)
    assert float(explicit.abs().max()) > 1e-2
    assert float((found - explicit).abs().max()) < 1e-10


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "gaussian"])
def test_gauss_newton_and_fisher(likelihood: str) -> None:
    model, x, labels = network()
    parameters = list(model.parameters())
    point = flatten(p.detach() for p in parameters)
    jacobian = torch.func.jacrev(lambda v: outputs_of(model, x, v))(point)  # (5, 3, parameters)
    z = model(x).detach()
    targets = F.one_hot(labels, 3).double()
    if likelihood == "categorical":
        p = z.softmax(-1)
        inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        loss = lambda outputs: F.cross_entropy(outputs, labels)  # noqa: E731
    elif likelihood == "bernoulli":
        inner = torch.diag_embed(z.sigmoid() * (1 - z.sigmoid()))
        loss = lambda outputs: F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / 5  # noqa: E731
    else:
        inner = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
        loss = lambda outputs: 0.5 * (outputs - targets).square().sum() / 5  # noqa: E731
    explicit = torch.einsum("nip,nij,njq->pq", jacobian, inner, jacobian) / 5
    # of these losses the Gauss-Newton matrix is the Fisher matrix
    for operator in (
        gauss_newton_operator(model(x), loss, parameters),
        fisher_operator(model(x), parameters, likelihood=likelihood),
    ):
        assert float((dense(operator, parameters) - explicit).abs().max()) < 1e-10


def test_empirical_fisher() -> None:
    model, x, labels = network()
    parameters = list(model.parameters())
    point = flatten(p.detach() for p in parameters)
    each = torch.func.jacrev(lambda v: F.cross_entropy(outputs_of(model, x, v), labels, reduction="none"))(point)
    found = dense(
        empirical_fisher_operator(F.cross_entropy(model(x), labels, reduction="none"), parameters), parameters
    )
    assert float((found - each.mT @ each / 5).abs().max()) < 1e-10


def test_parameters_out_of_reach_give_zero() -> None:
    used, unused = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    operator = hessian_operator(used.pow(3).sum(), [used, unused])
    products = operator([torch.ones(2, dtype=torch.float64)] * 2)
    assert products[0].tolist() == [6.0, 6.0]
    assert products[1].tolist() == [0.0, 0.0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="has no graph"):
        hessian_operator(torch.tensor(1.0), [torch.ones(2)])
    with pytest.raises(InputError, match="likelihood"):
        fisher_operator(torch.ones(2, 2, requires_grad=True), [], likelihood="poisson")
    with pytest.raises(InputError, match="has 3 numbers"):
        unflatten(torch.ones(3), [torch.ones(2)])

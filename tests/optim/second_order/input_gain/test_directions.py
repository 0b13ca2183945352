"""Gradients, gains and their systems against autograd; equivalence with training on linearly mapped inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.input_gain import GAINS, BypassNetwork, GainSystem, gain_system, jacobian
from polyad.optim.second_order.input_gain.directions import moved, negative_gradient, weight_jacobian, whitened
from tests.optim.second_order.input_gain.small import loss_of, network, outputs_of, patterns, swept

COUNTS = {"one": 1, "unit": 5, "input": 4, "matrix": 16}


def written_out(direction: Tensor, gains: Tensor, kind: str) -> Tensor:
    """sum_l r_l D_l as matrix products."""
    if kind == "one":
        return gains[0] * direction
    if kind == "unit":
        return torch.diag(gains) @ direction
    return direction @ (torch.diag(gains) if kind == "input" else gains.view(4, 4))


def test_negative_gradient_is_that_of_autograd() -> None:
    net, data = network(), patterns()
    inward = net.inward.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss_of(net, inward, data), inward)
    torch.testing.assert_close(negative_gradient(swept(net, data)), -expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize("whiten", [False, True])
def test_gain_system_is_gradient_and_gauss_newton_matrix_of_the_error(kind: str, whiten: bool) -> None:
    net, data = network(), patterns()
    sweep = swept(net, data)
    direction = whitened(sweep, negative_gradient(sweep)) if whiten else negative_gradient(sweep)
    inward = net.inward.detach()
    zero = torch.zeros(COUNTS[kind], dtype=torch.float64)

    def outputs(r: Tensor) -> Tensor:
        return outputs_of(net, inward + written_out(direction, r, kind), data)

    expected: Tensor = torch.autograd.functional.jacobian(outputs, zero)
    slope: Tensor = torch.autograd.functional.jacobian(
        lambda r: loss_of(net, inward + written_out(direction, r, kind), data), zero
    )
    system = gain_system(jacobian(sweep, direction, kind), sweep)
    flat = expected.flatten(0, 1)
    torch.testing.assert_close(system.gradient, -slope, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(system.hessian, 2 / 40 * flat.mT @ flat, atol=1e-10, rtol=1e-10)
    if kind == "input":
        pieces = (direction * negative_gradient(sweep)).sum(0)  # g_j = sum_k D_kj (-dE/dW_kj)
        torch.testing.assert_close(system.gradient, pieces, atol=1e-10, rtol=1e-10)
    drawn = torch.randn(COUNTS[kind], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved(direction, drawn, kind), written_out(direction, drawn, kind))


def test_jacobian_of_all_weights_is_that_of_autograd() -> None:
    net, data = network(), patterns(count=7)
    features = net.augmented(data[0])
    inward, outputs = net.inward.detach(), net.output_weights

    def y(flat: Tensor) -> Tensor:
        w, wo = flat[: inward.numel()].view_as(inward), flat[inward.numel() :].view_as(outputs)
        return torch.cat([features, net.activation(features @ w.mT)], 1) @ wo.mT

    flat = torch.cat([inward.flatten(), outputs.flatten()])
    expected: Tensor = torch.autograd.functional.jacobian(y, flat)
    torch.testing.assert_close(weight_jacobian(swept(net, data)), expected.flatten(0, 1), atol=1e-12, rtol=1e-12)


def test_whitening_solves_against_the_second_moments() -> None:
    net, data = network(), patterns()
    sweep = swept(net, data)
    drawn = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = sum(torch.outer(x, x) for x in sweep.features) / 40
    torch.testing.assert_close(whitened(sweep, drawn) @ moments, drawn, atol=1e-9, rtol=1e-9)


def step(net: BypassNetwork, data: tuple[Tensor, Tensor], metric: Tensor | None = None) -> Tensor:
    """W + z D, with D = G, or G times a metric."""
    sweep = swept(net, data)
    direction = negative_gradient(sweep)
    if metric is not None:
        direction = direction @ metric
    gain = gain_system(jacobian(sweep, direction, "one"), sweep).solution()
    return net.inward.detach() + moved(direction, gain, "one")


def mapped(matrix: Tensor) -> tuple[BypassNetwork, BypassNetwork, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A network and patterns, and the same function of x' = A x: W' = W A^-1, W_oi' = W_oi A^-1."""
    data = patterns(inputs=4)
    net, other = network(inputs=4, bias=False), network(inputs=4, bias=False)
    with torch.no_grad():
        other.inward.copy_(net.inward @ torch.linalg.inv(matrix))
        other.bypass.copy_(net.bypass @ torch.linalg.inv(matrix))
    there = (data[0] @ matrix.mT, data[1])
    torch.testing.assert_close(other(there[0]), net(data[0]))
    return net, other, data, there


def test_gradient_steps_on_mapped_inputs_are_steps_in_the_metric_of_the_map() -> None:
    matrix = torch.eye(4, dtype=torch.float64) + 0.4 * torch.randn(
        4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    net, other, data, there = mapped(matrix)
    back = step(other, there) @ matrix
    torch.testing.assert_close(back, step(net, data, matrix.mT @ matrix), atol=1e-10, rtol=1e-10)
    assert float((back - step(net, data, matrix @ matrix.mT)).abs().max()) > 1e-4  # the order of the product shows


def test_gradient_steps_on_whitened_inputs_are_those_of_hidden_weight_optimisation() -> None:
    x, _ = patterns(inputs=4)
    moments = x.mT @ x / len(x)
    matrix = torch.linalg.cholesky(torch.linalg.inv(moments)).mT  # A^T A = Rx^-1
    net, other, data, there = mapped(matrix)
    sweep = swept(net, data)
    direction = whitened(sweep, negative_gradient(sweep))
    gain = gain_system(jacobian(sweep, direction, "one"), sweep).solution()
    expected = net.inward.detach() + moved(direction, gain, "one")
    torch.testing.assert_close(step(other, there) @ matrix, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", GAINS)
def test_in_a_linear_network_one_step_is_the_exact_minimum_over_gains(kind: str) -> None:
    net, data = network(linear=True), patterns()
    sweep = swept(net, data)
    direction = negative_gradient(sweep)
    gains = gain_system(jacobian(sweep, direction, kind), sweep).solution()
    inward = net.inward.detach()

    def error(r: Tensor) -> Tensor:
        return loss_of(net, inward + written_out(direction, r, kind), data)

    slope: Tensor = torch.autograd.functional.jacobian(error, gains)
    curvature: Tensor = torch.autograd.functional.hessian(error, gains)
    assert float(slope.abs().max()) < 1e-9
    assert float(torch.linalg.eigvalsh(curvature)[0]) > -1e-9
    assert float(error(gains)) < sweep.error


def test_dependent_inputs_share_their_gain() -> None:
    x, t = patterns()
    data = (torch.cat([x, x[:, :1]], 1), t)
    net = network(inputs=4)
    with torch.no_grad():
        net.inward[:, 3] = net.inward[:, 0]
    sweep = swept(net, data)
    direction = negative_gradient(sweep)
    system = gain_system(jacobian(sweep, direction, "input"), sweep)
    gains = system.solution()
    torch.testing.assert_close(gains[3], gains[0])
    torch.testing.assert_close(system.hessian @ gains, system.gradient, atol=1e-9, rtol=1e-8)


def test_gains_of_a_known_system() -> None:
    system = GainSystem(torch.tensor([1.0, 8.0]).double(), torch.tensor([[2.0, 0.0], [0.0, 4.0]]).double())
    torch.testing.assert_close(system.solution(), torch.tensor([0.5, 2.0]).double())


def test_unknown_gains() -> None:
    sweep = swept(network(), patterns())
    with pytest.raises(InputError, match="gains"):
        jacobian(sweep, negative_gradient(sweep), "units")

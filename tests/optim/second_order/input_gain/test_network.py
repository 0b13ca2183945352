"""The network's passes, and output weights against numpy's least squares and the orthogonality that defines them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.optim.second_order.input_gain import BypassNetwork
from polyad.optim.second_order.input_gain.network import least_squares, solve_normal
from tests.optim.second_order.input_gain.small import loss_of, network, patterns, swept


def test_forward_and_sweep_agree_with_the_sum_written_out() -> None:
    net, data = network(), patterns(count=4)
    outputs = net(data[0]).detach()
    sweep = swept(net, data)
    for p in range(4):
        x = [*data[0][p].tolist(), 1.0]
        units = [1 / (1 + np.exp(-sum(w * v for w, v in zip(row, x, strict=True)))) for row in net.inward.tolist()]
        basis = [*x, *units]
        for i, row in enumerate(net.output_weights.tolist()):
            y = sum(w * v for w, v in zip(row, basis, strict=True))
            assert float(outputs[p, i]) == pytest.approx(y, abs=1e-12)
            assert float(sweep.residual[p, i]) == pytest.approx(float(data[1][p, i]) - y, abs=1e-12)
        np.testing.assert_allclose(sweep.slopes[p], [o * (1 - o) for o in units], atol=1e-12)
    assert sweep.error == pytest.approx(float(loss_of(net, net.inward.detach(), data)), rel=1e-12)


def test_forward_takes_batches() -> None:
    net, (x, _) = network(), patterns(count=12)
    torch.testing.assert_close(net(x.view(2, 3, 2, 3)).flatten(0, 2), net(x))


@pytest.mark.parametrize("bias", [True, False])
def test_residual_of_the_output_stage_is_orthogonal_to_every_basis_function(bias: bool) -> None:
    net, data = network(bias=bias), patterns()
    solved = net.solve_outputs(swept(net, data))
    overlap = solved.basis.mT @ solved.residual / len(solved.residual)
    assert float(overlap.abs().max()) < 1e-8
    torch.testing.assert_close(solved.residual, data[1] - net(data[0]).detach())
    expected = np.linalg.lstsq(solved.basis.numpy(), data[1].numpy(), rcond=None)[0]
    np.testing.assert_allclose(net.output_weights.mT, expected, rtol=1e-6, atol=1e-8)


def test_orthogonality_survives_units_that_are_alike_and_inputs_of_unlike_units() -> None:
    data = patterns()
    data = (data[0] * torch.tensor([1e6, 1.0, 1e-6], dtype=torch.float64), data[1])
    net = network()
    with torch.no_grad():
        net.inward[:, 0] *= 1e-6
        net.inward[1] = net.inward[0]  # two equal units
        net.inward[2] = 0  # a constant unit, as the bias is
    solved = net.solve_outputs(swept(net, data))
    scaled = solved.basis / solved.basis.norm(dim=0)
    assert float((scaled.mT @ solved.residual).abs().max()) < 1e-8
    assert bool(net.output_weights.isfinite().all())


def test_least_squares_with_fewer_rows_than_columns_is_the_shortest_solution() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 6, dtype=torch.float64, generator=generator)
    basis /= basis.norm(dim=0)
    targets = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    expected = np.linalg.pinv(basis.numpy()) @ targets.numpy()
    np.testing.assert_allclose(least_squares(basis, targets), expected, atol=1e-10)


def test_normal_equations_of_full_and_of_deficient_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    gram, right = root.mT @ root, torch.randn(4, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(solve_normal(gram, right), torch.linalg.solve(gram, right))
    twice = torch.cat([root, root[:, :2], torch.zeros(6, 1, dtype=torch.float64)], 1)  # dependent, and one zero column
    reachable = twice.mT @ torch.randn(6, 3, dtype=torch.float64, generator=generator)
    found = solve_normal(twice.mT @ twice, reachable)
    torch.testing.assert_close(twice.mT @ twice @ found, reachable, atol=1e-9, rtol=1e-9)
    assert not bool(found[-1].any())
    torch.testing.assert_close(found[:2], found[4:6])  # the shortest shares evenly


def test_no_bias_and_seeds() -> None:
    net = BypassNetwork(3, 4, 1, bias=False, seed=2)
    assert net.inward.shape == (4, 3)
    assert torch.equal(net.inward, BypassNetwork(3, 4, 1, bias=False, seed=2).inward)
    assert not torch.equal(net.inward, BypassNetwork(3, 4, 1, bias=False, seed=3).inward)
    assert BypassNetwork(2, 3, 1, dtype=torch.float32).inward.dtype == torch.float32


def test_bad_sizes_and_dtypes() -> None:
    with pytest.raises(InputError, match="hidden"):
        BypassNetwork(3, 0, 1)
    with pytest.raises(InputError, match="float32 or float64"):
        BypassNetwork(3, 2, 1, dtype=torch.bfloat16)

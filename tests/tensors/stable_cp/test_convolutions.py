"""Factored convolutions equal the convolution with the reconstructed kernel; costs equal hand formula and torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from polyad.errors import InputError
from polyad.tensors.stable_cp import (
    METHODS,
    ConvolutionShape,
    Cost,
    KernelFactors,
    convolution_cost,
    convolution_sequence,
    factor_convolution,
    factor_kernel,
    layer_costs,
    network_cost,
    rank_for_budget,
    replace_conv,
    sequence_cost,
    sequence_shapes,
)
from polyad.tensors.stable_cp.kernels import check_method

RANKS = {"cp": (5,), "cp-epc": (5,), "tucker2": (4, 3), "tkd-cpd-epc": (4, 3, 5), "svd": (5,)}
KINDS = [
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2},
    {"stride": (2, 1), "padding": (0, 2), "bias": False},
    {"padding": "same", "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": "valid"},
]


def seeded(make, *arguments, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments, **options)


def gaussian(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def functional(convolution: nn.Conv2d, factors: KernelFactors, images: torch.Tensor) -> torch.Tensor:
    """The original layer with the reconstructed kernel in place of its own."""
    copied = seeded(
        type(convolution), convolution.in_channels, convolution.out_channels, convolution.kernel_size,
        stride=convolution.stride, padding=convolution.padding, dilation=convolution.dilation,
        bias=convolution.bias is not None, padding_mode=convolution.padding_mode, dtype=convolution.weight.dtype,
    )  # fmt: skip
    state = dict(convolution.state_dict())
    state["weight"] = factors.kernel().to(convolution.weight.dtype)
    copied.load_state_dict(state)
    return copied(images)


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_sequence_equals_the_convolution_with_the_reconstructed_kernel(method, options):
    convolution = seeded(nn.Conv2d, 6, 8, 3, dtype=torch.float64, **options)
    factors = factor_convolution(convolution, method, RANKS[method], sweeps=20)
    sequence = convolution_sequence(convolution, factors)
    images = gaussian(2, 6, 9, 10)
    torch.testing.assert_close(sequence(images), functional(convolution, factors, images), atol=1e-10, rtol=1e-10)
    shape = ConvolutionShape.of(convolution)
    shapes = sequence_shapes(shape, method, RANKS[method])
    assert [ConvolutionShape.of(layer) for layer in sequence] == shapes
    assert tuple(sequence(images).shape[2:]) == shape.output_size((9, 10))


@pytest.mark.parametrize("method", ["cp", "cp-epc", "tkd-cpd-epc"])
@pytest.mark.parametrize("options", KINDS[:5], ids=str)
def test_separated_positions(method, options):
    convolution = seeded(nn.Conv2d, 6, 8, (3, 5), dtype=torch.float64, **options)
    factors = factor_convolution(convolution, method, RANKS[method], sweeps=20, separable=True)
    sequence = convolution_sequence(convolution, factors)
    images = gaussian(2, 6, 11, 12)
    torch.testing.assert_close(sequence(images), functional(convolution, factors, images), atol=1e-10, rtol=1e-10)
    kernels = [layer.kernel_size for layer in sequence if layer.groups > 1]
    assert kernels == [(3, 1), (1, 5)]


@pytest.mark.parametrize(("kind", "axes"), [(nn.Conv1d, 1), (nn.Conv3d, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_one_and_three_axes(kind, axes, method):
    convolution = seeded(kind, 6, 8, 3, stride=2, padding=1, dtype=torch.float64)
    factors = factor_convolution(convolution, method, RANKS[method], sweeps=20)
    images = gaussian(2, 6, *(7, 8, 9)[:axes])
    sequence = convolution_sequence(convolution, factors)
    torch.testing.assert_close(sequence(images), functional(convolution, factors, images), atol=1e-10, rtol=1e-10)


def test_single_precision_within_1e5_and_full_rank_is_exact():
    convolution = seeded(nn.Conv2d, 6, 8, 3, padding=1)
    factors = factor_convolution(convolution, "cp-epc", (5,))
    sequence = convolution_sequence(convolution, factors)
    images = gaussian(2, 6, 9, 9, dtype=torch.float32)
    assert sequence[0].weight.dtype == torch.float32
    torch.testing.assert_close(sequence(images), functional(convolution, factors, images), atol=1e-5, rtol=1e-5)
    whole = replace_conv(convolution, "", "svd", (8,))
    torch.testing.assert_close(whole(images), convolution(images), atol=1e-5, rtol=1e-5)
    whole = replace_conv(convolution, "", "tucker2", (8, 6))
    torch.testing.assert_close(whole(images), convolution(images), atol=1e-5, rtol=1e-5)


def test_pointwise_convolution_with_stride():
    convolution = seeded(nn.Conv2d, 6, 8, 1, stride=2, dtype=torch.float64)
    sequence = replace_conv(convolution, "", "svd", (6,))
    images = gaussian(2, 6, 9, 9)
    torch.testing.assert_close(sequence(images), convolution(images))


def test_replaced_layer_sits_in_a_copy_of_the_network():
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 4, 3))).eval())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = replace_conv(model, "1.1", "svd", (4,))
    assert isinstance(changed[1][1], nn.Sequential)
    assert isinstance(model[1][1], nn.Conv2d)
    assert not changed[1][1].training
    assert all(bool((model.state_dict()[name] == tensor).all()) for name, tensor in before.items())
    images = gaussian(1, 3, 8, 8, dtype=torch.float32)
    torch.testing.assert_close(changed(images), model(images), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- costs


@pytest.mark.parametrize("options", KINDS[:4], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_costs_equal_the_count_of_torch(method, options):
    convolution = seeded(nn.Conv2d, 6, 8, 3, **options)
    sequence = replace_conv(convolution, "", method, RANKS[method], sweeps=5)
    images = gaussian(1, 6, 9, 10, dtype=torch.float32)
    for module, cost in (
        (convolution, convolution_cost(convolution, (9, 10))),
        (sequence, sequence_cost([ConvolutionShape.of(layer) for layer in sequence], (9, 10))),
        (sequence, network_cost(sequence, images)),
    ):
        with FlopCounterMode(display=False) as counter:
            module(images)
        assert cost.flops == counter.get_total_flops()
        assert cost.parameters == sum(parameter.numel() for parameter in module.parameters())


def test_costs_by_hand():
    shape = ConvolutionShape(16, 32, (3, 3), (2, 2), (1, 1), (1, 1), bias=True)
    assert shape.cost((12, 12)) == Cost(2 * 36 * 32 * 16 * 9, 32 * 16 * 9 + 32)
    cp = sequence_cost(sequence_shapes(shape, "cp", (7,)), (12, 12))
    assert cp == Cost(2 * (144 * 16 * 7 + 36 * 7 * 9 + 36 * 7 * 32), 16 * 7 + 7 * 9 + 7 * 32 + 32)
    tucker = sequence_cost(sequence_shapes(shape, "tucker2", (5, 4)), (12, 12))
    assert tucker == Cost(2 * (144 * 16 * 4 + 36 * 5 * 4 * 9 + 36 * 5 * 32), 16 * 4 + 5 * 4 * 9 + 5 * 32 + 32)
    both = sequence_cost(sequence_shapes(shape, "tkd-cpd-epc", (5, 4, 6)), (12, 12))
    numbers = (16 * 4, 4 * 6, 6 * 9, 6 * 5, 5 * 32)
    assert both.flops == 2 * (144 * (numbers[0] + numbers[1]) + 36 * sum(numbers[2:]))
    assert both.parameters == sum(numbers) + 32
    svd = sequence_cost(sequence_shapes(shape, "svd", (7,)), (12, 12))
    assert svd == Cost(2 * 36 * (7 * 16 * 9 + 7 * 32), 7 * 16 * 9 + 7 * 32 + 32)


def test_network_is_counted_layer_by_layer_and_left_as_it_is():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(4 * 36, 10)
    )
    model[1].eval()
    mean = model[1].running_mean.clone()
    images = gaussian(2, 3, 8, 8, dtype=torch.float32)
    found = layer_costs(model, images)
    assert found["2"].calls == 2
    assert found["2"].cost == Cost(2 * 2 * 36 * 4 * 4 * 9, 4 * 4 * 9 + 4)
    assert found["6"].cost == Cost(2 * 144 * 10, 1450)
    with FlopCounterMode(display=False) as counter:
        model(images[:1])
    assert network_cost(model, images).flops == counter.get_total_flops()
    assert [module.training for module in model] == [True, False, True, True, True, True, True]
    assert bool((model[1].running_mean == mean).all())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reduction", [2.0, 5.0])
def test_ranks_fill_the_budget_and_stay_within(method, reduction):
    convolution = seeded(nn.Conv2d, 12, 16, 3, stride=2, padding=1, bias=False)
    whole = convolution_cost(convolution, (12, 12))
    shape = ConvolutionShape.of(convolution)
    for kind, budget in (("flops", whole.flops / reduction), ("parameters", whole.parameters / reduction)):
        ranks = rank_for_budget(convolution, method, input_size=(12, 12), **{kind: budget})
        spent = getattr(sequence_cost(sequence_shapes(shape, method, ranks), (12, 12)), kind)
        assert spent <= budget
        more = (*ranks[:-1], ranks[-1] + 1)
        assert getattr(sequence_cost(sequence_shapes(shape, method, more), (12, 12)), kind) > budget


def test_tucker_ranks_follow_the_weights():
    generator = torch.Generator().manual_seed(0)
    convolution = seeded(nn.Conv2d, 12, 16, 3)
    inner = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q[:, :2]
    with torch.no_grad():  # two input directions matter, all outputs do
        convolution.weight.copy_(torch.einsum("orhw,ir->oihw", torch.randn(16, 2, 3, 3, generator=generator), inner))
    ranks = rank_for_budget(convolution, "tucker2", parameters=700)
    assert ranks == (16, 2)
    found = factor_convolution(convolution, "tucker2", ranks)
    assert found.error < 1e-6


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "2 groups"),
        (nn.ConvTranspose2d(4, 4, 3), "ConvTranspose2d"),
        (nn.Linear(4, 4), "Linear"),
    ],
)
def test_other_layers_are_refused(layer, match):
    with pytest.raises(InputError, match=match):
        replace_conv(nn.Sequential(layer), "0", "cp", (2,))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: replace_conv(nn.Sequential(nn.Conv2d(3, 4, 3)), "1", "cp", (2,)), "no '1'; convolutions are 0"),
        (lambda: check_method("parafac", (4, 4, 3, 3), (2,)), "allowed are cp"),
        (lambda: factor_kernel(gaussian(4, 4, 3, 3), "cp", (2, 2)), "takes 1"),
        (lambda: factor_kernel(gaussian(4, 4, 3, 3), "tucker2", (5, 2)), "from 1 to"),
        (lambda: factor_kernel(gaussian(4, 4, 1, 1), "cp", (2,)), "take 'svd'"),
        (lambda: factor_kernel(gaussian(4, 4, 3, 3), "svd", (2,), separable=True), "separable"),
        (lambda: factor_kernel(gaussian(4, 4), "svd", (2,)), "positions"),
        (lambda: rank_for_budget(nn.Conv2d(4, 4, 3), "cp"), "give a budget"),
        (lambda: rank_for_budget(nn.Conv2d(4, 4, 3), "cp", flops=1e4), "input_size"),
        (lambda: rank_for_budget(nn.Conv2d(4, 4, 3), "cp", parameters=10), "raise the budget"),
        (lambda: convolution_cost(nn.Conv2d(4, 4, 3), (2, 9)), "smaller than the kernel"),
        (lambda: convolution_cost(nn.Conv2d(4, 4, 3), (9,)), "one size for each"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_factors_of_another_kernel_are_refused():
    factors = factor_kernel(gaussian(4, 4, 3, 3), "svd", (2,))
    with pytest.raises(InputError, match="not"):
        convolution_sequence(nn.Conv2d(5, 4, 3), factors)

"""Compress all convolutions of a network to a budget of operations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Num
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.tensors.stable_cp.convolutions import (
    convolution_sequence,
    factor_convolution,
    find_convolution,
    put_layer,
    sequence_shapes,
)
from polyad.tensors.stable_cp.costs import Convolution, ConvolutionShape, Cost, LayerCost, layer_costs, sequence_cost
from polyad.tensors.stable_cp.kernels import KernelFactors, Method
from polyad.tensors.stable_cp.ranks import rank_for_budget


@final
@dataclass(frozen=True, eq=False)
class CompressedLayer:
    """One convolution that was replaced.

    Attributes:
        name: of the convolution in the network.
        ranks: as its method has them.
        factors: the kernel in low rank, with its error and sensitivity.
        before, after: cost of the convolution and of the sequence in its place.
    """

    name: str
    ranks: tuple[int, ...]
    factors: KernelFactors
    before: Cost
    after: Cost


@final
@dataclass(frozen=True, eq=False)
class CompressedNetwork:
    """A network with factored convolutions.

    Attributes:
        model: a copy of the original with its convolutions replaced.
        layers: what was replaced, in the order of the network.
        before, after: cost of all convolutions and linear layers.
    """

    model: nn.Module
    layers: tuple[CompressedLayer, ...]
    before: Cost
    after: Cost


def compress_network(
    model: nn.Module,
    example: Num[Tensor, "batch ..."],
    method: Method,
    *,
    target_flops: float | None = None,
    reduction: float | None = None,
    skip: Iterable[str] = (),
    separable: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> CompressedNetwork:
    """Factor the convolutions of a network, each to the same share of its operations.

    Args:
        model: left as it is.
        example: an input with its batch dimension; tells the sizes that the layers see.
        method: see `kernels`; a 1 x 1 convolution is a matrix and gets "svd" whatever the method.
        target_flops: operations of the whole network for one example, as `network_cost` counts them.
        reduction: instead, the factor by which every convolution's operations go down.
        skip: names of convolutions to leave alone; grouped ones and those of one input channel always are.
        separable: one factor for every axis of positions, where the method has one.
        progress: called with layers done and their number.
        options: of `factor_kernel`, such as slack.

    Raises:
        InputError: the budget is below what the other layers cost, or below the smallest ranks.
    """
    if (target_flops is None) == (reduction is None):
        raise InputError("target_flops, reduction: give one of them")
    costs = layer_costs(model, example)
    before = _total(costs.values())
    names = _chosen(model, costs, set(skip))
    flops = {name: costs[name].cost.flops for name in names}
    if reduction is None:
        assert target_flops is not None
        rest = before.flops - sum(flops.values())
        if not rest < target_flops <= before.flops:
            raise InputError(
                f"target_flops: {target_flops:.4g} was given; the network takes {before.flops}, of which {rest} lie "
                "outside the chosen convolutions"
            )
        reduction = sum(flops.values()) / (target_flops - rest)
    if not 1 <= reduction < math.inf:
        raise InputError(f"reduction: {reduction} was given; a factor of at least 1 is needed")
    result, layers = copy.deepcopy(model), []
    for done, name in enumerate(names):
        convolution = find_convolution(result, name)
        size, calls = costs[name].input_size, costs[name].calls
        is_matrix = math.prod(convolution.kernel_size) == 1
        chosen: Method = "svd" if is_matrix else method
        apart = separable and chosen not in ("svd", "tucker2")
        budget = flops[name] / (reduction * calls)
        ranks = rank_for_budget(convolution, chosen, flops=budget, input_size=size, separable=apart)
        factors = factor_convolution(convolution, chosen, ranks, separable=apart, **options)
        shapes = sequence_shapes(ConvolutionShape.of(convolution), chosen, ranks, separable=apart)
        after = sequence_cost(shapes, size)
        spent = Cost(after.flops * calls, after.parameters)
        layers.append(CompressedLayer(name, ranks, factors, costs[name].cost, spent))
        result = put_layer(result, convolution, convolution_sequence(convolution, factors))
        if progress is not None:
            progress(done + 1, len(names))
    return CompressedNetwork(result, tuple(layers), before, _total(layer_costs(result, example).values()))


def _chosen(model: nn.Module, costs: dict[str, LayerCost], skip: set[str]) -> list[str]:
    modules = dict(model.named_modules())
    unknown = skip - {name for name, module in modules.items() if isinstance(module, Convolution)}
    if unknown:
        raise InputError(f"skip: {sorted(unknown)} are no convolutions of this network")
    names = []
    for name in costs:
        module = modules[name]
        if isinstance(module, Convolution) and module.groups == 1 and module.in_channels > 1 and name not in skip:
            names.append(name)
    if not names:
        raise InputError("model: no convolution to factor; it has none but grouped, single-channel or skipped ones")
    return names


def _total(costs: Iterable[LayerCost]) -> Cost:
    pairs = [layer.cost for layer in costs]
    return Cost(sum(cost.flops for cost in pairs), sum(cost.parameters for cost in pairs))

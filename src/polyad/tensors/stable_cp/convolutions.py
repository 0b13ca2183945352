"""Convolutions in low rank as sequences of small convolutions with the same input, output and bias.

A kernel K = sum_r a_r o b_r o c_r (out, in, positions) is a 1 x 1 convolution B^T (in -> R), a depthwise one C (R -> R,
with stride, padding and dilation of the original) and a 1 x 1 convolution A (R -> out, with the bias); the others go
alike (V. Lebedev et al., ICLR 2015; Y.-D. Kim et al., ICLR 2016):

    cp, cp-epc     1x1, depthwise d x d (or d x 1 and 1 x d), 1x1
    tucker2        1x1, d x d, 1x1
    tkd-cpd-epc    1x1, [1x1, depthwise, 1x1], 1x1
    svd            d x d, 1x1

The 1 x 1 layers in front have no bias, so that any padding mode commutes with them. Grouped and transposed
convolutions are refused: every group would be a kernel of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.tensors.formats import CP, Tucker
from polyad.tensors.stable_cp.costs import Convolution, ConvolutionShape
from polyad.tensors.stable_cp.kernels import KernelFactors, Method, check_method, factor_kernel
from polyad.tensors.stable_cp.tucker_cp import TuckerCP


def replace_conv(model: nn.Module, layer: str, method: Method, ranks: Sequence[int], **options: Any) -> nn.Module:
    """A copy of a network with one convolution factored.

    Args:
        model: left as it is.
        layer: name of the convolution, as `model.named_modules()` has it; "" where the model is the convolution.
        method, ranks: see `kernels`.
        options: of `factor_kernel`.
    """
    result = copy.deepcopy(model)
    convolution = find_convolution(result, layer)
    factors = factor_convolution(convolution, method, ranks, **options)
    return put_layer(result, convolution, convolution_sequence(convolution, factors))


def factor_convolution(convolution: Convolution, method: Method, ranks: Sequence[int], **options: Any) -> KernelFactors:
    """Factor the kernel of a torch convolution, in float64 whatever its dtype; options of `factor_kernel`."""
    check_convolution(convolution)
    weight = convolution.weight.detach()
    return factor_kernel(weight.to(torch.promote_types(weight.dtype, torch.float64)), method, ranks, **options)


def convolution_sequence(convolution: Convolution, factors: KernelFactors) -> nn.Sequential:
    """The layers that replace a convolution: its dtype, device, mode and bias, the factors' weights."""
    check_convolution(convolution)
    if tuple(convolution.weight.shape) != factors.shape:
        raise InputError(f"factors: they are of a kernel {factors.shape}, not {tuple(convolution.weight.shape)}")
    ranks = _ranks_of(factors)
    shapes = sequence_shapes(ConvolutionShape.of(convolution), factors.method, ranks, separable=factors.separable)
    layers = [
        _filled(shape, weight, convolution)
        for shape, weight in zip(shapes, _weights(factors, len(convolution.kernel_size)), strict=True)
    ]
    return nn.Sequential(*layers).train(convolution.training)


def sequence_shapes(
    shape: ConvolutionShape, method: Method, ranks: Sequence[int], *, separable: bool = False
) -> list[ConvolutionShape]:
    """The layers that replace a convolution of this shape, without weights."""
    check_method(method, (shape.outputs, shape.inputs, *shape.kernel_size), ranks, separable=separable)
    axes = len(shape.kernel_size)

    def point(inputs: int, outputs: int, *, last: bool = False) -> ConvolutionShape:
        return ConvolutionShape.pointwise(inputs, outputs, axes, bias=last and shape.bias)

    if method == "svd":
        return [replace(shape, outputs=ranks[0], bias=False), point(ranks[0], shape.outputs, last=True)]
    if method == "tucker2":
        outer, inner = ranks
        middle = replace(shape, inputs=inner, outputs=outer, bias=False)
        return [point(shape.inputs, inner), middle, point(outer, shape.outputs, last=True)]
    rank = ranks[-1]
    depthwise = replace(shape, inputs=rank, outputs=rank, groups=rank, bias=False)
    spatial = [_one_axis(depthwise, axis) for axis in range(axes)] if separable else [depthwise]
    if method == "tkd-cpd-epc":
        outer, inner = ranks[:2]
        front, back = [point(shape.inputs, inner), point(inner, rank)], [point(rank, outer)]
        return [*front, *spatial, *back, point(outer, shape.outputs, last=True)]
    return [point(shape.inputs, rank), *spatial, point(rank, shape.outputs, last=True)]


def check_convolution(convolution: nn.Module) -> None:
    """A plain, ungrouped convolution."""
    if _kind(convolution) is None:
        raise InputError(f"layer: {type(convolution).__name__} was given; only Conv1d, Conv2d and Conv3d are factored")
    assert isinstance(convolution, Convolution)
    if convolution.groups != 1:
        raise InputError(f"layer: a convolution in {convolution.groups} groups was given; only groups=1 is factored")


def find_convolution(model: nn.Module, layer: str) -> Convolution:
    """The convolution of this name."""
    try:
        found = model.get_submodule(layer)
    except AttributeError as error:
        names = [name for name, module in model.named_modules() if isinstance(module, Convolution)]
        raise InputError(f"layer: there is no {layer!r}; convolutions are {', '.join(names) or 'none'}") from error
    check_convolution(found)
    assert isinstance(found, Convolution)
    return found


def put_layer(model: nn.Module, layer: nn.Module, replacement: nn.Module) -> nn.Module:
    """The model with a module put in the place of another, wherever it stands; changes the model itself."""
    if model is layer:
        return replacement
    for path in [name for name, module in model.named_modules(remove_duplicate=False) if module is layer]:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, replacement)
    return model


def _one_axis(shape: ConvolutionShape, axis: int) -> ConvolutionShape:
    def only(values: Sequence[int], neutral: int) -> tuple[int, ...]:
        return tuple(value if k == axis else neutral for k, value in enumerate(values))

    padding = shape.padding if isinstance(shape.padding, str) else only(shape.padding, 0)
    return replace(
        shape,
        kernel_size=only(shape.kernel_size, 1),
        stride=only(shape.stride, 1),
        dilation=only(shape.dilation, 1),
        padding=padding,
    )


def _ranks_of(factors: KernelFactors) -> tuple[int, ...]:
    value = factors.value
    if isinstance(value, TuckerCP):
        return (value.outputs.shape[1], value.inputs.shape[1], *value.core.ranks)
    return value.ranks[:2] if isinstance(value, Tucker) else value.ranks


def _weights(factors: KernelFactors, axes: int) -> list[Tensor]:
    """Weights of the layers in the order in which they act."""
    value, positions = factors.value, factors.shape[2:]

    def point(matrix: Tensor) -> Tensor:
        return matrix.reshape(*matrix.shape, *[1] * axes)

    if isinstance(value, Tucker):
        core = value.core.reshape(*value.core.shape[:2], *positions)
        return [point(value.factors[1].mT), core, point(value.factors[0])]
    if isinstance(value, TuckerCP):
        return [point(value.inputs.mT), *_terms(value.core, positions, axes), point(value.outputs)]
    if factors.method == "svd":
        return [value.factors[1].mT.reshape(-1, *factors.shape[1:]), point(value.factors[0] * value.weights)]
    return _terms(value, positions, axes)


def _terms(value: CP, positions: Sequence[int], axes: int) -> list[Tensor]:
    """1 x 1, depthwise, 1 x 1; the weights go into the last."""
    first, second, *rest = value.factors
    spatial = []
    for axis, factor in enumerate(rest):
        size = positions if len(rest) < axes or axes == 1 else [n if k == axis else 1 for k, n in enumerate(positions)]
        spatial.append(factor.mT.reshape(-1, 1, *size))
    ones = [1] * axes
    return [
        second.mT.reshape(*second.mT.shape, *ones),
        *spatial,
        (first * value.weights).reshape(*first.shape, *ones),
    ]


def _filled(shape: ConvolutionShape, weight: Tensor, like: Convolution) -> nn.Module:
    kind = _kind(like)
    assert kind is not None
    layer = kind(
        shape.inputs,
        shape.outputs,
        shape.kernel_size,  # type: ignore[arg-type]
        stride=shape.stride,  # type: ignore[arg-type]
        padding=shape.padding,  # type: ignore[arg-type]
        dilation=shape.dilation,  # type: ignore[arg-type]
        groups=shape.groups,
        bias=shape.bias,
        padding_mode=shape.padding_mode,  # type: ignore[arg-type]
        device="meta",
    )
    layer.weight = nn.Parameter(weight.to(dtype=like.weight.dtype, device=like.weight.device).contiguous())
    if shape.bias:
        assert like.bias is not None
        layer.bias = nn.Parameter(like.bias.detach().clone())
    return layer


def _kind(like: nn.Module) -> type[Convolution] | None:
    """Conv1d, 2d or 3d for a module that convolves as they do, subclasses included."""
    for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        if isinstance(like, kind) and type(like).forward is kind.forward:
            return kind
    return None

"""The largest ranks that a budget of operations or parameters allows.

One rank is found by bisection, as costs grow with it. Two channel ranks ("tucker2") are enumerated, the other one
bisected, and the pair taken whose truncated higher-order SVD captures most, which one table of cumulative sums of the
full core tells for all pairs. For "tkd-cpd-epc" both channel modes are cut at a ladder of losses, the rest of the
budget goes to the CP rank of the core, and a short fit of every candidate's core decides.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import cp_als
from polyad.tensors.formats.tucker import multiply_modes, unfold
from polyad.tensors.stable_cp.convolutions import check_convolution, sequence_shapes
from polyad.tensors.stable_cp.costs import Convolution, ConvolutionShape, Cost, sequence_cost
from polyad.tensors.stable_cp.kernels import Method, check_method, largest_rank
from polyad.tensors.stable_cp.tucker_cp import channel_ranks, tucker2

_LADDER = [0.005, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]  # energy that each channel mode loses
_TRIAL_SWEEPS = 20


def rank_for_budget(
    convolution: Convolution,
    method: Method,
    *,
    flops: float | None = None,
    parameters: float | None = None,
    input_size: Sequence[int] | None = None,
    separable: bool = False,
) -> tuple[int, ...]:
    """Ranks for a convolution, as the method has them, that keep within the budget.

    Args:
        convolution: its weights decide between ranks of equal cost.
        method: see `kernels`.
        flops: largest number of operations for one example.
        parameters: largest number of parameters, bias included; one of the two or both.
        input_size: size of the input along every axis; needed for a bound on operations.
        separable: one factor for every axis of positions.

    Raises:
        InputError: even the smallest ranks cost more.
    """
    check_convolution(convolution)
    if flops is None and parameters is None:
        raise InputError("flops, parameters: neither was given; give a budget")
    if flops is not None and input_size is None:
        raise InputError("input_size: it is needed for a budget of flops; give the size of the layer's input")
    shape = ConvolutionShape.of(convolution)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(shape.kernel_size, shape.dilation, strict=True))
    size = tuple(input_size) if input_size is not None else reach
    kernel = convolution.weight.detach().double()
    least = (1,) * {"tucker2": 2, "tkd-cpd-epc": 3}.get(method, 1)
    check_method(method, kernel.shape, least, separable=separable)

    def cost(ranks: Sequence[int]) -> Cost:
        return sequence_cost(sequence_shapes(shape, method, ranks, separable=separable), size)

    def load(*ranks: int) -> float:
        """The largest of the shares of the budgets that these ranks take."""
        found = cost(ranks)
        shares = [found.flops / flops if flops else math.inf] if flops is not None else []
        shares += [found.parameters / parameters if parameters else math.inf] if parameters is not None else []
        return max(shares)

    if load(*least) > 1:
        raise InputError(
            f"flops, parameters: {flops} and {parameters} were given; {method!r} with ranks {least} costs "
            f"{cost(least).flops} flops (at {size}), {cost(least).parameters} parameters; raise the budget or skip it"
        )
    if method == "tucker2":
        return _tucker_ranks(kernel.flatten(2), load)
    if method == "tkd-cpd-epc":
        return _two_stage_ranks(kernel if separable else kernel.flatten(2), load)
    return (_largest(load, largest_rank(method, kernel.shape, separable=separable)),)


def _largest(load: Callable[[int], float], most: int) -> int:
    """The largest rank with a load of at most one; 0 for none."""
    return bisect_right(range(1, most + 1), 1.0, key=load)


def _swapped(load: Callable[..., float], second: int, first: int) -> float:
    return load(first, second)


def _tucker_ranks(kernel: Num[Tensor, "out in positions"], load: Callable[..., float]) -> tuple[int, int]:
    bases = [torch.linalg.svd(unfold(kernel, mode, 3)).U for mode in range(2)]
    core = multiply_modes(kernel, {mode: basis.mT for mode, basis in enumerate(bases)}, 3)
    captured = core.square().sum(2).cumsum(0).cumsum(1)  # by the leading r_out, r_in singular vectors
    best, pair = -1.0, (1, 1)
    for inner in range(1, kernel.shape[1] + 1):
        outer = _largest(partial(_swapped, load, inner), kernel.shape[0])
        if outer and float(captured[outer - 1, inner - 1]) > best:
            best, pair = float(captured[outer - 1, inner - 1]), (outer, inner)
    return pair


def _two_stage_ranks(kernel: Num[Tensor, "out in ..."], load: Callable[..., float]) -> tuple[int, int, int]:
    best, found = math.inf, (1, 1, 1)
    size = float(torch.linalg.vector_norm(kernel))
    for outer, inner in _cuts(kernel):
        core_shape = (outer, inner, *kernel.shape[2:])
        most = math.prod(core_shape) // max(core_shape)
        rank = _largest(partial(load, outer, inner), most)
        if not rank:
            continue
        core = tucker2(kernel, (outer, inner)).core
        held = float(torch.linalg.vector_norm(core))
        fit = cp_als(core, rank, starts=1, sweeps=_TRIAL_SWEEPS)
        error = size**2 - held**2 + (fit.error * held) ** 2
        if error < best:
            best, found = error, (outer, inner, rank)
    return found


def _cuts(kernel: Tensor) -> Iterator[tuple[int, int]]:
    """Different pairs of channel ranks, from nearly all to one."""
    seen = {(1, 1)}
    for share in _LADDER:
        pair = channel_ranks(kernel, math.sqrt(2 * share))
        if pair not in seen:
            seen.add(pair)
            yield pair
    yield (1, 1)

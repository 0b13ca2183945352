"""Kernels of convolutions in low rank: five ways to factor them, one result.

A kernel (out, in, *positions) is taken as a tensor of order three (out, in, all positions), or of order 2 + axes where
the positions are to be separated:

    "cp"           CP by alternating least squares                                          ranks (R,)
    "cp-epc"       the same, corrected to the least sensitivity within its error            ranks (R,)
    "tucker2"      subspaces of both channel modes                                          ranks (r_out, r_in)
    "tkd-cpd-epc"  these, and stable CP of the core                                         ranks (r_out, r_in, R)
    "svd"          the matrix (out, in x positions) by its singular values                  ranks (R,)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, final, get_args

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP, Tucker, cp_als
from polyad.tensors.formats.base import check_dense
from polyad.tensors.stable_cp.correction import Progress, cp_epc
from polyad.tensors.stable_cp.sensitivity import balance, cp_sensitivity
from polyad.tensors.stable_cp.tucker_cp import TuckerCP, tkd_cpd_epc, tucker2

Method = Literal["cp", "cp-epc", "tucker2", "tkd-cpd-epc", "svd"]
METHODS: tuple[Method, ...] = get_args(Method)


@final
@dataclass(frozen=True, eq=False)
class KernelFactors:
    """A kernel in low rank.

    Attributes:
        method: one of the five.
        shape: of the kernel, (out, in, *positions).
        value: CP, Tucker or TuckerCP; for "svd" a CP tensor of order two, (out, in x positions).
        error: relative error of the kernel.
        sensitivity: ss of the CP tensor (of the core for "tkd-cpd-epc"); None for the other methods.
        separable: whether every axis of positions has a factor of its own.
    """

    method: Method
    shape: tuple[int, ...]
    value: CP | Tucker | TuckerCP
    error: float
    sensitivity: float | None
    separable: bool

    def kernel(self) -> Num[Tensor, "out in ..."]:
        """The kernel that the factors stand for."""
        return self.value.to_dense().reshape(self.shape)


def factor_kernel(
    kernel: Num[Tensor, "out in ..."],
    method: Method,
    ranks: Sequence[int],
    *,
    slack: float = 0.0,
    separable: bool = False,
    starts: int = 2,
    sweeps: int = 200,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Progress | None = None,
) -> KernelFactors:
    """Factor a kernel; without a gradient.

    Args:
        kernel: (out, in, *positions), at least one axis of positions; one of a single position allows "svd" alone.
        method: see the module.
        ranks: as the method has them.
        slack: "cp-epc" and "tkd-cpd-epc" may have the error of least squares times (1 + slack).
        separable: one factor for every axis of positions (not for "tucker2" and "svd").
        starts, sweeps, seed: of the least squares; `sweeps` of the correction too.
        tolerance: of the correction, relative change of ss a sweep.
        progress: of the correction.
    """
    check_method(method, kernel.shape, ranks, separable=separable)
    check_dense(kernel, name="kernel")
    kernel = kernel.detach()
    tensor = kernel if separable else kernel.flatten(2)
    value: CP | Tucker | TuckerCP
    sensitivity = None
    if method == "svd":
        left, values, right = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
        rank = ranks[0]
        value = balance(CP(values[:rank].to(kernel.dtype), (left[:, :rank], right[:rank].mT)))
    elif method == "tucker2":
        value = tucker2(tensor, ranks)
    elif method == "tkd-cpd-epc":
        found = tkd_cpd_epc(
            tensor,
            ranks[2],
            ranks=ranks[:2],
            slack=slack,
            starts=starts,
            sweeps=sweeps,
            tolerance=tolerance,
            seed=seed,
            progress=progress,
        )
        value, sensitivity = found, found.fit.sensitivity
    else:
        value = balance(cp_als(tensor, ranks[0], starts=starts, sweeps=sweeps, seed=seed).value)
        if method == "cp-epc":
            value = cp_epc(tensor, value, slack=slack, sweeps=sweeps, tolerance=tolerance, progress=progress).value
        sensitivity = float(cp_sensitivity(value))
    difference = torch.linalg.vector_norm(tensor.flatten() - value.to_dense().flatten())
    error = float(difference / torch.linalg.vector_norm(tensor))
    return KernelFactors(method, tuple(kernel.shape), value, error, sensitivity, separable)


def largest_rank(method: Method, shape: Sequence[int], *, separable: bool = False) -> int:
    """The largest R that is of use for a kernel, or core, of this shape."""
    if method == "svd":
        return min(shape[0], prod(shape[1:]))
    sizes = tuple(shape) if separable else (*shape[:2], prod(shape[2:]))
    return prod(sizes) // max(sizes)


def check_method(method: str, shape: Sequence[int], ranks: Sequence[int], *, separable: bool = False) -> None:
    """A known method, as many ranks as it has and each within its limit."""
    if method not in METHODS:
        raise InputError(f"method: {method!r} was given, allowed are {', '.join(METHODS)}")
    if len(shape) < 3:
        raise InputError(f"kernel: shape {tuple(shape)} was given; (out, in, positions..) is needed")
    if method != "svd" and prod(shape[2:]) == 1:
        raise InputError(f"method: {method!r} factors positions, but kernel {tuple(shape)} has one; take 'svd'")
    if separable and method in ("svd", "tucker2"):
        raise InputError(f"separable: {method!r} has no factor for positions; take cp, cp-epc or tkd-cpd-epc")
    limits: tuple[int, ...]
    if method == "tucker2":
        limits = (shape[0], shape[1])
    elif method == "tkd-cpd-epc":
        core = (*(min(r, n) for r, n in zip(ranks, shape[:2], strict=False)), *shape[2:])
        limits = (shape[0], shape[1], largest_rank(method, core, separable=separable) if len(ranks) == 3 else 1)
    else:
        limits = (largest_rank(method, shape, separable=separable),)
    if len(ranks) != len(limits) or not all(1 <= r <= most for r, most in zip(ranks, limits, strict=True)):
        raise InputError(f"ranks: {tuple(ranks)} was given; {method!r} takes {len(limits)}, from 1 to {limits}")

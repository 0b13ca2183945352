"""Accuracy against cost: error and time of coarse-graining over bonds, sizes, temperatures, rules and precisions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.tensors.renormalization.flow import log_z
from polyad.tensors.renormalization.references import kaufman


@final
@dataclass(frozen=True)
class AccuracyRow:
    """One run: its settings, the relative error of ln Z at each temperature, and seconds for the whole batch."""

    method: str
    bond: int
    size: int
    threshold: float
    parity: bool
    dtype: torch.dtype
    error: Tensor
    seconds: float

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return float(self.error.max())


def accuracy(
    beta: Float[Tensor, "*batch"],
    *,
    sizes: Iterable[int],
    bonds: Iterable[int],
    methods: Iterable[str] = ("hotrg",),
    thresholds: Iterable[float] = (0.0,),
    parities: Iterable[bool] = (False,),
    dtypes: Iterable[torch.dtype] = (torch.float64,),
) -> Iterator[AccuracyRow]:
    """Run `log_z` on size x size tori for every combination and compare with Kaufman's value in double precision.

    Rows come one at a time, so that a caller may stop or show progress. Parity is used only by 'pair' and 'hotrg'.

    Raises:
        InputError: what `log_z` refuses.
    """
    exact: dict[int, Tensor] = {}
    for dtype, size, method, bond, threshold, parity in product(
        list(dtypes), list(sizes), list(methods), list(bonds), list(thresholds), list(parities)
    ):
        if parity and method not in ("pair", "hotrg"):
            continue
        if size not in exact:
            # one temperature at a time: the products run over 2 x size momenta
            exact[size] = torch.stack([kaufman(b, size, size) for b in beta.double().flatten()]).reshape(beta.shape)
        start = time.perf_counter()
        found = log_z(beta.to(dtype), size, size, bond=bond, method=method, threshold=threshold, parity=parity)
        seconds = time.perf_counter() - start
        error = (found.double() / exact[size] - 1).abs()
        yield AccuracyRow(method, bond, size, threshold, parity, dtype, error, seconds)

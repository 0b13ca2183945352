"""Constant tables: built once in float64 by NumPy, kept for every dtype and device in which they were asked for.

`torch.compile` takes the tables as constants and never traces the code that builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor


def constant_tables(build: Callable[..., tuple[np.ndarray, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Turn `build(*arguments)`, a tuple of arrays, into `tables(like, *arguments)`, the same as tensors.

    Floating arrays follow dtype and device of the tensor `like`, integer arrays become int64 on its device. The
    tensors are shared by all callers: never write into them.
    """

    @lru_cache(maxsize=256)
    def cached(dtype: torch.dtype, device: torch.device, *arguments: Hashable) -> tuple[Tensor, ...]:
        with torch.inference_mode(False):  # a table made under inference mode could not enter a gradient later
            return tuple(
                torch.as_tensor(array, dtype=torch.int64 if array.dtype.kind == "i" else dtype, device=device)
                for array in build(*arguments)
            )

    @torch.compiler.assume_constant_result
    def constant(dtype: torch.dtype, device: torch.device, *arguments: Hashable) -> tuple[Tensor, ...]:
        return cached(dtype, device, *arguments)

    @wraps(build)
    def tables(like: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        return constant(like.dtype, like.device, *arguments)

    return tables

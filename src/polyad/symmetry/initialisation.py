"""Weights that start from a seed: torch's own layers draw from its global generator, which is set and put back here.

with seeded(0):
    layer = nn.Linear(8, 8)     # the same weights every time, and nothing else is disturbed
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Torch's global generator starts from `seed` inside the block, and is as before after it.

    Yields a generator with the same seed, for layers that take one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)

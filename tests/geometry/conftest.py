"""A small solid with a handle, used by all tests of file formats, and a mutator of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.struts import strut_union


@pytest.fixture(scope="session")
def solid() -> TriangleMesh:
    """A triangle of struts and a spike, tens of millimetres in size: genus 1, no coordinate exact in float32."""
    nodes = torch.tensor([[0.1, 0, 0], [20.3, 1, 0], [7, 17.7, 3], [5, 5, 21]], dtype=torch.float64) + 1 / 3
    starts, ends = nodes[[0, 1, 2, 0]], nodes[[1, 2, 0, 3]]
    return strut_union(starts, ends, torch.tensor([1.0, 1.2, 0.7, 1.1], dtype=torch.float64), facets=9)


def mutations(data: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """Copies with a few bytes changed, a piece cut out, doubled or inserted, or the end missing."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            if not copy:
                break
            at, size = int(generator.integers(len(copy))), int(generator.integers(1, 40))
            match int(generator.integers(6)):
                case 0:
                    copy[at] = int(generator.integers(256))
                case 1:
                    del copy[at : at + size]
                case 2:
                    copy[at:at] = copy[at : at + size]
                case 3:
                    copy[at:at] = generator.bytes(size)
                case 4:
                    copy[at:at] = [b"-1", b"nan", b"1e999", b"99999999999999999999", b"\0", b"<", b"0"][size % 7]
                case 5:
                    del copy[at:]
        yield bytes(copy)

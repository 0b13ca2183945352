"""Seconds of a training step and of a prediction with Polyad's MACE: FRAMES CHANNELS LMAX, one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import torch

from polyad.materials.potentials import Potential
from polyad.materials.potentials.mace import MACE
from polyad.materials.structures import read_structures


def main(frames: str, channels: int, lmax: int) -> None:
    """Five rounds after two that warm up: the median of each."""
    batch = read_structures(frames, limit=10).to(torch.float32).with_neighbors(5.0)
    network = MACE(
        kinds=4, cutoff=5.0, channels=channels, lmax=lmax, message_degree=1, correlation=3, layers=2, radial=8,
        neighbors=batch.num_edges / batch.num_nodes, first_layer="mixing",
    )  # fmt: skip
    potential = Potential(network, species=[1, 6, 7, 8], cutoff=5.0)
    steps, predictions = [], []
    for _ in range(7):
        potential.train()
        start = time.perf_counter()
        found = potential(batch)
        (found["forces"].square().mean() + found["energy"].mean()).backward()
        steps.append(time.perf_counter() - start)
        potential.zero_grad()
        potential.eval()
        start = time.perf_counter()
        potential(batch)
        predictions.append(time.perf_counter() - start)
    print(json.dumps({
        "parameters": sum(p.numel() for p in network.parameters()), "step": sorted(steps[2:])[2],
        "prediction": sorted(predictions[2:])[2], "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""The same with mace-torch, in its own environment: FRAMES CHANNELS LMAX, one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import ase.io
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric


def main(frames: str, channels: int, lmax: int) -> None:
    """Five rounds after two that warm up: the median of each."""
    table = AtomicNumberTable([1, 6, 7, 8])
    configurations = [data.config_from_atoms(atoms) for atoms in ase.io.read(frames, index=":10")]
    samples = [data.AtomicData.from_config(c, z_table=table, cutoff=5.0) for c in configurations]
    batch = next(iter(torch_geometric.dataloader.DataLoader(samples, batch_size=10))).to_dict()
    blocks = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=lmax, num_interactions=2, num_elements=4,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"), MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu, atomic_energies=np.zeros(4), atomic_numbers=[1, 6, 7, 8], correlation=3,
        avg_num_neighbors=batch["edge_index"].shape[1] / batch["positions"].shape[0],
        atomic_inter_scale=1.0, atomic_inter_shift=0.0, radial_MLP=[64, 64, 64],
    )  # fmt: skip
    steps, predictions = [], []
    for _ in range(7):
        start = time.perf_counter()
        found = model(dict(batch), training=True)
        (found["forces"].square().mean() + found["energy"].mean()).backward()
        steps.append(time.perf_counter() - start)
        model.zero_grad()
        start = time.perf_counter()
        model(dict(batch), training=False)
        predictions.append(time.perf_counter() - start)
    print(json.dumps({
        "parameters": sum(p.numel() for p in model.parameters()), "step": sorted(steps[2:])[2],
        "prediction": sorted(predictions[2:])[2], "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

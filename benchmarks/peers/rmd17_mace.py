"""Train mace-torch as `rmd17.py` trains ours, in its own environment: TRAIN TEST MINUTES RATE, one line of JSON.

The same split, batches, loss, schedule, average of weights and clock (processor time of this process, validation
included) as `polyad.training.fit`; Adam with amsgrad, which is mace-torch's own choice.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time

import ase.io
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric

CUTOFF, CHANNELS, LMAX, BATCH, HELD = 5.0, 32, 2, 10, 50


def main(train: str, test: str, minutes: float, rate: float) -> None:
    """Train until the clock says so, keep what was best on the held-out frames, and measure it on the test frames."""
    torch.manual_seed(0)
    frames = ase.io.read(train, index=":")
    order = np.random.default_rng(0).permutation(len(frames))
    held, rest = ([frames[i] for i in part] for part in (order[:HELD], order[HELD:]))
    table = AtomicNumberTable(sorted(set(frames[0].numbers)))
    counts = np.array([[(f.numbers == z).sum() for z in table.zs] for f in rest], dtype=float)
    energies = np.array([f.info["Energy"] for f in rest])
    free = np.linalg.lstsq(counts, energies, rcond=None)[0]
    forces = np.concatenate([f.get_forces() for f in rest])
    scale = float(np.sqrt((forces**2).mean()))
    tested = ase.io.read(test, index=":")
    for frame in rest + held + tested:  # in double precision, as ours
        frame.info["Energy"] -= float(sum(free[table.zs.index(z)] for z in frame.numbers))
    loaders = {
        "train": loader(rest, table, shuffle=True),
        "held": loader(held, table),
        "test": loader(tested, table),
    }
    first = next(iter(loaders["train"]))
    blocks = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=8, num_polynomial_cutoff=5, max_ell=LMAX, num_interactions=2,
        num_elements=len(table), interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        hidden_irreps=o3.Irreps(f"{CHANNELS}x0e + {CHANNELS}x1o"), MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu, atomic_energies=np.zeros(len(table)),
        atomic_numbers=list(table.zs), correlation=3,
        avg_num_neighbors=first["edge_index"].shape[1] / first["positions"].shape[0],
        atomic_inter_scale=scale, atomic_inter_shift=0.0, radial_MLP=[64, 64, 64],
    )  # fmt: skip
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, amsgrad=True)
    spent, steps, best, kept = 0.0, 0, math.inf, copy.deepcopy(model.state_dict())
    while spent < 60 * minutes:
        for batch in loaders["train"]:
            began = time.process_time()
            progress = min(1.0, spent / (60 * minutes))
            for group in optimizer.param_groups:
                group["lr"] = rate * factor(progress)
            energy, force = errors(model, batch, training=True)
            optimizer.zero_grad()
            (((energy**2).mean() + 100 * (force**2).mean()) / scale**2).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            decay = min(0.99, (1 + steps) / (10 + steps))
            with torch.no_grad():
                for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)
            steps += 1
            spent += time.process_time() - began
            if spent >= 60 * minutes:
                break
        began = time.process_time()
        loss, _, _ = measure(average, loaders["held"])
        if loss < best:
            best, kept = loss, copy.deepcopy(average.state_dict())
        spent += time.process_time() - began
    average.load_state_dict(kept)
    _, energy_mae, force_mae = measure(average, loaders["test"])
    print(json.dumps({
        "parameters": sum(p.numel() for p in model.parameters()), "steps": steps, "seconds": spent,
        "energy_mae": energy_mae, "force_mae": force_mae,
    }))  # fmt: skip


def loader(frames: list, table: AtomicNumberTable, *, shuffle: bool = False) -> torch_geometric.dataloader.DataLoader:
    """Batches of frames whose neighbours are found once."""
    for frame in frames:
        frame.arrays["REF_forces"] = frame.get_forces()
        frame.pbc, frame.cell, frame.calc = False, None, None
    names = data.KeySpecification(info_keys={"energy": "Energy"}, arrays_keys={"forces": "REF_forces"})
    samples = [
        data.AtomicData.from_config(
            data.config_from_atoms(frame, key_specification=names), z_table=table, cutoff=CUTOFF
        )
        for frame in frames
    ]
    return torch_geometric.dataloader.DataLoader(samples, batch_size=BATCH, shuffle=shuffle, drop_last=shuffle)


def errors(model: torch.nn.Module, batch: object, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of energies, an atom, and of force components."""
    found = model(batch.to_dict(), training=training)
    return (found["energy"] - batch["energy"]) / batch["ptr"].diff(), found["forces"] - batch["forces"]


def measure(model: torch.nn.Module, batches: torch_geometric.dataloader.DataLoader) -> tuple[float, float, float]:
    """What validation judges by, and the mean absolute errors of energies and forces."""
    energies, forces = [], []
    for batch in batches:
        energy, force = errors(model, batch, training=False)
        energies.append(energy.detach())
        forces.append(force.detach().flatten())
    energy, force = torch.cat(energies), torch.cat(forces)
    loss = float((energy**2).mean() + 100 * (force**2).mean())
    return loss, float(energy.abs().mean()), float(force.abs().mean())


def factor(progress: float, warmup: float = 0.05) -> float:
    """Cosine with a short warm-up, as `polyad.training.schedules.cosine`."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))

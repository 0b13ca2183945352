"""Potentials beside their peers: `python benchmarks/materials.py [mace]`.

mace-torch pins an e3nn of its own, so it lives in an environment of its own, whose Python is named by the variable
POLYAD_MACE_TORCH (`python -m venv peer && peer/bin/pip install mace-torch==0.3.16`). Processes alternate.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from harness import Benchmark, run_rows

from polyad.claims.data import find_data

PEERS = Path(__file__).parent / "peers"
TURNS = 3


def mace() -> list[dict[str, object]]:
    """Ten frames of 27 atoms: energies, forces, and the gradient of both; the same hyper-parameters."""
    peer, data = os.environ.get("POLYAD_MACE_TORCH"), find_data("molecules/3bpa_train_300K.xyz.gz")
    if not peer or data is None:
        return [{"not run": "set POLYAD_MACE_TORCH to the Python of an environment with mace-torch, and POLYAD_DATA"}]
    rows: list[dict[str, object]] = []
    for threads in (1, 2):
        for channels, lmax in ((64, 3), (64, 2)):
            found: dict[str, list[dict[str, float]]] = {"ours": [], "mace-torch": []}
            for _ in range(TURNS):
                for name, python, script in (
                    ("ours", sys.executable, "mace_ours.py"),
                    ("mace-torch", peer, "mace_peer.py"),
                ):
                    command = [python, "-W", "ignore", str(PEERS / script), str(data), str(channels), str(lmax)]
                    environment = {
                        **os.environ, "OMP_NUM_THREADS": str(threads), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"
                    }  # fmt: skip
                    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    found[name].append(json.loads(run.stdout.splitlines()[-1]))
            middle = {
                name: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
                for name, turns in found.items()
            }
            ours, theirs = middle["ours"], middle["mace-torch"]
            rows.append(
                {"threads": threads, "channels": channels, "lmax": lmax, "parameters": ours["parameters"]}
                | {"of mace-torch": theirs["parameters"], "ours s a step": ours["step"]}
                | {"mace-torch s a step": theirs["step"], "ratio": theirs["step"] / ours["step"]}
                | {"ours s a prediction": ours["prediction"], "mace-torch s a prediction": theirs["prediction"]}
                | {"ours GB": ours["memory"], "mace-torch GB": theirs["memory"]}
            )
    return rows


BENCHMARKS = {
    "mace": Benchmark(
        "MACE beside mace-torch: energies and forces of 10 frames of 3BPA, float32",
        "a training step at least 1.3 x faster, memory no higher",
        mace,
    ),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_rows("materials", BENCHMARKS)

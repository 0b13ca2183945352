"""Potentials beside their peers: `python benchmarks/materials.py [mace|steps|rmd17]`.

mace-torch pins an e3nn of its own, so it lives in an environment of its own, whose Python is named by the variable
POLYAD_MACE_TORCH (`python -m venv peer && peer/bin/pip install mace-torch==0.3.16`). Processes alternate.

`rmd17` trains every potential for POLYAD_MINUTES (20) of processor time on POLYAD_MOLECULES: hours in all. Results are
kept one by one, and an interrupted run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from harness import RESULTS, Benchmark, interleave, run_rows

from polyad.claims.data import find_data
from polyad.materials.learning.potentials import new_potential
from polyad.materials.learning.properties import new_property, prepare_property
from polyad.materials.learning.registry import POTENTIALS
from polyad.materials.potentials import PotentialLoss, prepare_energies
from polyad.materials.properties.losses import PropertyLoss
from polyad.materials.structures import read_structures

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


def steps() -> list[dict[str, object]]:
    """A training step and a prediction of every potential, and of the networks for scalars of crystals."""
    frames, crystals = find_data("molecules/3bpa_train_300K.xyz.gz"), find_data("crystals/perov_5_val.csv.gz")
    if frames is None or crystals is None:
        return [{"not run": "set POLYAD_DATA to a folder with the 3BPA frames and the perov_5 crystals"}]
    runs: dict[tuple[str, str], tuple[torch.nn.Module, Callable[[], object], Callable[[], object]]] = {}
    molecules = read_structures(frames, limit=10).with_neighbors(5.0)
    for name in sorted(POTENTIALS):
        potential = new_potential(molecules, name)[0].float()
        batch = prepare_energies(molecules, potential).to(torch.float32)
        loss = PotentialLoss()
        runs["10 frames of 27 atoms", name] = (
            potential,
            lambda loss=loss, model=potential, batch=batch: loss(model.train(), batch).backward(),
            lambda model=potential, batch=batch: model.eval()(batch),
        )
    perovskites = read_structures(crystals, limit=32)
    for name in ("icomformer", "ecomformer", "cgc", "frame-averaged-cgc"):
        model = new_property(perovskites, name, target="heat_ref")[0].float()
        batch = prepare_property(perovskites, model).to(torch.float32)
        score = PropertyLoss(model.target, scale=float(model.scale), relative=False)
        runs["32 crystals of 5 atoms", name] = (
            model,
            lambda score=score, model=model, batch=batch: score(model.train(), batch).backward(),
            lambda model=model, batch=batch: model.eval()(batch),
        )
    times = [interleave({name: run[k] for name, run in runs.items()}, repeats=5) for k in (1, 2)]
    return [
        {"batch": name[0], "network": name[1], "parameters": sum(p.numel() for p in runs[name][0].parameters())}
        | {"step ms": 1e3 * times[0][name], "prediction ms": 1e3 * times[1][name]}
        for name in runs
    ]


def rmd17() -> list[dict[str, object]]:
    """Every potential on 950 frames of a molecule for the same processor time; each result is kept as it comes."""
    peer, minutes = os.environ.get("POLYAD_MACE_TORCH"), float(os.environ.get("POLYAD_MINUTES", "20"))
    rows: list[dict[str, object]] = []
    for molecule in os.environ.get("POLYAD_MOLECULES", "ethanol,aspirin").split(","):
        train, test = (find_data(f"molecules/rmd17_{molecule}_{part}_01.xyz.gz") for part in ("train", "test"))
        if train is None or test is None:
            return [{"not run": "set POLYAD_DATA to a folder with the rMD17 frames"}]
        ours = [sys.executable, str(PEERS / "rmd17_ours.py")]
        commands = {"mace": [*ours, "mace", str(train), str(test), str(minutes)]}
        if peer:
            frames = ["-W", "ignore", str(PEERS / "rmd17_mace.py"), str(train), str(test), str(minutes)]
            commands |= {f"mace-torch, rate {rate:g}": [peer, *frames, str(rate)] for rate in (0.01, 0.03)}
        for name in sorted(set(POTENTIALS) - {"mace"}):
            commands[name] = [*ours, name, str(train), str(test), str(minutes)]
        for name, command in commands.items():
            folder = RESULTS / "rmd17" / f"{molecule} {name} {minutes:g} min"
            kept = folder.parent / f"{folder.name}.json"
            if not kept.exists():
                folder.mkdir(parents=True, exist_ok=True)
                place = [str(folder)] if command[0] == sys.executable else []
                environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
                run = subprocess.run([*command, *place], env=environment, stdout=subprocess.PIPE, text=True, check=True)
                kept.write_text(run.stdout.splitlines()[-1] + "\n", encoding="utf-8")
                shutil.rmtree(folder)
            found = json.loads(kept.read_text(encoding="utf-8"))
            rows.append(
                {"molecule": molecule, "network": name, "force error meV/Å": 1e3 * found["force_mae"]}
                | {"energy error meV an atom": 1e3 * found["energy_mae"], "parameters": found["parameters"]}
                | {"steps": found["steps"], "minutes": found["seconds"] / 60}
                | {"equivariance error": found.get("equivariance", "")}
            )
            print(rows[-1], flush=True)
    return rows


BENCHMARKS = {
    "mace": Benchmark(
        "MACE beside mace-torch: energies and forces of 10 frames of 3BPA, float32",
        "a training step at least 1.3 x faster, memory no higher",
        mace,
    ),
    "steps": Benchmark(
        "Training step and prediction of every network, float32, one thread, each with its desktop options",
        "measured; torchmd-net, TensorNet's peer, needs CUDA's compiler and did not install here",
        steps,
    ),
    "rmd17": Benchmark(
        "Potentials on rMD17, 950 frames: mean absolute test errors after equal processor time on one thread",
        "a table; our MACE no worse than mace-torch",
        rmd17,
    ),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_rows("materials", BENCHMARKS)

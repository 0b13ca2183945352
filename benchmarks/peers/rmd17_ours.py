"""Train a potential of Polyad on frames of a molecule: MODEL TRAIN TEST MINUTES FOLDER, one line of JSON."""

from __future__ import annotations

import json
import sys

from polyad.materials.learning.comparing import compare_potentials
from polyad.materials.structures import read_structures


def main(model: str, train: str, test: str, minutes: float, folder: str) -> None:
    """Minutes are of processor time, validation included; an interrupted training goes on."""
    frames, held = (read_structures(path, targets=["energy", "forces"]) for path in (train, test))
    (found,) = compare_potentials(
        frames, [model], folder=folder, minutes=minutes, clock="process", test=held, validation=0.05, batch_size=10
    )
    names = ("parameters", "steps", "seconds", "energy_mae", "force_mae", "equivariance")
    print(json.dumps({name: getattr(found, name) for name in names}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), sys.argv[5])

"""A small regression that runs share, in the tests' own process and in processes that tests start and kill.

As a program: `python training_case.py FOLDER OPTIONS_JSON` trains in the folder and prints a line per step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polyad.training import TensorData, TrainingResult, fit


def network() -> nn.Sequential:
    """Five inputs, dropout inside: a run that resumed with other random numbers would end elsewhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 2))


def regression(samples: int = 50, seed: int = 0) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, generator=generator)
    return TensorData(x, torch.stack([x.sum(1).sin(), x[:, 0] * x[:, 1]], dim=1))


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def train(folder: Path | None, model: nn.Module | None = None, **options: Any) -> tuple[nn.Module, TrainingResult]:
    model = network() if model is None else model
    defaults: dict[str, Any] = {"steps": 60, "batch_size": 8, "clip_norm": 1.0, "learning_rate": 0.01}
    result = fit(model, squared_error, regression(), folder=folder, **{**defaults, **options})
    return model, result


def tell(done: int, total: int) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    torch.set_num_threads(1)
    used = network()
    if given.pop("no_dropout", False):
        del used[2]
    if given.pop("validate", False):
        given["validation"] = regression(20, seed=9)
    train(Path(sys.argv[1]), used, progress=tell, **given)

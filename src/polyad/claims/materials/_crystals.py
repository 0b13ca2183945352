"""Networks on crystals trained for equally many steps: the distance graph they are compared with, and the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from polyad.claims.timing import median_seconds
from polyad.graphs.points import PointGraph
from polyad.materials.properties.comformer import crystal_graph
from polyad.materials.structures import Structures
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import gaussian
from polyad.training import fit
from polyad.training.schedules import one_cycle

BATCH = 64


@final
class DistanceGraph(nn.Module):
    """CGCNN (Xie and Grossman, Phys. Rev. Lett. 120 (2018) 145301): gated convolutions on nodes and distances.

    v_i <- softplus(v_i + BN(sum_j sigmoid(BN(W z)) * softplus(BN(W' z)))), z = (v_i, v_j, Gaussians of the distance).
    """

    def __init__(self, *, kinds: int, cutoff: float, channels: int = 64, layers: int = 3, bins: int = 41) -> None:
        super().__init__()
        self.cutoff, self.bins = cutoff, bins
        with seeded(0):
            self.element = nn.Embedding(kinds, channels)
            self.nodes = nn.ModuleList(nn.Linear(channels, 4 * channels) for _ in range(layers))
            self.edges = nn.ModuleList(nn.Linear(bins, 2 * channels, bias=False) for _ in range(layers))
            self.inner = nn.ModuleList(nn.BatchNorm1d(2 * channels) for _ in range(layers))
            self.outer = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(layers))
            self.head = nn.Sequential(
                nn.Softplus(), nn.Linear(channels, 2 * channels), nn.Softplus(), nn.Linear(2 * channels, 1)
            )

    def forward(self, graph: PointGraph) -> Tensor:
        """The prediction of every crystal, (structures, 1)."""
        source, target = graph.edge_index
        basis, state = gaussian(graph.distances(), self.bins, self.cutoff), self.element(graph.kind)
        for nodes, edges, inner, outer in zip(self.nodes, self.edges, self.inner, self.outer, strict=True):
            own, sent = nodes(state).chunk(2, dim=1)  # the map of the joined features, part by part
            joined = own.index_select(0, target) + sent.index_select(0, source) + edges(basis)
            gate, core = inner(joined).chunk(2, dim=1)
            state = softplus(state + outer(graph.sum_messages(torch.sigmoid(gate) * softplus(core))))
        return self.head(graph.mean_nodes(state))


@final
@dataclass(frozen=True)
class Task:
    """Crystals with neighbours and one standardised target, for training and testing.

    Args:
        train, test: single precision, with edges and the target `target`.
        species: atomic numbers in the order of the networks' kinds.
        loss: of prediction and target.
        unit: of the target.
    """

    train: Structures
    test: Structures
    species: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    unit: float = 1.0

    def measure(self, network: nn.Module, batch: Structures) -> Tensor:
        """The loss of a batch."""
        return self.loss(network(crystal_graph(batch, self.species))[:, 0], batch.targets["target"])


def make_task(
    train: Structures, test: Structures, target: str, *, loss: Callable[[Tensor, Tensor], Tensor], standardise: bool
) -> Task:
    """Targets of both parts shifted and scaled as the training part asks."""
    species = train.species.unique()
    values = train.targets[target]
    shift, unit = (float(values.mean()), float(values.std())) if standardise else (0.0, 1.0)
    parts = [x.replace(targets={"target": (x.targets[target] - shift) / unit}).to(torch.float32) for x in (train, test)]
    return Task(parts[0], parts[1], species, loss, unit)


@final
@dataclass(frozen=True)
class Trained:
    """A trained network's predictions of the test part.

    Args:
        predicted: (structures,) in units of the task.
        parameters: numbers that were trained.
        seconds: processor time of the training.
        history: steps and mean losses in training.
    """

    predicted: Tensor
    parameters: int
    seconds: float
    history: list[tuple[float, float]]


def train(
    network: nn.Module, task: Task, *, steps: int, rate: float, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:  # fmt: skip
    """AdamW with one cycle of the rate for this many steps; the last weights predict the test part."""
    start = time.process_time()
    result = fit(
        network, task.measure, task.train, steps=steps, batch_size=BATCH, learning_rate=rate, schedule=one_cycle(),
        clip_norm=10.0, seed=seed, validate_every=max(steps // 30, 1), progress=progress,
    )  # fmt: skip
    seconds = time.process_time() - start
    network.eval()
    with torch.no_grad():
        pieces = [
            network(crystal_graph(task.test[low : low + BATCH], task.species))[:, 0]
            for low in range(0, len(task.test), BATCH)
        ]
    parameters = sum(p.numel() for p in network.parameters())
    history = [(row["step"], row["loss"]) for row in result.history]
    return Trained(torch.cat(pieces), parameters, seconds, history)


def step_seconds(networks: Mapping[str, nn.Module], task: Task, *, turns: int = 7, steps: int = 4) -> dict[str, float]:
    """Processor time of a training step of each, in turns, so that another load meets all alike."""
    calls = {
        name: partial(fit, network, task.measure, task.train, steps=steps, batch_size=BATCH, learning_rate=1e-4)
        for name, network in networks.items()
    }
    return {name: value / steps for name, value in median_seconds(calls, repeats=turns).items()}

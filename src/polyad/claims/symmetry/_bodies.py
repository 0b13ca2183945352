"""Networks on charged bodies, and their training for one processor time; shared by claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from polyad.claims.timing import median_seconds
from polyad.problems.nbody import NBodySamples
from polyad.symmetry.egnn import EGNN
from polyad.symmetry.frames import FAMessagePassing
from polyad.training import fit


@final
class EgnnOnBodies(nn.Module):
    """EGNN with charges and speeds as scalars, products of charges and squared distances on edges; gives positions."""

    def __init__(self, *, channels: int = 64, layers: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.network = EGNN(
            scalars=2, channels=channels, layers=layers, edge_scalars=2, velocities=True, outputs=1, seed=seed
        )

    def forward(self, samples: NBodySamples) -> Tensor:
        """(systems, bodies, 3) later positions."""
        graph, (scalars, velocities) = samples.graph(), scalars_and_velocities(samples)
        edges = torch.cat([graph.edge_scalars, graph.distances()[:, None].square()], dim=1)
        _, found = self.network(scalars, graph.positions, graph.edge_index, edges, velocities)
        return found.view_as(samples.targets)


@final
class FramesOnBodies(nn.Module):
    """Message passing on raw coordinates, averaged over frames or not; gives positions."""

    def __init__(
        self, *, average: str, samples: int | None = 1, channels: int = 60, layers: int = 4, seed: int = 0
    ) -> None:
        super().__init__()
        self.network = FAMessagePassing(
            scalars=2, vectors=1, edge_scalars=1, channels=channels, layers=layers, average=average,
            samples=samples, seed=seed,
        )  # fmt: skip

    def forward(self, samples: NBodySamples) -> Tensor:
        """(systems, bodies, 3) later positions: the present ones moved by the network's vectors."""
        graph, (scalars, velocities) = samples.graph(), scalars_and_velocities(samples)
        _, moves = self.network(
            scalars, graph.positions, velocities[:, None], graph.edge_index, graph.structure, graph.edge_scalars,
            num_structures=graph.num_structures,
        )  # fmt: skip
        return (graph.positions + moves[:, 0]).view_as(samples.targets)


def scalars_and_velocities(samples: NBodySamples) -> tuple[Tensor, Tensor]:
    """Charge and speed of every body, and its velocity; a row a body."""
    velocities = samples.state.velocities.flatten(0, 1)
    speed = torch.linalg.vector_norm(velocities, dim=-1, keepdim=True)
    return torch.cat([samples.state.charges.flatten()[:, None], speed], dim=1), velocities


def squared_error(model: nn.Module, samples: NBodySamples) -> Tensor:
    """Mean over systems, bodies and coordinates."""
    return (model(samples) - samples.targets).square().mean()


@final
@dataclass(frozen=True)
class Trained:
    """What a network came to.

    Args:
        test: mean squared error on samples that were never seen.
        step_seconds: processor time of a step.
        steps: taken.
        parameters: of the network.
        history: (processor seconds, validation error) along the way.
    """

    test: float
    step_seconds: float
    steps: int
    parameters: int
    history: list[tuple[float, float]]


def train_equal_time(
    networks: Mapping[str, tuple[Callable[[], nn.Module], float]],
    train: NBodySamples,
    validation: NBodySamples,
    test: NBodySamples,
    *,
    seconds: float,
    batch_size: int = 100,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Trained]:
    """Every network for the same processor time, as steps of a cost that is measured first, in turns.

    Args:
        networks: name -> how to build it, and its learning rate.
        train, validation, test: the weights that are best on `validation` are kept and scored on `test`.
        seconds: of processor time in training steps.
        batch_size: samples a step.
        progress: called with networks done and networks in all.
    """

    def forty_steps(build: Callable[[], nn.Module], rate: float) -> None:
        fit(build(), squared_error, train, steps=40, batch_size=batch_size, learning_rate=rate)

    costs = median_seconds({name: partial(forty_steps, *entry) for name, entry in networks.items()}, repeats=4)
    found = {}
    for number, (name, (build, rate)) in enumerate(networks.items()):
        model, cost = build(), costs[name] / 40
        steps = round(seconds / cost)
        result = fit(
            model, squared_error, train, validation=validation, steps=steps, batch_size=batch_size,
            learning_rate=rate, validate_every=max(steps // 25, 1),
        )  # fmt: skip
        with torch.no_grad():
            error = float(squared_error(model.eval(), test.to(torch.float32)))
        history = [(cost * row["step"], row["validation_loss"]) for row in result.history]
        found[name] = Trained(error, cost, result.steps, sum(p.numel() for p in model.parameters()), history)
        progress(number + 1, len(networks))
    return found

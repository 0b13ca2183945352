"""Potentials trained for equally many steps on the same frames, and what a step costs; shared by claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import torch

from polyad.claims.timing import median_seconds
from polyad.materials.learning.potentials import evaluate_potential, new_potential
from polyad.materials.potentials import Potential, PotentialLoss, prepare_energies
from polyad.materials.structures import Structures
from polyad.training import fit

RATES = (3e-3, 1e-2, 3e-2, 1e-1)
"""Learning rates that every network is offered."""


@final
@dataclass(frozen=True)
class Entrant:
    """A network in a comparison.

    Args:
        model: its name.
        options: of the network.
        rate: learning rate; chosen by `tuned`.
        prepare: called with the new potential, for instance to switch a part off.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 3e-3
    prepare: Callable[[Potential], object] = lambda potential: None

    def build(self, train: Structures, *, cutoff: float, seed: int = 0) -> Potential:
        """The untrained potential in the units of the data."""
        potential, _ = new_potential(train, self.model, cutoff=cutoff, options={"seed": seed, **self.options})
        self.prepare(potential)
        return potential


@final
@dataclass(frozen=True)
class Trained:
    """What a network came to.

    Args:
        forces: mean absolute error a component on the test frames.
        energy: mean absolute error an atom on the test frames.
        parameters: numbers that were trained.
        validation: loss of the weights that were kept, in units of the squared force scale.
    """

    forces: float
    energy: float
    parameters: int
    validation: float


def train_steps(
    entrant: Entrant,
    train: Structures,
    validation: Structures,
    test: Structures,
    *,
    cutoff: float,
    steps: int,
    seed: int = 0,
    batch_size: int = 5,
) -> Trained:
    """Train on energies and forces; the weights that are best on `validation` are scored on `test`."""
    potential = entrant.build(train, cutoff=cutoff, seed=seed)
    loss = potential_loss(potential)
    result = fit(
        potential, loss, prepared(train, potential), validation=prepared(validation, potential), steps=steps,
        batch_size=batch_size, learning_rate=entrant.rate, ema=0.99, clip_norm=10.0, seed=seed,
        validate_every=max(steps // 10, 1),
    )  # fmt: skip
    found = evaluate_potential(potential.eval(), test)
    forces = (found["forces"] - test.node_targets["forces"]).abs().mean()
    atoms = test.node_start.diff()
    energy = ((found["energy"] - test.targets["energy"]) / atoms).abs().mean()
    parameters = sum(p.numel() for p in potential.parameters())
    return Trained(float(forces), float(energy), parameters, result.best)


def tuned(
    entrant: Entrant, train: Structures, validation: Structures, *, cutoff: float, steps: int, batch_size: int = 5
) -> Entrant:
    """The entrant with the learning rate that is best on `validation` after a short training."""
    losses = {}
    for rate in RATES:
        tried = replace(entrant, rate=rate)
        found = train_steps(
            tried, train, validation, validation, cutoff=cutoff, steps=steps, seed=1, batch_size=batch_size
        )
        losses[rate] = found.validation
    return replace(entrant, rate=min(losses, key=losses.__getitem__))


def step_seconds(
    entrants: Mapping[str, Entrant], train: Structures, *, cutoff: float, batch_size: int = 5, turns: int = 7
) -> dict[str, float]:
    """Processor time of one training step of each, measured in turns so that another load meets all alike."""
    built: dict[str, tuple[Potential, Structures]] = {}
    for name, entrant in entrants.items():
        potential = entrant.build(train, cutoff=cutoff).to(torch.float32)
        built[name] = potential, prepared(train, potential).to(torch.float32)
    calls = {
        name: partial(
            fit,
            potential,
            potential_loss(potential),
            data,
            steps=10,
            batch_size=batch_size,
            learning_rate=1e-5,
        )
        for name, (potential, data) in built.items()
    }
    return {name: value / 10 for name, value in median_seconds(calls, repeats=turns).items()}


def potential_loss(potential: Potential) -> PotentialLoss:
    """Energies an atom, and a hundredfold the force components, in units of the squared force scale."""
    unit = float(potential.scale) ** 2
    return PotentialLoss(energy=1.0 / unit, forces=100.0 / unit)


def prepared(data: Structures, potential: Potential) -> Structures:
    """Neighbours found and shifts taken, once for a whole training."""
    data = prepare_energies(data.with_neighbors(potential.cutoff), potential)
    return data.replace(
        targets={"interaction_energy": data.targets["interaction_energy"]},
        node_targets={"forces": data.node_targets["forces"]},
    )

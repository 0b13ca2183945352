"""Networks side by side: the same data, the same split, the same clock, one after another on the same machine.

Errors are measured on a test part that neither training nor the choice of the best weights saw. The equivariance error
is measured, not believed: energies and forces of turned and mirrored structures against turned and mirrored forces.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.materials.learning.data import hold_out
from polyad.materials.learning.potentials import evaluate_potential, load_potential, train_potential
from polyad.materials.learning.registry import POTENTIALS, Architecture
from polyad.materials.potentials import Potential
from polyad.materials.structures import Structures
from polyad.tensors.rotations import random_rotations
from polyad.training import TrainingResult
from polyad.training.metrics import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Contender:
    """One network after its training.

    Args:
        model: its name.
        parameters: numbers that were trained.
        steps: of the optimiser.
        seconds: of training, validation included.
        rate: structures seen a second.
        energy_mae: mean absolute error an atom on the test part, NaN without energies.
        force_mae: mean absolute error a component on the test part, NaN without forces.
        equivariance: largest difference of a force, or of the energy an atom, after a random rotation or reflection, in
            units of the forces' root mean square; in the precision of the training.
        evaluation: milliseconds a structure for energy and forces, in batches.
        history: rows of the training.
    """

    model: str
    parameters: int
    steps: int
    seconds: float
    rate: float
    energy_mae: float
    force_mae: float
    equivariance: float
    evaluation: float
    history: list[Row]


def compare_potentials(
    data: Structures,
    models: Sequence[str],
    *,
    folder: str | os.PathLike[str],
    minutes: float,
    test: Structures | float = 0.2,
    cutoff: float = 5.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int = 10,
    seed: int = 0,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
    **training: Any,
) -> list[Contender]:
    """Train each of the networks for the same time and measure it.

    Args:
        data: with energies, forces or both.
        models: names of networks.
        folder: each network gets a folder of its own there; an interrupted comparison goes on.
        minutes: of training for each.
        test: data for the errors, or the share of `data` held out for them.
        cutoff: of all neighbour lists, in the unit of the positions.
        options: of the networks, by name.
        batch_size: structures a step.
        seed: of splits and weights.
        progress: model -> callback of its training.
        training: further options of `train_potential`.

    Raises:
        InputError: an unknown name or one given twice, or data that cannot be learned from.
    """
    check_names(models, POTENTIALS)
    held, rest = (test, data) if isinstance(test, Structures) else hold_out(data, test, seed=seed)
    found = []
    for name in models:
        place = Path(folder) / name
        _, result = train_potential(
            rest,
            name,
            folder=place,
            cutoff=cutoff,
            options=(options or {}).get(name),
            minutes=minutes,
            batch_size=batch_size,
            seed=seed,
            progress=None if progress is None else progress(name),
            **training,
        )
        potential = load_potential(place)
        predicted, spent = timed(lambda model=potential: evaluate_potential(model, held))  # type: ignore[misc]
        energy, forces = _errors(predicted, held)
        found.append(
            Contender(
                model=name,
                **training_facts(potential, result, batch_size),
                energy_mae=energy,
                force_mae=forces,
                equivariance=equivariance_error(potential, held[: min(len(held), 8)], seed=seed),
                evaluation=1e3 * spent / len(held),
            )
        )
    return found


def check_names(models: Sequence[str], table: Mapping[str, Architecture]) -> None:
    """Refuse a comparison of no network, of an unknown one, or of one with itself.

    Raises:
        InputError: says what there is.
    """
    if not models or len(set(models)) != len(models) or any(name not in table for name in models):
        raise InputError(f"models: {', '.join(models) or 'none'} given; name some of {', '.join(sorted(table))} once")


def training_facts(model: nn.Module, result: TrainingResult, batch_size: int) -> dict[str, Any]:
    """What a contender of either kind says of its training: parameters, steps, seconds, rate, history."""
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps": result.steps,
        "seconds": result.seconds,
        "rate": result.steps * batch_size / result.seconds,
        "history": result.history,
    }


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Result and wall time of a call."""
    began = time.monotonic()
    result = call()
    return result, time.monotonic() - began


def equivariance_error(potential: Potential, data: Structures, *, seed: int = 0) -> float:
    """Largest change of a force, or of the energy an atom, under rotations and reflections; forces' RMS is 1."""
    plain = evaluate_potential(potential, data)
    scale = float(plain["forces"].square().mean().sqrt()) or 1.0
    worst = 0.0
    for sign in (1.0, -1.0):
        turn = sign * random_rotations(1, generator=torch.Generator().manual_seed(seed))[0]
        turned = data.replace(positions=data.positions @ turn.T, cell=data.cell @ turn.T)
        other = evaluate_potential(potential, turned)
        expected = plain["forces"].double() @ turn.T
        atoms = data.node_start.diff().double()
        gaps = [(other["forces"].double() - expected).abs(), (other["energy"] - plain["energy"]).abs() / atoms]
        worst = max(worst, *(float(gap.max()) / scale for gap in gaps))
    return worst


def plot_comparison(found: Sequence[Contender]) -> Figure:
    """Validation error against training time, a line a network."""
    from matplotlib.figure import Figure

    name = "validation_forces_mae" if "validation_forces_mae" in found[0].history[0] else "validation_energy_mae"
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for contender in found:
        rows = [row for row in contender.history if name in row]
        axes.plot([row["seconds"] / 60 for row in rows], [row[name] for row in rows], label=contender.model, marker=".")
    axes.set(xlabel="minutes of training", yscale="log")
    axes.set_ylabel("force error, mean absolute" if "forces" in name else "energy error an atom, mean absolute")
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    return figure


def comparison_facts(found: Sequence[Any]) -> list[dict[str, Any]]:
    """The table as JSON values, histories included."""
    return [asdict(contender) for contender in found]


def _errors(predicted: Mapping[str, Tensor], data: Structures) -> tuple[float, float]:
    energy = forces = float("nan")
    if "energy" in data.targets:
        gap = (predicted["energy"].double() - data.targets["energy"].double()) / data.node_start.diff()
        energy = float(gap.abs().mean())
    if "forces" in data.node_targets:
        forces = float((predicted["forces"].double() - data.node_targets["forces"].double()).abs().mean())
    return energy, forces

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
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.learning.data import hold_out
from polyad.materials.learning.potentials import evaluate_potential, load_potential, train_potential
from polyad.materials.learning.registry import POTENTIALS
from polyad.materials.potentials import Potential
from polyad.materials.structures import Structures
from polyad.training.metrics import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    unknown = [name for name in models if name not in POTENTIALS]
    if unknown or len(set(models)) != len(models) or not models:
        raise InputError(
            f"models: {', '.join(models) or 'none'} given; name some of {', '.join(sorted(POTENTIALS))} once"
        )
    held, rest = (test, data) if isinstance(test, Structures) else hold_out(data, test, seed=seed)
    found = []
    for model in models:
        place = Path(folder) / model
        _, result = train_potential(
            rest,
            model,
            folder=place,
            cutoff=cutoff,
            options=(options or {}).get(model),
            minutes=minutes,
            batch_size=batch_size,
            seed=seed,
            progress=None if progress is None else progress(model),
            **training,
        )
        potential = load_potential(place)
        began = time.monotonic()
        predicted = evaluate_potential(potential, held)
        spent = time.monotonic() - began
        energy, forces = _errors(predicted, held)
        found.append(
            Contender(
                model=model,
                parameters=sum(p.numel() for p in potential.parameters() if p.requires_grad),
                steps=result.steps,
                seconds=result.seconds,
                rate=result.steps * batch_size / result.seconds,
                energy_mae=energy,
                force_mae=forces,
                equivariance=equivariance_error(potential, held[: min(len(held), 8)], seed=seed),
                evaluation=1e3 * spent / len(held),
                history=result.history,
            )
        )
    return found


def equivariance_error(potential: Potential, data: Structures, *, seed: int = 0) -> float:
    """Largest change of a force, or of the energy an atom, under rotations and reflections; forces' RMS is 1."""
    plain = evaluate_potential(potential, data)
    scale = float(plain["forces"].square().mean().sqrt()) or 1.0
    worst = 0.0
    for sign in (1.0, -1.0):
        turn = sign * _rotation(seed)
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


def _rotation(seed: int) -> Tensor:
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(matrix)
    q = q * torch.diagonal(r).sign()
    return q * torch.linalg.det(q)

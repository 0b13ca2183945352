"""Property networks side by side: the same data, the same split, the same clock; for lattices the exact solver beside.

Errors are measured on a test part that neither training nor the choice of the best weights saw; of lattices it holds
whole base nets. The equivariance error is measured, not believed: predictions for turned and mirrored structures
against turned and mirrored predictions. Where the property is the stiffness of lattices, the exact solver's own time
stands in the same table: for cells of beams it is often the faster of the two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.learning.comparing import check_names, timed, training_facts
from polyad.materials.learning.data import hold_out, is_lattices
from polyad.materials.learning.properties import evaluate_property, load_property, new_property, train_property
from polyad.materials.learning.registry import PROPERTIES
from polyad.materials.properties.losses import directional_error, turned, unphysical_share
from polyad.materials.properties.model import PropertyModel
from polyad.materials.properties.targets import TARGETS, PropertyTarget
from polyad.materials.structures import Structures
from polyad.tensors.rotations import random_rotations
from polyad.training.metrics import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOLVER = "exact solver"
"""Name of the solver's row."""


@final
@dataclass(frozen=True)
class PropertyContender:
    """One network after its training, or the exact solver.

    Args:
        model: its name.
        parameters: numbers that were trained.
        steps: of the optimiser.
        seconds: of training, validation included.
        rate: structures seen a second of training.
        mae: mean absolute error of a component on the test part.
        relative: sum of absolute errors over the sum of absolute values.
        directional: of elasticity: mean relative error of c(n) = C_nnnn over 250 directions; None for other targets.
        equivariance: as `property_equivariance_error`.
        unphysical: share of test predictions with a negative eigenvalue; None where it may be negative.
        evaluation: milliseconds a structure, in batches.
        history: rows of the training.
    """

    model: str
    parameters: int
    steps: int
    seconds: float
    rate: float
    mae: float
    relative: float
    directional: float | None
    equivariance: float
    unphysical: float | None
    evaluation: float
    history: list[Row]


def compare_properties(
    data: Structures,
    models: Sequence[str],
    *,
    target: str,
    folder: str | os.PathLike[str],
    minutes: float,
    test: Structures | float = 0.2,
    cutoff: float | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
    **training: Any,
) -> list[PropertyContender]:
    """Train each of the networks for the same time and measure it.

    Args:
        data: with a column for the target.
        models: names of networks.
        target: name of a tensor property, or of a column of numbers.
        folder: each network gets a folder of its own there; an interrupted comparison goes on.
        minutes: of training for each.
        test: data for the errors, or the share of `data` held out for them; of lattices by base net.
        cutoff: of all neighbour lists, as for `new_property`.
        options: of the networks, by name.
        batch_size: structures a step.
        seed: of splits and weights.
        progress: model -> callback of its training.
        training: further options of `train_property`.

    Raises:
        InputError: an unknown name or one given twice, or data that cannot be learned from.
    """
    check_names(models, PROPERTIES)
    held, rest = (test, data) if isinstance(test, Structures) else hold_out(data, test, seed=seed)
    found = []
    for name in models:
        place = Path(folder) / name
        _, result = train_property(
            rest,
            name,
            target=target,
            folder=place,
            cutoff=cutoff,
            options=(options or {}).get(name),
            minutes=minutes,
            batch_size=batch_size,
            seed=seed,
            progress=None if progress is None else progress(name),
            **training,
        )
        model = load_property(place)
        predicted, spent = timed(lambda model=model: evaluate_property(model, held))  # type: ignore[misc]
        found.append(
            PropertyContender(
                model=name,
                **training_facts(model, result, batch_size),
                equivariance=property_equivariance_error(model, held[: min(len(held), 64)], seed=seed),
                evaluation=1e3 * spent / len(held),
                **property_errors(model.target, predicted, held),
            )
        )
    return found


def fitting_models(
    data: Structures,
    *,
    target: str,
    cutoff: float | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Names of the networks that can predict this target of such structures: some give scalars or see crystals only.

    Raises:
        InputError: none can; says why the first cannot.
    """
    some, found, reasons = data[: min(len(data), 4)], [], []
    for name in sorted(PROPERTIES):
        try:
            model, _ = new_property(some, name, target=target, cutoff=cutoff, options=(options or {}).get(name))
            evaluate_property(model.to(torch.get_default_dtype()), some[:1])
            found.append(name)
        except InputError as error:
            reasons.append(error)
    if not found:
        raise reasons[0]
    return found


def property_errors(target: PropertyTarget, predicted: Tensor, data: Structures) -> dict[str, Any]:
    """`mae`, `relative`, `directional` and `unphysical` of predictions, as in `PropertyContender`."""
    wanted, given = target.values(data).double(), predicted.double().cpu()
    gap = (given - wanted).abs()
    return {
        "mae": float(gap.mean()),
        "relative": float(gap.sum() / wanted.abs().sum().clamp_min(1e-300)),
        "directional": directional_error(given, wanted) if target.name == "elasticity" else None,
        "unphysical": unphysical_share(given) if target.positive else None,
    }


def property_equivariance_error(model: PropertyModel, data: Structures, *, seed: int = 0) -> float:
    """Largest |f(Q x) - Q f(x)| over structures, in units of the root mean square of |f(x)|.

    Every structure is turned by a rotation of its own, and again by that rotation and an inversion. In the precision of
    the model's weights.
    """
    generator = torch.Generator().manual_seed(seed)
    plain = evaluate_property(model, data).double().cpu()
    unit = float(plain.reshape(len(data), -1).square().sum(1).mean().sqrt()) or 1.0
    worst = 0.0
    for sign in (1.0, -1.0):
        rotation = sign * random_rotations(len(data), generator=generator)
        moved = turned(data, rotation.to(data.positions)).replace(targets={})
        gap = evaluate_property(model, moved).double().cpu() - model.target.rotate(plain, rotation)
        worst = max(worst, float(gap.reshape(len(data), -1).norm(dim=1).max()) / unit)
    return worst


def solver_row(data: Structures) -> PropertyContender | None:
    """The exact solver on the same lattices, as one more contender; None where it does not apply.

    Errors are against the data's own stiffness, which may come from another solver.
    """
    target = TARGETS["elasticity"]
    if not is_lattices(data):
        return None
    found, spent = timed(lambda: effective_stiffness(data.to_lattices()))
    rotation = random_rotations(len(data), generator=torch.Generator().manual_seed(0))
    gap = effective_stiffness(turned(data, rotation).to_lattices()) - target.rotate(found, rotation)
    unit = float(found.flatten(1).square().sum(1).mean().sqrt())
    return PropertyContender(
        model=SOLVER,
        parameters=0,
        steps=0,
        seconds=0.0,
        rate=0.0,
        equivariance=float(gap.flatten(1).norm(dim=1).max()) / unit,
        evaluation=1e3 * spent / len(data),
        history=[],
        **property_errors(target, found, data),
    )


def plot_properties(found: Sequence[PropertyContender]) -> Figure:
    """Validation error against training time, a line a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for contender in found:
        if contender.history:
            axes.plot(
                [row["seconds"] / 60 for row in contender.history],
                [row["validation_relative"] for row in contender.history],
                label=contender.model,
                marker=".",
            )
    axes.set(xlabel="minutes of training", ylabel="relative error on held-out structures", yscale="log")
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    return figure

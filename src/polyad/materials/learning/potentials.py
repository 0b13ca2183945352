"""Train a potential on structures with energies or forces, keep it in a file, and use it.

Energies of free atoms and the scale of the forces come from the training data; neighbours are found once; what is kept
is what was best on the held-out part. A kept potential is one safetensors file: weights, the network's name and
options, species, cutoff.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.materials.learning.data import hold_out, mean_neighbors, refuse_empty, refuse_non_finite
from polyad.materials.learning.registry import POTENTIALS, build_network, takes
from polyad.materials.potentials import (
    Potential,
    PotentialLoss,
    force_scale,
    prepare_energies,
    reference_energies,
)
from polyad.materials.structures import Structures
from polyad.training import TrainingResult, fit, load_checkpoint, load_weights

KIND = "potential"


def new_potential(
    data: Structures,
    model: str,
    *,
    cutoff: float = 5.0,
    options: Mapping[str, Any] | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """An untrained potential for the elements of some data, in their units, and the facts that rebuild it.

    Args:
        data: with the target energy, the node target forces, or both.
        model: name of the network.
        cutoff: of the neighbour list, in the unit of the positions.
        options: of the network.

    Raises:
        InputError: an unknown network or option, or data without energies and forces, or with values not finite.
    """
    check_targets(data)
    if "energy" in data.targets:
        species, shift = reference_energies(data)
    else:
        species = data.species.unique().tolist()
        shift = torch.zeros(len(species))
    chosen = dict(options or {})
    if takes(model, "neighbors"):
        chosen.setdefault("neighbors", mean_neighbors(data, cutoff))
    if takes(model, "species") and min(species) > 0:
        chosen.setdefault("species", list(species))
    network = build_network(model, kinds=len(species), cutoff=cutoff, options=chosen)
    potential = Potential(network, species=species, cutoff=cutoff, shift=shift, scale=force_scale(data))
    return potential, {"kind": KIND, "model": model, "options": chosen, "species": species, "cutoff": cutoff}


def train_potential(
    data: Structures,
    model: str,
    *,
    folder: str | os.PathLike[str],
    validation: Structures | float = 0.1,
    cutoff: float = 5.0,
    options: Mapping[str, Any] | None = None,
    energy_weight: float = 1.0,
    force_weight: float = 100.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **training: Any,
) -> tuple[Potential, TrainingResult]:
    """Train the network of this name; an interrupted training in the folder goes on.

    Args:
        data: with the target energy, the node target forces, or both; whichever is there is learned.
        model: name of the network.
        folder: for checkpoints and metrics.
        validation: data that are never trained on, or the share of `data` to hold out at random.
        cutoff: of the neighbour list, in the unit of the positions.
        options: of the network.
        energy_weight: of squared energy errors an atom, in units of the force scale.
        force_weight: of squared force errors a component, in the same units.
        seed: of the held-out part, the weights and the order of samples.
        progress: called with steps done and steps in all.
        training: further options of `polyad.training.fit`, a limit among them.

    Raises:
        InputError: as `new_potential` and `fit`, or no structure left for one of the two parts.
    """
    held, rest = (validation, data) if isinstance(validation, Structures) else hold_out(data, validation, seed=seed)
    potential, facts = new_potential(rest, model, cutoff=cutoff, options={"seed": seed, **(options or {})})
    parts = [_prepared(part, potential) for part in (rest, held)]
    unit = float(potential.scale) ** 2
    loss = PotentialLoss(
        energy=energy_weight / unit if "energy" in data.targets else 0.0,
        forces=force_weight / unit if "forces" in data.node_targets else 0.0,
    )
    settings = {"batch_size": 10, "learning_rate": POTENTIALS[model].rate, "ema": 0.99, "clip_norm": 10.0, **training}
    result = fit(
        potential,
        loss,
        parts[0],
        validation=parts[1],
        metrics=loss.metrics,
        folder=folder,
        seed=seed,
        facts=facts,
        progress=progress,
        **settings,
    )
    return potential.eval(), result


def load_potential(path: str | os.PathLike[str]) -> Potential:
    """The potential of a file that `train_potential` wrote, or of its folder.

    Raises:
        FileFormatError: no such file, not a potential, or weights that do not fit its network.
    """
    place = Path(path)
    place = place / "best.safetensors" if place.is_dir() else place
    found = load_checkpoint(place)
    facts = found.facts
    if facts.get("kind") != KIND:
        raise FileFormatError(
            place, f"holds no potential but {facts.get('kind')!r}; give one that `polyad train` wrote"
        )
    try:
        network = build_network(
            facts["model"], kinds=len(facts["species"]), cutoff=facts["cutoff"], options=facts["options"]
        )
        potential = Potential(network, species=facts["species"], cutoff=facts["cutoff"])
        dtype = next(v.dtype for k, v in found.model.items() if k.startswith("network.") and v.is_floating_point())
        potential = potential.to(dtype)
        potential.shift = potential.shift.to(found.model["shift"].dtype)
        load_weights(potential, found.model)
    except (InputError, KeyError, TypeError, StopIteration) as error:
        raise FileFormatError(place, f"does not rebuild its potential ({error}); train it again") from error
    return potential.eval()


def evaluate_potential(
    potential: Potential,
    data: Structures,
    *,
    batch_size: int = 32,
    stress: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Energy and forces (and stress) of all structures, in batches."""
    parts = []
    dtype = next(potential.network.parameters()).dtype
    for low in range(0, len(data), batch_size):
        batch = data[low : low + batch_size].to(potential.species.device).to(dtype)
        parts.append(potential(batch.with_neighbors(potential.cutoff), stress=stress))
        if progress is not None:
            progress(min(low + batch_size, len(data)), len(data))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check_targets(data: Structures) -> None:
    """Refuse data that cannot be learned from.

    Raises:
        InputError: neither energies nor forces, an empty structure, or values that are not finite; names the structure.
    """
    if "energy" not in data.targets and "forces" not in data.node_targets:
        there = [*data.targets, *data.node_targets]
        raise InputError(
            f"data: neither energy nor forces are there, only {there or 'no target'}; check the file's keys"
        )
    refuse_empty(data)
    if "energy" in data.targets:
        energy = data.targets["energy"]
        if energy.ndim != 1:
            raise InputError(f"data: energy must be one number a structure, its shape is {tuple(energy.shape)}")
        refuse_non_finite("energy", energy, torch.arange(len(data)))
    if "forces" in data.node_targets:
        forces = data.node_targets["forces"]
        if forces.shape[1:] != (3,):
            raise InputError(f"data: forces must be three numbers an atom, their shape is {tuple(forces.shape)}")
        refuse_non_finite("forces", forces.sum(1), data.structure)


def _prepared(data: Structures, potential: Potential) -> Structures:
    """Neighbours found and shifts taken, once for the whole training."""
    data = data.with_neighbors(potential.cutoff)
    if "energy" in data.targets:
        data = prepare_energies(data, potential)
    kept = {name: value for name, value in data.targets.items() if name == "interaction_energy"}
    forces = {name: value for name, value in data.node_targets.items() if name == "forces"}
    return data.replace(targets=kept, node_targets=forces)

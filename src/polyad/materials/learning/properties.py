"""Train a network on a property of whole structures, keep it in a file, and use it.

Lattices bring their struts and are held out by base net; other structures get the neighbours within a cutoff. Units
come from the training data. A kept model is one safetensors file: weights, and as JSON the network's name and options,
the target, species and cutoff.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.materials.learning.data import hold_out, is_lattices, mean_neighbors, refuse_empty
from polyad.materials.learning.registry import PROPERTIES, build_network, takes
from polyad.materials.properties.losses import PREPARED, PropertyLoss
from polyad.materials.properties.model import PropertyModel, strut_density
from polyad.materials.properties.targets import PropertyTarget, property_target
from polyad.materials.structures import Structures
from polyad.training import TrainingResult, fit, load_checkpoint, load_weights

KIND = "property"


def new_property(
    data: Structures,
    model: str,
    *,
    target: str,
    cutoff: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[PropertyModel, dict[str, Any]]:
    """An untrained model of a property for the species of some data, in their units, and the facts that rebuild it.

    Args:
        data: with a column for the target.
        model: name of the network.
        target: name of a tensor property, or of a column of numbers.
        cutoff: of the neighbour list, in the unit of the positions, by default 5; of lattices what 99 of 100
            struts are shorter than.
        options: of the network, and `positivity`, by default the architecture's.

    Raises:
        InputError: an unknown network, target or option, or data that do not fit the target.
    """
    wanted = property_target(target, data)
    values = wanted.values(data)
    refuse_empty(data)
    struts = is_lattices(data)
    reach = (_most(data.edge_vectors().norm(dim=1)) if struts else 5.0) if cutoff is None else cutoff
    chosen = dict(options or {})
    positivity = chosen.pop("positivity", _positivity(model) if wanted.positive else "none")
    if takes(model, "neighbors", table=PROPERTIES):
        chosen.setdefault("neighbors", mean_neighbors(data, reach))
    if struts and takes(model, "radius", table=PROPERTIES):
        chosen.setdefault("radius", _most(data.edge_features["radius"]))
    species = data.species.unique().tolist()
    facts = {"kind": KIND, "model": model, "options": chosen, "species": species, "cutoff": reach, "struts": struts}
    facts |= {"target": asdict(wanted), "positivity": positivity}
    built = _built(facts)
    if built.per_density:
        values = values / strut_density(data).view(-1, *[1] * len(wanted.shape))
    features = wanted.to_features(values).double()
    shift = float(features.mean()) if wanted.basis is None else 0.0
    scale = float((features - shift).square().mean().sqrt())
    built.scale.fill_(scale or 1.0)
    built.shift.fill_(shift)
    return built, facts


def train_property(
    data: Structures,
    model: str,
    *,
    target: str,
    folder: str | os.PathLike[str] | None,
    validation: Structures | float = 0.1,
    cutoff: float | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **training: Any,
) -> tuple[PropertyModel, TrainingResult]:
    """Train the network of this name on a property; an interrupted training in the folder goes on.

    Args:
        data: with a column for the target.
        model: name of the network.
        target: name of a tensor property, or of a column of numbers.
        folder: for checkpoints and metrics; None keeps nothing.
        validation: data that are never trained on, or the share of `data` to hold out; of lattices by base net.
        cutoff: as for `new_property`.
        options: of the network, and `positivity`.
        seed: of the held-out part, the weights and the order of samples.
        progress: called with steps done and steps in all.
        training: further options of `polyad.training.fit`, a limit among them.

    Raises:
        InputError: as `new_property` and `fit`, or no structure left for one of the two parts.
    """
    held, rest = (validation, data) if isinstance(validation, Structures) else hold_out(data, validation, seed=seed)
    built, facts = new_property(rest, model, target=target, cutoff=cutoff, options={"seed": seed, **(options or {})})
    parts = [prepare_property(part, built) for part in (rest, held)]
    loss = PropertyLoss(
        built.target,
        scale=float(built.scale),
        relative=built.target.positive and not bool((parts[0].targets[PREPARED].flatten(1).abs().sum(1) == 0).any()),
        augment=PROPERTIES[model].augment,
    )
    rate = training.pop("learning_rate", PROPERTIES[model].rate)
    settings = {
        "batch_size": 32,
        "ema": 0.99,
        "clip_norm": 10.0,
        "optimizer": lambda p: torch.optim.AdamW(p, lr=rate, weight_decay=1e-8, amsgrad=True),
        **training,
    }
    result = fit(
        built,
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
    return built.eval(), result


def prepare_property(data: Structures, model: PropertyModel) -> Structures:
    """Neighbours found and the target checked, once for a whole training; other targets are dropped.

    Raises:
        InputError: the data do not fit the model's target.
    """
    values = model.target.values(data)
    return model.prepared(data.replace(targets={PREPARED: values}, node_targets={}))


def load_property(path: str | os.PathLike[str]) -> PropertyModel:
    """The model of a file that `train_property` wrote, or of its folder.

    Raises:
        FileFormatError: no such file, not a property model, or weights that do not fit its network.
    """
    place = Path(path)
    place = place / "best.safetensors" if place.is_dir() else place
    found = load_checkpoint(place)
    if found.facts.get("kind") != KIND:
        raise FileFormatError(
            place, f"holds no property model but {found.facts.get('kind')!r}; give one that `polyad train` wrote"
        )
    try:
        model = _built(found.facts)
        dtype = next(v.dtype for k, v in found.model.items() if k.startswith("network.") and v.is_floating_point())
        model = model.to(dtype)
        load_weights(model, found.model)
    except (InputError, KeyError, TypeError, StopIteration) as error:
        raise FileFormatError(place, f"does not rebuild its model ({error}); train it again") from error
    return model.eval()


def kind_of(path: str | os.PathLike[str]) -> str:
    """What the file of a training holds, or its folder: "potential", "property", or whatever else it says.

    Raises:
        FileFormatError: no such file, or no checkpoint.
    """
    place = Path(path)
    return str(load_checkpoint(place / "best.safetensors" if place.is_dir() else place).facts.get("kind"))


@torch.no_grad()
def evaluate_property(
    model: PropertyModel,
    data: Structures,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The property of all structures, (structures, *target.shape), in batches and without gradients."""
    if not len(data):
        raise InputError("data: hold no structure to predict")
    refuse_empty(data)
    was, parts = model.training, []
    model.eval()
    like = next(model.network.parameters())
    for low in range(0, len(data), batch_size):
        batch = data[low : low + batch_size].to(like.device).to(like.dtype)
        parts.append(model(batch))
        if progress is not None:
            progress(min(low + batch_size, len(data)), len(data))
    model.train(was)
    return torch.cat(parts)


def _most(values: Tensor) -> float:
    """What 99 of 100 values do not exceed: a few long struts would leave the others a coarse basis."""
    return float(values.double().sort().values[math.ceil(0.99 * len(values)) - 1])


def _positivity(model: str) -> str:
    """The architecture's own, for targets that must be positive; an unknown name is found out later."""
    return PROPERTIES[model].positivity if model in PROPERTIES else "none"


def _built(facts: Mapping[str, Any]) -> PropertyModel:
    """The model that facts describe, its weights and units still to come."""
    fields = {**facts["target"], "columns": tuple(facts["target"]["columns"])}
    target = PropertyTarget(**fields)
    network = build_network(
        facts["model"],
        kinds=len(facts["species"]),
        cutoff=facts["cutoff"],
        options=facts["options"],
        table=PROPERTIES,
        out=target.irreps,
    )
    return PropertyModel(
        network,
        target,
        species=facts["species"],
        cutoff=facts["cutoff"],
        struts=facts["struts"],
        positivity=facts["positivity"],
    )

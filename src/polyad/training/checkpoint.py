"""Checkpoints: one safetensors file that holds everything a run needs to go on, and nothing that can run.

Weights, averaged weights and the optimiser's state are tensors; numbers (step, best score, options) are JSON in the
file's header. A file appears whole or not at all. Reading one builds tensors and numbers only, so a checkpoint from
elsewhere can do no harm beyond holding bad weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_path

FORMAT = "polyad-checkpoint"
VERSION = 1

_TENSOR, _TUPLE = "__tensor__", "__tuple__"


@final
@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        model: weights and buffers by name.
        states: further groups of values, such as "optimizer"; tensors inside lists and dicts with string keys.
        facts: JSON values: step, options, description of the model.
    """

    model: dict[str, Tensor]
    states: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        InputError: a state that holds something else than tensors, numbers, text, lists, tuples and dicts, or a path
            that cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value for name, value in checkpoint.model.items()}
    states = {name: _flatten(value, f"state.{name}", tensors) for name, value in checkpoint.states.items()}
    header = {"format": FORMAT, "version": VERSION, "states": states, "facts": checkpoint.facts}
    # own memory for each: safetensors refuses tensors that share it
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(owned, temporary, metadata={FORMAT: json.dumps(header)})


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        FileFormatError: no such file, not a checkpoint, cut short, or of a later version.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileFormatError(name, "there is no such file; give the .safetensors file of a training run")
    try:
        with safe_open(name, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(FORMAT, "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FileFormatError(name, f"is no readable safetensors file ({error}); copy it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(name, "is no Polyad checkpoint (its header does not say so); give one that fit() wrote")
    if header.get("version") != VERSION:
        raise FileFormatError(
            name, f"has version {header.get('version')!r}, this Polyad reads {VERSION}; update Polyad"
        )
    facts, states = header.get("facts"), header.get("states")
    if not (isinstance(facts, dict) and isinstance(states, dict)):
        raise FileFormatError(name, "has an incomplete header; copy it again")
    try:
        found = {key: _unflatten(value, tensors) for key, value in states.items()}
    except (KeyError, TypeError) as error:
        raise FileFormatError(name, f"lacks the tensor {error} that its header names; copy it again") from error
    weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    return Checkpoint(weights, found, facts)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, source: str = "checkpoint") -> None:
    """Put weights into a model that must have exactly these names and shapes.

    Raises:
        InputError: they belong to another model; the message names the first difference.
    """
    own = model.state_dict()
    missing, unknown = [k for k in own if k not in weights], [k for k in weights if k not in own]
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which this model has not"
        raise InputError(
            f"{source}: is of another model: it {what}; build the model with the options it was trained with"
        )
    for name, value in own.items():
        if value.shape != weights[name].shape:
            raise InputError(
                f"{source}: is of another model: {name!r} has shape {tuple(weights[name].shape)}, here "
                f"{tuple(value.shape)}; build the model with the options it was trained with"
            )
    model.load_state_dict(dict(weights))


def _flatten(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON, its tensors put aside under names made of their places."""
    if isinstance(value, Tensor):
        tensors[place] = value
        return {_TENSOR: place}
    if isinstance(value, Mapping):
        # keys keep their kind: optimisers number their parameters
        return {"items": [[key, _flatten(item, f"{place}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_flatten(item, f"{place}.{k}", tensors) for k, item in enumerate(value)]}
    if isinstance(value, list):
        return [_flatten(item, f"{place}.{k}", tensors) for k, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"{place}: holds a {type(value).__name__}; only tensors, numbers, text, lists and dicts are saved")


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _TUPLE in value:
            return tuple(_unflatten(item, tensors) for item in value[_TUPLE])
        return {key: _unflatten(item, tensors) for key, item in value["items"]}
    return value

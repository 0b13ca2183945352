"""What `polyad train`, `predict` and `compare` share: structures and options from words, and which kind is learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyad.errors import InputError

if TYPE_CHECKING:
    from polyad.materials.structures import Structures

OF_ATOMS = ("energy", "forces")
"""Targets of potentials; every other one is a property of the structure."""


def is_property(target: str | None) -> bool:
    """Whether a target is a property of whole structures."""
    return target is not None and target not in OF_ATOMS


def read_atoms(path: Path, energy: str, forces: str, limit: int | None) -> Structures:
    """Structures with energies and forces under their common names; 'none' leaves one out.

    Raises:
        InputError: a name that was asked for is not there.
    """
    from polyad.materials.structures import read_structures

    found = read_structures(path, limit=limit)
    targets = {} if energy == "none" or energy not in found.targets else {"energy": found.targets[energy]}
    node_targets = (
        {} if forces == "none" or forces not in found.node_targets else {"forces": found.node_targets[forces]}
    )
    for option, key, kept in (("--energy", energy, targets), ("--forces", forces, node_targets)):
        if key not in ("none", "energy", "forces") and not kept:
            there = ", ".join([*found.targets, *found.node_targets]) or "none"
            raise InputError(f"{option}: {path} has no {key!r} in every structure; there are {there}")
    return found.replace(targets=targets, node_targets=node_targets)


def read_with_property(path: Path, target: str, limit: int | None) -> Structures:
    """Structures with a target; lattices for which the file says that it is unknown are left out, with a word.

    Raises:
        InputError: no such target, or no structure that has it.
    """
    import torch

    from polyad.materials.learning.data import is_lattices
    from polyad.materials.properties.targets import property_target
    from polyad.materials.structures import read_structures

    found = read_structures(path, limit=limit)
    values = found.targets[property_target(target, found).column(found)]
    unknown = torch.isnan(values).reshape(len(values), -1).all(1)
    if is_lattices(found) and bool(unknown.any()):
        if bool(unknown.all()):
            raise InputError(f"{path}: no lattice has a known {target}; solve them with `polyad lattice solve` first")
        typer.echo(f"{path}: left out {int(unknown.sum())} of {len(found)} lattices without {target}")
        found = found[torch.nonzero(~unknown)[:, 0]]
    return found


def parse_options(words: Sequence[str] | None) -> dict[str, Any]:
    """KEY=VALUE words; values are JSON where they are, words otherwise.

    Raises:
        InputError: a word without both.
    """
    found: dict[str, Any] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise InputError(f"--option: {word!r}; write KEY=VALUE, such as channels=64")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def options_by_model(words: Sequence[str] | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """NAME.KEY=VALUE words, by model.

    Raises:
        InputError: a name that is not compared.
    """
    found: dict[str, dict[str, Any]] = {}
    for word in words or []:
        name, _, rest = word.partition(".")
        found.setdefault(name, {}).update(parse_options([rest]))
    strangers = [name for name in found if name not in names]
    if strangers:
        raise InputError(f"--option: {strangers[0]!r} is none of the models {', '.join(names)}; write NAME.KEY=VALUE")
    return found


def is_number(word: str) -> bool:
    """Whether a word is a number, and not the name of a file."""
    try:
        float(word)
    except ValueError:
        return False
    return True

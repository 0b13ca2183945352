"""What the words on the command line mean: lattices, densities, objectives, targets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyad.errors import FileFormatError, InputError
from polyad.files import read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from polyad.materials.lattice import LatticeRecord
    from polyad.materials.lattice.design import Design, Objective

NAMED = "name:"
LATTICES_HELP = "Files (.lat, .cgd, .inp, .json, .parquet, zip, CIF, ...), folders of shards, or name:CELL, name:all."

_TERM = re.compile(r"^(?:(?P<weight>[-+.\deE]+)\s*\*\s*)?(?P<kind>[a-z]+)(?::(?P<along>[^=]+))?(?:=(?P<goal>.+))?$")
_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
OBJECTIVES = "isotropy, match, stiff:z, stiff:1,1,0=0.01, uniaxial:z, poisson, poisson=-0.3, bulk, shear"


def numbers(words: Sequence[str] | None, what: str, default: Sequence[float]) -> list[float]:
    """Numbers given one by one or separated by commas."""
    parts = [part for word in words or () for part in word.replace(",", " ").split()]
    try:
        return [float(part) for part in parts] or list(default)
    except ValueError:
        raise InputError(f"{what}: {' '.join(parts)!r} holds something else than numbers; write 0.003,0.01") from None


def find_lattices(
    words: Iterable[str], densities: Sequence[float], *, cutoff: float | None = None
) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """Records of files and named cells, a cell at a time; what cannot be read comes with its error."""
    from polyad.materials.lattice import LatticeRecord, list_cells, named_cell, scan

    for word in words:
        if word.startswith(NAMED):
            name = word.removeprefix(NAMED)
            for cell in list_cells() if name == "all" else [name]:
                lattices = [named_cell(cell, density=density) for density in densities]
                pairs = zip(densities, lattices, strict=True)
                source, metadata = "polyad.materials.lattice.named_cell", {"kind": "named"}
                yield cell, [LatticeRecord(cell, x, d, source=source, metadata=metadata) for d, x in pairs]
        elif (design := read_design(word)) is not None:
            record = LatticeRecord(Path(word).stem, design.lattice, design.density, design.stiffness, source=word)
            yield record.name, [record]
        else:
            yield from scan(word, density=densities, cutoff=cutoff)


def one_lattice(word: str, *, density: float | None = None) -> LatticeRecord:
    """The first lattice of a file, or a named cell in its conventional cell (the prefix may be left out).

    Raises:
        InputError: nothing of this kind.
    """
    from polyad.materials.lattice import LatticeRecord, named_cell

    if word.startswith(NAMED) or not (Path(word).exists() or "." in word or os.sep in word):
        name = word.removeprefix(NAMED)
        density = 0.05 if density is None else density
        return LatticeRecord(name, named_cell(name, density=density, primitive=False), density)
    for _, found in find_lattices([word], [0.05 if density is None else density]):
        if isinstance(found, FileFormatError):
            raise found
        record = found[0]
        if density is None or record.density == density:
            return record
        return replace(record, lattice=record.lattice.with_density(density), density=density, stiffness=None)
    raise FileFormatError(word, "holds no lattice")


def read_design(word: str) -> Design | None:
    """The design that a file holds, or None where it is another file.

    Raises:
        FileFormatError: a design that is damaged.
    """
    from polyad.materials.lattice.design import Design

    try:
        with open(word, "rb") as handle:
            if b'"polyad-design"' not in handle.read(200):
                return None
    except (OSError, ValueError):  # reported by who reads it as lattices
        return None
    try:
        return Design.from_json(read_bytes(word).decode("utf-8"))
    except (InputError, UnicodeDecodeError) as error:
        raise FileFormatError(word, str(error)) from error


def read_objective(words: Sequence[str], target: Tensor | None) -> Objective:
    """The weighted sum of terms such as "isotropy", "0.1*stiff:z" or "poisson=-0.3".

    Raises:
        InputError: an unknown term.
    """
    terms = [part.strip() for word in words for part in re.split(r"\s\+\s", word)]
    if not terms and target is not None:
        terms = ["match"]
    if not terms:
        raise InputError(f"design: no objective is given; choose of {OBJECTIVES}, or give --target FILE")
    total = _term(terms[0], target)
    for term in terms[1:]:
        total = total + _term(term, target)
    return total


def _term(text: str, target: Tensor | None) -> Objective:
    # by its full name: the package also exports the function of that name
    designs = import_module("polyad.materials.lattice.design")

    found = _TERM.match(text)
    if found is None:
        raise InputError(f"--objective: {text!r} is not understood; write terms such as {OBJECTIVES}")
    kind, along, goal = found["kind"], found["along"], _goal(text, found["goal"])
    options: dict[str, Any] = {} if goal is None else {"goal": goal}
    directions = None if along is None else [_direction(text, part) for part in along.split(";")]
    objective: Objective
    if kind in ("isotropy", "isotropic"):
        objective = designs.Isotropy()
    elif kind == "match":
        if target is None:
            raise InputError("--objective match: give the tensor with --target FILE")
        objective = designs.MatchTarget(target)
    elif kind in ("stiff", "uniaxial"):
        if directions is None:
            raise InputError(f"--objective: {text!r} needs a direction, as in {kind}:z or {kind}:1,1,0")
        options["modulus"] = "young" if kind == "stiff" else "longitudinal"
        objective = designs.StiffnessAlong(directions, **options)
    elif kind == "poisson":
        objective = designs.PoissonRatio(**options)
    elif kind in ("bulk", "shear"):
        objective = (designs.BulkModulus if kind == "bulk" else designs.ShearModulus)(**options)
    else:
        raise InputError(f"--objective: {kind!r} is unknown; choose of {OBJECTIVES}")
    if found["weight"] is None:
        return objective
    try:
        return float(found["weight"]) * objective
    except ValueError:
        raise InputError(f"--objective: weight {found['weight']!r} of {text!r} is no number") from None


def _goal(text: str, goal: str | None) -> float | str | None:
    if goal is None or goal in ("maximise", "minimise"):
        return goal
    try:
        return float(goal)
    except ValueError:
        raise InputError(f"--objective: goal of {text!r} must be a number, maximise or minimise") from None


def _direction(text: str, word: str) -> tuple[float, ...]:
    if word.strip() in _AXES:
        return _AXES[word.strip()]
    try:
        vector = tuple(float(part) for part in word.split(","))
    except ValueError:
        vector = ()
    if len(vector) != 3:
        raise InputError(f"--objective: direction of {text!r} must be x, y, z or three numbers with commas")
    return vector


def read_target(word: str) -> Tensor:
    """A (6, 6) Kelvin-Mandel stiffness: from JSON or 36 numbers as text, or that of a lattice (published or solved).

    Raises:
        InputError: no such file, or not 36 numbers.
    """
    import torch

    if not word.startswith(NAMED):
        values = _matrix_values(read_bytes(word).decode("utf-8", "replace"))
        if values is not None:
            return torch.tensor(values, dtype=torch.float64).reshape(6, 6)
    from polyad.materials.lattice import effective_stiffness

    record = one_lattice(word)
    return effective_stiffness(record.lattice) if record.stiffness is None else record.stiffness


def _matrix_values(text: str) -> list[float] | None:
    """36 numbers of a JSON list, of the field `stiffness` of a JSON object, or of plain text."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = text.replace(",", " ").split()
    if isinstance(content, dict):
        content = content.get("stiffness")
    if not isinstance(content, list):
        return None
    flat = [x for row in content for x in row] if content and isinstance(content[0], list) else content
    try:
        values = [float(x) for x in flat]
    except (TypeError, ValueError):
        return None
    return values if len(values) == 36 else None

"""Beam cells of Abaqus input files, and the published stiffness beside them.

Read: the nodes and beam elements of parts, circular `*Beam Section` radii by element set (in a part, or per instance:
then every instance is one record), and `*Equation` constraints, whose node pairs tell the lattice vectors. Elements of
one straight strut are joined, halves are joined through the faces. Comment lines `**Relative densities:` and `**Lattice
name:` are understood. A file `<stem>.json` beside, with reaction forces and displacements of the six load cases
(reference nodes 1 and 2, degrees of freedom 1 to 3), gives the stiffness.

Source: the form of the jobs published with Grega et al., ICLR 2024 (repository igrega348/lattices, examples).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.io.text import TextLines
from polyad.materials.lattice.nets.net import Net, lattice_of, straighten
from polyad.materials.lattice.nets.windows import window_net
from polyad.materials.lattice.records import LatticeRecord

_TOLERANCE = 1e-4
# load cases in Kelvin-Mandel order: (reference node, degree of freedom) of 11, 22, 33, 23, 13, 12
_LOADS = ((1, 1), (1, 2), (1, 3), (2, 3), (2, 2), (2, 1))


@dataclass
class _Part:
    nodes: dict[int, list[float]] = field(default_factory=dict)
    elements: dict[int, tuple[int, int]] = field(default_factory=dict)
    element_sets: dict[str, list[int]] = field(default_factory=dict)
    radii: dict[str, float] = field(default_factory=dict)


@dataclass
class _Model:
    parts: dict[str, _Part] = field(default_factory=dict)
    instances: dict[str, tuple[str, dict[str, float]]] = field(default_factory=dict)
    node_sets: dict[str, tuple[str, int]] = field(default_factory=dict)
    pairs: list[tuple[tuple[str, int], tuple[str, int]]] = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)


def looks_like_inp(text: str) -> bool:
    """Whether a text is an Abaqus input file, by its first keyword line."""
    for line in text[:65536].splitlines():
        if line.startswith("*") and not line.startswith("**"):
            return line[1:].strip()[:1].isalpha()
        if line.strip() and not line.startswith("**"):
            return False
    return False


def read_inp(name: str, text: str) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """The cell of an input file: one record for every instance with beam sections.

    Raises:
        FileFormatError: no beams, no sections, no periodic cell, or a syntax error, with its line.
    """
    lines = TextLines(name, text)
    model = _parse(lines)
    label = model.header.get("Lattice name") or Path(name.rsplit("!", 1)[-1]).stem
    try:
        yield label, _records(lines, model, label)
    except FileFormatError as error:
        yield label, error
    except InputError as error:
        yield label, FileFormatError(name, str(error))


def read_job_results(path: str | Path) -> dict[float, torch.Tensor]:
    """Stiffness (6, 6) in Kelvin-Mandel order per relative density, from the JSON of a six-load homogenisation job.

    Under the load on reference node 1 or 2 the compliance column is strain / stress, with stress = reaction force /
    volume (half of it on shear), strains the displacements of the reference nodes (2: tensor shear strains 12, 13, 23).

    Raises:
        FileFormatError: another kind of JSON, a missing load case, a zero force.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        volume = float(data["Unit cell volume"])
        results = {}
        for instance in data["Instances"].values():
            compliance = np.array([[_entry(instance, row, column, volume) for column in range(6)] for row in range(6)])
            compliance = (compliance + compliance.T) / 2
            if not np.isfinite(compliance).all() or np.linalg.matrix_rank(compliance) < 6:
                raise FileFormatError(path, "compliance is singular; the job did not load all six cases")
            results[float(instance["Relative density"])] = torch.from_numpy(np.linalg.inv(compliance))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FileFormatError(path, f"cannot be read as JSON ({type(error).__name__})") from error
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(path, f"is no complete result of six load cases ({error!r})") from error
    return {density: (c + c.T) / 2 for density, c in results.items()}


def _entry(instance: dict[str, Any], row: int, column: int, volume: float) -> float:
    point, direction = _LOADS[column]
    case = instance[f"Load-REF{point}-dof{direction}"]
    stress = case[f"REF{point}, RF{direction}"] / volume * (1.0 if column < 3 else 0.5)
    strain = case["REF{}, U{}".format(*_LOADS[row])]
    return strain / stress * (2**0.5 if row >= 3 else 1.0) / (2**0.5 if column >= 3 else 1.0)


def _parse(lines: TextLines) -> _Model:
    model, part, instance = _Model(), "", ""
    keyword, options = "", dict[str, str]()
    rows: list[tuple[int, list[str]]] = []

    def finish(line: int) -> None:
        nonlocal part, instance
        if keyword == "part":
            part = options.get("name", "").upper()
            model.parts.setdefault(part, _Part())
        elif keyword == "end part":
            part = ""
        elif keyword == "instance":
            instance = options.get("name", "").upper()
            model.instances[instance] = options.get("part", "").upper(), {}
        elif keyword == "end instance":
            instance = ""
        elif rows:
            _block(lines, model, part, instance, keyword, options, rows)

    for n, line in enumerate(lines.lines):
        if line.startswith("**"):
            key, colon, value = line[2:].partition(":")
            if colon and len(key) < 80:
                model.header.setdefault(key.strip(), value.strip())
        elif line.startswith("*"):
            finish(n)
            keyword, *pieces = (piece.strip() for piece in line[1:].split(","))
            keyword = " ".join(keyword.lower().split())
            options = {k.strip().lower(): v.strip() for k, _, v in (piece.partition("=") for piece in pieces)}
            rows = []
        elif line.strip():
            rows.append((n, [word.strip() for word in line.split(",") if word.strip()]))
    finish(len(lines.lines))
    return model


def _block(
    lines: TextLines,
    model: _Model,
    part: str,
    instance: str,
    keyword: str,
    options: dict[str, str],
    rows: list[tuple[int, list[str]]],
) -> None:
    target = model.parts.setdefault(part, _Part())
    if keyword == "node":
        for n, words in rows:
            if len(words) != 4:
                lines.fail("expected node number, x, y, z", n)
            target.nodes[lines.integer(words[0], n)] = [lines.number(word, n) for word in words[1:]]
    elif keyword == "element":
        kind = options.get("type", "").upper()
        if not kind.startswith("B3"):
            lines.fail(f"element type {kind!r}; only space beams (B31, B32, B33) make a lattice", rows[0][0] - 1)
        for n, words in rows:
            numbers = lines.integers(" ".join(words), n)
            if len(numbers) != (4 if kind.startswith("B32") else 3):
                lines.fail(f"{kind} element with {len(numbers) - 1} nodes", n)
            target.elements[numbers[0]] = numbers[1], numbers[-1]
            if "elset" in options:
                target.element_sets.setdefault(options["elset"].upper(), []).append(numbers[0])
    elif keyword == "elset":
        members = target.element_sets.setdefault(options.get("elset", "").upper(), [])
        for n, words in rows:
            numbers = lines.integers(" ".join(words), n)
            if "generate" in options:
                if (
                    len(numbers) not in (2, 3)
                    or not 0 <= numbers[1] - numbers[0] < 10**7
                    or min(numbers[2:] or [1]) < 1
                ):
                    lines.fail("expected first, last, step of a generated set", n)
                numbers = list(range(numbers[0], numbers[1] + 1, numbers[2] if len(numbers) > 2 else 1))
            members += numbers
    elif keyword == "beam section":
        if options.get("section", "").upper() != "CIRC":
            lines.fail(f"section {options.get('section')!r}; only circular sections (CIRC) are read", rows[0][0] - 1)
        radius = lines.number(rows[0][1][0], rows[0][0])
        if not radius > 0:
            lines.fail(f"radius {radius:g} must be positive", rows[0][0])
        radii = model.instances[instance][1] if instance else target.radii
        radii[options.get("elset", "").upper()] = radius
    elif keyword == "nset" and rows[0][1][0].isdecimal() and len(rows) == 1 and len(rows[0][1]) == 1:
        where = options.get("instance", instance).upper()
        model.node_sets[options.get("nset", "").upper()] = where, int(rows[0][1][0][:12])
    elif keyword == "equation":
        _equation(model, rows)


def _equation(model: _Model, rows: list[tuple[int, list[str]]]) -> None:
    """Note the two nodes whose difference an equation states: their distance is a lattice vector."""
    names = [word.upper() for _, row in rows for word in row][1::3]
    nodes = [model.node_sets[name] for name in names if name in model.node_sets]
    if len(nodes) >= 2:
        model.pairs.append((nodes[0], nodes[1]))


def _records(lines: TextLines, model: _Model, label: str) -> list[LatticeRecord]:
    bodies = [(i, model.parts.get(p), radii) for i, (p, radii) in model.instances.items()]
    beams = [(i, p, radii or p.radii) for i, p, radii in bodies if p is not None and p.elements]
    beams = beams or [("", p, p.radii) for p in model.parts.values() if p.elements]
    if not beams:
        lines.fail("holds no beam elements")
    if not all(radii for *_, radii in beams):
        lines.fail("has beam elements without *Beam Section; give their radius")
    stated = _stated_densities(lines, model)
    results, remarks = _results_beside(lines)
    records = []
    for number, (instance, part, radii) in enumerate(beams):
        net, notes = _net(lines, model, part, instance, radii)
        lattice = lattice_of(net)
        density = stated[number] if number < len(stated) else float(lattice.relative_density)
        near = [d for d in results if abs(d - density) < 1e-6 * density]
        stiffness = results[near[0]] if near else None
        records.append(LatticeRecord(label, lattice, density, stiffness, source=lines.name, notes=notes + remarks))
    return records


def _stated_densities(lines: TextLines, model: _Model) -> list[float]:
    text = model.header.get("Relative densities", "")
    line = next((n for n, x in enumerate(lines.lines) if text and text in x), 0)
    return lines.numbers(text, line) if text else []


def _results_beside(lines: TextLines) -> tuple[dict[float, torch.Tensor], tuple[str, ...]]:
    beside = Path(lines.name).with_suffix(".json")
    if not beside.is_file():
        return {}, ()
    try:
        return read_job_results(beside), ()
    except FileFormatError as error:
        return {}, (f"no published stiffness: {error}",)


def _net(
    lines: TextLines, model: _Model, part: _Part, instance: str, radii: dict[str, float]
) -> tuple[Net, tuple[str, ...]]:
    number = {node: n for n, node in enumerate(part.nodes)}
    positions = np.array(list(part.nodes.values()), dtype=float).reshape(-1, 3)
    radius_of = {
        element: radii[name] for name, members in part.element_sets.items() if name in radii for element in members
    }
    bars, radius = [], []
    for element, ends in part.elements.items():
        if ends[0] not in number or ends[1] not in number:
            lines.fail(f"element {element} names node {ends}, which is not given")
        if element not in radius_of:
            lines.fail(f"element {element} has no *Beam Section; give its radius")
        bars.append([number[end] for end in ends])
        radius.append(radius_of[element])
    cell, notes = _cell(lines, model, part, positions, instance)
    # the window's nodes lie in the cell that starts at its lowest corner
    fractional = positions @ np.linalg.inv(cell)
    origin = np.where(np.abs(fractional.min(axis=0)) < _TOLERANCE, 0, fractional.min(axis=0)) @ cell
    net = window_net(cell, positions - origin, bars, radius, tolerance=_TOLERANCE)
    return straighten(net, np.ones(len(net.positions), dtype=bool), 30 * _TOLERANCE), notes


def _cell(
    lines: TextLines, model: _Model, part: _Part, positions: np.ndarray, instance: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    steps = [
        np.array(part.nodes[b]) - np.array(part.nodes[a])
        for (where, a), (other, b) in model.pairs
        if where == other == instance and a in part.nodes and b in part.nodes
    ]
    if not steps:
        size = positions.max(axis=0) - positions.min(axis=0)
        if not size.min() > 1e-6 * size.max() > 0:
            lines.fail("no *Equation pairs nodes of opposite faces, and the nodes span no box: the cell is unknown")
        return np.diag(size), ("no periodic equations: the cell is taken as the box around the nodes",)
    scale = np.abs(steps).max()
    steps = [step for step in steps if np.abs(step).max() > 1e-3 * scale > 1e-200]
    if not steps:
        lines.fail("node pairs in *Equation coincide: no periodic cell")
    _, first = np.unique(np.round(np.array(steps) / scale, 4), axis=0, return_index=True)
    unique = np.array(steps)[first]
    unique = unique[np.argsort(np.linalg.norm(unique, axis=1))][:60]
    for rows in itertools.combinations(range(len(unique)), 3):
        cell = unique[list(rows)]
        # of unit rows: far from a plane
        if not abs(np.linalg.det(cell / np.linalg.norm(cell, axis=1, keepdims=True))) > 1e-3:
            continue
        multiples = unique @ np.linalg.inv(cell)
        if np.abs(multiples - np.rint(multiples)).max() < 1e-2:
            return _oriented(cell), ()
    lines.fail("node pairs in *Equation do not repeat along three directions: no periodic cell")


def _oriented(cell: np.ndarray) -> np.ndarray:
    """Rows in the order and sense closest to x, y, z."""
    order = max(
        itertools.permutations(range(3)), key=lambda p: float(np.prod([abs(cell[k, n]) for n, k in enumerate(p)]))
    )
    cell = cell[list(order)]
    return cell * np.where(np.diag(cell) < 0, -1.0, 1.0)[:, None] + 0.0  # no negative zeros

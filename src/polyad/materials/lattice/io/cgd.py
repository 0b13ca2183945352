"""Crystal nets in Systre's `.cgd` format (as the RCSR distributes them): a space group, a cell, nodes and edges.

Understood: CRYSTAL blocks with NAME, GROUP, CELL, NODE (or ATOM) `label coordination x y z`, and EDGE (or BOND) with
two positions, a label and a position, or two labels; a keyword may be left out where it repeats; `#` starts a comment;
numbers may be fractions. Images are expanded to the primitive cell by `orbits.expand_net`, and the coordination number
of every node is compared with the file's.

Source: Delgado-Friedrichs and O'Keeffe, Acta Cryst. A59 (2003) 351-360, and the help of Systre 1.2 (gavrog.org);
O'Keeffe, Peskov, Ramsden, Yaghi, Acc. Chem. Res. 41 (2008) 1782-1789 (RCSR).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.io.text import TextLines
from polyad.materials.lattice.nets.net import Net, lattice_of, with_uniform_radius
from polyad.materials.lattice.nets.orbits import OrbitNet, cell_from_parameters, expand_net, space_group
from polyad.materials.lattice.records import LatticeRecord

_SYNONYMS = {"ATOM": "NODE", "BOND": "EDGE", "SPACE_GROUP": "GROUP", "SPACEGROUP": "GROUP", "ID": "NAME"}
_KEYWORDS = {"NAME", "GROUP", "CELL", "NODE", "EDGE", "EDGE_CENTER", "COORDINATION_SEQUENCE", "COORDINATION_SEQUENCES"}
_OTHER_BLOCKS = {"PERIODIC_GRAPH", "NET"}


@dataclass
class _Crystal:
    line: int
    name: str = ""
    group: str = "P1"
    group_line: int = -1
    cell: np.ndarray | None = None
    labels: list[str] = field(default_factory=list)
    coordination: list[int] = field(default_factory=list)
    sites: list[list[float]] = field(default_factory=list)
    edges: list[tuple[int, list[str]]] = field(default_factory=list)


def looks_like_cgd(text: str) -> bool:
    """Whether a text holds `.cgd` blocks, by its first word that is no comment."""
    for line in text[:65536].splitlines():
        words = line.split("#")[0].split()
        if words:
            return words[0].upper() in {"CRYSTAL", *_OTHER_BLOCKS}
    return False


def read_cgd(
    name: str, text: str, *, densities: Sequence[float], primitive: bool = True
) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """Nets of a file one by one: (name of the net, one record a density or what is wrong with it).

    Args:
        name: path, for messages.
        text: the content.
        densities: relative densities of the records (a net has none of its own); all struts get one radius.
        primitive: reduce centred cells to the primitive one.
    """
    lines = TextLines(name, text)
    for start, end in _blocks(lines):
        label = f"line {start + 1}"
        try:
            crystal = _parse(lines, start, end)
            label = crystal.name or label
            yield label, _records(lines, crystal, densities, primitive)
        except FileFormatError as error:
            yield label, error
        except InputError as error:
            yield label, FileFormatError(name, str(error), line=start + 1)


def _blocks(lines: TextLines) -> list[tuple[int, int]]:
    """First and last line of every block; a block left open ends where the next one starts."""
    blocks, start = [], -1
    for n, line in enumerate(lines.lines):
        words = line.split("#")[0].split()
        first = words[0].upper() if words else ""
        if first == "CRYSTAL" or first in _OTHER_BLOCKS:
            if start >= 0:
                blocks.append((start, n))
            start = n
        elif first.startswith("END") and start >= 0:
            blocks.append((start, n))
            start = -1
    if start >= 0:
        blocks.append((start, len(lines.lines)))
    return blocks


def _parse(lines: TextLines, start: int, end: int) -> _Crystal:
    head = lines.lines[start].split("#")[0].split()[0].upper()
    if head != "CRYSTAL":
        lines.fail(f"{head} block has no geometry; give a CRYSTAL block with CELL, NODE and EDGE lines", start)
    crystal, keyword = _Crystal(start), ""
    for n in range(start + 1, end):
        words = _words(lines, n)
        if not words:
            continue
        first = words[0].upper().rstrip(":")
        first = _SYNONYMS.get(first, first)
        if first.removesuffix("S") in _KEYWORDS:
            keyword, words = first.removesuffix("S"), words[1:]
        elif first in _KEYWORDS:
            keyword, words = first, words[1:]
        elif not keyword:
            lines.fail(f"unknown keyword {words[0][:40]!r}; expected one of {', '.join(sorted(_KEYWORDS))}", n)
        if words:
            _take(lines, n, crystal, keyword, words)
    return crystal


def _words(lines: TextLines, n: int) -> list[str]:
    line = lines.lines[n].split("#")[0]
    if '"' not in line:
        return line.split()
    try:
        return shlex.split(line)
    except ValueError:  # a name such as "rkf with one quotation mark
        return line.split()


def _take(lines: TextLines, n: int, crystal: _Crystal, keyword: str, words: list[str]) -> None:
    if keyword == "NAME":
        crystal.name = " ".join(words)
    elif keyword == "GROUP":
        crystal.group, crystal.group_line = "".join(words), n
        if re.match(r"[a-z]", crystal.group):
            lines.fail(f"GROUP {crystal.group} is a chain or plane group; only three-periodic nets can be read", n)
    elif keyword == "CELL":
        if len(words) in (2, 3):
            lines.fail(f"CELL has {len(words)} values: a two-periodic net; only three-periodic nets can be read", n)
        values = lines.numbers(" ".join(words), n, count=6, what="cell parameters")
        try:
            crystal.cell = cell_from_parameters(*values)
        except InputError as error:
            lines.fail(str(error), n)
    elif keyword == "NODE":
        if len(words) == 4:
            lines.fail("NODE has two coordinates: a two-periodic net; only three-periodic nets can be read", n)
        if len(words) != 5:
            lines.fail("expected NODE label coordination x y z", n)
        if words[0] in crystal.labels:
            lines.fail(f"NODE {words[0][:40]!r} is given twice", n)
        crystal.labels.append(words[0])
        crystal.coordination.append(lines.integer(words[1], n))
        crystal.sites.append([lines.number(word, n) for word in words[2:]])
    elif keyword == "EDGE":
        crystal.edges.append((n, words))


def _records(lines: TextLines, crystal: _Crystal, densities: Sequence[float], primitive: bool) -> list[LatticeRecord]:
    if crystal.cell is None:
        lines.fail("block has no CELL line", crystal.line)
    if not crystal.sites or not crystal.edges:
        missing = "EDGE" if crystal.sites else "NODE"
        lines.fail(f"block has no {missing} line; nodes and edges must be listed", crystal.line)
    try:
        group = space_group(crystal.group, primitive=primitive)
    except InputError as error:
        lines.fail(str(error), crystal.group_line)
    ends = np.array([_ends(lines, crystal, n, words) for n, words in crystal.edges])
    flat = np.flatnonzero((ends[:, 0] == ends[:, 1]).all(axis=1))
    if len(flat):
        lines.fail("EDGE has zero length: both ends are one point; remove the line", crystal.edges[flat[0]][0])
    net = expand_net(group, crystal.cell, np.array(crystal.sites), ends)
    name = crystal.name or lines.name
    bare = Net(net.cell, net.positions, net.edge_index, net.edge_shift, np.ones(net.edge_index.shape[1]))
    notes = _disagreements(crystal, net)
    return [
        LatticeRecord(
            name=name,
            lattice=lattice_of(with_uniform_radius(bare, density)),
            density=density,
            source=lines.name,
            metadata={"space_group": group.symbol},
            notes=notes,
        )
        for density in densities
    ]


def _ends(lines: TextLines, crystal: _Crystal, n: int, words: list[str]) -> tuple[list[float], list[float]]:
    if len(words) == 6:
        values = [lines.number(word, n) for word in words]
        return values[:3], values[3:]
    if len(words) == 4:
        return _site(lines, crystal, n, words[0]), [lines.number(word, n) for word in words[1:]]
    if len(words) == 2:
        return _site(lines, crystal, n, words[0]), _site(lines, crystal, n, words[1])
    lines.fail("expected EDGE with two positions, a label and a position, or two labels", n)


def _site(lines: TextLines, crystal: _Crystal, n: int, label: str) -> list[float]:
    if label not in crystal.labels:
        lines.fail(f"EDGE names node {label[:40]!r}, which no NODE line gives", n)
    return crystal.sites[crystal.labels.index(label)]


def _disagreements(crystal: _Crystal, net: OrbitNet) -> tuple[str, ...]:
    found = np.bincount(net.edge_index.reshape(-1), minlength=len(net.positions))
    notes = []
    for k, (label, stated) in enumerate(zip(crystal.labels, crystal.coordination, strict=True)):
        counts = sorted(set(found[net.node_orbit == k].tolist()))
        if counts != [stated]:
            seen = " or ".join(map(str, counts))
            notes.append(f"node {label} has coordination {seen} by its edges, {stated} by the file")
    return tuple(notes)

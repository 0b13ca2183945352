"""The `.lat` text catalogue of strut lattices: reader and writer.

A file is a sequence of blocks headed by a line with `lattice_transition`. A block names a cell, gives its parameters
(a, b, c, alpha, beta, gamma), flattened upper triangles of the compliance per relative density (in Mandel's notation
or, where the header does not say Mandel, in Voigt's, both in the order 11, 22, 33, 23, 13, 12), strut radii per
density, and the net twice: as a window (`Nodal positions`, `Bar connectivities`) and in fundamental form (`Fundamental
edge adjacency`, `Fundamental tesselation vectors` of 3 integers, or of 6 whose last three minus first three count; some
files have -0.99999 for -1). Where the second form is missing the first is reduced.

Source: the public catalogues of Grega, Batatia, Csanyi, Karlapati, Deshpande, ICLR 2024 (doi 10.17863/CAM.106854).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.io.text import TextLines
from polyad.materials.lattice.nets.net import Net, coincident_nodes, lattice_of
from polyad.materials.lattice.nets.orbits import cell_from_parameters
from polyad.materials.lattice.nets.windows import to_window, window_net
from polyad.materials.lattice.records import LatticeRecord
from polyad.tensors.notation import voigt_compliance_to_mandel

_HEAD = "lattice_transition"
_DENSITY = re.compile(r"->\s*at relative density\s+(\S+?):?\s*$")
_FACTS = {
    "Imperfection level": "imperfection_level",
    "Imperfection kind": "imperfection_kind",
    "Nodal hash": "nodal_hash",
}


@dataclass
class _Block:
    line: int
    name: str = ""
    base_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    parameters: list[float] = field(default_factory=list)
    notation: str = ""
    compliance: dict[float, tuple[int, list[float]]] = field(default_factory=dict)
    radii: dict[float, tuple[int, list[float]]] = field(default_factory=dict)
    positions: list[list[float]] = field(default_factory=list)
    bars: list[list[int]] = field(default_factory=list)
    edges: list[list[int]] = field(default_factory=list)
    shifts: list[list[int]] = field(default_factory=list)


def looks_like_lat(text: str) -> bool:
    """Whether a text is a `.lat` catalogue, by its content."""
    return _HEAD in text[:4096] or ("Nodal positions" in text[:65536] and "Bar connectivities" in text)


def read_lat(
    name: str, text: str, *, densities: Sequence[float]
) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """Blocks of a catalogue one by one: (name of the cell, its records or what is wrong with it).

    Args:
        name: path, for messages.
        text: the content.
        densities: relative densities for cells that state none.
    """
    lines = TextLines(name, text)
    heads = [n for n, line in enumerate(lines.lines) if _HEAD in line]
    starts = heads or [-1]
    for start, end in itertools.pairwise([*starts, len(lines.lines)]):
        label = f"block {starts.index(start) + 1}" if len(starts) < 1000 else f"line {start + 2}"
        try:
            block = _parse(lines, start + 1, end)
            label = block.name or label
            yield label, _records(lines, block, densities)
        except FileFormatError as error:
            yield label, error
        except InputError as error:
            yield label, FileFormatError(name, f"{label}: {error}", line=start + 2)


def write_lat(records: Sequence[LatticeRecord]) -> str:
    """The text of a catalogue; records that follow each other with one name and one net share a block.

    Nodes are wrapped into the cell. Lattice vectors are stored as lengths and angles, so a cell in another orientation
    than `cell_from_parameters` gives is refused rather than turned.

    Raises:
        InputError: a cell turned in space; a name that is not one word.
    """
    blocks = []
    for _, group in itertools.groupby(records, key=lambda record: record.name):
        pending: list[LatticeRecord] = []
        for record in group:
            if pending and not _same_net(pending[0].lattice, record.lattice):
                blocks.append(_block_text(pending))
                pending = []
            pending.append(record)
        blocks.append(_block_text(pending))
    return "".join(blocks)


def _parse(lines: TextLines, start: int, end: int) -> _Block:
    block = _Block(start)
    n = start
    while n < end:
        line = lines.lines[n].strip()
        key, _, value = line.partition(":")
        if key == "Name":
            block.name = (value.split() or [""])[0]
        elif key == "Base name":
            block.base_name = value.strip()
        elif key in _FACTS:
            block.metadata[_FACTS[key]] = value.strip()
        elif "unit cell parameters" in line and n + 1 < end:
            block.parameters = lines.numbers(lines.lines[n + 1], n + 1, count=6, what="cell parameters")
            n += 1
        elif line.startswith("Compliance tensors") and "start" in line:
            block.notation = "Mandel" if "Mandel" in line else "Voigt"
            n = _table(lines, n + 1, end, block.compliance)
        elif line.startswith("Fundamental edge radii start"):
            n = _table(lines, n + 1, end, block.radii)
        elif line.startswith("Nodal positions"):
            n = _rows(lines, n + 1, end, block.positions, integers=False)
        elif line.startswith("Bar connectivities"):
            n = _rows(lines, n + 1, end, block.bars, integers=True)
        elif line.startswith("Fundamental edge adjacency"):
            n = _rows(lines, n + 1, end, block.edges, integers=True)
        elif line.startswith("Fundamental tesselation vectors"):
            n = _rows(lines, n + 1, end, block.shifts, integers=True)
        n += 1
    return block


def _table(lines: TextLines, n: int, end: int, table: dict[float, tuple[int, list[float]]]) -> int:
    """Read `-> at relative density X:` and the line below it up to the closing line; its number."""
    first = n
    while n < end:
        line = lines.lines[n].strip()
        if line.endswith(" end"):
            return n
        found = _DENSITY.match(line)
        if found and n + 1 < end:
            density = lines.number(found[1], n)
            if not density > 0:
                lines.fail(f"relative density {density:g} must be positive", n)
            table[density] = n + 1, lines.numbers(lines.lines[n + 1], n + 1)
            n += 1
        elif line:
            lines.fail(f"expected '-> at relative density ...' or the end of the table, found {line[:40]!r}", n)
        n += 1
    lines.fail("table is not closed by an 'end' line; the file may be truncated", first - 1)


def _rows(lines: TextLines, n: int, end: int, rows: list, *, integers: bool) -> int:
    """Read rows of numbers up to a blank line; number of the last one."""
    while n < end and lines.lines[n].strip():
        rows.append(
            lines.integers(lines.lines[n], n, tolerance=1e-3) if integers else lines.numbers(lines.lines[n], n, count=3)
        )
        n += 1
    return n - 1


def _records(lines: TextLines, block: _Block, densities: Sequence[float]) -> list[LatticeRecord]:
    if not block.parameters:
        lines.fail("block has no 'unit cell parameters' line", block.line)
    if not block.positions:
        lines.fail("block has no 'Nodal positions'", block.line)
    cell = cell_from_parameters(*block.parameters)
    net = _fundamental(lines, block, cell) if block.edges else _reduced(lines, block, cell)
    notes = []
    if not block.edges:
        notes.append("fundamental form missing: reduced from the windowed cell")
    used = np.unique(net.edge_index)
    near = 3e-5 * float(np.cbrt(abs(np.linalg.det(cell))))  # positions have five decimals
    doubled = len(used) - 1 - int(coincident_nodes(cell, net.positions[used], near)[0].max())
    if doubled:  # kept apart: the published tensors were computed from the net as listed
        notes.append(f"{doubled} nodes coincide with others to the digits given; merge_nodes would join them")
    weights = np.pi * net.lengths / abs(np.linalg.det(cell))  # density = sum weight r^2
    stated = _paired_densities(block)
    name = block.name or f"lattice_{block.line}"
    records = []
    for density in sorted(stated) or densities:
        radii, compliance = stated.get(density, (None, None))
        if radii is None:
            radius = np.full(len(weights), np.sqrt(density / weights.sum()))
        else:
            if len(block.radii[radii][1]) != len(weights):
                count = len(block.radii[radii][1])
                lines.fail(f"{count} edge radii for {len(weights)} fundamental edges", block.radii[radii][0])
            radius = np.array(block.radii[radii][1])
        stiffness, note = (None, None) if compliance is None else _stiffness(lines, block, compliance)
        records.append(
            LatticeRecord(
                name=name,
                lattice=lattice_of(net._replace(radius=radius)),
                density=density,
                stiffness=stiffness,
                base_name=block.base_name,
                source=lines.name,
                metadata=dict(block.metadata),
                notes=tuple(notes + ([note] if note else [])),
            )
        )
    return records


def _fundamental(lines: TextLines, block: _Block, cell: np.ndarray) -> Net:
    edges, shifts = _two_columns(lines, block, block.edges), block.shifts
    if len(shifts) != len(edges):
        lines.fail(f"{len(edges)} fundamental edges but {len(shifts)} tesselation vectors", block.line)
    if {len(row) for row in shifts} not in ({3}, {6}):
        lines.fail("tesselation vectors must be rows of 3 or of 6 integers", block.line)
    shift = np.array(shifts, dtype=np.int64)
    shift = shift[:, 3:] - shift[:, :3] if shift.shape[1] == 6 else shift
    return Net(cell, np.array(block.positions) @ cell, edges.T, shift, np.ones(len(edges)))


def _reduced(lines: TextLines, block: _Block, cell: np.ndarray) -> Net:
    if not block.bars:
        lines.fail("block has neither 'Fundamental edge adjacency' nor 'Bar connectivities'", block.line)
    return window_net(cell, np.array(block.positions) @ cell, _two_columns(lines, block, block.bars), 1.0)


def _two_columns(lines: TextLines, block: _Block, rows: list[list[int]]) -> np.ndarray:
    if {len(row) for row in rows} != {2}:
        lines.fail("connectivities must be rows of two node numbers", block.line)
    pairs, nodes = np.array(rows, dtype=np.int64), len(block.positions)
    bars = np.array(block.bars, dtype=np.int64) if {len(row) for row in block.bars} == {2} else pairs
    if min(pairs.min(), bars.min()) >= 1 and max(pairs.max(), bars.max()) == nodes:
        pairs = pairs - 1  # some catalogues count from one
    if pairs.min() < 0 or pairs.max() >= nodes:
        lines.fail(f"connectivity names node {pairs.max()}, but there are {nodes} nodes (counted from 0)", block.line)
    return pairs


def _paired_densities(block: _Block) -> dict[float, tuple[float | None, float | None]]:
    """density: (key in radii, key in compliance); the two tables may round differently."""
    pairs: dict[float, tuple[float | None, float | None]] = {density: (density, None) for density in block.radii}
    for density in block.compliance:
        near = [d for d in block.radii if abs(d - density) < 1e-5 * density]
        match = min(near, key=lambda d: abs(d - density)) if near else None
        pairs[density if match is None else match] = match, density
    return pairs


def _stiffness(lines: TextLines, block: _Block, density: float) -> tuple[torch.Tensor | None, str | None]:
    line, values = block.compliance[density]
    if len(values) != 21:
        lines.fail(f"expected the 21 numbers of an upper triangle, found {len(values)}", line)
    compliance = torch.zeros(6, 6, dtype=torch.float64)
    rows, columns = torch.triu_indices(6, 6)
    compliance[rows, columns] = compliance[columns, rows] = torch.tensor(values, dtype=torch.float64)
    if block.notation == "Voigt":
        compliance = voigt_compliance_to_mandel(compliance)
    magnitude = torch.linalg.eigvalsh(compliance).abs()
    if not bool(magnitude.min() > 1e-13 * magnitude.max()):
        return None, f"compliance at density {density:g} is singular: no stiffness"
    stiffness = torch.linalg.inv(compliance)
    stiffness = (stiffness + stiffness.T) / 2
    if not bool(torch.isfinite(stiffness).all()):
        return None, f"compliance at density {density:g} is beyond double precision: no stiffness"
    if not bool(torch.linalg.eigvalsh(stiffness).min() > 0):
        return stiffness, f"published compliance at density {density:g} is not positive definite"
    return stiffness, None


def _same_net(a: StrutLattice, b: StrutLattice) -> bool:
    fields = ("cell", "positions", "edge_index", "edge_shift")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in fields)


def _block_text(records: Sequence[LatticeRecord]) -> str:
    first = records[0]
    lattice = first.lattice.detach().to(dtype=torch.float64).wrap()
    if len(first.name.split()) != 1:
        raise InputError(f"name {first.name!r}: a .lat file needs a name without blanks")
    parameters = _parameters(lattice)
    positions, bars, _ = to_window(lattice)
    fractional = positions @ np.linalg.inv(lattice.cell.numpy())
    fractional[: lattice.num_nodes] = lattice.fractional.numpy()
    lines = [f"----- {_HEAD} -----", f"Name: {first.name}", "", f"Base name: {first.base_name}"]
    lines += [f"{title}: {first.metadata[key]}" for title, key in _FACTS.items() if key in first.metadata]
    lines += ["Normalized unit cell parameters (a,b,c,alpha,beta,gamma):", ", ".join(map(repr, parameters)), ""]
    tensors = [(r.density, torch.linalg.inv(r.stiffness.double())) for r in records if r.stiffness is not None]
    if tensors:
        upper = torch.triu_indices(6, 6).unbind()
        lines.append("Compliance tensors (Mandel) start (flattened upper triangular)")
        for density, compliance in tensors:
            lines += [f"-> at relative density {density!r}:", ",".join(map(repr, compliance[upper].tolist()))]
        lines += ["Compliance tensors (Mandel) end", ""]
    lines.append("Fundamental edge radii start")
    for record in records:
        radii = ",".join(map(repr, record.lattice.radius.detach().double().tolist()))
        lines += [f"-> at relative density {record.density!r}:", radii]
    lines += ["Fundamental edge radii end", "", "Nodal positions:"]
    lines += [" ".join(map(repr, row)) for row in fractional.tolist()]
    lines += ["", "Bar connectivities:", *(f"{i} {j}" for i, j in bars.tolist())]
    lines += ["", "Fundamental edge adjacency", *(f"{i} {j}" for i, j in lattice.edge_index.T.tolist())]
    lines += ["", "Fundamental tesselation vectors", *(f"{x} {y} {z}" for x, y, z in lattice.edge_shift.tolist())]
    return "\n".join(lines) + "\n\n"


def _parameters(lattice: StrutLattice) -> list[float]:
    """Lengths and angles of a cell in the standard orientation."""
    cell = lattice.cell.numpy()
    a, b, c = lengths = np.linalg.norm(cell, axis=1)
    cosines = cell[1] @ cell[2] / (b * c), cell[0] @ cell[2] / (a * c), cell[0] @ cell[1] / (a * b)
    angles = [float(np.degrees(np.arccos(np.clip(x, -1, 1)))) for x in cosines]
    angles = [round(x) * 1.0 if abs(x - round(x)) < 1e-12 * 180 else x for x in angles]
    parameters = [*map(float, lengths), *angles]
    if not np.allclose(cell_from_parameters(*parameters), cell, rtol=0, atol=1e-9 * lengths.max()):
        raise InputError(
            "a .lat file stores a cell by lengths and angles, with a along x and b in the xy plane; rotate the lattice "
            "(LatticeRecord.lattice.rotate) and its stiffness first, or save as .json"
        )
    return parameters

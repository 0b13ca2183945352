"""Homogenisation jobs for Abaqus: a periodic cell of beams with its six load cases as an `.inp` file.

The window of the cell is meshed with B31 elements (several a strut). Nodes that are images of each other are tied by
`*Equation`: rotations are equal, and displacements differ by the macroscopic strain times the lattice vector between
them. The strain lives in two reference nodes: 1 carries eps_11, eps_22, eps_33 in its three degrees of freedom, 2 the
tensor shear strains eps_12, eps_13, eps_23. `polyad.materials.lattice.io.abaqus` reads the file back.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.nets.net import coincident_nodes
from polyad.materials.lattice.nets.windows import to_window
from polyad.materials.lattice.records import LatticeRecord

# (reference node, degree of freedom) of the strain component that joins displacement i to lattice vector component j
_STRAIN = {(0, 0): (1, 1), (1, 1): (1, 2), (2, 2): (1, 3), (0, 1): (2, 1), (0, 2): (2, 2), (1, 2): (2, 3)}


def write_inp(
    records: Sequence[LatticeRecord],
    *,
    elements_per_bar: int = 4,
    poisson_ratio: float = 0.3,
    young_modulus: float = 1.0,
) -> str:
    """The text of a job for one cell at one density.

    Args:
        records: exactly one record.
        elements_per_bar: B31 elements on every piece of a strut between nodes and faces.
        poisson_ratio: of the strut material.
        young_modulus: of the strut material.

    Raises:
        InputError: several records.
    """
    if len(records) != 1:
        raise InputError(f"an .inp file holds one cell; {len(records)} records were given, save them one by one")
    if elements_per_bar < 1:
        raise InputError(f"elements_per_bar is {elements_per_bar}; at least 1")
    record = records[0]
    lattice = record.lattice.detach()
    cell = lattice.cell.double().numpy()
    positions, bars, strut = to_window(lattice)
    radius = lattice.radius.double().numpy()[strut]
    nodes, elements = _mesh(positions, bars, elements_per_bar)
    lines = [
        "*Heading",
        "** Start header",
        f"**Relative densities: {record.density!r}",
        f"**Lattice name: {record.name}",
        f"**Unit cell volume: {abs(float(np.linalg.det(cell)))!r}",
        "** End header",
        "*Material, name=Material-1",
        "*Elastic",
        f"{young_modulus!r}, {poisson_ratio!r}",
        "*Part, name=LATTICE",
        "*Node",
        *(f"{n + 1}, {x!r}, {y!r}, {z!r}" for n, (x, y, z) in enumerate(nodes.tolist())),
    ]
    number = itertools.count(1)
    for bar, chain in enumerate(elements):
        lines.append(f"*Element, type=B31, elset=BAR_{bar}")
        lines += [f"{next(number)}, {a + 1}, {b + 1}" for a, b in itertools.pairwise(chain)]
    for bar, (i, j) in enumerate(bars):
        normal = _normal(positions[j] - positions[i])
        lines.append(f"*Beam Section, elset=BAR_{bar}, material=Material-1, section=CIRC")
        lines += [repr(float(radius[bar])), ", ".join(f"{x:.9g}" for x in normal)]
    lines.append("*End Part")
    for point in (1, 2):
        lines += [
            f"*Part, name=REF{point}",
            "*Node",
            f"1, {-0.1 * point:g}, {-0.1 * point:g}, {-0.1 * point:g}",
            "*End Part",
        ]
    lines += ["*Assembly, name=Assembly"]
    for name, part in (("LAT", "LATTICE"), ("REF1-A", "REF1"), ("REF2-A", "REF2")):
        lines += [f"*Instance, name={name}, part={part}", "*End Instance"]
    lines += ["*Nset, nset=REF1, instance=REF1-A", "1,", "*Nset, nset=REF2, instance=REF2-A", "1,"]
    lines += _periodicity(cell, positions, set(bars.reshape(-1).tolist()))
    lines += ["*Nset, nset=PIN, instance=LAT", f"{int(bars[0, 0]) + 1},", "*End Assembly"]
    lines += ["*Boundary", "PIN, 1, 3"]
    for point in (1, 2):
        for direction in (1, 2, 3):
            lines += _step(point, direction)
    return "\n".join(lines) + "\n"


def _mesh(positions: np.ndarray, bars: np.ndarray, pieces: int) -> tuple[np.ndarray, list[list[int]]]:
    nodes, chains, count = [positions], [], len(positions)
    fraction = np.arange(1, pieces)[:, None] / pieces
    for i, j in bars:
        nodes.append(positions[i] + fraction * (positions[j] - positions[i]))
        chains.append([int(i), *range(count, count + pieces - 1), int(j)])
        count += pieces - 1
    return np.concatenate(nodes), chains


def _normal(direction: np.ndarray) -> np.ndarray:
    """First section axis: any unit vector across the strut (the section is round)."""
    axis = np.eye(3)[np.abs(direction).argmin()]
    normal = np.cross(direction, axis)
    return normal / np.linalg.norm(normal)


def _periodicity(cell: np.ndarray, positions: np.ndarray, used: set[int]) -> list[str]:
    """Tie every image of a node to the first one of its kind."""
    label, _ = coincident_nodes(cell, positions, 1e-7 * float(np.cbrt(abs(np.linalg.det(cell)))))
    master: dict[int, int] = {}
    lines = []
    for node, group in enumerate(label.tolist()):
        if node not in used:
            continue
        first = master.setdefault(group, node)
        if first == node:
            continue
        lines += [f"*Nset, nset=PBC_{node}, instance=LAT", f"{first + 1},"]
        lines += [f"*Nset, nset=MIRROR_{node}, instance=LAT", f"{node + 1},"]
        for rotation in (4, 5, 6):
            lines += ["*Equation", "2", f"MIRROR_{node}, {rotation}, 1.", f"PBC_{node}, {rotation}, -1."]
        step = positions[node] - positions[first]
        step = np.rint(step @ np.linalg.inv(cell)) @ cell
        for i in range(3):
            terms = [f"MIRROR_{node}, {i + 1}, 1.", f"PBC_{node}, {i + 1}, -1."]
            for j in range(3):
                if step[j] != 0:
                    point, direction = _STRAIN[min(i, j), max(i, j)]
                    terms.append(f"REF{point}, {direction}, {float(-step[j])!r}")
            lines += ["*Equation", str(len(terms)), *terms]
    return lines


def _step(point: int, direction: int) -> list[str]:
    """One load case: a unit force on one strain component, all others free."""
    return [
        f"*Step, name=Load-REF{point}-dof{direction}, nlgeom=NO",
        "*Static",
        "*Cload, OP=NEW",
        f"REF{point}, {direction}, 1.",
        "*Output, field, variable=PRESELECT",
        "*Output, history, variable=PRESELECT",
        "*End Step",
    ]

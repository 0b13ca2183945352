"""Lattices from atomic structures and graphs of other libraries: ASE, pymatgen, networkx; CIF, POSCAR, extended XYZ.

Atoms become nodes and every pair closer than a cutoff becomes a strut (to every image within it). Files are parsed by
ASE, which is an optional dependency.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polyad.errors import FileFormatError, InputError, MissingDependencyError
from polyad.graphs.neighbors import neighbor_list
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.io.json_format import records_from_graph
from polyad.materials.lattice.nets.net import Net, lattice_of, unique_edges, with_uniform_radius
from polyad.materials.lattice.records import LatticeRecord

if TYPE_CHECKING:
    import networkx

_MAXIMUM_ATOMS, _MAXIMUM_STRUTS = 20_000, 1_000_000


def from_structure(structure: Any, *, cutoff: float, density: float = 0.01) -> StrutLattice:
    """The lattice whose nodes are the atoms of a periodic structure and whose struts are its bonds.

    Args:
        structure: an `ase.Atoms` or a `pymatgen.core.Structure`, periodic in three directions.
        cutoff: pairs closer than this are joined, in the structure's unit of length.
        density: relative density; all struts get one radius.

    Raises:
        InputError: not periodic, no pair within the cutoff, or far too many.
    """
    return lattice_of(_bond_net(*_cell_and_positions(structure), cutoff, density))


def from_networkx(graph: networkx.Graph, *, density: float = 0.01) -> StrutLattice:
    """The lattice of a graph with `graph.graph["cell"]`, node attribute `position`, edge attributes `shift`, `radius`.

    A shift belongs to the direction from source to target, so graphs with shifts must be directed (one edge a strut, as
    `to_networkx` gives them). Without shifts the nearest image is meant; without radii all struts get one radius.

    Raises:
        InputError: a missing attribute, or an undirected graph with shifts.
    """
    links = [{"source": i, "target": j, **data} for i, j, data in graph.edges(data=True)]
    if not graph.is_directed() and any("shift" in link for link in links):
        raise InputError(
            "from_networkx: edges of an undirected graph have no direction for their shift; use MultiDiGraph"
        )
    if "cell" not in graph.graph or any("position" not in data for _, data in graph.nodes(data=True)):
        raise InputError('from_networkx: graph.graph["cell"] and "position" at every node are needed')
    cell = np.asarray(graph.graph["cell"], dtype=float)
    nodes = [(node, np.asarray(data["position"], dtype=float).tolist()) for node, data in graph.nodes(data=True)]
    links = [{k: v.tolist() if hasattr(v, "tolist") else v for k, v in link.items()} for link in links]
    return records_from_graph("graph", cell, nodes, links, [density])[0].lattice


def to_networkx(lattice: StrutLattice) -> networkx.MultiDiGraph:
    """The lattice as a networkx MultiDiGraph, one edge a strut; the inverse of `from_networkx`.

    Raises:
        MissingDependencyError: networkx is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise MissingDependencyError("to_networkx", "networkx>=3.2") from error
    lattice = lattice.detach()
    graph = networkx.MultiDiGraph(cell=lattice.cell.tolist())
    for node, position in enumerate(lattice.positions.tolist()):
        graph.add_node(node, position=position)
    rows = zip(lattice.edge_index.T.tolist(), lattice.edge_shift.tolist(), lattice.radius.tolist(), strict=True)
    for (i, j), shift, radius in rows:
        graph.add_edge(i, j, shift=shift, radius=radius)
    return graph


def structure_format(text: str) -> str:
    """ASE's name of an atomic structure format, by content; empty for anything else."""
    head = text[:65536]
    lines = head.splitlines()
    if re.search(r"^\s*_(cell_length_a|cell\.length_a|symmetry_|space_group)", head, re.MULTILINE):
        return "cif"
    if len(lines) > 1 and lines[0].strip().isdecimal() and "Lattice=" in lines[1]:
        return "extxyz"
    numeric = re.compile(r"\s*([-+]?\d+\.?\d*([eE][-+]?\d+)?\s+){2}[-+]?\d+\.?\d*([eE][-+]?\d+)?\s*$")
    if len(lines) > 7 and re.fullmatch(r"\s*-?\d+\.?\d*\s*", lines[1]) and all(map(numeric.match, lines[2:5])):
        return "vasp"
    return ""


def read_structures(
    name: str, text: str, ase_format: str, *, cutoff: float | None, densities: Sequence[float]
) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """Structures of a file one by one, through ASE.

    Raises:
        FileFormatError: no cutoff given, or ASE cannot read the file.
        MissingDependencyError: ASE is not installed.
    """
    if cutoff is None:
        raise FileFormatError(
            name, "holds atoms, not struts; give the bond length up to which they are joined (cutoff)"
        )
    _check_counts(name, text.splitlines(), ase_format)
    try:
        import ase.io
    except ImportError as error:
        raise MissingDependencyError("reading atomic structures", "ase>=3.23") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE warns of details that do not concern geometry
            handle = io.BytesIO(text.encode()) if ase_format == "cif" else io.StringIO(text)
            structures = ase.io.read(handle, index=":", format=ase_format)
    except Exception as error:  # a foreign parser: whatever it stumbles over is a fault of the file
        reason = " ".join(str(error).split())[:120]
        raise FileFormatError(name, f"ASE cannot read it as {ase_format} ({type(error).__name__}: {reason})") from error
    if not structures:
        raise FileFormatError(name, "holds no structure")
    return (_structure(name, number, atoms, cutoff, densities) for number, atoms in enumerate(structures))


def _check_counts(name: str, lines: list[str], ase_format: str) -> None:
    """Refuse numbers of atoms that the file does not hold: ASE would wait for them."""
    start = 0
    while ase_format == "extxyz" and start < len(lines) and lines[start].strip():
        word = lines[start].strip()
        if not (word.isdecimal() and len(word) < 9 and start + 2 + int(word) <= len(lines)):
            raise FileFormatError(
                name, f"expected the number of atoms that follow, found {word[:40]!r}", line=start + 1
            )
        start += 2 + int(word)
    if ase_format == "vasp":
        counts = [word for line in lines[5:7] for word in line.split() if word.isdecimal()]
        if not counts or sum(float(word) for word in counts) > len(lines):
            raise FileFormatError(name, "numbers of atoms do not fit the lines that follow", line=6)


def _structure(
    name: str, number: int, atoms: Any, cutoff: float, densities: Sequence[float]
) -> tuple[str, list[LatticeRecord] | FileFormatError]:
    label = f"{atoms.get_chemical_formula()}_{number + 1}"
    try:
        cell, positions = _cell_and_positions(atoms)
        records = [
            LatticeRecord(label, lattice_of(_bond_net(cell, positions, cutoff, density)), density, source=name)
            for density in densities
        ]
        return label, records
    except InputError as error:
        return label, FileFormatError(name, f"structure {number + 1}: {error}")


def _cell_and_positions(structure: Any) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(structure, "lattice") and hasattr(structure, "cart_coords"):
        return np.array(structure.lattice.matrix, dtype=float), np.array(structure.cart_coords, dtype=float)
    if not hasattr(structure, "get_positions"):
        raise InputError(f"from_structure: {type(structure).__name__} is neither ase.Atoms nor a pymatgen Structure")
    if not np.all(structure.pbc):
        raise InputError("structure is not periodic in all three directions; set pbc and a cell")
    return np.array(structure.cell, dtype=float), np.array(structure.get_positions(), dtype=float)


def _bond_net(cell: np.ndarray, positions: np.ndarray, cutoff: float, density: float) -> Net:
    if not (np.isfinite(cell).all() and np.isfinite(positions).all() and abs(np.linalg.det(cell)) > 0):
        raise InputError("cell must span space and positions must be finite")
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"cutoff is {cutoff!r}; it must be a positive length")
    if not 1 <= len(positions) <= _MAXIMUM_ATOMS:
        raise InputError(f"structure has {len(positions)} atoms; 1 to {_MAXIMUM_ATOMS} are read")
    index, shift = neighbours(cell, positions, cutoff)
    if not index.shape[1]:
        raise InputError(f"no two atoms are closer than the cutoff {cutoff:g}; raise it")
    net = Net(cell, positions, index, shift, np.ones(index.shape[1]))
    return with_uniform_radius(net, density)


def neighbours(cell: np.ndarray, positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs closer than a cutoff, with all images: (edge_index (2, pairs), edge_shift (pairs, 3)), each pair once.

    Raises:
        InputError: more than a million pairs, or atoms on top of one another.
    """
    found = neighbor_list(
        torch.from_numpy(positions), cutoff, cell=torch.from_numpy(cell), maximum_edges=2 * _MAXIMUM_STRUTS
    )
    _, index, shift = unique_edges(len(positions), found.edge_index.numpy(), found.edge_shift.numpy())
    return index, shift

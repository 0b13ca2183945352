"""What worker processes do for the page: solve, find the freedom of a lattice, analyse, sample surfaces."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice import LatticeRecord, StrutLattice, homogenize, named_cell
from polyad.materials.lattice.design import LatticeSymmetry, find_symmetry
from polyad.materials.lattice.report import analyse
from polyad.materials.lattice.report.payload import lattices_payload
from polyad.materials.lattice.view.directions import directional_stiffness
from polyad.materials.lattice.view.meshes import sphere
from polyad.materials.lattice.view.packing import pack_lattice
from polyad.web.wire import moduli, read_lattice, write_lattice
from polyad.web.workers import Channel

LARGEST_FREEDOM = 200
"""Nodes of the largest lattice whose symmetry is looked for: spglib and the orbits take seconds beyond."""

LARGEST_SURFACE = 5
"""Times that the octahedron's triangles may be cut in four: 8192 triangles."""


def prepare() -> None:
    """Load compiled code before the first visitor waits for it; a worker has one core."""
    torch.set_num_threads(1)
    solve({"lattice": write_lattice(named_cell("octet", density=0.05))}, None)


def solve(payload: dict[str, Any], channel: Channel | None) -> dict[str, Any]:
    """Tensor, moduli, mechanisms, and the drawing of a lattice.

    Args:
        payload: `lattice`; `density` to scale its radii to, or None; `poisson_ratio` of the solid; `surface`, the
            fineness of the mesh of E(n), or None.
    """
    lattice = read_lattice(payload["lattice"])
    if payload.get("density") is not None:
        lattice = lattice.with_density(payload["density"])
    solved = _homogenize(lattice, payload.get("poisson_ratio", 0.3))
    result: dict[str, Any] = {
        "stiffness": solved.stiffness.tolist(),
        "moduli": moduli(solved.stiffness),
        "mechanisms": int(solved.mechanisms),
        "density": float(solved.relative_density),
        "lattice": write_lattice(lattice),
        "drawing": pack_lattice(lattice, dangling=solved.dangling.numpy()),
    }
    if payload.get("surface") is not None:
        result["surface"] = _surface(solved.stiffness, payload["surface"])
    return result


def solve_as_json(payload: dict[str, Any], channel: Channel) -> bytes:
    """`solve` as JSON text: written here, so that the server, which all visitors share, only passes it on."""
    return json.dumps(solve(payload, channel), allow_nan=False, separators=(",", ":")).encode()


def _homogenize(lattice: StrutLattice, poisson_ratio: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # mechanisms are part of the answer
        solved = homogenize(lattice, poisson_ratio=poisson_ratio)
    if not bool(torch.isfinite(solved.stiffness).all()):
        raise InputError("lattice: its stiffness is not finite; lengths and radii are too large or too small")
    return solved


def _surface(stiffness: torch.Tensor, level: int) -> dict[str, Any]:
    if not 0 <= level <= LARGEST_SURFACE:
        raise InputError(f"surface: {level} must lie between 0 and {LARGEST_SURFACE}")
    directions, triangles = sphere(level)
    values, symbol = directional_stiffness(stiffness, torch.from_numpy(directions.copy()))
    vertices = values[:, None] * torch.from_numpy(directions.copy())
    return {
        "symbol": symbol,
        "values": values.tolist(),
        "vertices": vertices.tolist(),
        "triangles": triangles.tolist(),
    }


def freedom(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """What may be moved: the space group, orbits of nodes with the displacements that keep it, and orbits of struts.

    Every mode is a list of (nodes, 3) displacements whose largest node moves by one unit of length; a mode that moves
    all nodes alike changes nothing and is left out.
    """
    lattice = read_lattice(payload["lattice"])
    size = float(lattice.edge_lengths.mean())
    if not payload.get("symmetry", True) or lattice.num_nodes > LARGEST_FREEDOM:
        return _without_symmetry(lattice, size)
    group = find_symmetry(lattice)
    return {
        "symbol": group.symbol,
        "order": group.order,
        "length": size,
        "nodes": [_node_orbit(lattice, group, orbit) for orbit in _orbits(group.node_map)],
        "struts": [{"members": orbit} for orbit in _orbits(group.edge_map)],
    }


def _without_symmetry(lattice: StrutLattice, size: float) -> dict[str, Any]:
    nodes = [{"members": [node], "modes": None if lattice.num_nodes > 1 else []} for node in range(lattice.num_nodes)]
    struts = [{"members": [strut]} for strut in range(lattice.num_edges)]
    return {"symbol": None, "order": 1, "length": size, "nodes": nodes, "struts": struts}


def _orbits(mapping: torch.Tensor) -> list[list[int]]:
    first = mapping.amin(0)
    return [torch.nonzero(first == member).reshape(-1).tolist() for member in torch.unique(first).tolist()]


def _node_orbit(lattice: StrutLattice, group: LatticeSymmetry, orbit: list[int]) -> dict[str, Any]:
    unit = torch.zeros(3, lattice.num_nodes, 3, dtype=torch.float64)
    unit[torch.arange(3), orbit[0], torch.arange(3)] = 1.0
    allowed = group.project_displacements(unit)
    # of the first node's displacements those that survive: an orthonormal basis
    _, values, directions = torch.linalg.svd(allowed[:, orbit[0]])
    free = directions[values > 1e-6 * max(float(values.max()), 1e-300)]
    modes = torch.einsum("mi,ink->mnk", free, allowed)
    modes = modes / modes.norm(dim=-1).amax(1).clamp_min(1e-300)[:, None, None]
    moved = (modes - modes.mean(1, keepdim=True)).abs().amax((1, 2)) > 1e-9
    return {"members": orbit, "modes": modes[moved].tolist()}


def analyse_lattices(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Everything that a report knows of some lattices: columns, tensors, scaling with density, bounds, drawings."""
    records = [read_record(row) for row in payload["lattices"]]
    poisson_ratio = payload.get("poisson_ratio", 0.3)
    analysis = analyse(records, poisson_ratio=poisson_ratio)
    return lattices_payload(records, analysis, young_modulus=1.0, poisson_ratio=poisson_ratio)


def read_record(row: dict[str, Any]) -> LatticeRecord:
    """A record of {"name", "lattice"}; its density is the beam formula's."""
    lattice = read_lattice(row["lattice"])
    return LatticeRecord(str(row.get("name") or "lattice")[:200], lattice, float(lattice.relative_density))


def bounds(density: np.ndarray, poisson_ratio: float) -> dict[str, list[float]]:
    """Upper Hashin-Shtrikman bounds of isotropic porous solids at some densities, for E_s = 1."""
    from polyad.materials.lattice.report.analysis import hashin_shtrikman

    return {name: values.tolist() for name, values in hashin_shtrikman(density, poisson_ratio).items()}

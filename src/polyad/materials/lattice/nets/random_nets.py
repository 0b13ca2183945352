"""Random nets by space-group orbits: a random group, random nodes, and struts between near neighbours.

Sites are drawn at random and moved onto the fixed points of a few random operations, so that special positions with few
images occur. Struts are added orbit by orbit, from short to long, where they cross nothing and make no angle too sharp,
until the net is connected and three-periodic; then a few more. What does not work out is drawn again, all from one
seed.

Source: the construction of crystal-like nets for catalogues of architected materials, after Lumpe and Stankovic, PNAS
118 (2021) e2003504118 (nets from symmetry), with our own acceptance rules.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.contacts import contacts_of
from polyad.materials.lattice.nets.net import Net, lattice_of, neighbours_of, with_uniform_radius
from polyad.materials.lattice.nets.orbits import OrbitNet, SpaceGroup, cell_from_parameters, expand_net, space_group

_SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
_ATTEMPTS = 500


def random_net(
    seed: int, *, density: float = 0.01, group: str | None = None, maximum_nodes: int = 48, clearance: float = 0.12
) -> StrutLattice:
    """A random connected, three-periodic lattice with the symmetry of a space group, all struts of one radius.

    Args:
        seed: of the random numbers.
        density: relative density by the beam formula.
        group: space-group symbol; default: a random crystal system, then a random group of it.
        maximum_nodes: largest number of nodes in the primitive cell.
        clearance: smallest distance of struts that do not meet, as a part of the mean node spacing (V / nodes)^(1/3);
            nodes keep three times that.

    Raises:
        InputError: nothing acceptable in 500 attempts (too few nodes for the group, too large a clearance).
    """
    if maximum_nodes < 1 or not 0 < clearance < 0.5:
        raise InputError(f"maximum_nodes is {maximum_nodes} (at least 1), clearance {clearance!r} (between 0 and 0.5)")
    random = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        net = _attempt(random, group, maximum_nodes, clearance)
        if net is not None:
            return lattice_of(with_uniform_radius(net, density))
    raise InputError(
        f"random_net: no net in {_ATTEMPTS} attempts; allow more nodes or less clearance, or change the seed"
    )


def _attempt(random: np.random.Generator, symbol: str | None, maximum_nodes: int, clearance: float) -> Net | None:
    if symbol is None:
        low, high = _SYSTEMS[list(_SYSTEMS)[random.integers(len(_SYSTEMS))]]
        symbol = str(random.integers(low, high + 1))
    group = space_group(symbol)
    cell = _random_cell(random, symbol)
    primitive = group.basis @ cell
    sites, nodes = _random_sites(random, group, primitive, maximum_nodes, clearance)
    if not len(sites):
        return None
    spacing = float(np.cbrt(abs(np.linalg.det(primitive)) / nodes))
    images = group.images(sites)
    points = _distinct(images, primitive, 1e-6)
    pairs = neighbours_of(sites, points, primitive, 1.9 * spacing, count=10)
    if not len(pairs):
        return None
    try:
        full = expand_net(group, cell, sites @ group.basis, pairs @ group.basis, tolerance=1e-3)
    except InputError:
        return None
    return _grow(random, full, clearance * spacing)


def _grow(random: np.random.Generator, full: OrbitNet, near: float) -> Net | None:
    """Take strut orbits in ascending length while they cross nothing, until the net holds together."""
    lengths = full.edge_lengths
    orbits = sorted(set(full.edge_orbit.tolist()), key=lambda orbit: float(lengths[full.edge_orbit == orbit].min()))
    chosen = np.zeros(len(lengths), dtype=bool)
    nodes, extra = len(full.positions), int(random.integers(0, 3))
    complete = False
    for orbit in orbits:
        if not complete and random.random() < 0.1:
            continue
        trial = chosen | (full.edge_orbit == orbit)
        if _too_close(full, trial, near):
            continue
        chosen = trial
        if complete:
            extra -= 1
        elif int(chosen.sum()) >= nodes + 2:  # three independent cycles
            index, shift = (np.ascontiguousarray(x) for x in (full.edge_index[:, chosen], full.edge_shift[chosen]))
            found = periodic_components(nodes, torch.from_numpy(index), torch.from_numpy(shift))
            whole = len(found) == 1 and int(found.dimension[0]) == 3
            complete = whole and round(float(torch.linalg.det(found.directions[0]).abs())) == 1
        if complete and extra <= 0:
            break
    if not complete or np.bincount(full.edge_index[:, chosen].reshape(-1), minlength=nodes).min() < 2:
        return None
    index, shift = full.edge_index[:, chosen], full.edge_shift[chosen]
    return Net(full.cell, full.positions, index, shift, np.ones(index.shape[1]))


def _too_close(full: OrbitNet, chosen: np.ndarray, near: float) -> bool:
    """Whether struts cross, or pass a node or each other too closely, or leave a node at less than 20 degrees."""
    index, shift = full.edge_index[:, chosen], full.edge_shift[chosen]
    if len(contacts_of(full.cell, full.positions, index, shift, near)):
        return True
    vectors = full.positions[index[1]] - full.positions[index[0]] + shift @ full.cell
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ends, directions = np.concatenate([index[0], index[1]]), np.concatenate([vectors, -vectors])
    cosine = np.where(ends[:, None] == ends, directions @ directions.T, -1.0)
    np.fill_diagonal(cosine, -1.0)
    return bool(cosine.max() > 0.94)


def _random_sites(
    random: np.random.Generator, group: SpaceGroup, primitive: np.ndarray, maximum_nodes: int, clearance: float
) -> tuple[np.ndarray, int]:
    """One to four sites, in the group's basis, whose images keep their distance; and the number of all images."""
    sites: list[np.ndarray] = []
    total = 0
    for _ in range(int(random.integers(1, 5))):
        site = random.random(3)
        for _ in range(int(random.integers(0, 4))):
            site = _toward_fixed_point(group, int(random.integers(group.order)), site)
        images = _distinct(group.images(site[None]), primitive, 1e-6)
        if total + len(images) > maximum_nodes:
            continue
        every = _distinct(group.images(np.array([*sites, site])), primitive, 1e-6)
        spacing = float(np.cbrt(abs(np.linalg.det(primitive)) / len(every)))
        if len(every) > 1:
            difference = every[:, None] - every
            difference -= np.rint(difference)
            distance = np.linalg.norm(difference @ primitive, axis=2)
            np.fill_diagonal(distance, np.inf)
            if distance.min() < 3 * clearance * spacing or len(every) != total + len(images):
                continue
        sites.append(site)
        total += len(images)
    return np.array(sites).reshape(-1, 3), total


def _toward_fixed_point(group: SpaceGroup, operation: int, site: np.ndarray) -> np.ndarray:
    """Mean of the nearest images under the powers of an operation: its fixed point, if it has any nearby."""
    orbit, rotation, translation = [site], group.rotations[operation], group.translations[operation]
    for _ in range(5):
        image = rotation @ orbit[-1] + translation
        image = image - np.rint(image - site)
        if np.abs(image - site).max() < 1e-9:
            break
        orbit.append(image)
    return np.mean(orbit, axis=0)


def _distinct(images: np.ndarray, cell: np.ndarray, near: float) -> np.ndarray:
    """Positions that differ modulo the cell, in their order."""
    flat = images.reshape(-1, 3)
    difference = flat[:, None] - flat
    difference -= np.rint(difference)
    same = np.einsum("abi,abi->ab", difference @ cell, difference @ cell) < near**2
    return flat[same.argmax(axis=1) == np.arange(len(flat))]


def _random_cell(random: np.random.Generator, symbol: str) -> np.ndarray:
    """Conventional lattice vectors of unit volume with the shape that the crystal system asks for."""
    system, unique_axis = _crystal_system(symbol)
    a, b, c = np.exp(random.uniform(-0.35, 0.35, 3)).tolist()
    angles = random.uniform(70, 110, 3).tolist()
    if system == "triclinic":
        parameters = (a, b, c, *angles)
    elif system == "monoclinic":
        parameters = (a, b, c, *(angle if axis == unique_axis else 90.0 for axis, angle in enumerate(angles)))
    elif system == "orthorhombic":
        parameters = (a, b, c, 90.0, 90.0, 90.0)
    elif system == "tetragonal":
        parameters = (a, a, c, 90.0, 90.0, 90.0)
    elif system == "rhombohedral":
        parameters = (a, a, a, angles[0], angles[0], angles[0])
    elif system == "hexagonal":
        parameters = (a, a, c, 90.0, 90.0, 120.0)
    else:
        parameters = (a, a, a, 90.0, 90.0, 90.0)
    cell = cell_from_parameters(*parameters)
    return cell / np.cbrt(abs(np.linalg.det(cell)))


@functools.lru_cache(maxsize=512)
def _crystal_system(symbol: str) -> tuple[str, int]:
    """(crystal system, unique axis of monoclinic groups); trigonal groups count as hexagonal unless set as `:R`."""
    import gemmi

    found = (
        gemmi.find_spacegroup_by_number(int(symbol)) if symbol.isdecimal() else gemmi.find_spacegroup_by_name(symbol)
    )
    system = found.crystal_system_str()
    if system == "trigonal":
        system = "rhombohedral" if found.ext == "R" else "hexagonal"
    axis = max("abc".find(found.monoclinic_unique_axis() or "b"), 0)
    return system, axis

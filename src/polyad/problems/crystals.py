"""Crystals with known answers: random ones and shaken families with an exact energy, and helices with a hand.

The energy of an atom of a crystal, with all images, is that of

    sum over pairs 4 e ((s / r)^12 - (s / r)^6) w(r / 6) + K sum over angles (cos angle + 1/3)^2 w(r1 / 4) w(r2 / 4)

with s 2^(1/6) = the sum of two radii, e = 0.1 eV, K = 0.2 eV, and w(u) = (1 - u^2)^3, which ends smoothly at u = 1.

*When not to use it*: as models of any substance; the elements only name the radii.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems.atoms import _edge_pairs

RADII = {3: 1.15, 8: 1.25, 11: 1.35, 17: 1.45}
"""Atomic number and radius, in angstrom, of the elements that crystals are made of."""

_DEPTH, _STIFFNESS, _PAIR_REACH, _ANGLE_REACH = 0.1, 0.2, 6.0, 4.0
_CUBE = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_FCC = [[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
_HALF = [[x / 2, y / 2, z / 2] for x, y, z in _CUBE]

# places in the cube, which element (0, 1, 2) each holds, edge of the cube in units of the sum of radii 0 and 1
_FAMILIES: dict[str, tuple[list[list[float]], list[int], float]] = {
    "rock salt": (_HALF, [sum(x) % 2 for x in _CUBE], 2.0),
    "caesium chloride": (
        [[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)]
        + [[x + 0.25, y + 0.25, z + 0.25] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)],
        [0] * 8 + [1] * 8,
        4 / math.sqrt(3),
    ),
    "zinc blende": (_FCC + [[x + 0.25 for x in place] for place in _FCC], [0] * 4 + [1] * 4, 4 / math.sqrt(3)),
    "perovskite": (
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        [2, 0, 1, 1, 1],
        2.0,
    ),
}


def random_crystals(count: int, *, seed: int, atoms: tuple[int, int] = (4, 8), spacing: float = 1.0) -> Structures:
    """Crystals without symmetry: random cells, elements and places, no two atoms close, with target `energy`.

    Args:
        count: number of crystals.
        seed: of everything random.
        atoms: fewest and most in a cell.
        spacing: edge of the mean volume of an atom, in units of the mean distance of touching atoms; up to 0.15 is
            added at random.

    Raises:
        InputError: a count or numbers of atoms that are not positive, or a spacing too narrow to place them.
    """
    if count < 1 or not 1 <= atoms[0] <= atoms[1] or spacing < 0.9:
        raise InputError(f"random_crystals: count {count}, atoms {atoms}, spacing {spacing}; at least 0.9")
    generator = torch.Generator().manual_seed(seed)
    parts: list[Structures] = []
    while sum(len(part) for part in parts) < count:
        tried = _pushed_apart(_random_places(max(count // 2, 8), generator, atoms, spacing))
        kept = _separated(tried)
        parts.append(tried[kept])
    return with_energy(Structures.concatenate(parts)[:count])


def family_crystals(count: int, *, seed: int, shake: float = 0.08, strain: float = 0.02) -> Structures:
    """Rock salt, caesium chloride, zinc blende and perovskite of random elements, shaken and strained, with `energy`.

    Args:
        count: number of crystals; families follow one another in turn.
        seed: of elements, cells and displacements.
        shake: standard deviation of every coordinate, in angstrom.
        strain: standard deviation of the components of the symmetric strain.

    Raises:
        InputError: a count that is not positive, or a negative amplitude.
    """
    if count < 1 or min(shake, strain) < 0:
        raise InputError(f"family_crystals: count {count}, shake {shake}, strain {strain}; give positive numbers")
    generator = torch.Generator().manual_seed(seed)
    names = list(_FAMILIES)
    numbers = torch.tensor(list(RADII))
    eye = torch.eye(3, dtype=torch.float64)
    positions, species, cells = [], [], []
    for k in range(count):
        places, roles, edge = _FAMILIES[names[k % len(names)]]
        elements = numbers[torch.randperm(len(numbers), generator=generator)[:3]]
        radii = [RADII[int(z)] for z in elements[:2]]
        cell = edge * sum(radii) * (1 + 0.03 * _normal(generator, 1)) * (eye + _strain(generator, strain))
        noise = shake * _normal(generator, len(places), 3)
        positions.append(torch.tensor(places, dtype=torch.float64) @ cell + noise)
        species.append(elements[torch.tensor(roles)])
        cells.append(cell)
    return with_energy(
        Structures.from_arrays(
            torch.cat(positions),
            torch.cat(species),
            sizes=[len(x) for x in positions],
            cell=torch.stack(cells),
            names=[names[k % len(names)] for k in range(count)],
        )
    )


def helices(count: int, *, seed: int, noise: float = 0.1, strain: float = 0.06) -> Structures:
    """Cells with one turn of a helix of three atoms, strained, shaken and turned at random; target `hand`, +1 or -1.

    A right-handed helix (+1) rises along a as it turns from b to c; the left-handed are drawn as mirror images of
    right-handed ones, so nothing but the hand tells the two apart.

    Args:
        count: number of crystals.
        seed: of everything random.
        noise: standard deviation of every coordinate, in angstrom; the helix has radius 1.2 and pitch 4.5.
        strain: standard deviation of the components of the symmetric strain.

    Raises:
        InputError: a count that is not positive, or a negative amplitude.
    """
    if count < 1 or min(noise, strain) < 0:
        raise InputError(f"helices: count {count}, noise {noise}, strain {strain}; give positive numbers")
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi / 3 * torch.arange(3, dtype=torch.float64)
    turn = torch.stack([4.5 / 3 * torch.arange(3), 1.2 * angle.cos(), 1.2 * angle.sin()], dim=1)
    positions = turn + noise * _normal(generator, count, 3, 3) + 4 * _normal(generator, count, 1, 3)
    deform = torch.eye(3, dtype=torch.float64) + _strain(generator, strain, count)
    hand = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator)
    mirror = torch.diag_embed(torch.stack([torch.ones(count), torch.ones(count), hand], dim=1)).double()
    change = deform @ mirror @ _rotations(generator, count)
    base = torch.diag(torch.tensor([4.5, 6.0, 6.6], dtype=torch.float64))
    return Structures.from_arrays(
        (positions @ change).reshape(-1, 3),
        [8] * (3 * count),
        sizes=[3] * count,
        cell=base @ change,
        targets={"hand": hand.double()},
    )


def with_energy(structures: Structures) -> Structures:
    """The same crystals, neighbours within 6 angstrom found, with target `energy`, in electronvolt an atom."""
    structures = structures.with_neighbors(_PAIR_REACH)
    energy = crystal_energy(structures, structures.edge_vectors())
    return structures.replace(targets={**structures.targets, "energy": energy})


def crystal_energy(structures: Structures, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, " structures"]:
    """Energy an atom, in electronvolt, differentiable in the edge vectors of all neighbours within 6 angstrom.

    Raises:
        InputError: an element without a radius.
    """
    source, target = structures.edge_index
    r = torch.linalg.vector_norm(vectors, dim=1)
    radii = _radii(structures.species)
    sixth = ((radii[source] + radii[target]) / 2 ** (1 / 6) / r) ** 6
    pair = 2 * _DEPTH * (sixth.square() - sixth) * _window(r / _PAIR_REACH)  # every pair is listed twice
    atomic = vectors.new_zeros(structures.num_nodes).index_add(0, source, pair)
    near = torch.nonzero(r < _ANGLE_REACH)[:, 0]
    first, second = (near[x] for x in _edge_pairs(source[near], structures.num_nodes))
    cosine = (vectors[first] * vectors[second]).sum(1) / (r[first] * r[second])
    window = _window(r / _ANGLE_REACH)
    bend = _STIFFNESS * (cosine + 1 / 3).square() * window[first] * window[second]
    atomic = atomic.index_add(0, source[first], bend)
    total = vectors.new_zeros(len(structures)).index_add(0, structures.structure, atomic)
    return total / structures.node_start.diff()


def _window(u: Tensor) -> Tensor:
    return (1 - u.square()).clamp_min(0) ** 3


def _radii(species: Tensor) -> Tensor:
    table = torch.full((max(int(species.max()), *RADII) + 1,), math.nan, dtype=torch.float64)
    table[list(RADII)] = torch.tensor(list(RADII.values()), dtype=torch.float64)
    found = table[species]
    if bool(found.isnan().any()):
        raise InputError(f"species: {int(species[found.isnan()][0])} has no radius; there are {list(RADII)}")
    return found


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _strain(generator: torch.Generator, size: float, *shape: int) -> Tensor:
    draw = size * _normal(generator, *shape, 3, 3)
    return 0.5 * (draw + draw.mT)


def _rotations(generator: torch.Generator, count: int) -> Tensor:
    """Proper rotations, uniformly distributed."""
    q, r = torch.linalg.qr(_normal(generator, count, 3, 3))
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[:, None]
    return q * torch.linalg.det(q)[:, None, None]


def _random_places(count: int, generator: torch.Generator, atoms: tuple[int, int], spacing: float) -> Structures:
    sizes = torch.randint(atoms[0], atoms[1] + 1, (count,), generator=generator)
    numbers = torch.tensor(list(RADII))
    species = numbers[torch.randint(len(numbers), (int(sizes.sum()),), generator=generator)]
    cells = torch.eye(3, dtype=torch.float64) + 0.2 * _normal(generator, count, 3, 3)
    owner = torch.arange(count).repeat_interleave(sizes)
    touching = 2 * torch.zeros(count, dtype=torch.float64).index_add(0, owner, _radii(species)) / sizes
    wider = 0.15 * torch.rand(count, generator=generator, dtype=torch.float64)
    volume = sizes * ((spacing + wider) * touching) ** 3
    cells = cells * (volume / torch.linalg.det(cells).abs())[:, None, None] ** (1 / 3)
    places = torch.rand(len(owner), 3, generator=generator, dtype=torch.float64)
    positions = torch.bmm(places[:, None], cells[owner])[:, 0]
    return Structures.from_arrays(positions, species, sizes=sizes.tolist(), cell=cells)


def _pushed_apart(structures: Structures) -> Structures:
    """Atoms nearer than the sum of radii move away from one another."""
    for _ in range(3):
        structures = structures.with_neighbors(4.5)
        source, target = structures.edge_index
        radii = _radii(structures.species)
        for _ in range(15):
            vectors = structures.edge_vectors()
            r = torch.linalg.vector_norm(vectors, dim=1)
            overlap = (radii[source] + radii[target] - r).clamp_min(0)
            push = 0.3 * (overlap / r)[:, None] * vectors
            structures = structures.replace(positions=structures.positions.index_add(0, target, push))
    return structures


def _separated(structures: Structures) -> Tensor:
    """Numbers of the structures whose nearest atoms are hardly nearer than the sum of their radii."""
    structures = structures.with_neighbors(3.2)
    source, target = structures.edge_index
    radii = _radii(structures.species)
    ratio = torch.linalg.vector_norm(structures.edge_vectors(), dim=1) / (radii[source] + radii[target])
    close = structures.structure[source[ratio < 0.93]]
    return torch.nonzero(torch.bincount(close, minlength=len(structures)) == 0)[:, 0]

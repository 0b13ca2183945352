"""Random lattices for data sets: perturbed cells, foams and nets, each fixed by its seed.

`random_lattice(seed)` draws one of: a named cell with random parameters, perturbed at a random level; a random net with
the symmetry of a space group, perturbed or not; a Voronoi or Delaunay foam. The same seed gives the same lattice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.foams import delaunay_foam, voronoi_foam
from polyad.materials.lattice.nets.named import cell_info, list_cells, named_cell
from polyad.materials.lattice.nets.net import lattice_of, net_of, with_uniform_radius
from polyad.materials.lattice.nets.orbits import cell_from_parameters
from polyad.materials.lattice.nets.random_nets import random_net
from polyad.materials.lattice.records import LatticeRecord

LEVELS = (0.0, 0.02, 0.05, 0.1)
"""Imperfection levels drawn by `random_lattice`."""

_LARGEST_CELL = 40  # nodes of the named cells that are drawn
_SLENDERNESS = 0.2  # largest radius as a part of the shortest strut


def perturbed(lattice: StrutLattice, level: float, seed: int) -> StrutLattice:
    """Nodes displaced by `level` times the mean strut length in random directions; the density is kept.

    Args:
        lattice: any lattice.
        level: imperfection level, usually up to 0.1.
        seed: of the random directions.

    Raises:
        InputError: a level outside [0, 0.5), or so large that a strut becomes thicker than long.
    """
    if not 0 <= level < 0.5:
        raise InputError(f"level is {level!r}; it must lie in [0, 0.5)")
    if level == 0:
        return lattice
    moved = lattice.perturb(level * float(lattice.edge_lengths.detach().mean()), seed=seed)
    return moved.with_density(float(lattice.relative_density.detach()))


def random_lattice(
    seed: int,
    *,
    density: tuple[float, float] = (0.003, 0.03),
    kinds: str = "all",
    levels: Sequence[float] = LEVELS,
) -> LatticeRecord:
    """One lattice of a varied mix, with its name, base name and how it was made.

    Half are random nets, a third named cells, the rest foams; three quarters of the nets and named cells are perturbed.
    The density is drawn log-uniformly, and lowered where a radius would exceed a fifth of the shortest strut.

    Args:
        seed: fixes everything.
        density: smallest and largest relative density.
        kinds: "all", "named", "nets" or "foams".
        levels: imperfection levels to draw from, for nets and named cells.

    Returns:
        a record whose base name is that of the unperturbed net (of a named cell, whatever its parameters); metadata
        `kind` is "net", "named", "voronoi" or "delaunay".

    Raises:
        InputError: a bad density range or kind.
    """
    low, high = density
    if not 0 < low <= high < 0.5:
        raise InputError(f"density is {density!r}; give smallest and largest, between 0 and 0.5")
    random = np.random.default_rng([seed, 0x6C617474])
    drawn = {"named": 0.6, "nets": 0.0, "foams": 0.9, "all": float(random.random())}.get(kinds)
    if drawn is None:
        raise InputError(f"kinds is {kinds!r}; give 'all', 'named', 'nets' or 'foams'")
    chosen = math.exp(random.uniform(math.log(low), math.log(high)))
    own = int(random.integers(2**31))
    if drawn < 0.5:
        kind, base, lattice = "net", f"net_{own}", random_net(own, density=1e-6)
        label = base
    elif drawn < 0.85:
        kind = "named"
        base, label, lattice = _random_named(random)
    else:
        base, lattice = _random_foam(random, own)
        kind, label = base.partition("_")[0], base
    level = float(levels[int(random.integers(len(levels)))]) if drawn < 0.85 else 0.0
    net = net_of(perturbed(lattice, level, own))
    radius = float(with_uniform_radius(net, chosen).radius[0])
    chosen *= min(1.0, _SLENDERNESS * float(net.lengths.min()) / radius) ** 2
    return LatticeRecord(
        name=f"{label}_p_{level:g}_{seed}",
        lattice=lattice_of(with_uniform_radius(net, chosen)),
        density=chosen,
        base_name=base,
        source="polyad.materials.lattice.random_lattice",
        metadata={"kind": kind, "seed": seed, "imperfection_level": level},
    )


@functools.lru_cache(maxsize=1)
def _small_cells() -> tuple[str, ...]:
    return tuple(name for name in list_cells() if named_cell(name, density=1e-6).num_nodes <= _LARGEST_CELL)


def _random_named(random: np.random.Generator) -> tuple[str, str, StrutLattice]:
    """A small named cell, its name and a label with its parameters, which vary by up to 20 % where it has any."""
    names = _small_cells()
    info = cell_info(names[int(random.integers(len(names)))])
    values = {key: default * random.uniform(0.8, 1.2) for key, default in sorted(info.parameters.items())}
    rounded = {key: round(value, 3) for key, value in values.items()}
    label = "_".join([info.name, *(f"{key}{value:g}" for key, value in rounded.items())])
    try:
        return info.name, label, named_cell(info.name, density=1e-6, primitive=True, **rounded)
    except InputError:  # a combination out of range
        return info.name, info.name, named_cell(info.name, density=1e-6)


def _random_foam(random: np.random.Generator, seed: int) -> tuple[str, StrutLattice]:
    cell = cell_from_parameters(*np.exp(random.uniform(-0.2, 0.2, 3)), *random.uniform(75, 105, 3))
    if random.random() < 0.6:
        count = int(random.integers(3, 8))
        return f"voronoi_{count}_{seed}", voronoi_foam(count, seed=seed, density=1e-6, cell=cell)
    count = int(random.integers(3, 13))
    return f"delaunay_{count}_{seed}", delaunay_foam(count, seed=seed, density=1e-6, cell=cell)

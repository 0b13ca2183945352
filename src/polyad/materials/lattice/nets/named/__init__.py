"""A collection of named cells, each from a small seed by its space group; conventional cell edge 1.

kelvin = named_cell("kelvin", density=0.02)
tall = named_cell("honeycomb_prism", c=2.0)
for name in list_cells(): ...
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.named import auxetic, cubic, nets, prisms, uniform
from polyad.materials.lattice.nets.named.seed import NamedCell, Seed
from polyad.materials.lattice.nets.net import Net, lattice_of, with_uniform_radius
from polyad.materials.lattice.nets.orbits import OrbitNet, cell_from_parameters, expand_net, space_group

__all__ = ["NamedCell", "cell_info", "list_cells", "named_cell"]

_CELLS: dict[str, NamedCell] = {
    cell.name: cell for module in (cubic, uniform, prisms, nets, auxetic) for cell in module.CELLS
}
_NAMES: dict[str, str] = {alias: cell.name for cell in _CELLS.values() for alias in (cell.name, *cell.aliases)}


def list_cells() -> list[str]:
    """Names of all cells of the collection, in alphabetical order; see `cell_info` for what they are."""
    return sorted(_CELLS)


def cell_info(name: str) -> NamedCell:
    """Description, source, parameters and aliases of a cell; case, blanks and hyphens in its name do not matter.

    Raises:
        InputError: an unknown name.
    """
    key = "_".join(name.lower().replace("-", "_").split())
    if key not in _NAMES:
        import difflib

        close = difflib.get_close_matches(key, _NAMES, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "list_cells() names them all"
        raise InputError(f"cell {name!r} is unknown; {hint}")
    return _CELLS[_NAMES[key]]


def named_cell(name: str, *, density: float = 0.01, primitive: bool = True, **parameters: float) -> StrutLattice:
    """A cell of the collection, all struts of one radius.

    Args:
        name: see `list_cells`.
        density: relative density by the beam formula.
        primitive: the smallest cell; otherwise the conventional one, of edge 1 along x.
        parameters: the cell's own (`cell_info(name).parameters` has their defaults).

    Raises:
        InputError: an unknown name or parameter, a parameter out of range, a density that is too high for the struts.
    """
    info = cell_info(name)
    unknown = set(parameters) - set(info.parameters)
    if unknown:
        known = ", ".join(inspect.signature(info.seed).parameters) or "none"
        raise InputError(f"cell {info.name!r} has no parameter {sorted(unknown)[0]!r}; it has {known}")
    values = tuple(sorted((dict(info.parameters) | parameters).items()))
    net = _expanded(info.name, values, primitive)
    unit = np.ones(net.edge_index.shape[1])
    bare = Net(net.cell, net.positions, net.edge_index, net.edge_shift, unit)
    return lattice_of(with_uniform_radius(bare, density))


@functools.lru_cache(maxsize=512)
def _expanded(name: str, parameters: tuple[tuple[str, float], ...], primitive: bool) -> OrbitNet:
    seed: Seed = _CELLS[name].seed(**dict(parameters))
    cell = cell_from_parameters(*seed.edges, gamma=120.0 if seed.hexagonal else 90.0)
    group = space_group(seed.group, primitive=primitive)
    return expand_net(group, cell, np.array(seed.sites, dtype=float), np.array(seed.struts, dtype=float))

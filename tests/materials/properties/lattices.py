"""Lattices and models that the tests of property networks share."""

from __future__ import annotations

from functools import lru_cache

import torch

from polyad.materials.lattice import LatticeBatch, StrutLattice, effective_stiffness, named_cell, random_lattice
from polyad.materials.learning.registry import PROPERTIES, build_network, takes
from polyad.materials.properties.model import PropertyModel
from polyad.materials.properties.targets import TARGETS
from polyad.materials.structures import Structures

SMALL: dict[str, dict] = {
    "lattice": {"channels": 3, "correlation": 3, "hidden": 8, "readout": 4},
    "cgc": {"width": 12, "layers": 2},
    "cgc+": {"width": 12, "layers": 2},
    "nnconv": {"width": 6, "layers": 2, "hidden": 8},
    "frame-averaged-cgc": {"width": 12, "layers": 2},
    "frame-averaged-nnconv": {"width": 6, "layers": 2},
}


def cells() -> list[StrutLattice]:
    """Three cells of different sizes, the last without any symmetry; the first is stretched and has axes of its own."""
    octet = named_cell("octet", density=0.02)
    octet = octet.replace(cell=octet.cell @ torch.diag(torch.tensor([1.0, 1.2, 1.5], dtype=torch.float64)))
    diamond = named_cell("diamond", density=0.03)
    generator = torch.Generator().manual_seed(0)
    moved = diamond.positions + 0.05 * torch.randn(diamond.positions.shape, generator=generator, dtype=torch.float64)
    return [octet, diamond.replace(positions=moved), named_cell("kelvin", density=0.02).perturb(0.05, seed=1)]


def batch_of(lattices: list[StrutLattice]) -> Structures:
    return Structures.from_lattices(LatticeBatch.from_lattices(lattices))


def model_of(
    name: str, *, target: str = "elasticity", positivity: str | None = None, **options: object
) -> PropertyModel:
    """An untrained model of lattices, float64."""
    wanted = TARGETS[target]
    chosen = {"radius": 0.1, **SMALL.get(name, {}), **options}
    if takes(name, "neighbors", table=PROPERTIES):
        chosen.setdefault("neighbors", 4.0)
    network = build_network(name, kinds=1, cutoff=1.0, options=chosen, table=PROPERTIES, out=wanted.irreps)
    own = PROPERTIES[name].positivity if wanted.positive else "none"
    built = PropertyModel(
        network, wanted, species=[0], cutoff=1.0, struts=True, positivity=positivity or own, scale=0.1
    )
    return built.double().eval()


@lru_cache(maxsize=8)
def data_set(nets: int = 6, copies: int = 2) -> Structures:
    """Lattices at several densities with exact stiffness; names are those of the nets."""
    lattices, names = [], []
    for seed in range(nets):
        record = random_lattice(seed)
        for k in range(copies):
            lattices.append(record.lattice.replace(radius=record.lattice.radius * 0.8**k))
            names.append(f"net{seed}")
    stiffness = effective_stiffness(LatticeBatch.from_lattices(lattices))
    return batch_of(lattices).replace(targets={"stiffness": stiffness}, names=tuple(names))

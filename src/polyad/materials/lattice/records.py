"""A lattice with its name, its relative density and what is known of it: one row of a catalogue."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice


@final
@dataclass(frozen=True, eq=False)
class LatticeRecord:
    """One unit cell at one relative density.

    Args:
        name: name of the cell, the same for all its densities.
        lattice: the cell; its radii belong to `density`.
        density: relative density as published; the beam formula of `lattice` may differ in the last digits.
        stiffness: published stiffness (6, 6) in Kelvin-Mandel order, in units of the material's Young's modulus, or
            None where nothing was published.
        base_name: name of the net that the cell is a variant of. Data sets are split by it, so that no relative of a
            test cell is trained on. Default: `name`.
        source: where the record comes from (file, paper, generator).
        metadata: further published facts, JSON values only.
        notes: what the reader noticed (a coordination number that disagrees, a singular compliance, ...).

    Raises:
        InputError: a density that is not a positive number, a stiffness that is not a symmetric finite (6, 6).
    """

    name: str
    lattice: StrutLattice
    density: float
    stiffness: Float[Tensor, "6 6"] | None = None
    base_name: str = ""
    source: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.base_name:
            object.__setattr__(self, "base_name", self.name)
        if not (math.isfinite(self.density) and self.density > 0):
            raise InputError(f"{self.name}: density is {self.density!r}; it must be a positive number")
        if self.stiffness is not None:
            stiffness = self.stiffness
            if tuple(stiffness.shape) != (6, 6) or not bool(torch.isfinite(stiffness).all()):
                raise InputError(f"{self.name}: stiffness must be a finite 6x6 matrix in Kelvin-Mandel order")
            if not torch.allclose(stiffness, stiffness.mT, rtol=1e-6, atol=1e-9 * float(stiffness.abs().max())):
                raise InputError(f"{self.name}: stiffness is not symmetric; average it with its transpose")

    def __repr__(self) -> str:
        """One line: name, size, density, and whether a stiffness was published."""
        known = "no stiffness" if self.stiffness is None else "with stiffness"
        size = f"{self.lattice.num_nodes} nodes, {self.lattice.num_edges} struts"
        return f"LatticeRecord({self.name!r}, {size}, density {self.density:.4g}, {known})"

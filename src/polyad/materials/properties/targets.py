"""What a network can be asked for: tensors by name, and any column of numbers.

A target says how its values lie in an array, which index symmetry they have and so which irreps a network must give
(`polyad.symmetry.tensor_basis`). Features and arrays are related by a matrix of orthonormal rows: norms are kept, and
turning the structure turns the features by Wigner matrices.

    elasticity            "ijkl=jikl=klij"        6 x 6 Kelvin-Mandel, positive definite
    dielectric            "ij=ji"                 3 x 3, positive definite
    piezoelectric         "ijk=ikj"               3 x 3 x 3, e_ijk: polarisation i, strain jk
    electro-optic         "ijk=jik"               3 x 3 x 3, r_ijk: impermeability ij, field k
    piezo-optic           "ijkl=jikl=ijlk"        6 x 6 Kelvin-Mandel, not symmetric
    magnetic-anisotropy   "ij=ji", traceless      3 x 3

The target of fourth order may be given as (3, 3, 3, 3), too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.tensor_basis import TensorBasis
from polyad.tensors.notation import tensor_to_mandel

_ASYMMETRY = 1e-2  # share of a value's norm that may lack the target's symmetry


@final
@dataclass(frozen=True)
class PropertyTarget:
    """A property of a structure as an array.

    Args:
        name: what it is asked for by.
        columns: names under which data may hold it, the first that is there counts; its own name always does.
        formula: of the index symmetry; empty for a scalar.
        traceless: whether the trace over every pair of indices is zero.
        axial: indices that are axial vectors.
        mandel: fourth order as 6 x 6 Kelvin-Mandel matrices.
        positive: whether only positive semi-definite matrices are physical.
    """

    name: str
    columns: tuple[str, ...] = ()
    formula: str = ""
    traceless: bool = False
    axial: str = ""
    mandel: bool = False
    positive: bool = False

    @cached_property
    def basis(self) -> TensorBasis | None:
        """The harmonic basis, None for a scalar."""
        return TensorBasis(self.formula, axial=self.axial, traceless=self.traceless) if self.formula else None

    @property
    def irreps(self) -> Irreps:
        """What a network must give."""
        return Irreps("0e") if self.basis is None else self.basis.irreps

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array of one structure; () for a scalar."""
        if self.basis is None:
            return ()
        return (6, 6) if self.mandel else (3,) * self.basis.order

    def matrix(self, like: Tensor) -> Float[Tensor, "features components"]:
        """Orthonormal rows: features = matrix @ components of the array, in dtype and device of `like`."""
        return _constant_matrix(self, like.dtype, like.device)

    def to_array(self, features: Float[Tensor, "*batch features"]) -> Tensor:
        """The array (..., *shape) with these features."""
        return (features @ self.matrix(features)).reshape(*features.shape[:-1], *self.shape)

    def to_features(self, array: Tensor) -> Float[Tensor, "*batch features"]:
        """Features of arrays (..., *shape); what lacks the symmetry is projected out."""
        batch = array.shape[: array.ndim - len(self.shape)]
        return array.reshape(*batch, prod(self.shape)) @ self.matrix(array).T

    def rotate(self, array: Float[Tensor, "batch ..."], rotation: Float[Tensor, "batch 3 3"]) -> Tensor:
        """The property of the structures turned (or mirrored) by Q: one matrix for each."""
        return self.to_array(self.irreps.rotate(self.to_features(array), rotation))

    def column(self, data: Structures) -> str:
        """Name under which the data hold the target.

        Raises:
            InputError: they do not.
        """
        for name in (*self.columns, self.name):
            if name in data.targets:
                return name
        names = " or ".join(dict.fromkeys((*self.columns, self.name)))
        raise InputError(
            f"target: {self.name} needs the column {names}; the data have {_listed(data.targets)}; rename it there"
        )

    def values(self, data: Structures) -> Tensor:
        """The arrays (structures, *shape) that the data hold, checked.

        Raises:
            InputError: no such column, a shape that is not the target's, values that are not finite, or that lack its
                symmetry; names the structure.
        """
        column = self.column(data)
        values = data.targets[column]
        if self.mandel and values.shape[1:] == (3,) * 4:
            values = tensor_to_mandel(values)
        if self.basis is None and values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.shape[1:] != self.shape:
            also = " or (3, 3, 3, 3)" if self.mandel else ""
            raise InputError(
                f"target: {column} of one structure has shape {tuple(values.shape[1:])}, {self.name} needs "
                f"{self.shape}{also}; reshape the column or choose another target"
            )
        rows = values.reshape(len(values), prod(self.shape))
        self._refuse(data, column, ~torch.isfinite(rows).all(1), "is not finite; mend or remove it")
        if self.basis is not None:
            lost = (rows - self.to_array(self.to_features(values)).reshape(rows.shape)).norm(dim=1)
            broken = lost > _ASYMMETRY * rows.norm(dim=1)
            symmetry = self.formula + (", traceless" if self.traceless else "")
            self._refuse(data, column, broken, f"lacks the symmetry {symmetry} of {self.name}; symmetrise it")
        return values

    def _refuse(self, data: Structures, column: str, bad: Tensor, why: str) -> None:
        places = torch.nonzero(bad)[:, 0].tolist()
        if places:
            name = f" ({data.names[places[0]]})" if data.names else ""
            raise InputError(f"target: {column} of structure {places[0]}{name} {why}")


TARGETS: dict[str, PropertyTarget] = {
    target.name: target
    for target in (
        PropertyTarget("elasticity", ("stiffness", "elastic_tensor"), "ijkl=jikl=klij", mandel=True, positive=True),
        PropertyTarget("dielectric", ("dielectric_tensor",), "ij=ji", positive=True),
        PropertyTarget("piezoelectric", ("piezoelectric_tensor",), "ijk=ikj"),
        PropertyTarget("electro-optic", ("electro_optic",), "ijk=jik"),
        PropertyTarget("piezo-optic", ("piezo_optic",), "ijkl=jikl=ijlk", mandel=True),
        PropertyTarget("magnetic-anisotropy", ("magnetic_anisotropy",), "ij=ji", traceless=True),
    )
}
"""Tensor properties by name."""


def property_target(name: str, data: Structures | None = None) -> PropertyTarget:
    """The tensor property of this name, or the scalar in the data's column of this name.

    Raises:
        InputError: neither; lists what there is.
    """
    if name in TARGETS:
        return TARGETS[name]
    columns = {} if data is None else data.targets
    if name not in columns:
        raise InputError(
            f"target: {name!r} is unknown; there are {', '.join(TARGETS)}, and the data's columns {_listed(columns)}"
        )
    return PropertyTarget(name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


@torch.compiler.assume_constant_result
def _constant_matrix(target: PropertyTarget, dtype: torch.dtype, device: torch.device) -> Tensor:
    return _matrix(target).to(dtype=dtype, device=device)


@lru_cache(maxsize=32)
def _matrix(target: PropertyTarget) -> Tensor:
    if target.basis is None:
        return torch.ones(1, 1, dtype=torch.float64)
    rows = target.basis.matrix(torch.zeros((), dtype=torch.float64))
    return tensor_to_mandel(rows.unflatten(1, (3,) * 4)).flatten(1) if target.mandel else rows

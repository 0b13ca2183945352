"""The eight symmetry classes of elasticity tensors, their point groups and exact projectors.

An elasticity tensor cannot tell all 32 crystal classes apart: it has one of eight symmetry groups (modulo the
inversion, which no tensor of even order sees). In the standard setting of each class, with the number of
independent constants:

    isotropic     2   all rotations
    cubic         3   fourfold axes x, y, z
    hexagonal     5   sixfold axis z, twofold axis x         (the same tensors as transversely isotropic)
    trigonal      6   threefold axis z, twofold axis x       (32, 3m, -3m; Voigt C_14 = -C_24 = C_56, C_15 = 0)
    tetragonal    6   fourfold axis z, twofold axis x        (422, 4mm, -42m, 4/mmm; C_16 = 0)
    orthotropic   9   twofold axes x, y, z
    monoclinic   13   twofold axis z
    triclinic    21   none

The 7-constant settings of the low trigonal and tetragonal classes are the same tensors turned about z, hence not
classes of their own.

Projection onto a class is the average over its group, P = 1/|G| sum_g R(g), an orthogonal projector. Harmonic
tensors of degree <= 4 invariant under a sixfold axis are invariant under every rotation about it (Hermann), and
none of degrees 1 to 5 is invariant under the icosahedral group, so finite groups serve for the hexagonal and the
isotropic class as well, exactly.

Sources: S. Forte and M. Vianello, J. Elasticity 43 (1996) 81; M. Moakher and A. N. Norris, J. Elasticity 85 (2006) 215.

When not to use it: to tell crystal classes apart that elasticity cannot (3 and 3m, 4 and 4mm, centred or not).
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.notation import mandel_to_vector, rotation_mandel, vector_to_mandel
from polyad.tensors.rotations import rotation_from_vector

Symmetry = Literal[
    "isotropic", "cubic", "hexagonal", "trigonal", "tetragonal", "orthotropic", "monoclinic", "triclinic"
]
SYMMETRIES: tuple[Symmetry, ...] = get_args(Symmetry)
"""The eight classes, by growing number of independent constants."""

INDEPENDENT_CONSTANTS = MappingProxyType(dict(zip(SYMMETRIES, (2, 3, 5, 6, 6, 9, 13, 21), strict=True)))
"""Number of independent constants of each class."""

_X, _Z, _DIAGONAL = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0)
_GOLDEN = (0.0, 1.0, (1 + math.sqrt(5)) / 2)

# each generator: axis and order
_GENERATORS: dict[str, tuple[tuple[tuple[float, float, float], int], ...]] = {
    "isotropic": ((_GOLDEN, 5), (_DIAGONAL, 3)),
    "cubic": ((_Z, 4), (_DIAGONAL, 3)),
    "hexagonal": ((_Z, 6), (_X, 2)),
    "trigonal": ((_Z, 3), (_X, 2)),
    "tetragonal": ((_Z, 4), (_X, 2)),
    "orthotropic": ((_Z, 2), (_X, 2)),
    "monoclinic": ((_Z, 2),),
    "triclinic": (),
}


def point_group(symmetry: Symmetry) -> Float[Tensor, "order 3 3"]:
    """The proper rotations of a class in its standard setting (float64), the identity first."""
    check_symmetry(symmetry)
    return _group(_GENERATORS[symmetry]).clone()


def symmetry_projector(symmetry: Symmetry) -> Float[Tensor, "21 21"]:
    """The orthogonal projector onto a class in its standard setting, on 21-vectors (`mandel_to_vector`), float64."""
    check_symmetry(symmetry)
    return _projector(symmetry).clone()


def rotation_21(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 21 21"]:
    """The orthogonal matrix that turns 21-vectors (`mandel_to_vector`) as `rotate_mandel` turns matrices."""
    basis = vector_to_mandel(torch.eye(21, dtype=rotation.dtype, device=rotation.device))
    turn = rotation_mandel(rotation, check=False)[..., None, :, :]
    return mandel_to_vector(turn @ basis @ turn.mT).mT


def normalizer(symmetry: Symmetry) -> Float[Tensor, "order 3 3"]:
    """Rotations that map the class in its standard setting onto itself, so that axes count only up to them.

    For the classes with one distinguished axis (hexagonal, monoclinic) these are all rotations that keep the line
    z; only the half turn about x is returned for them.
    """
    check_symmetry(symmetry)
    generators = {
        "trigonal": _GENERATORS["hexagonal"],
        "tetragonal": ((_Z, 8), (_X, 2)),
        "orthotropic": _GENERATORS["cubic"],
        "hexagonal": ((_X, 2),),
        "monoclinic": ((_X, 2),),
    }.get(symmetry, _GENERATORS[symmetry])
    return _group(generators).clone()


def check_symmetry(symmetry: str) -> None:
    """Raise InputError unless `symmetry` is the name of one of the eight classes."""
    if symmetry not in SYMMETRIES:
        raise InputError(f"symmetry: {symmetry!r} is unknown; give one of {', '.join(SYMMETRIES)}")


@lru_cache(maxsize=32)
def _group(generators: tuple[tuple[tuple[float, float, float], int], ...]) -> Tensor:
    elements = torch.eye(3, dtype=torch.float64)[None]
    turns = [_axis_rotation(axis, order) for axis, order in generators]
    frontier = elements
    while len(frontier):
        products = torch.cat([frontier @ turn for turn in turns]) if turns else frontier[:0]
        fresh: list[Tensor] = []
        for product in products:
            known = torch.cat([elements, *(element[None] for element in fresh)])
            if float((known - product).abs().amax(dim=(1, 2)).min()) > 1e-6:
                fresh.append(product)
        frontier = torch.stack(fresh) if fresh else elements[:0]
        elements = torch.cat([elements, frontier])
    return elements


def _axis_rotation(axis: tuple[float, float, float], order: int) -> Tensor:
    direction = torch.tensor(axis, dtype=torch.float64)
    return rotation_from_vector(direction / direction.norm() * (2 * math.pi / order))


@lru_cache(maxsize=8)
def _projector(symmetry: str) -> Tensor:
    return rotation_21(_group(_GENERATORS[symmetry])).mean(dim=0)

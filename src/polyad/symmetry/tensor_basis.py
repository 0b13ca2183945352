"""The harmonic basis of Cartesian tensors: any index symmetry to irreps, by an orthogonal change of basis.

A tensor property is named by its indices and the exchanges that leave it alone: elasticity "ijkl=jikl=klij", dielectric
and magnetic anisotropy "ij=ji", piezo-electric and electro-optic "ijk=ikj", piezo-optic "ijkl=jikl=ijlk". Coupling the
indices one after the other, each a vector, over all intermediate degrees gives an orthonormal basis of all 3^n
components, in irreps. The projector on the tensors with the symmetry commutes with rotations, so in that basis it mixes
copies of an irrep alone,

    P = mean over the group of permutations, with signs;   P_l[p, q] = <path p, m| P |path q, m>  for any m

and an orthonormal basis of the image of every P_l is the harmonic basis of the symmetry: rows B with

    features = B tensor,   tensor = B^T features,   B B^T = 1,   B^T B = P

Norms are kept, and rotation of the tensor is rotation of the features. Copies of an irrep are an orthonormal basis of
their own, made in the order of the paths; another choice differs by an orthogonal matrix among copies.

Sources: J. Jerphagnon, D. Chemla and R. Bonneville, Adv. Phys. 27 (1978) 609; for the counting, G. F. Smith and R. S.
Rivlin. e3nn's `ReducedTensorProducts` solves the same task.

When not to use it: more than about eight indices (3^n components are formed once).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irrep, Irreps

ELASTICITY = "ijkl=jikl=klij"
"""Stiffness or compliance: 2x0e+2x2e+1x4e."""

_INDEPENDENT = 1e-8


@final
@dataclass(frozen=True)
class TensorBasis:
    """Basis of the Cartesian tensors with the symmetry of `formula`; see the module's docstring.

    `formula` is one arrangement of the indices, and others equal to it, or to minus it: "ij=-ji". With `traceless`, the
    trace over every pair of indices is zero besides. Indices are polar vectors; those named in `axial` are axial ones
    (magnetic fields, rotations), which changes parity alone.
    """

    formula: str
    axial: str = ""
    traceless: bool = False

    def __post_init__(self) -> None:
        indices, _ = _read(self.formula)
        if set(self.axial) - set(indices):
            raise InputError(f"axial: {self.axial!r} names indices that {self.formula!r} has not")
        if not self.irreps.terms:
            raise InputError(f"formula: no tensor but zero has the symmetry {self.formula!r}")

    @property
    def order(self) -> int:
        """Number of indices."""
        return len(_read(self.formula)[0])

    @property
    def irreps(self) -> Irreps:
        """What the features are: 2x0e+2x2e+1x4e for elasticity."""
        indices, _ = _read(self.formula)
        parity = (-1) ** (len(indices) - len(set(self.axial)))
        return Irreps((mul, Irrep(degree, parity)) for degree, mul in self._build()[0])

    def matrix(self, like: Tensor) -> Float[Tensor, "features components"]:
        """B in dtype and device of `like`: orthonormal rows, each a tensor written out with its last index fastest."""
        return _matrix(like, self.formula, self.traceless)[0]

    def to_irreps(self, tensor: Tensor) -> Float[Tensor, "*batch features"]:
        """Features of tensors (..., 3, ..., 3), flat layout of `irreps`; what lacks the symmetry is projected out."""
        if tensor.ndim < self.order or tensor.shape[tensor.ndim - self.order :] != (3,) * self.order:
            raise InputError(
                f"tensor: shape is {tuple(tensor.shape)}; {self.formula!r} needs {self.order} last axes of 3"
            )
        return tensor.flatten(tensor.ndim - self.order) @ self.matrix(tensor).T

    def to_tensor(self, features: Float[Tensor, "*batch features"]) -> Tensor:
        """The tensor (..., 3, ..., 3) with these features: the inverse of `to_irreps` on tensors with the symmetry."""
        self.irreps.check(features)
        return (features @ self.matrix(features)).unflatten(-1, (3,) * self.order)

    def _build(self) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
        return _build(self.formula, self.traceless)


def rotate_tensor(tensor: Tensor, rotation: Float[Tensor, "*batch 3 3"], *, order: int, axial: int = 0) -> Tensor:
    """Q_ia Q_jb ... T_ab... for the last `order` axes, times det(Q) for each of `axial` axial indices.

    Leading dimensions of `rotation` lead those of the tensor.
    """
    shape = tensor.shape
    batch = rotation.ndim - 2
    if (
        tensor.ndim < batch + order
        or shape[tensor.ndim - order :] != (3,) * order
        or shape[:batch] != rotation.shape[:-2]
    ):
        raise InputError(
            f"tensor: shape {tuple(shape)} does not fit {order} indices and rotations {tuple(rotation.shape)}"
        )
    for axis in range(tensor.ndim - order, tensor.ndim):
        moved = tensor.movedim(axis, -1)
        flat = moved.reshape(*shape[:batch], int(np.prod(moved.shape[batch:-1], dtype=np.int64)), 3)
        tensor = (flat @ rotation.mT).reshape(moved.shape).movedim(-1, axis)
    if axial % 2:
        determinant = torch.linalg.det(rotation)
        tensor = tensor * determinant.reshape(*determinant.shape, *[1] * (tensor.ndim - batch))
    return tensor


def index_permutations(formula: str) -> Mapping[tuple[int, ...], int]:
    """The group of permutations of indices that a formula generates, with the sign that each brings.

    A permutation p means T[i_p(0), i_p(1), ...] = sign T[i_0, i_1, ...]. A formula that forces zero (equal to its own
    negative) raises InputError.
    """
    _, generators = _read(formula)
    order = len(next(iter(generators)))
    group = {tuple(range(order)): 1}
    frontier = list(group)
    while frontier:
        element = frontier.pop()
        for generator, sign in generators.items():
            product = tuple(element[place] for place in generator)
            if product not in group:
                group[product] = group[element] * sign
                frontier.append(product)
            elif group[product] != group[element] * sign:
                raise InputError(
                    f"formula: {formula!r} makes a tensor equal to its negative; only zero has that symmetry"
                )
    return group


def _read(formula: str) -> tuple[str, dict[tuple[int, ...], int]]:
    parts = [part.strip() for part in formula.split("=")]
    if not all(re.fullmatch(r"-?[A-Za-z]+", part) for part in parts) or parts[0].startswith("-"):
        raise InputError(f"formula: {formula!r} was given; write indices like 'ijkl=jikl=klij' or 'ij=-ji'")
    indices = parts[0]
    generators = {tuple(range(len(indices))): 1}
    for part in parts:
        letters = part.removeprefix("-")
        if sorted(letters) != sorted(indices) or len(set(indices)) != len(indices):
            raise InputError(f"formula: {part!r} in {formula!r} must have every index of {indices!r} exactly once")
        sign = -1 if part.startswith("-") else 1
        permutation = tuple(indices.index(letter) for letter in letters)
        if generators.get(permutation, sign) != sign:
            raise InputError(f"formula: {formula!r} makes a tensor equal to its negative; only zero has that symmetry")
        generators[permutation] = sign
    return indices, generators


@lru_cache(maxsize=64)
def _build(formula: str, traceless: bool) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
    """(degree, copies) in ascending order, and the rows of B."""
    order = len(_read(formula)[0])
    group = index_permutations(formula)
    terms, rows = [], []
    for degree, paths in sorted(_paths(order).items()):
        # paths: (copies, 2 degree + 1, 3, ..., 3), orthonormal
        projected = np.zeros_like(paths[:, 0])
        for permutation, sign in group.items():
            projected += np.transpose(paths[:, 0], (0, *(1 + place for place in permutation))) * (sign / len(group))
        projector = paths[:, 0].reshape(len(paths), -1) @ projected.reshape(len(paths), -1).T
        chosen = _image(projector)
        if traceless and len(chosen):
            chosen = _without_traces(np.tensordot(chosen, paths[:, 0], axes=1)) @ chosen
        if len(chosen):
            terms.append((degree, len(chosen)))
            rows.append(np.tensordot(chosen, paths, axes=1).reshape(-1, 3**order))
    matrix = np.concatenate(rows) if rows else np.zeros((0, 3**order))
    matrix[np.abs(matrix) < 1e-14] = 0.0
    matrix.setflags(write=False)
    return tuple(terms), matrix


def _paths(order: int) -> dict[int, np.ndarray]:
    """By degree, all couplings of `order` vectors: an orthonormal basis of the tensors, orders m on the second axis."""
    vector = np.eye(3)[[1, 2, 0]]  # components of degree 1 are (y, z, x)
    chains = {1: vector[None]}
    for _ in range(order - 1):
        longer: dict[int, list[np.ndarray]] = {}
        for degree, tensors in chains.items():
            for result in range(abs(degree - 1), degree + 2):
                block = np.tensordot(clebsch_gordan(degree, 1, result).numpy(), vector, axes=(1, 0))  # (m, result m, i)
                coupled = np.tensordot(tensors, block, axes=(1, 0))  # (copies, indices..., result m, i)
                longer.setdefault(result, []).append(np.moveaxis(coupled, -2, 1))
        chains = {degree: np.concatenate(parts) for degree, parts in longer.items()}
    return chains


def _without_traces(tensors: np.ndarray) -> np.ndarray:
    """Orthonormal combinations of the tensors (copies, 3, ..., 3) in which every trace is zero."""
    pairs = combinations(range(1, tensors.ndim), 2)
    traces = [np.trace(tensors, axis1=first, axis2=second).reshape(len(tensors), -1) for first, second in pairs]
    stacked = np.concatenate(traces, axis=1) if traces else np.zeros((len(tensors), 1))
    return _image(np.eye(len(tensors)) - stacked @ np.linalg.pinv(stacked, rcond=_INDEPENDENT))


def _image(projector: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the image of a projector: its columns by Gram-Schmidt, those of small index first."""
    basis = np.zeros((0, len(projector)))
    for column in projector.T:
        rest = column - (basis @ column) @ basis
        rest = rest - (basis @ rest) @ basis
        size = np.linalg.norm(rest)
        if size > _INDEPENDENT:
            basis = np.vstack([basis, rest / size])
    return basis


@constant_tables
def _matrix(formula: str, traceless: bool) -> tuple[np.ndarray, ...]:
    return (_build(formula, traceless)[1].copy(),)

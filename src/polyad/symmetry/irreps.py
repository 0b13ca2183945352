"""Irreducible representations of O(3) and sums of them, written as the field writes them: "32x0e+16x1o".

An irrep is a degree l and a parity: 'e' components keep their sign under inversion, 'o' components change it. A feature
that transforms by `Irreps("32x0e+16x1o")` is a tensor whose last axis holds 32 scalars and then 16 vectors.

Layouts, both with orders m = -l..l as in `polyad.symmetry.spherical_harmonics`:

- *flat*, (..., irreps.dim): term after term, in a term copy after copy, in a copy order after order. This is e3nn's
  'mul_ir' layout (its components differ by a change of basis: `polyad.symmetry.bridge`).
- *channels first*, (..., channels, (lmax + 1)^2): the same number of copies of every degree 0..lmax, parities (-1)^l,
  each channel one function on the sphere. `channels_to_flat` and `flat_to_channels` go between the two.

When not to use it: complex or projective (half-integer) representations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.spherical_harmonics import split_degrees
from polyad.symmetry.wigner import wigner_d


@final
@dataclass(frozen=True, order=True)
class Irrep:
    """One irreducible representation of O(3); 'e' has parity 1, 'o' has parity -1."""

    degree: int
    parity: int

    def __post_init__(self) -> None:
        if self.degree < 0 or self.parity not in (1, -1):
            raise InputError(f"irrep: degree {self.degree}, parity {self.parity}; give degree >= 0 and parity 1 or -1")

    @staticmethod
    def parse(text: str) -> Irrep:
        """The irrep written as "1o" or "2e"; "1y" has the parity (-1)^l of spherical harmonics."""
        match = re.fullmatch(r"\s*(\d+)([eoy])\s*", text)
        if match is None:
            raise InputError(f"irrep: {text!r} was given; write a degree and a parity e or o, as in '1o'")
        degree = int(match[1])
        return Irrep(degree, {"e": 1, "o": -1, "y": (-1) ** degree}[match[2]])

    @property
    def dim(self) -> int:
        """2l + 1."""
        return 2 * self.degree + 1

    @property
    def is_scalar(self) -> bool:
        """Whether it is 0e: invariant under rotations and reflections."""
        return self.degree == 0 and self.parity == 1

    def __mul__(self, other: Irrep) -> list[Irrep]:
        """The irreps of the product, ascending: degrees |l1 - l2|..l1 + l2, parity p1 p2."""
        degrees = range(abs(self.degree - other.degree), self.degree + other.degree + 1)
        return [Irrep(degree, self.parity * other.parity) for degree in degrees]

    def __str__(self) -> str:
        return f"{self.degree}{'e' if self.parity == 1 else 'o'}"

    def matrices(self, rotation: Float[Tensor, "*batch 3 3"], *, check: bool = True) -> Float[Tensor, "*batch d d"]:
        """The matrices D(Q) of this irrep."""
        block = wigner_d(rotation, self.degree, check=check)[self.degree]
        return block if self.parity == (-1) ** self.degree else block * _determinant(rotation)[..., None, None]


@final
@dataclass(frozen=True)
class Irreps:
    """A sum of irreps with multiplicities, in a fixed order; `Irreps("32x0e+16x1o")` parses and `str` prints.

    Terms of multiplicity 0 are dropped. `terms` may be text, an `Irrep`, another sum, or pairs (multiplicity, irrep).
    """

    terms: tuple[tuple[int, Irrep], ...]

    def __init__(self, terms: str | Irrep | Irreps | Iterable[tuple[int, Irrep | str]] = ()) -> None:
        object.__setattr__(self, "terms", _read_terms(terms))

    @staticmethod
    def spherical(lmax: int, *, multiplicity: int = 1) -> Irreps:
        """Degrees 0..lmax with the parity (-1)^l of spherical harmonics: "1x0e+1x1o+1x2e+..."."""
        return Irreps((multiplicity, Irrep(degree, (-1) ** degree)) for degree in range(lmax + 1))

    @property
    def dim(self) -> int:
        """Length of the flat layout."""
        return sum(multiplicity * irrep.dim for multiplicity, irrep in self.terms)

    @property
    def lmax(self) -> int:
        """The largest degree, -1 of an empty sum."""
        return max((irrep.degree for _, irrep in self.terms), default=-1)

    @property
    def count(self) -> int:
        """Number of irreps, with multiplicity."""
        return sum(multiplicity for multiplicity, _ in self.terms)

    def multiplicity(self, irrep: Irrep | str) -> int:
        """How often `irrep` occurs, over all terms."""
        wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
        return sum(multiplicity for multiplicity, found in self.terms if found == wanted)

    def slices(self) -> list[slice]:
        """Where each term lies on the flat axis."""
        ends = list(accumulate(multiplicity * irrep.dim for multiplicity, irrep in self.terms))
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []

    def split(self, features: Float[Tensor, "... d"]) -> list[Tensor]:
        """The terms of a flat feature, each (..., multiplicity, 2l + 1): views, no copies."""
        self.check(features)
        pieces = features.split([multiplicity * irrep.dim for multiplicity, irrep in self.terms], dim=-1)
        return [
            piece.unflatten(-1, (multiplicity, irrep.dim))
            for piece, (multiplicity, irrep) in zip(pieces, self.terms, strict=True)
        ]

    def check(self, features: Tensor, *, name: str = "features") -> None:
        """Raise InputError unless the last axis of `features` has length `dim`."""
        if features.ndim == 0 or features.shape[-1] != self.dim:
            given = features.shape[-1] if features.ndim else "no axis"
            raise InputError(f"{name}: last axis has {given} components, {self or 'no irreps'} have {self.dim}")

    def simplify(self) -> Irreps:
        """Neighbouring terms of equal irreps as one; the flat layout stays as it is."""
        merged: list[tuple[int, Irrep]] = []
        for multiplicity, irrep in self.terms:
            if merged and merged[-1][1] == irrep:
                merged[-1] = (merged[-1][0] + multiplicity, irrep)
            else:
                merged.append((multiplicity, irrep))
        return Irreps(merged)

    def sort(self) -> tuple[Irreps, tuple[int, ...]]:
        """Terms by ascending degree, 'o' before 'e' (stable), and which term of this sum each of them is."""
        order = sorted(range(len(self.terms)), key=lambda position: self.terms[position][1])
        return Irreps(self.terms[position] for position in order), tuple(order)

    def regroup(self) -> Irreps:
        """Sorted and simplified: every irrep once. The flat layout of `sort` is the same."""
        return self.sort()[0].simplify()

    def filter(self, keep: Callable[[Irrep], bool] | str | Iterable[Irrep] | int) -> Irreps:
        """The terms that a function accepts, that occur in another sum ("0e+1o"), or of degree up to a number."""
        if isinstance(keep, int):
            return Irreps((mul, irrep) for mul, irrep in self.terms if irrep.degree <= keep)
        if callable(keep):
            return Irreps((mul, irrep) for mul, irrep in self.terms if keep(irrep))
        allowed = {irrep for _, irrep in Irreps(keep).terms} if isinstance(keep, str) else set(keep)
        return Irreps((mul, irrep) for mul, irrep in self.terms if irrep in allowed)

    def tensor_product(self, other: Irreps | str) -> Irreps:
        """All irreps of the product of two sums, regrouped; its `dim` is the product of theirs."""
        pairs = ((first, second) for first in self.terms for second in Irreps(other).terms)
        return Irreps(
            (mul1 * mul2, irrep) for (mul1, irrep1), (mul2, irrep2) in pairs for irrep in irrep1 * irrep2
        ).regroup()

    def rotate(
        self, features: Float[Tensor, "... d"], rotation: Float[Tensor, "*batch 3 3"], *, check: bool = True
    ) -> Float[Tensor, "... d"]:
        """D(Q) of a flat feature, for Q in O(3); dimensions of `rotation` before (3, 3) lead those of `features`."""
        if not self.terms:
            return features
        blocks = wigner_d(rotation, self.lmax, check=check)
        determinant = _determinant(rotation)[..., None, None]
        batch = rotation.shape[:-2]
        if features.shape[: len(batch)] != batch:
            raise InputError(f"features: shape {tuple(features.shape)} does not begin with rotations {tuple(batch)}")
        turned = []
        for piece, (_, irrep) in zip(self.split(features), self.terms, strict=True):
            block = blocks[irrep.degree] if irrep.parity == (-1) ** irrep.degree else blocks[irrep.degree] * determinant
            turned.append(
                (piece.reshape(*batch, math.prod(piece.shape[len(batch) : -1]), irrep.dim) @ block.mT).reshape(
                    *features.shape[:-1], -1
                )
            )
        return torch.cat(turned, dim=-1)

    def __add__(self, other: Irreps) -> Irreps:
        return Irreps(self.terms + other.terms)

    def __iter__(self) -> Iterator[tuple[int, Irrep]]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __contains__(self, irrep: object) -> bool:
        wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
        return any(found == wanted for _, found in self.terms)

    def __str__(self) -> str:
        return "+".join(f"{multiplicity}x{irrep}" for multiplicity, irrep in self.terms)

    def __repr__(self) -> str:
        return f"Irreps({str(self)!r})"


def channels_to_flat(coefficients: Float[Tensor, "... channels harmonics"]) -> Float[Tensor, "... d"]:
    """Channels first to the flat layout of `Irreps.spherical(lmax, multiplicity=channels)`."""
    return torch.cat([part.flatten(-2) for part in split_degrees(coefficients)], dim=-1)


def flat_to_channels(features: Float[Tensor, "... d"], lmax: int) -> Float[Tensor, "... channels harmonics"]:
    """The inverse of `channels_to_flat`."""
    channels, rest = divmod(features.shape[-1], (lmax + 1) ** 2)
    if rest or not channels:
        raise InputError(f"features: last axis has {features.shape[-1]} components, no multiple of {(lmax + 1) ** 2}")
    return torch.cat(Irreps.spherical(lmax, multiplicity=channels).split(features), dim=-1)


def _determinant(rotation: Tensor) -> Tensor:
    first, second, third = rotation.unbind(-2)
    return (torch.linalg.cross(first, second) * third).sum(-1)


def _read_terms(terms: str | Irrep | Irreps | Iterable[tuple[int, Irrep | str]]) -> tuple[tuple[int, Irrep], ...]:
    if isinstance(terms, Irreps):
        return terms.terms
    if isinstance(terms, Irrep):
        return ((1, terms),)
    pairs = _parse(terms) if isinstance(terms, str) else terms
    read = tuple((int(mul), Irrep.parse(irrep) if isinstance(irrep, str) else irrep) for mul, irrep in pairs)
    if any(multiplicity < 0 for multiplicity, _ in read):
        raise InputError(f"irreps: multiplicities {[mul for mul, _ in read]} were given; give integers >= 0")
    return tuple((multiplicity, irrep) for multiplicity, irrep in read if multiplicity)


def _parse(text: str) -> list[tuple[int, Irrep]]:
    pairs = []
    for term in text.split("+") if text.strip() else []:
        match = re.fullmatch(r"\s*(?:(\d+)\s*x)?\s*(\d+[eoy])\s*", term)
        if match is None:
            raise InputError(f"irreps: {term!r} in {text!r} is no term; write them as in '32x0e+16x1o'")
        pairs.append((int(match[1] or 1), Irrep.parse(match[2])))
    return pairs

"""Generalised Clebsch-Gordan coefficients for products of equal factors: all equivariant polynomials of a feature.

A polynomial map, homogeneous of degree nu, from one copy of the degrees 0..lmax (parities (-1)^l, M = (lmax + 1)^2
numbers A_i) to an irrep of degree L is

    B_c = sum over i1 <= ... <= i_nu of K[c, i1...i_nu] A_i1 ... A_i_nu

Coupling the degrees of a multiset l1 <= ... <= l_nu one after the other, over every intermediate degree, and adding up
entries that belong to one monomial gives all such maps, most of them several times; Gram-Schmidt in the norm of the
symmetric tensors behind them keeps an independent set, in the order of the couplings. Every tensor has norm 1 for every
component c. Their number is the multiplicity of the irrep in the symmetric power, as characters count it.

Sources: R. Drautz, Phys. Rev. B 99 (2019) 014104; G. Dusson et al., J. Comput. Phys. 454 (2022) 110946; I. Batatia et
al., MACE, NeurIPS 2022, arXiv:2206.07697, appendix.

When not to use it: high degrees and body orders together; monomials number (M + nu - 1)! / (nu! (M - 1)!).
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from itertools import combinations_with_replacement, permutations, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irrep

_INDEPENDENT = 1e-6


def monomials(variables: int, order: int) -> np.ndarray:
    """All i1 <= ... <= i_order below `variables`, lexicographic, (monomials, order)."""
    rows = list(combinations_with_replacement(range(variables), order))
    return np.array(rows, dtype=np.int64).reshape(len(rows), order)


def symmetric_couplings(lmax: int, order: int, irrep: Irrep | str) -> Float[Tensor, "couplings components monomials"]:
    """The coefficients K of an independent set of couplings, in float64, over `monomials((lmax + 1)^2, order)`."""
    wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
    if lmax < 0 or order < 1:
        raise InputError(f"lmax {lmax} and order {order} were given; give lmax >= 0 and order >= 1")
    return torch.from_numpy(_symmetric_couplings(lmax, order, wanted).copy())


def symmetric_tensors(lmax: int, order: int, irrep: Irrep | str) -> Float[Tensor, "..."]:
    """The same as dense symmetric tensors, (couplings, 2L + 1, M, ..., M): for tests and small cases."""
    coefficients = symmetric_couplings(lmax, order, irrep)
    variables = (lmax + 1) ** 2
    indices = monomials(variables, order)
    share = coefficients.numpy() / _multiplicities(indices)
    dense = np.zeros((*share.shape[:2], *[variables] * order))
    for permutation in permutations(range(order)):
        place: Any = (slice(None), slice(None), *(indices[:, axis] for axis in permutation))
        dense[place] = share
    return torch.from_numpy(dense)


@lru_cache(maxsize=64)
def _symmetric_couplings(lmax: int, order: int, irrep: Irrep) -> np.ndarray:
    variables = (lmax + 1) ** 2
    indices = monomials(variables, order)
    radix = variables ** np.arange(order - 1, -1, -1, dtype=np.int64)
    codes, weights = indices @ radix, 1 / np.sqrt(_multiplicities(indices))
    found: list[np.ndarray] = []
    for degrees in combinations_with_replacement(range(lmax + 1), order):
        if math.prod((-1) ** degree for degree in degrees) != irrep.parity:
            continue
        # which monomial each entry of a tensor over these degrees belongs to
        axes = np.indices([2 * degree + 1 for degree in degrees]).reshape(order, -1).T + np.square(degrees)
        places = np.searchsorted(codes, np.sort(axes, axis=1) @ radix)
        used, local = np.unique(places, return_inverse=True)
        candidates = _chains(degrees, irrep.degree)
        if not candidates:
            continue
        vectors = np.zeros((len(candidates), irrep.dim, len(used)))
        for vector, tensor in zip(vectors, candidates, strict=True):
            entries = tensor.reshape(-1, irrep.dim)
            for component in range(irrep.dim):
                vector[component] = np.bincount(local, entries[:, component], minlength=len(used))
        basis = _independent((vectors * weights[used]).reshape(len(candidates), -1)) * math.sqrt(irrep.dim)
        block = np.zeros((len(basis), irrep.dim, len(indices)))
        block[:, :, used] = basis.reshape(len(basis), irrep.dim, len(used)) / weights[used]
        found.append(block)
    result = np.concatenate(found) if found else np.zeros((0, irrep.dim, len(indices)))
    result[np.abs(result) < 1e-13] = 0.0
    result.setflags(write=False)
    return result


def _chains(degrees: tuple[int, ...], target: int) -> list[np.ndarray]:
    """Tensors (2 l1 + 1, ..., 2 l_nu + 1, 2 target + 1) of all ways to couple the degrees from left to right."""
    last = len(degrees) - 1
    chains = [(degrees[0], np.eye(2 * degrees[0] + 1))]
    for position, degree in enumerate(degrees[1:], start=1):
        extended = []
        for reached, tensor in chains:
            for result in range(abs(reached - degree), reached + degree + 1):
                remaining = degrees[position + 1 :]
                if (position == last and result != target) or not _can_reach(result, remaining, target):
                    continue
                block = clebsch_gordan(reached, degree, result).numpy()
                extended.append((result, np.tensordot(tensor, block, axes=1)))
        chains = extended
    return [tensor for reached, tensor in chains if reached == target]


def _can_reach(start: int, degrees: tuple[int, ...], target: int) -> bool:
    lowest, highest = start, start
    for degree in degrees:
        lowest = max(degree - highest, lowest - degree, 0)
        highest += degree
    return lowest <= target <= highest


def _independent(vectors: np.ndarray) -> np.ndarray:
    """Rows made orthonormal in their order; rows that depend on those before are left out."""
    basis = np.zeros((0, vectors.shape[1]))
    for vector in vectors:
        size = np.linalg.norm(vector)
        if size < _INDEPENDENT:
            continue
        rest = vector / size
        for _ in range(2):  # once more, so that rounding does not spoil orthogonality
            rest = rest - (basis @ rest) @ basis
        left = np.linalg.norm(rest)
        if left > _INDEPENDENT:
            basis = np.vstack([basis, rest / left])
    return basis


def _multiplicities(indices: np.ndarray) -> np.ndarray:
    """In how many orders the factors of each monomial can be written."""
    order = indices.shape[1]
    counts = [math.prod(math.factorial(count) for count in Counter(row).values()) for row in indices.tolist()]
    return math.factorial(order) / np.array(counts, dtype=np.float64)


def count_by_characters(lmax: int, order: int, irrep: Irrep | str) -> int:
    """How many independent couplings there are, from the characters of O(3): an independent count.

    The character of the symmetric power is the coefficient of z^order in exp(sum over k of X(k t) z^k / k), averaged
    with the character of the irrep over the rotation angle t and over inversion.
    """
    wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
    steps = 4 * ((lmax * order + wanted.degree) + 2)
    angles = (np.arange(steps) + 0.5) * math.pi / steps
    total = 0.0
    for angle, sign in product(angles, (1, -1)):

        def character(degree: int, power: int, angle: float = angle, sign: int = sign) -> float:
            rotation = 1 + 2 * sum(math.cos(m * power * angle) for m in range(1, degree + 1))
            return rotation * (sign**power) ** degree

        sums = [sum(character(degree, power) for degree in range(lmax + 1)) for power in range(1, order + 1)]
        symmetric = [1.0]
        for power in range(1, order + 1):  # Newton's identities
            symmetric.append(sum(sums[k - 1] * symmetric[power - k] for k in range(1, power + 1)) / power)
        parity = 1 if sign == 1 else wanted.parity
        own = 1 + 2 * sum(math.cos(m * angle) for m in range(1, wanted.degree + 1))
        total += symmetric[order] * own * parity * (1 - math.cos(angle)) / (2 * steps)
    return round(total)

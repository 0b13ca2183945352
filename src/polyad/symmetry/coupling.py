"""Real coupling coefficients of SO(3): Wigner 3j blocks, Clebsch-Gordan blocks and Gaunt integrals, for any degrees.

Wigner's complex 3j symbols come from Racah's formula in integers, so each is the square root of an exact fraction;
the change to real harmonics mixes at most two orders a factor. With W the real 3j block, in the basis of
`polyad.symmetry.spherical_harmonics` (order m at index l + m):

    W[a, b, c] = (-1)^(l1 - l2) (-i)^(l1 + l2 - l3)
                 sum over mu, nu, rho of (l1 l2 l3; mu nu rho) conj(U1[a, mu] U2[b, nu] U3[c, rho])     (l1 <= l2 <= l3)
    real basis      Y_a = sum_mu U[a, mu] Y^complex_mu
    invariance      W[a, b, c] D1[a, a'] D2[b, b'] D3[c, c'] = W[a', b', c'],     sum of W^2 = 1
    Clebsch-Gordan  C = sqrt(2 l3 + 1) W:  (x1, x2) -> C[a, b, c] x1[a] x2[b] is an isometry from the degree-l3 part
    Gaunt           G = integral of Y_a Y_b Y_c = sqrt((2l1+1) (2l2+1) (2l3+1) / 4 pi) |(l1 l2 l3; 0 0 0)| W

Signs. The phase makes every block real. Where l1 + l2 + l3 is even, W is the *positive* multiple of the Gaunt integral;
where it is odd there is no such integral, and (1, 1, 1) is the cross product: sqrt 6 W x1 x2 = x1 x x2. Exchange of two
columns multiplies by (-1)^(l1 + l2 + l3), as for Wigner's symbols; degrees that do not ascend follow from that. These
are e3nn's signs, and since its basis is ours with the axes renamed, the numbers are the same too.

Sources: G. Racah, Phys. Rev. 62 (1942) 438; NIST DLMF 34.2 and 34.3.

When not to use it: degrees in the hundreds, where recurrences are faster than exact sums.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError


def wigner_3j(l1: int, l2: int, l3: int) -> Float[Tensor, "a b c"]:
    """The real 3j block W in float64, of unit norm, for degrees with |l1 - l2| <= l3 <= l1 + l2."""
    return torch.from_numpy(_wigner_3j(l1, l2, l3).copy())


def clebsch_gordan(l1: int, l2: int, l3: int) -> Float[Tensor, "a b c"]:
    """The real Clebsch-Gordan block C = sqrt(2 l3 + 1) W in float64: sum over a, b of C[a,b,c] C[a,b,d] is delta_cd."""
    return wigner_3j(l1, l2, l3) * math.sqrt(2 * l3 + 1)


def gaunt_coefficients(l1: int, l2: int, l3: int) -> Float[Tensor, "a b c"]:
    """Integrals over the sphere of Y_l1a Y_l2b Y_l3c, in float64; zero where l1 + l2 + l3 is odd or no triangle."""
    if not is_triangle(l1, l2, l3) or (l1 + l2 + l3) % 2:
        return torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.float64)
    return wigner_3j(l1, l2, l3) * gaunt_factor(l1, l2, l3)


def gaunt_factor(l1: int, l2: int, l3: int) -> float:
    """The ratio G / W >= 0 of the Gaunt integrals to the 3j block; it depends on the degrees alone."""
    product = (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
    return math.sqrt(product / (4 * math.pi)) * abs(complex_3j(l1, l2, l3, 0, 0, 0))


def gaunt_tensor(lmax1: int, lmax2: int, lmax3: int) -> Float[Tensor, "a b c"]:
    """All Gaunt integrals of degrees 0..lmax1, 0..lmax2, 0..lmax3 at once: ((lmax1 + 1)^2, (lmax2 + 1)^2, ...)."""
    shape = tuple((lmax + 1) ** 2 for lmax in (lmax1, lmax2, lmax3))
    result = torch.zeros(shape, dtype=torch.float64)
    for l1 in range(lmax1 + 1):
        for l2 in range(lmax2 + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, lmax3) + 1, 2):
                first, second, third = (slice(degree**2, (degree + 1) ** 2) for degree in (l1, l2, l3))
                result[first, second, third] = gaunt_coefficients(l1, l2, l3)
    return result


def sparse_wigner_3j(l1: int, l2: int, l3: int) -> tuple[Int[Tensor, "entries 3"], Float[Tensor, "entries"]]:
    """The real 3j block as coordinates: positions (a, b, c) of its non-zero entries in order, and their values."""
    block = wigner_3j(l1, l2, l3)
    positions = block.nonzero()
    return positions, block[tuple(positions.T)]


def is_triangle(l1: int, l2: int, l3: int) -> bool:
    """Whether degrees l1 and l2 couple to l3: |l1 - l2| <= l3 <= l1 + l2."""
    return abs(l1 - l2) <= l3 <= l1 + l2


def complex_3j(l1: int, l2: int, l3: int, m1: int, m2: int, m3: int) -> float:
    """Wigner's 3j symbol for complex harmonics with Condon-Shortley sign, the square root of an exact fraction."""
    if m1 + m2 + m3 or not is_triangle(l1, l2, l3) or abs(m1) > l1 or abs(m2) > l2 or abs(m3) > l3:
        return 0.0
    factorial = math.factorial
    first, last = max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2)
    # over the common denominator the alternating sum is one of integers
    total = Fraction(0)
    for k in range(first, last + 1):
        below = factorial(k) * factorial(l1 + l2 - l3 - k) * factorial(l1 - m1 - k) * factorial(l2 + m2 - k)
        total += Fraction((-1) ** k, below * factorial(l3 - l2 + m1 + k) * factorial(l3 - l1 - m2 + k))
    if not total:
        return 0.0
    above = factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(-l1 + l2 + l3)
    for degree, order in ((l1, m1), (l2, m2), (l3, m3)):
        above *= factorial(degree + order) * factorial(degree - order)
    square = total * total * Fraction(above, factorial(l1 + l2 + l3 + 1))
    sign = (-1) ** (l1 - l2 - m3) * (1 if total > 0 else -1)
    return sign * math.sqrt(square.numerator / square.denominator)


def real_from_complex(degree: int) -> np.ndarray:
    """The unitary matrix U of complex harmonics (Condon-Shortley sign) to real ones: Y_a = sum_mu U[a, mu] Y_mu."""
    matrix = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=np.complex128)
    matrix[degree, degree] = 1.0
    for order in range(1, degree + 1):
        plus, minus, sign = degree + order, degree - order, (-1) ** order
        matrix[plus, minus], matrix[plus, plus] = math.sqrt(0.5), sign * math.sqrt(0.5)
        matrix[minus, minus], matrix[minus, plus] = 1j * math.sqrt(0.5), -1j * sign * math.sqrt(0.5)
    return matrix


def _wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    if min(l1, l2, l3) < 0 or not is_triangle(l1, l2, l3):
        raise InputError(f"degrees ({l1}, {l2}, {l3}) do not couple; give |l1 - l2| <= l3 <= l1 + l2, all >= 0")
    degrees = (l1, l2, l3)
    order = sorted(range(3), key=lambda position: degrees[position])
    block = _sorted_wigner_3j(*(degrees[position] for position in order))
    odd_permutation = order in ([1, 0, 2], [0, 2, 1], [2, 1, 0])
    sign = -1.0 if odd_permutation and sum(degrees) % 2 else 1.0
    return sign * np.transpose(block, np.argsort(order))


@lru_cache(maxsize=4096)
def _sorted_wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    block = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            block[l1 + m1, l2 + m2, l3 - m1 - m2] = complex_3j(l1, l2, l3, m1, m2, -m1 - m2)
    for axis, degree in enumerate((l1, l2, l3)):
        change = real_from_complex(degree).conj()
        block = np.moveaxis(np.tensordot(change, block, axes=(1, axis)), 0, axis)
    real = (block * (-1j) ** ((l1 + l2 - l3) % 4)).real * (-1) ** (l1 - l2)
    real[np.abs(real) < 1e-14] = 0.0
    real.setflags(write=False)
    return real

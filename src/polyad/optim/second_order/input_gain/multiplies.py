"""Multiplications of the parts of a step, as the methods are written down, from sizes alone.

A product of an (a, b) and a (b, c) matrix counts a b c, as it is computed, also where half of a Gram matrix would do; a
solve of n equations n^3 / 3 and n^2 a right-hand side; an elementwise product its entries. Additions do not count.
Output weights count as normal equations, though they are solved by an orthogonal basis for accuracy's sake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Sizes:
    """N_v patterns of x_a with `features` entries, N_h units, M outputs."""

    patterns: int
    features: int
    hidden: int
    outputs: int

    @property
    def basis(self) -> int:
        """Entries of [x_a, O]."""
        return self.features + self.hidden

    @property
    def weights(self) -> int:
        """All weights."""
        return self.hidden * self.features + self.outputs * self.basis


def gram(rows: int, columns: int) -> int:
    """A^T A of `rows` rows."""
    return rows * columns * columns


def solve(size: int, right_hand_sides: int = 1) -> int:
    """Equations, n^3 / 3 + n^2 m."""
    return size**3 // 3 + size**2 * right_hand_sides


def sweep(s: Sizes) -> int:
    """Units and outputs of all patterns."""
    return s.patterns * (s.features * s.hidden + s.basis * s.outputs)


def output_stage(s: Sizes) -> int:
    """Normal equations of the output weights, their solution, and the outputs anew."""
    return gram(s.patterns, s.basis) + 2 * s.patterns * s.basis * s.outputs + solve(s.basis, s.outputs)


def gradient(s: Sizes) -> int:
    """-dE/dW: residuals to units, times slopes, times features."""
    return s.patterns * s.hidden * (s.outputs + 1 + s.features)


def whitening(s: Sizes) -> int:
    """Rx and G Rx^-1."""
    return gram(s.patterns, s.features) + solve(s.features, s.hidden)


def gains(s: Sizes, kind: str) -> int:
    """The system of one gain, of one a unit, of one an input or of a matrix of them, and its solution.

    Args:
        s: sizes.
        kind: one of `directions.GAINS`.
    """
    rows, nets = s.patterns * s.outputs, s.patterns * s.hidden * s.features
    if kind == "one":
        build, count = nets + s.patterns * s.hidden * (1 + s.outputs), 1
    elif kind == "unit":
        build, count = nets + s.patterns * s.hidden * (1 + s.outputs), s.hidden
    else:
        count = s.features if kind == "input" else s.features**2
        build = rows * s.hidden * (1 + s.features) + rows * count
    apply = s.hidden * s.features * (s.features if kind == "matrix" else 1)
    return build + rows * count + gram(rows, count) + solve(count) + apply


def levenberg_system(s: Sizes) -> int:
    """Jacobian of all weights, gradient and J^T J; features and units enter the Jacobian as they are."""
    rows = s.patterns * s.outputs
    return rows * s.hidden * (1 + s.features) + rows * s.weights + gram(rows, s.weights)

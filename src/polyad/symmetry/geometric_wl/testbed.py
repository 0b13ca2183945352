"""Pairs of structures that tell tests and networks apart: chains, stars and environments that look alike.

    k_chains(k)           k nodes in a row and an end node on each side, which turn the same way or opposite ways: alike
                          in every star, told apart by GWL after floor(k / 2) + 1 iterations, by IGWL never
    rotsym(fold, angle)   a star with evenly spread spokes and the same star, turned: one orbit, two orientations, which
                          features of degree l < fold cannot tell apart, for the sum of Y_lm over the spokes vanishes
                          unless m is a multiple of fold, and m = 0 does not see the angle
    counterexamples(case) a centre with equal multisets of distances (case 2), of triangles (3), of tetrahedra (4), and
                          mirror images with equal multisets of tetrahedra, hand included ("chiral")

Sources: C. Joshi et al., ICML 2023, arXiv:2301.09308; S. Pozdnyakov et al., Incompleteness of Atomic Structure
Representations, Phys. Rev. Lett. 125 (2020) 166001, arXiv:2001.11696.

*Deviations*: published notebooks have (-3, 0, -4) for the third point of the triangle in cases 4 and "chiral". It makes
the triangle isosceles, and a half turn maps one structure of the pair onto the other; here it is (-4, 0, -3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.graphs import GeometricGraph, geometric_graph

Pair = tuple[GeometricGraph, GeometricGraph]
"""Two structures."""

Point = tuple[float, float, float]
"""Coordinates."""


def k_chains(k: int) -> Pair:
    """Chains (0, 5i, 0), i = 0..k - 1, with ends at (-4, -3, 0) and at (-4 or 4, 5(k - 1) + 3, 0); k >= 2."""
    if k < 2:
        raise InputError(f"k: {k} was given; a chain has 2 nodes or more between its ends")
    index = torch.stack([torch.arange(k + 1), torch.arange(1, k + 2)])
    middle = [(0.0, 5.0 * i, 0.0) for i in range(k)]
    same, opposite = (
        [(-4.0, -3.0, 0.0), *middle, (side, 5.0 * (k - 1) + 3.0, 0.0)] for side in (-4.0, 4.0)
    )  # fmt: skip
    return _pair(same, opposite, index)


def rotsym(fold: int, angle: float) -> Pair:
    """A star of `fold` spokes of length 1 in the plane z = 0, the first along x, and its copy turned about z."""
    if fold < 1 or not math.isfinite(angle):
        raise InputError(f"rotsym: fold {fold}, angle {angle}; give at least one spoke and a finite angle in radians")
    stars = []
    for start in (0.0, angle):
        turns = [start + 2 * math.pi * spoke / fold for spoke in range(fold)]
        stars.append([(0.0, 0.0, 0.0), *((math.cos(turn), math.sin(turn), 0.0) for turn in turns)])
    return _pair(stars[0], stars[1], _star(fold))


def counterexamples(case: Literal[2, 3, 4, "chiral"]) -> Pair:
    """The centre at the origin, joined to its neighbours, twice. What tells the two apart:

    2: body order 3 (the angle). 3: body order 4. 4: body order 5. "chiral": body order 5 with SO(3), nothing with O(3).
    """
    turn = 2 * math.pi / 10
    if case == 2:
        first, second = [(5.0, 0.0, 0.0), (3.0, 0.0, 4.0)], [(5.0, 0.0, 0.0), (-5.0, 0.0, 0.0)]
    elif case == 3:
        shared = [(5.0, 0.0, 5.0), (5.0, 5.0, 5.0), (-5.0, -5.0, 5.0)]
        first, second = [*shared, (0.0, 5.0, 5.0)], [*shared, (0.0, -5.0, 5.0)]
    elif case == 4:
        cosine, sine = math.cos(turn), math.sin(turn)
        shared = [(x, 2.0, z) for x, _, z in _TRIANGLE]
        shared += [(cosine * x + sine * z, -2.0, cosine * z - sine * x) for x, _, z in _TRIANGLE]
        first, second = [*shared, (0.0, 5.0, 0.0)], [*shared, (0.0, -5.0, 0.0)]
    elif case == "chiral":
        first, second = [*_TRIANGLE, (0.0, 5.0, 0.0)], [*_TRIANGLE, (0.0, -5.0, 0.0)]
    else:
        raise InputError(f"case: {case!r} was given; choose 2, 3, 4 or 'chiral'")
    centre = (0.0, 0.0, 0.0)
    return _pair([centre, *first], [centre, *second], _star(len(first)))


_TRIANGLE = ((3.0, 0.0, -4.0), (0.0, 0.0, 5.0), (-4.0, 0.0, -3.0))


def _pair(first: Sequence[Point], second: Sequence[Point], index: torch.Tensor) -> Pair:
    one, other = (geometric_graph(torch.tensor(list(points), dtype=torch.float64), index) for points in (first, second))
    return one, other


def _star(leaves: int) -> torch.Tensor:
    return torch.stack([torch.zeros(leaves, dtype=torch.long), torch.arange(1, leaves + 1)])

"""Equivariant networks by weight sharing over positions and orientations: kernels are functions of invariants of pairs.

Pairs of points (p, o) that a motion takes to each other share a weight, so a kernel is a function of their invariants,
and a convolution on R^3 x S^2 needs neither tensor products nor harmonics. On a fixed grid of orientations at every
node it splits into one over space and one over the grid, at little more than the cost of a network of distances.

    f1_i(o) = sum over j of k1(<o, rel>, |rel - <o, rel> o|) f_j(o)
    f2_i(o) = 1/K sum over o' of k2(<o, o'>) f1_i(o')

`Ponita` is that network on R^3 x S^2, R^2 x S^1, SE(3) or R^n, `PointPonita` the one on points with own orientations.

Source: E. Bekkers, S. Vadgama, R. Hesselink, P. van der Linden and D. Romero, Fast, Expressive SE(n) Equivariant
Networks through Weight-Sharing in Position-Orientation Space, ICLR 2024, arXiv:2310.02970.

*Deviations*: those of `invariants` (completeness) and `layers`; edges may have scalars
of their own, which kernels see; without orientations, vectors are read from edges.

*When not to use it*: where equivariance must be exact under all rotations and nodes have no orientations of their own:
the grid of `Ponita` is a quadrature, whose error falls with its points.
"""

from polyad.symmetry.position_orientation.grids import (
    circle_grid,
    icosahedral_rotations,
    icosahedron,
    repulsion_grid,
    rotation_grid,
)
from polyad.symmetry.position_orientation.invariants import (
    invariants_r2s1,
    invariants_r3s2,
    invariants_rn,
    invariants_se3,
)
from polyad.symmetry.position_orientation.layers import (
    ConvNeXtBlock,
    KernelBasis,
    Readout,
    SeparableConvolution,
    monomials,
)
from polyad.symmetry.position_orientation.networks import PointPonita, Ponita
from polyad.symmetry.position_orientation.spaces import SPACES, Space, space_of

__all__ = [
    "SPACES",
    "ConvNeXtBlock",
    "KernelBasis",
    "PointPonita",
    "Ponita",
    "Readout",
    "SeparableConvolution",
    "Space",
    "circle_grid",
    "icosahedral_rotations",
    "icosahedron",
    "invariants_r2s1",
    "invariants_r3s2",
    "invariants_rn",
    "invariants_se3",
    "monomials",
    "repulsion_grid",
    "rotation_grid",
    "space_of",
]

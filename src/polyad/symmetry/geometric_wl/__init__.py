"""What geometric graph networks can tell apart: tests, structures that are hard, and minimal networks.

`distinguishable(first, second)` answers for two structures; `gwl` and `igwl` are the tests behind it, `k_hop_distinct`
says how far one has to look. `k_chains`, `rotsym` and `counterexamples` are pairs that separate the kinds of networks;
`invariant_networks` and `equivariant_networks` have a minimal one of each kind.

Source: C. Joshi, C. Bodnar, S. Mathis, T. Cohen and P. Lio, On the Expressive Power of Geometric Graph Neural Networks,
ICML 2023, arXiv:2301.09308.
"""

from polyad.symmetry.geometric_wl.graphs import GeometricGraph, from_points, geometric_graph, to_points
from polyad.symmetry.geometric_wl.hops import k_hop_distinct
from polyad.symmetry.geometric_wl.nested import gwl
from polyad.symmetry.geometric_wl.orbits import OrbitTable, same_orbit
from polyad.symmetry.geometric_wl.separation import Separation, distinguishable
from polyad.symmetry.geometric_wl.stars import igwl
from polyad.symmetry.geometric_wl.testbed import counterexamples, k_chains, rotsym

__all__ = [
    "GeometricGraph",
    "OrbitTable",
    "Separation",
    "counterexamples",
    "distinguishable",
    "from_points",
    "geometric_graph",
    "gwl",
    "igwl",
    "k_chains",
    "k_hop_distinct",
    "rotsym",
    "same_orbit",
    "to_points",
]

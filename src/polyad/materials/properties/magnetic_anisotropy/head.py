"""A network for symmetric matrices of a whole structure, such as its zero-field splitting: coefficients times moments.

    D = sum over atoms i and terms t of c_{i,t} (Psi_{i,t} - tr(Psi_{i,t}) / 3),     c_i = perceptron(invariants of i)

The terms are the second moments Psi_2(s), and the symmetric products Psi_1(r) Psi_1(s), Psi_2(r) Psi_2(s) and
Psi_3(r) : Psi_3(s) for r <= s. Coefficients are invariant and terms turn with the structure, so D(Qx) = Q D Q' for
rotations and reflections alike, with zero trace, whatever the weights.

Source: V. Zaverkin, J. Netz, F. Zills, A. Koehn and J. Kaestner, J. Chem. Theory Comput. 18 (2022) 1,
arXiv:2312.01415.

*Deviations*: the paper's set of rank-two terms could not be checked; this one holds all first-order terms and those
second-order ones that are symmetric.

*Training*: bonds vary by a tenth of an angstrom, over which wide Gaussians are nearly alike, so that errors fall slowly
and for long. Give thousands of steps of Adam, its rate falling to zero, or hundreds of iterations of L-BFGS on all
frames in float64; on a complex of seven atoms both came to about the same error in the same time.

*When not to use it*: properties with odd or higher rank, or that change sign under reflections.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.gaussian_moments import (
    GaussianMoments,
    ScaledPerceptron,
    invariants,
    matrix_products,
    num_invariants,
)
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.tensor_basis import TensorBasis

ANISOTROPY = TensorBasis("ij=ji", traceless=True)
"""Symmetric matrices without trace: five numbers, 1x2e."""


@final
class GaussianMomentTensors(nn.Module):
    """Scalars and symmetric traceless matrices of structures, `PointGraph` -> (structures, out.dim).

    The flat layout is that of `polyad.symmetry.irreps`; `ANISOTROPY.to_tensor` makes 3 x 3 matrices of "1x2e", and
    `TensorBasis("ij=ji").to_tensor` those with a trace of "1x0e+1x2e".

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        out: what is predicted; any number of 0e and 2e.
        neighbors: mean number of neighbours within the cutoff in the data.
        radial: trained radial functions.
        gaussians: that each of them is a sum of.
        width: of the hidden layers.
        layers: hidden layers.
        seed: of the weights.

    Raises:
        InputError: irreps other than 0e and 2e.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: str | Irreps = "1x2e",
        neighbors: float = 1.0,
        radial: int = 5,
        gaussians: int = 9,
        width: int = 512,
        layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.out = Irreps(out)
        if not self.out.terms or {str(irrep) for _, irrep in self.out.terms} - {"0e", "2e"}:
            raise InputError(f"out: {self.out or 'nothing'} was asked for; Gaussian moments give 0e and 2e")
        self.moments = GaussianMoments(
            kinds=kinds, cutoff=cutoff, radial=radial, gaussians=gaussians, neighbors=neighbors, seed=seed
        )
        self.terms = radial + 3 * radial * (radial + 1) // 2
        self.sizes = [mul * (1 if irrep.degree == 0 else self.terms) for mul, irrep in self.out.terms]
        sizes = [num_invariants(radial), *[width] * layers, sum(self.sizes)]
        self.perceptron = ScaledPerceptron(sizes, seed=seed + 1)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures components"]:
        """Sums over the atoms of every structure."""
        moments = self.moments(graph)
        matrices = torch.cat([moments[2], *matrix_products(moments)], dim=1)
        terms = ANISOTROPY.to_irreps(matrices) / math.sqrt(self.terms)
        parts = []
        for coefficients, (_, irrep) in zip(
            self.perceptron(invariants(moments)).split(self.sizes, dim=1), self.out.terms, strict=True
        ):
            if irrep.degree:
                coefficients = (coefficients.unflatten(1, (-1, self.terms)) @ terms).flatten(1)
            parts.append(coefficients)
        return graph.sum_nodes(torch.cat(parts, dim=1))

"""Gaussian moments: what surrounds an atom as Cartesian tensors, and the network on their invariant contractions.

    moments      Psi_{L,s}(i) = sum over j of R_s(r_ij; Z_i, Z_j) rhat_ij (x) ... (x) rhat_ij,   L = 0..3 factors
    radial       R_s(r; a, b) = pi^(-1/4) sum over k of beta_{a,b,k,s} G_k(r) f(r)

with G_k Gaussians, f the cosine window, beta trained, rhat_ij = (x_i - x_j) / r_ij. Invariants are full contractions of
at most three moments; r, s, t number radial functions, and only independent triples are kept:

    Psi_0(r),  Psi_L(r) . Psi_L(s) for L = 1, 2, 3,                                          r <= s
    tr(Psi_2(r) Psi_2(s) Psi_2(t)),                                                          r <= s <= t
    Psi_1(r) Psi_2(t) Psi_1(s),  (Psi_3(r) : Psi_3(s)) : Psi_2(t),                           r <= s, any t
    (Psi_3(r) : Psi_2(s)) . Psi_1(t),                                                        any r, s, t

That is 360 numbers for five radial functions and 910 for seven. A perceptron makes them an energy,

    x <- silu'(W x / sqrt(n) + b / 10),   E_i = scale[Z_i] y_i + shift[Z_i],   entries of W from N(0, 1), b = 0,

silu' being SiLU times the constant that gives it unit mean square on N(0, 1). In this (neural-tangent) parameterisation
neither the output at start nor a step of Adam changes with the width; learning rates are ten times the usual ones.

Sources: V. Zaverkin and J. Kaestner, J. Chem. Theory Comput. 16 (2020) 5410; V. Zaverkin, D. Holzmueller, I. Steinwart
and J. Kaestner, J. Chem. Theory Comput. 17 (2021) 6658.

*Deviations*: radial functions are scaled to unit variance at start (pi^(-1/4), for the squares of the Gaussians add up
to sqrt(pi)), and moments are divided by the square root of the mean number of neighbours, a constant.

*When not to use it*: sharp angular structure. Moments end at rank three, and an atom sees its cutoff only.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, pairwise, product
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import cosine_window, gaussian

Moments = tuple[
    Float[Tensor, "nodes radial"],
    Float[Tensor, "nodes radial 3"],
    Float[Tensor, "nodes radial 3 3"],
    Float[Tensor, "nodes radial 3 3 3"],
]
"""Psi_0, Psi_1, Psi_2, Psi_3 of every node, symmetric in their Cartesian indices."""

_SILU_SCALE = 1.676532  # 1 / sqrt(E[silu(z)^2]), z from N(0, 1)
_BIAS_SCALE = 0.1
_FIRST_CENTRE = 0.1  # of the cutoff: no atoms are closer


@final
class GaussianMoments(nn.Module):
    """Moments of rank 0 to 3 of every node, `PointGraph` -> `Moments`.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        radial: trained radial functions.
        gaussians: that each of them is a sum of.
        neighbors: mean number of neighbours within the cutoff in the data.
        seed: of beta.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        radial: int = 5,
        gaussians: int = 9,
        neighbors: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, radial, gaussians - 1) < 1:
            raise InputError(
                f"GaussianMoments: {kinds} kinds, {radial} radial, {gaussians} Gaussians; give at least 1, 1, 2"
            )
        check_neighbors(neighbors)
        self.kinds, self.cutoff, self.gaussians = kinds, float(cutoff), gaussians
        self.scale = math.pi**-0.25 / math.sqrt(neighbors)
        # every monomial's factors among (1, x, y, z), and every Cartesian component's monomial
        self.factors: Tensor
        self.components: Tensor
        self.register_buffer("factors", torch.tensor(_MONOMIALS).T.contiguous(), persistent=False)
        self.register_buffer("components", torch.tensor(_component_monomials()), persistent=False)
        with seeded(seed):
            self.beta = nn.Parameter(torch.randn(kinds * kinds, gaussians, radial))

    def forward(self, graph: PointGraph) -> Moments:
        """Psi_0 to Psi_3."""
        distance = graph.distances()
        window = self.scale * cosine_window(distance, self.cutoff)
        start = _FIRST_CENTRE * self.cutoff
        basis = window[:, None] * gaussian(distance, self.gaussians, self.cutoff, start=start)
        source, target = (graph.kind.index_select(0, end) for end in graph.edge_index)
        radial = torch.einsum("ek,eks->es", basis, self.beta.index_select(0, target * self.kinds + source))
        unit = graph.vectors / distance[:, None]
        extended = torch.cat([torch.ones_like(unit[:, :1]), unit], dim=1)
        a, b, c = (extended.index_select(1, factor) for factor in self.factors)
        received = graph.sum_messages(radial[:, :, None] * (a * b * c)[:, None])
        tensors = received.index_select(2, self.components).split([1, 3, 9, 27], dim=2)
        return tensors[0][..., 0], tensors[1], tensors[2].unflatten(2, (3, 3)), tensors[3].unflatten(2, (3, 3, 3))


@final
class ScaledPerceptron(nn.Module):
    """A perceptron in the neural-tangent parameterisation; see the module's docstring.

    Args:
        sizes: of input, hidden layers and output.
        seed: of the weights.
    """

    def __init__(self, sizes: list[int], *, seed: int = 0) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(f"sizes: {sizes} was given; name at least input and output, each at least 1")
        with seeded(seed):
            self.weights = nn.ParameterList(torch.randn(m, n) for n, m in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(m) for m in sizes[1:])

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The last layer is linear."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                x = _SILU_SCALE * nn.functional.silu(x)
            x = nn.functional.linear(x, weight / math.sqrt(weight.shape[1]), _BIAS_SCALE * bias)
        return x


@final
class GaussianMomentNetwork(nn.Module):
    """Energies from Gaussian moments, `PointGraph` -> (nodes,).

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        neighbors: mean number of neighbours within the cutoff in the data.
        radial: trained radial functions; 5 give 360 invariants, 7 give 910.
        gaussians: that each of them is a sum of.
        width: of the hidden layers.
        layers: hidden layers.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        neighbors: float = 1.0,
        radial: int = 5,
        gaussians: int = 9,
        width: int = 512,
        layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.moments = GaussianMoments(
            kinds=kinds, cutoff=cutoff, radial=radial, gaussians=gaussians, neighbors=neighbors, seed=seed
        )
        self.perceptron = ScaledPerceptron([num_invariants(radial), *[width] * layers, 1], seed=seed + 1)
        self.scale = nn.Parameter(torch.ones(kinds))
        self.shift = nn.Parameter(torch.zeros(kinds))

    def forward(self, graph: PointGraph) -> Float[Tensor, " nodes"]:
        """The energy of every atom."""
        raw = self.perceptron(invariants(self.moments(graph)))[:, 0]
        return self.scale.index_select(0, graph.kind) * raw + self.shift.index_select(0, graph.kind)


def invariants(moments: Moments) -> Float[Tensor, "nodes features"]:
    """The independent full contractions of up to three moments, in the order of the module's docstring."""
    scalar, vector, matrix, cubic = moments
    radial = scalar.shape[1]
    first, second = torch.triu_indices(radial, radial, device=scalar.device)
    upper = first * radial + second
    flat = matrix.flatten(2)
    pairs = [_grams(x.flatten(2)).index_select(1, upper) for x in (vector, matrix, cubic)]
    # products of two moments that are matrices again, contracted with a third: (nodes, kinds of product, pairs, radial)
    matrices = torch.stack(matrix_products(moments), dim=1).flatten(3)
    triples = (matrices.flatten(1, 2) @ flat.mT).unflatten(1, (3, len(upper))).unbind(1)
    third = torch.arange(radial, device=scalar.device)
    ordered = (third >= second[:, None]).flatten().nonzero()[:, 0]
    vectors = torch.einsum("nrkp,nsp->nrsk", cubic.flatten(2, 3).mT, flat).flatten(1, 2)
    return torch.cat(
        [
            scalar,
            *pairs,
            triples[1].flatten(1).index_select(1, ordered),
            triples[0].flatten(1),
            triples[2].flatten(1),
            (vectors @ vector.mT).flatten(1),
        ],
        dim=1,
    )


def matrix_products(moments: Moments) -> list[Float[Tensor, "nodes pairs 3 3"]]:
    """Products of two moments with two indices left, of radial functions r <= s, made symmetric.

    Psi_1(r) (x) Psi_1(s), Psi_2(r) Psi_2(s) and Psi_3(r) : Psi_3(s), in this order.
    """
    _, vector, matrix, cubic = moments
    radial = vector.shape[1]
    first, second = torch.triu_indices(radial, radial, device=vector.device)
    upper = first * radial + second
    found = []
    for x in (vector[:, :, None], matrix, cubic.flatten(2, 3)):
        # (nodes, radial 3, inner) @ (nodes, inner, radial 3): every pair of radial functions at once
        left = x.mT.flatten(1, 2)
        blocks = (left @ left.mT).unflatten(2, (radial, 3)).unflatten(1, (radial, 3)).transpose(2, 3)
        chosen = blocks.flatten(1, 2).index_select(1, upper)
        found.append(0.5 * (chosen + chosen.mT))
    return found


def num_invariants(radial: int) -> int:
    """Length of `invariants` for so many radial functions."""
    pairs = radial * (radial + 1) // 2
    return radial + 3 * pairs + pairs * (radial + 2) // 3 + 2 * pairs * radial + radial**3


def _grams(x: Float[Tensor, "nodes radial components"]) -> Float[Tensor, "nodes radial_squared"]:
    return (x @ x.mT).flatten(1)


_MONOMIALS = list(combinations_with_replacement(range(4), 3))


def _component_monomials() -> list[int]:
    """The monomial of every component of the tensors of rank 0, 1, 2, 3, last index fastest."""
    place = {monomial: number for number, monomial in enumerate(_MONOMIALS)}
    indices = [axes for rank in range(4) for axes in product((1, 2, 3), repeat=rank)]
    padded = [sorted((*axes, *[0] * (3 - len(axes)))) for axes in indices]
    return [place[a, b, c] for a, b, c in padded]

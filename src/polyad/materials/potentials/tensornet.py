"""TensorNet: every atom carries 3 x 3 matrices, which messages add to and matrix products couple.

A matrix splits into its irreducible parts X = I + A + S: a multiple of the identity, an antisymmetric matrix (a polar
vector v, A = [v]_x) and a symmetric traceless one. Linear maps mix the channels of each part; everything else is the
product of matrices, so no spherical harmonics and no coupling coefficients are needed.

    embedding     X_i = sum over j of phi(d) Z_ij (f_I I0 + f_A [r]_x + f_S (r r' - 1/3)),  Z_ij from both elements
    interaction   X <- X / (|X|^2 + 1),  Y = mixed X,  M_i = sum over j of phi(d) (f_I I_j + f_A A_j + f_S S_j) of Y,
                  dX = mixed (Y M + M Y) / (|Y M + M Y|^2 + 1),  X <- X + dX + dX dX
    readout       norms of I, A, S -> layer norm -> perceptron

r is the unit vector, phi the cosine window, f a perceptron of the exponential-normal basis, |.| the Frobenius norm.
Y M + M Y keeps reflections: with the vectors polar, A turns as det(Q) Q A Q', and the anticommutator of two such parts
is symmetric as it should be. `group="SO(3)"` takes 2 Y M, which does not.

Parts are stored by their 1 + 3 + 6 components and summed over edges in that form; matrices exist on nodes only.

Source: G. Simeon and G. de Fabritiis, TensorNet: Cartesian Tensor Representations for Efficient Learning of Molecular
Potentials, NeurIPS 2023, arXiv:2306.06482, equations 5-12.

*Deviations*: atoms send no message to themselves; the energy of a lone atom is the potential's shift.

*When not to use it*: targets or environments that need harmonics of degree three and more: a layer sees angles
through matrices only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import cosine_window, exponential_normal

_GROUPS, _OUTPUTS = ("O(3)", "SO(3)"), ("energy", "scalar", "vector", "tensor")

# components of the parts: 1 | x y z | xx yy zz yz xz xy
_SIZES = (1, 3, 6)


@final
@dataclass(frozen=True, eq=False)
class Parts:
    """Irreducible parts of matrices, channels last.

    Args:
        components: (..., 10, channels): the identity's factor, the vector of A = [v]_x (A_ij = -eps_ijk v_k), and S by
            xx, yy, zz, yz, xz, xy (its trace vanishes).
    """

    components: Float[Tensor, "*batch 10 channels"]

    def scaled(self, factors: Float[Tensor, "*batch 3 channels"]) -> Parts:
        """Each part by a factor of its own."""
        return Parts(self.components * _by_component(factors))

    def norms(self) -> Float[Tensor, "*batch 3 channels"]:
        """Squared Frobenius norms of the parts: 3 I^2, 2 |v|^2, and the sum of the squares of S."""
        square = self.components.square()
        diagonal, other = square[..., 4:7, :].sum(-2), square[..., 7:10, :].sum(-2)
        return torch.stack([3 * square[..., 0, :], 2 * square[..., 1:4, :].sum(-2), diagonal + 2 * other], dim=-2)

    def matrices(self) -> Float[Tensor, "*batch 3 3 channels"]:
        """I + A + S as matrices."""
        return torch.einsum("ijp,...pc->...ijc", _assembly(self.components), self.components)

    @staticmethod
    def of(matrices: Float[Tensor, "*batch 3 3 channels"]) -> Parts:
        """Split matrices: I = tr X / 3, A = (X - X') / 2, S = (X + X') / 2 - I."""
        return Parts(torch.einsum("pij,...ijc->...pc", _splitting(matrices), matrices))


@final
class TensorNet(nn.Module):
    """A network of matrices on atoms, `PointGraph` -> output of every atom.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        channels: matrices on every atom.
        layers: interactions after the embedding; one is already many-body.
        radial: size of the radial basis.
        group: "O(3)" keeps reflections, "SO(3)" does not.
        output: "energy" and "scalar" give (nodes,), "vector" (nodes, 3), "tensor" (nodes, 3, 3) symmetric traceless.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        channels: int = 128,
        layers: int = 1,
        radial: int = 32,
        group: str = "O(3)",
        output: str = "energy",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if group not in _GROUPS or output not in _OUTPUTS:
            raise InputError(f"group: {group!r}, output: {output!r}; allowed are {_GROUPS} and {_OUTPUTS}")
        if min(kinds, channels, layers + 1, radial - 1) < 1:
            raise InputError(
                f"TensorNet: {kinds} kinds, {channels} channels, {layers} layers, {radial} radial; too small"
            )
        self.cutoff, self.radial, self.output = float(cutoff), radial, output
        with seeded(seed):
            self.embedding = _Embedding(kinds, channels, radial)
            self.interactions = nn.ModuleList(_Interaction(channels, radial, group) for _ in range(layers))
            self.norm = nn.LayerNorm(3 * channels)
            self.hidden = nn.Sequential(nn.Linear(3 * channels, channels), nn.SiLU())
            gates = channels if output in ("vector", "tensor") else 1
            self.head = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, gates))

    def forward(self, graph: PointGraph) -> Tensor:
        """The output of every atom."""
        parts = self.parts(graph)
        scalars = self.head(self.hidden(self.norm(parts.norms().flatten(-2))))
        if self.output in ("energy", "scalar"):
            return scalars[:, 0]
        if self.output == "vector":
            return (parts.components[:, 1:4] * scalars[:, None]).sum(-1)
        gated = torch.cat([parts.components[:, :4] * 0, parts.components[:, 4:]], dim=1) * scalars[:, None]
        return Parts(gated.sum(-1, keepdim=True)).matrices()[..., 0]

    def parts(self, graph: PointGraph) -> Parts:
        """The matrices of every atom after the last interaction, by their parts."""
        distance = graph.distances()
        basis, window = exponential_normal(distance, self.radial, self.cutoff), cosine_window(distance, self.cutoff)
        parts = self.embedding(graph, distance, basis, window)
        for interaction in self.interactions:
            parts = interaction(graph, parts, basis, window)
        return parts


class _Embedding(nn.Module):
    """Matrices of every atom from the directions, distances and elements around it."""

    def __init__(self, kinds: int, channels: int, radial: int) -> None:
        super().__init__()
        self.channels = channels
        self.element = nn.Embedding(kinds, channels)
        self.pair = nn.Linear(2 * channels, channels)
        self.strength = nn.Linear(radial, 3 * channels)
        self.norm = nn.LayerNorm(channels)
        self.factors = _perceptron([channels, 2 * channels, 3 * channels])
        self.mix = _Mixing(channels)

    def forward(self, graph: PointGraph, distance: Tensor, basis: Tensor, window: Tensor) -> Parts:
        source, target = graph.edge_index
        elements = self.element(graph.kind)
        # linear in the pair of embeddings: once an atom, not once an edge
        receiving, sending = (elements @ part.T for part in self.pair.weight.split(self.channels, dim=1))
        pair = receiving.index_select(0, target) + sending.index_select(0, source) + self.pair.bias
        strength = self.strength(basis).view(-1, 3, self.channels) * (window[:, None] * pair)[:, None]
        geometry = _pair_components(graph.vectors / distance[:, None])
        parts = Parts(graph.sum_messages(geometry[..., None] * _by_component(strength)))
        factors = self.factors(self.norm(parts.norms().sum(-2))).view(-1, 3, self.channels)
        return self.mix(parts).scaled(factors)


class _Interaction(nn.Module):
    """One exchange of messages and its matrix products."""

    def __init__(self, channels: int, radial: int, group: str) -> None:
        super().__init__()
        self.channels, self.group = channels, group
        self.strength = _perceptron([radial, channels, 2 * channels, 3 * channels])
        self.mix, self.mix_out = _Mixing(channels), _Mixing(channels)

    def forward(self, graph: PointGraph, parts: Parts, basis: Tensor, window: Tensor) -> Parts:
        parts = parts.scaled((1 / (parts.norms().sum(-2, keepdim=True) + 1)).expand(-1, 3, -1))
        mixed = self.mix(parts)
        strength = (self.strength(basis) * window[:, None]).view(-1, 3, self.channels)
        sent = Parts(mixed.components.index_select(0, graph.edge_index[0])).scaled(strength)
        message = Parts(graph.sum_messages(sent.components)).matrices()
        own = mixed.matrices()
        product = _product(own, message)
        product = product + (_product(message, own) if self.group == "O(3)" else product)
        size = product.square().sum((-3, -2))[..., None, :] + 1
        change = self.mix_out(Parts(Parts.of(product).components / size)).matrices()
        return Parts.of(parts.matrices() + change + _product(change, change))


class _Mixing(nn.Module):
    """Three linear maps of the channels, one a part, without bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels)
        self.weight = nn.Parameter(torch.empty(3, channels, channels).uniform_(-bound, bound))

    def forward(self, parts: Parts) -> Parts:
        pieces = parts.components.split(_SIZES, dim=-2)
        return Parts(torch.cat([piece @ weight for piece, weight in zip(pieces, self.weight, strict=True)], dim=-2))


def _by_component(factors: Float[Tensor, "*batch 3 channels"]) -> Float[Tensor, "*batch 10 channels"]:
    """The factor of every part, once for each of its components."""
    batch = factors.shape[:-2]
    pieces = zip(factors.split(1, dim=-2), _SIZES, strict=True)
    return torch.cat([piece.expand(*batch, size, -1) for piece, size in pieces], dim=-2)


def _perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers, each followed by SiLU."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [nn.Linear(size, following), nn.SiLU()]
    return nn.Sequential(*layers)


def _pair_components(unit: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges 10"]:
    """Components of I0, [r]_x and r r' - 1/3."""
    x, y, z = unit.unbind(-1)
    diagonal = [x * x - 1 / 3, y * y - 1 / 3, z * z - 1 / 3]
    return torch.stack([torch.ones_like(x), x, y, z, *diagonal, y * z, x * z, x * y], dim=-1)


def _product(left: Float[Tensor, "nodes 3 3 channels"], right: Float[Tensor, "nodes 3 3 channels"]) -> Tensor:
    """Matrix products channel by channel; broadcasting beats small batched products and keeps channels contiguous."""
    terms = [left[:, :, k, None] * right[:, None, k] for k in range(3)]
    return terms[0] + terms[1] + terms[2]


def _assembly(like: Tensor) -> Float[Tensor, "3 3 10"]:
    """Matrices from components."""
    table = like.new_zeros(3, 3, 10)
    for i in range(3):
        table[i, i, 0] = table[i, i, 4 + i] = 1
        j, k = (i + 1) % 3, (i + 2) % 3
        table[k, j, 1 + i], table[j, k, 1 + i] = 1, -1
        table[j, k, 7 + i] = table[k, j, 7 + i] = 1
    return table


def _splitting(like: Tensor) -> Float[Tensor, "10 3 3"]:
    """Components from matrices: the adjoint of `_assembly`, weighted, less the trace in S."""
    table = _assembly(like).permute(2, 0, 1).clone()
    table[0] /= 3
    table[1:4] /= 2
    table[7:10] /= 2
    table[4:7] -= torch.eye(3, dtype=like.dtype, device=like.device) / 3
    return table

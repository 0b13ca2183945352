"""Convolutions whose kernels are functions of invariants, and the ConvNeXt block around them.

    kernel basis   phi(a) = GELU(W2 GELU(W1 p(a))) w(|rel|),  p all monomials of degree 1 to 3, w a smooth window
    spatial        f1_i(o) = sum over j of k1(rel_ij, o) f_j(o) + k0 f_i(o),           k1 = linear in phi
    spherical      f2_i(o) = 1/K sum over o' of k2(o, o') f1_i(o'),                    k2 = linear in a basis of its own
    block          f <- f + s W(GELU(V(LayerNorm(f2 + b))))

All kernels are depthwise, a number a channel; the block's two linear maps mix channels. Both convolutions together are
one with the kernel k2(o, o') k1(rel, o') on position and orientation. k0 is the kernel at rel = 0.

Source: E. Bekkers et al., ICLR 2024, arXiv:2310.02970, section 4; Z. Liu et al., A ConvNet for the 2020s, CVPR 2022.

*Deviations*: each monomial is there once; the node's own weight k0 is a parameter, not a value of the perceptron;
kernels are not rescaled after the first batch, as in the authors' code, since the layer norm follows them.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError


def monomials(values: Float[Tensor, "*batch size"], degree: int) -> Float[Tensor, "*batch terms"]:
    """All monomials of degree 1 to `degree`, each once, by rising degree.

    Raises:
        InputError: a degree below 1.
    """
    if degree < 1:
        raise InputError(f"degree: {degree} was given; give at least 1")
    columns = values.unbind(-1)
    level = list(enumerate(columns))  # the last factor of each, so that factors never fall
    found = [term for _, term in level]
    for _ in range(degree - 1):
        level = [(j, term * columns[j]) for i, term in level for j in range(i, len(columns))]
        found += [term for _, term in level]
    return torch.stack(found, dim=-1)


@final
class KernelBasis(nn.Module):
    """Functions of invariants that all layers take their kernels from.

    Args:
        size: number of invariants.
        basis: number of functions.
        degree: of the monomials that the perceptron sees.
    """

    def __init__(self, size: int, basis: int, degree: int) -> None:
        super().__init__()
        self.degree = degree
        terms = monomials(torch.zeros(size), degree).shape[-1]
        self.perceptron = nn.Sequential(nn.Linear(terms, basis), nn.GELU(), nn.Linear(basis, basis), nn.GELU())

    def forward(self, invariants: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch basis"]:
        """Values of the functions, without the window."""
        found: Tensor = self.perceptron(monomials(invariants, self.degree))
        return found


@final
class SeparableConvolution(nn.Module):
    """The spatial convolution, and after it the one on the grid where there is a grid.

    Args:
        channels: of the features.
        basis: size of the kernel bases.
        fibre: whether to convolve over orientations.
    """

    def __init__(self, channels: int, basis: int, *, fibre: bool) -> None:
        super().__init__()
        self.spatial = nn.Linear(basis, channels, bias=False)
        self.own = nn.Parameter(torch.ones(channels))
        self.spherical = nn.Linear(basis, channels, bias=False) if fibre else None
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self,
        features: Float[Tensor, "nodes K channels"],
        edge_index: Int[Tensor, "2 edges"],
        edge_basis: Float[Tensor, "edges K basis"],
        fibre_basis: Float[Tensor, "K K basis"] | None,
    ) -> Float[Tensor, "nodes K channels"]:
        """Features after both; `fibre_basis` has the receiving orientation first."""
        source, target = edge_index
        message = self.spatial(edge_basis) * features.index_select(0, source)
        found = (self.own * features).index_add(0, target, message)
        if self.spherical is not None and fibre_basis is not None:
            kernel = self.spherical(fibre_basis) / len(fibre_basis)
            # one small matrix product over orientations for every channel
            found = torch.einsum("opc,npc->noc", kernel, found)
        return found + self.bias


@final
class ConvNeXtBlock(nn.Module):
    """Convolution, layer norm, a perceptron on channels, and the features that came in.

    Args:
        channels: of the features.
        basis: size of the kernel bases.
        fibre: whether to convolve over orientations.
        widening: hidden channels for every channel.
        layer_scale: what each channel of the change is multiplied by at the start; None leaves the factor out.
    """

    def __init__(
        self, channels: int, basis: int, *, fibre: bool, widening: int = 4, layer_scale: float | None = None
    ) -> None:
        super().__init__()
        self.convolution = SeparableConvolution(channels, basis, fibre=fibre)
        self.norm = nn.LayerNorm(channels)
        self.mixing = nn.Sequential(
            nn.Linear(channels, widening * channels), nn.GELU(), nn.Linear(widening * channels, channels)
        )
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((channels,), float(layer_scale)))

    def forward(
        self,
        features: Float[Tensor, "nodes K channels"],
        edge_index: Int[Tensor, "2 edges"],
        edge_basis: Float[Tensor, "edges K basis"],
        fibre_basis: Float[Tensor, "K K basis"] | None,
    ) -> Float[Tensor, "nodes K channels"]:
        """Features of the next layer."""
        change = self.mixing(self.norm(self.convolution(features, edge_index, edge_basis, fibre_basis)))
        return features + (change if self.scale is None else self.scale * change)


@final
class Readout(nn.Module):
    """Scalars and vectors of every node from its features: means over orientations.

    Without orientations, vectors are sums of edge vectors: v_i = sum over j of k(rel) (linear in f_j) rel_ij.

    Args:
        channels: of the features.
        basis: size of the kernel basis.
        scalars: how many to give.
        vectors: how many to give.
        directed: whether there are orientations.
    """

    def __init__(self, channels: int, basis: int, *, scalars: int, vectors: int, directed: bool) -> None:
        super().__init__()
        self.sizes = [scalars, vectors]
        self.values = nn.Linear(channels, scalars + vectors)
        self.edges = nn.Linear(basis, vectors, bias=False) if vectors and not directed else None

    def forward(
        self,
        features: Float[Tensor, "nodes K channels"],
        axes: Float[Tensor, "#nodes K d"] | None,
        relative: Float[Tensor, "edges d"],
        edge_index: Int[Tensor, "2 edges"],
        edge_basis: Float[Tensor, "edges K basis"],
    ) -> tuple[Float[Tensor, "nodes scalars"], Float[Tensor, "nodes vectors d"]]:
        """What every node gives."""
        scalars, values = self.values(features).split(self.sizes, dim=-1)
        if self.edges is None:
            directions = torch.zeros_like(relative[:1, None]) if axes is None else axes
            return scalars.mean(1), (values[..., None] * directions[:, :, None]).mean(1)
        source, target = edge_index
        strength = (self.edges(edge_basis) * values.index_select(0, source))[:, 0]
        vectors = relative.new_zeros(len(features), *strength.shape[1:], relative.shape[1])
        return scalars.mean(1), vectors.index_add(0, target, strength[..., None] * relative[:, None])

"""The equivariant network for elasticity: irreps on nodes, messages over struts, a tensor with the right symmetry.

Nodes carry k copies of the degrees 0..lmax, struts their direction as spherical harmonics Y and their length and radius
as invariants g (two Gaussian bases). A layer is

    message    A_i = linear ( sum over j of w(g_ij) (linear h_j) x Y(r_ij) ) / neighbours     every path, w a perceptron
    product    h_i <- linear sum over nu <= correlation of W_nu K_nu A_i^nu      (`polyad.symmetry.contraction`)

the second and later ones added to what was there. Gated features are averaged over the nodes and go linearly to the
irreps asked for: of elasticity 2x0e+2x2e+1x4e. Together with an orthonormal basis of the tensors and a positivity layer
(`PropertyModel`) the stiffness is symmetric, positive semi-definite and turns with the lattice, whatever the weights
are. A mean over nodes knows neither the cell that was chosen nor its multiples.

Irreps of parity -(-1)^l (2o of piezo-electric tensors) come out of the last product, if its correlation is 2 or more.
Without radii (atoms with neighbours in a cutoff) a window takes messages to zero at the cutoff.

Source: I. Grega, I. Batatia, G. Csanyi, S. Karlapati and V. S. Deshpande, Energy-conserving equivariant GNN for
elasticity of lattice architected metamaterials, ICLR 2024, arXiv:2401.16914.

*Deviations*: sums are divided by the mean number of neighbours of the data where the paper divides by 4; the bases
reach to what 99 of 100 struts of the data do not exceed where the paper has 0.6; the last layer leaves out irreps that
cannot reach the result.

*When not to use it*: for beam lattices of some hundred struts the exact solver is faster than any network on a desktop
(`polyad.materials.lattice.effective_stiffness`); it pays where a label costs minutes.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.materials.properties.edges import edge_basis
from polyad.symmetry.activations import Gate
from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irrep, Irreps
from polyad.symmetry.linear import EquivariantLinear
from polyad.symmetry.perceptron import Perceptron
from polyad.symmetry.radial import polynomial_window
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_product import DepthwiseTensorProduct


@final
class EnergyEquivGNN(nn.Module):
    """The network, `PointGraph` -> (structures, out.dim), flat layout of `out`.

    Args:
        kinds: number of elements; lattices have one.
        cutoff: length up to which the length basis reaches.
        out: irreps of the result.
        neighbors: mean number of edges that end in a node.
        radius: largest strut radius; None for structures without one.
        channels: copies of every irrep.
        lmax: largest degree.
        correlation: factors of A in a product.
        layers: rounds of messages.
        basis: Gaussians for lengths, and as many for radii.
        hidden: width of the perceptron of the edges, three layers.
        readout: copies of every irrep that are averaged over the nodes.
        seed: of the weights.

    Raises:
        InputError: irreps that no product of these degrees can reach, or a size below one.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps,
        neighbors: float = 4.0,
        radius: float | None = None,
        channels: int = 32,
        lmax: int = 4,
        correlation: int = 3,
        layers: int = 2,
        basis: int = 6,
        hidden: int = 64,
        readout: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, channels, layers, hidden, readout, lmax, basis - 1) < 1:
            raise InputError(
                f"EnergyEquivGNN: {kinds} kinds, {channels} channels, {layers} layers, lmax {lmax}, basis {basis}, "
                f"hidden {hidden}, readout {readout}; give at least 1 of each, and 2 of basis"
            )
        check_neighbors(neighbors)
        self.cutoff, self.radius, self.basis, self.lmax = float(cutoff), radius, basis, lmax
        inner = Irreps.spherical(lmax)
        last = Irreps([(1, Irrep(0, 1)), *((1, irrep) for _, irrep in out.regroup() if not irrep.is_scalar)])
        if last.lmax > lmax:
            raise InputError(f"lmax: {lmax} is below degree {last.lmax} of the target {out}; raise it")
        with seeded(seed) as generator:
            self.element = nn.Parameter(torch.randn(kinds, channels, generator=generator))
            products = [inner] * (layers - 1) + [last]
            edge_sizes = [basis if radius is None else 2 * basis, hidden, hidden, hidden]
            self.layers = nn.ModuleList()
            sent = Irreps("0e")
            for number, product in enumerate(products):
                self.layers.append(
                    _Layer(
                        kinds, channels, lmax, sent, product, correlation, float(neighbors), edge_sizes,
                        residual=number > 0, generator=generator,
                    )
                )  # fmt: skip
                sent = product
            gated = Irreps((readout, irrep) for _, irrep in last if not irrep.is_scalar)
            self.gate = Gate(Irreps([(readout, Irrep(0, 1))]), gated)
            self.spread = EquivariantLinear(_copies(last, channels), self.gate.irreps_in, generator=generator)
            self.collect = EquivariantLinear(self.gate.irreps_out, out, generator=generator)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures features"]:
        """Irreps of every structure."""
        basis = edge_basis(graph, size=self.basis, cutoff=self.cutoff, radius=self.radius)
        if self.radius is None:
            basis = basis * polynomial_window(graph.distances(), self.cutoff)[:, None]
        harmonics = spherical_harmonics(graph.vectors, self.lmax, normalization="component")
        features = self.element[graph.kind]
        for layer in self.layers:
            features = layer(graph, features, basis, harmonics)
        return self.collect(graph.mean_nodes(self.gate(self.spread(features))))


class _Layer(nn.Module):
    """One round of messages and one product; features are flat, k copies of each irrep."""

    def __init__(
        self,
        kinds: int,
        channels: int,
        lmax: int,
        irreps_in: Irreps,
        irreps_out: Irreps,
        correlation: int,
        neighbors: float,
        edge_sizes: list[int],
        *,
        residual: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.channels, self.neighbors = channels, neighbors
        before, after = _copies(irreps_in, channels), _copies(irreps_out, channels)
        inner = Irreps.spherical(lmax)
        self.send = EquivariantLinear(before, before, bias=False, generator=generator)
        self.product = DepthwiseTensorProduct(before, inner, keep=inner)
        self.weights = Perceptron([*edge_sizes, math.prod(self.product.weight_shape)], generator=generator)
        self.gather = EquivariantLinear(
            self.product.irreps_out, _copies(inner, channels), bias=False, generator=generator
        )
        self.inner = _copies(inner, channels)
        self.contract = SymmetricContraction(
            lmax, irreps_out, channels=channels, species=kinds, correlation=correlation, generator=generator
        )
        self.update = EquivariantLinear(after, after, bias=False, generator=generator)
        shared = Irreps((mul, irrep) for mul, irrep in after if irrep in before) if residual else Irreps()
        self.before, self.after, self.shared = before, after, shared

    def forward(self, graph: PointGraph, features: Tensor, basis: Tensor, harmonics: Tensor) -> Tensor:
        sent = self.send(features).index_select(0, graph.edge_index[0])
        weights = self.weights(basis).view(len(basis), *self.product.weight_shape)
        received = self.product(sent, harmonics, weights, gather=graph.sum_messages) / self.neighbors
        atomic = torch.cat(self.inner.split(self.gather(received)), dim=-1)  # channels first
        contracted = self.contract(atomic, graph.kind)
        sizes = [irrep.dim for _, irrep in self.contract.irreps_out]
        new = self.update(torch.cat([part.flatten(1) for part in contracted.split(sizes, dim=-1)], dim=-1))
        if not self.shared.terms:
            return new
        old = {irrep: part for (_, irrep), part in zip(self.before, self.before.split(features), strict=True)}
        parts = zip(self.after, self.after.split(new), strict=True)
        return torch.cat(
            [(part + old[irrep] if irrep in self.shared else part).flatten(1) for (_, irrep), part in parts], dim=-1
        )


def _copies(irreps: Irreps, channels: int) -> Irreps:
    return Irreps((channels * multiplicity, irrep) for multiplicity, irrep in irreps)

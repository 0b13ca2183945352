"""MACE's symmetric contraction: every channel's equivariant polynomial of its own coefficients, weighted by species.

With K the independent couplings of `polyad.symmetry.symmetric_coupling`, A (atoms, channels, M) and z the species,

    B[n, k, c] = sum over nu <= correlation, eta of W_nu[z_n, k, eta] K_nu[eta, c, i1...i_nu] A[n,k,i1] ... A[n,k,i_nu]

The couplings meet the weights first, once for each species and channel, never for each atom. What is left is one
polynomial per (species, channel), evaluated as one matrix product over the monomials of degree < correlation,

    B[n, k, c] = sum over j of A[n,k,j] sum over monomials p of T[z,k,c,j,p] X_p(A[n,k]),   X = (1, A_i, A_i A_i', ...)

where every monomial of the sum stands once: its largest index is j, the others are p. For lmax = 3 and correlation 3
that is about half the work and a quarter of the memory of contracting the full (M, M, M) tensors one factor at a time.

Source: I. Batatia, D. Kovacs, G. Simm, C. Ortner and G. Csanyi, "MACE: Higher order equivariant message passing neural
networks for fast and accurate force fields", NeurIPS 2022, arXiv:2206.07697, equations 10 and 11.

When not to use it: to mix channels; contract first, then mix (`polyad.symmetry.linear`).
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry._parameters import normal_parameter
from polyad.symmetry.irreps import Irrep, Irreps
from polyad.symmetry.symmetric_coupling import monomials, symmetric_couplings


@final
class SymmetricContraction(nn.Module):
    """(atoms, channels, (lmax + 1)^2) and species (atoms,) to (atoms, channels, irreps_out.dim), channels first.

    `irreps_out` has multiplicity 1 throughout, for instance "0e+1o". `weights` holds one parameter (species, channels,
    couplings) for every irrep and degree nu of the polynomial, under the name "1o_3"; `couplings` counts them.
    """

    def __init__(
        self,
        lmax: int,
        irreps_out: Irreps | str,
        *,
        channels: int,
        species: int,
        generator: torch.Generator,
        correlation: int = 3,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.lmax, self.irreps_out, self.correlation = lmax, Irreps(irreps_out), correlation
        if correlation < 1 or any(multiplicity != 1 for multiplicity, _ in self.irreps_out):
            raise InputError(
                f"correlation {correlation} and irreps_out {self.irreps_out} were given; give correlation >= 1 and "
                "multiplicities 1 (channels are all alike)"
            )
        self.channels, self.species = channels, species
        self.weights = nn.ParameterDict()
        for _, irrep in self.irreps_out:
            numbers = [len(symmetric_couplings(lmax, order, irrep)) for order in range(1, correlation + 1)]
            if not any(numbers):
                raise InputError(f"irreps_out: no coupling of degrees 0..{lmax} to order {correlation} gives {irrep}")
            for order, number in enumerate(numbers, start=1):
                self.weights[f"{irrep}_{order}"] = normal_parameter(
                    species, channels, number, generator=generator, dtype=dtype, deviation=1 / math.sqrt(sum(numbers))
                )

    @property
    def couplings(self) -> dict[str, int]:
        """Number of couplings by irrep and degree of the polynomial."""
        return {name: weight.shape[-1] for name, weight in self.weights.items()}

    def precontract(self) -> Float[Tensor, "species channels rows monomials"]:
        """The polynomials T of all species and channels: to be kept while weights stay, as in molecular dynamics."""
        blocks = []
        for _, irrep in self.irreps_out:
            parts = []
            for order in range(1, self.correlation + 1):
                weight = self.weights[f"{irrep}_{order}"]
                (table,) = _split_couplings(weight, self.lmax, order, irrep)
                parts.append((weight @ table.flatten(1)).unflatten(-1, table.shape[1:]))
            blocks.append(torch.cat(parts, dim=-1))
        return torch.cat(blocks, dim=-2)

    def forward(
        self,
        features: Float[Tensor, "atoms channels harmonics"],
        species: Int[Tensor, "atoms"],
        *,
        polynomials: Float[Tensor, "species channels rows monomials"] | None = None,
    ) -> Float[Tensor, "atoms channels d"]:
        """B; `polynomials` are those of `precontract`, made anew if not given."""
        self._check(features, species)
        polynomials = self.precontract() if polynomials is None else polynomials
        counts = torch.bincount(species, minlength=self.species).tolist()
        if counts.count(0) == self.species - 1:  # one species: nothing to sort
            return self._evaluate(features, polynomials[[count > 0 for count in counts].index(True)])
        order = species.argsort(stable=True)
        groups = features.index_select(0, order).split(counts)
        values = [self._evaluate(group, table) for group, table in zip(groups, polynomials, strict=True) if len(group)]
        if not values:
            return features.new_zeros(0, self.channels, self.irreps_out.dim)
        return torch.cat(values).index_select(0, order.argsort())

    def _evaluate(self, features: Tensor, polynomials: Tensor) -> Tensor:
        atoms, channels, variables = features.shape
        factors = features.permute(1, 2, 0).contiguous()  # (channels, variables, atoms): atoms run fastest
        powers = [factors.new_ones(channels, 1, atoms)]
        for order in range(1, self.correlation):
            prefix, last = _products(factors, variables, order)
            powers.append(powers[-1].index_select(1, prefix) * factors.index_select(1, last))
        rows = torch.bmm(polynomials, torch.cat(powers, dim=1))
        result = (rows.view(channels, -1, variables, atoms) * factors[:, None]).sum(2)
        return result.permute(2, 0, 1)

    def _check(self, features: Tensor, species: Tensor) -> None:
        expected = (self.channels, (self.lmax + 1) ** 2)
        if features.shape[1:] != expected:
            raise InputError(
                f"features: shape is {tuple(features.shape)}, expected (atoms, {expected[0]}, {expected[1]})"
            )
        if species.numel() and not (int(species.min()) >= 0 and int(species.max()) < self.species):
            raise InputError(
                f"species: values from {int(species.min())} to {int(species.max())} were given; "
                f"this layer knows 0..{self.species - 1}"
            )

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"lmax {self.lmax}, correlation {self.correlation} -> {self.irreps_out}, couplings {self.couplings}"


@constant_tables
def _split_couplings(lmax: int, order: int, irrep: Irrep) -> tuple[np.ndarray, ...]:
    """Couplings as (couplings, components * variables, monomials of degree order - 1): the largest index split off."""
    coefficients = symmetric_couplings(lmax, order, irrep).numpy()
    variables = (lmax + 1) ** 2
    indices = monomials(variables, order)
    table = np.zeros((*coefficients.shape[:2], variables, len(monomials(variables, order - 1))))
    table[:, :, indices[:, -1], _place(variables, indices[:, :-1])] = coefficients
    return (table.reshape(len(coefficients), irrep.dim * variables, table.shape[-1]),)


@constant_tables
def _products(variables: int, order: int) -> tuple[np.ndarray, ...]:
    """Each monomial as a monomial of one degree less, and the factor that it has besides."""
    indices = monomials(variables, order)
    return _place(variables, indices[:, :-1]), indices[:, -1].copy()


def _place(variables: int, indices: np.ndarray) -> np.ndarray:
    """Positions of rows i1 <= i2 <= ... among all `monomials` of their degree."""
    radix = variables ** np.arange(indices.shape[1] - 1, -1, -1, dtype=np.int64)
    return np.searchsorted(monomials(variables, indices.shape[1]) @ radix, indices @ radix)

"""Products of two features, with learned weights for every path by which their irreps couple.

With C the Clebsch-Gordan blocks of `polyad.symmetry.coupling` and paths p = (l1, l2 -> l3) of matching parity:

    fully connected   z[w, c] = sum over paths into the term of z, u, v:  W_p[w, u, v] C_p[a, b, c] x[u, a] y[v, b]
    depth-wise        z_p[u, c] = w_p[u] C_p[a, b, c] x[u, a] y[b]       one copy of every irrep in y, w given a sample

Fully connected outputs are divided by the root of the number of (u, v) over all paths that reach them, so that
components of variance 1 stay so. In both, y meets the coupling first, once for all channels and all l3, then x.

Source: e3nn (M. Geiger and T. Smidt, arXiv:2207.09453); equal weights give the numbers of its 'uvw' and 'uvu' modes
with 'component' and 'element' normalisation.

When not to use it: between two features of high degree with equal channels, where the Gaunt product
(`polyad.symmetry.gaunt`) or, for a direction as second factor, `polyad.symmetry.so2` cost less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry._parameters import normal_parameter
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irrep, Irreps


@final
@dataclass(frozen=True)
class Path:
    """One path: positions of the terms of the first and second factor and of the product."""

    first: int
    second: int
    product: int


def paths_between(irreps1: Irreps, irreps2: Irreps, irreps_out: Irreps) -> list[Path]:
    """All paths, first factor slowest, product fastest."""
    return [
        Path(i, j, k)
        for i, (_, first) in enumerate(irreps1)
        for j, (_, second) in enumerate(irreps2)
        for k, (_, product) in enumerate(irreps_out)
        if product in first * second
    ]


@final
class FullyConnectedTensorProduct(nn.Module):
    """All paths between two flat features and a third, each with its own weights; `paths` lists them.

    `weights[p]` is (w, u, v) for path p. An output term without a path raises InputError.
    """

    def __init__(
        self,
        irreps1: Irreps | str,
        irreps2: Irreps | str,
        irreps_out: Irreps | str,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.irreps1, self.irreps2, self.irreps_out = Irreps(irreps1), Irreps(irreps2), Irreps(irreps_out)
        self.paths = paths_between(self.irreps1, self.irreps2, self.irreps_out)
        self.weights = nn.ParameterList()
        fan_in = [0] * len(self.irreps_out)
        for path in self.paths:
            counts = self.irreps1.terms[path.first][0], self.irreps2.terms[path.second][0]
            fan_in[path.product] += math.prod(counts)
            shape = (self.irreps_out.terms[path.product][0], *counts)
            self.weights.append(normal_parameter(*shape, generator=generator, dtype=dtype))
        if 0 in fan_in:
            lost = self.irreps_out.terms[fan_in.index(0)][1]
            raise InputError(f"irreps_out: no path from {self.irreps1} and {self.irreps2} reaches {lost}")
        self.scales = [1 / math.sqrt(count) for count in fan_in]

    def forward(self, first: Float[Tensor, "... d1"], second: Float[Tensor, "... d2"]) -> Tensor:
        """The product, (..., irreps_out.dim); leading dimensions are equal."""
        batch = _equal_batches(first, second)
        pieces1, pieces2 = self.irreps1.split(first.flatten(0, -2)), self.irreps2.split(second.flatten(0, -2))
        sums: list[Tensor | None] = [None] * len(self.irreps_out)
        groups: dict[tuple[int, int], list[int]] = {}
        for position, path in enumerate(self.paths):
            groups.setdefault((path.first, path.second), []).append(position)
        for (i, j), members in groups.items():
            degrees = tuple(self.irreps_out.terms[self.paths[member].product][1].degree for member in members)
            coupled = _couple(pieces1[i], pieces2[j], degrees)
            for member, part in zip(members, coupled.split([2 * degree + 1 for degree in degrees], dim=1), strict=True):
                product, weight = self.paths[member].product, self.weights[member]
                mixed = part @ (weight.flatten(1) * self.scales[product]).T  # (n, c, uv) to (n, c, w)
                before = sums[product]
                sums[product] = mixed if before is None else before + mixed
        flat = torch.cat([total.mT.flatten(1) for total in sums if total is not None], dim=-1)
        return flat.view(*batch, self.irreps_out.dim)


@final
class DepthwiseTensorProduct(nn.Module):
    """Every channel of the first factor with one copy of the second's irreps, weights given with every sample.

    `keep` restricts the products (irreps, or a largest degree). The output has one term a path, `irreps_out`, sorted
    by irrep; `weight_shape` is (paths, channels) in that order, the same channels in every term of the first factor.
    """

    def __init__(self, irreps1: Irreps | str, irreps2: Irreps | str, *, keep: Irreps | str | int | None = None) -> None:
        super().__init__()
        self.irreps1, self.irreps2 = Irreps(irreps1), Irreps(irreps2)
        channels = {multiplicity for multiplicity, _ in self.irreps1}
        if len(channels) != 1 or any(multiplicity != 1 for multiplicity, _ in self.irreps2):
            raise InputError(
                f"depth-wise product of {self.irreps1} and {self.irreps2}: terms of the first factor need equal "
                "multiplicity, those of the second multiplicity 1"
            )
        self.channels = channels.pop()
        products = Irreps(
            (1, irrep) for _, first in self.irreps1 for _, second in self.irreps2 for irrep in first * second
        ).regroup()
        if keep is not None:
            products = products.filter(keep if isinstance(keep, int) else [irrep for _, irrep in Irreps(keep)])
        if not products.terms:
            raise InputError(f"keep: {keep} leaves no product of {self.irreps1} and {self.irreps2}")
        self.paths = sorted(paths_between(self.irreps1, self.irreps2, products), key=lambda path: path.product)
        self.products = products
        self.irreps_out = Irreps((self.channels, products.terms[path.product][1]) for path in self.paths)
        self.weight_shape = (len(self.paths), self.channels)

    def forward(
        self,
        first: Float[Tensor, "... d1"],
        second: Float[Tensor, "... d2"],
        weights: Float[Tensor, "... paths channels"],
        *,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The product, (..., irreps_out.dim); leading dimensions are equal.

        `gather` is a linear map of the samples, (edges, channels, k) to (nodes, channels, k) such as
        `PointGraph.sum_messages`: applied before paths are put in order, it saves a copy of all that edges carry.
        """
        batch = _equal_batches(first, second)
        if gather is not None and len(batch) != 1:
            raise InputError(f"gather: needs one dimension of samples, leading dimensions are {tuple(batch)}")
        if weights.shape != (*batch, *self.weight_shape):
            raise InputError(f"weights: shape is {tuple(weights.shape)}, expected {(*batch, *self.weight_shape)}")
        self.irreps2.check(second, name="second")
        flat2, by_channel = second.flatten(0, -2), weights.flatten(0, -3).mT.contiguous()
        parts: list[Tensor | None] = [None] * len(self.paths)
        for i, piece in enumerate(self.irreps1.split(first.flatten(0, -2))):
            members = [position for position, path in enumerate(self.paths) if path.first == i]
            if not members:
                continue
            triples = tuple(
                (self.irreps2.slices()[self.paths[member].second].start, *self._degrees(self.paths[member]))
                for member in members
            )
            sizes = tuple(2 * triple[-1] + 1 for triple in triples)
            (table,) = _depthwise_table(second, self.irreps2.dim, triples)
            (chosen,) = _positions(weights, tuple(members))
            # weights meet the first factor, not the product, and every path has rows of its own in the kernels: what
            # is kept for gradients is then the short factors of one matrix product, not two arrays as large as it
            weighted = by_channel.index_select(-1, chosen)[..., None] * piece[:, :, None]  # (n, channels, paths, a)
            kernels = (flat2 @ table).view(len(flat2), len(members) * piece.shape[-1], sum(sizes))  # (n, path a, c)
            coupled = weighted.flatten(2) @ kernels
            if gather is not None:
                coupled = gather(coupled)
            for member, part in zip(members, coupled.split(sizes, dim=-1), strict=True):
                parts[member] = part.flatten(1)
        product = torch.cat([part for part in parts if part is not None], dim=-1)
        return product if gather is not None else product.view(*batch, self.irreps_out.dim)

    def _degrees(self, path: Path) -> tuple[int, int, int]:
        terms: list[Irrep] = [
            self.irreps1.terms[path.first][1], self.irreps2.terms[path.second][1], self.products.terms[path.product][1]
        ]  # fmt: skip
        return terms[0].degree, terms[1].degree, terms[2].degree


def _equal_batches(first: Tensor, second: Tensor) -> torch.Size:
    if first.shape[:-1] != second.shape[:-1] or first.ndim < 2:
        raise InputError(
            f"factors have leading dimensions {tuple(first.shape[:-1])} and {tuple(second.shape[:-1])}; "
            "give equal ones, at least one"
        )
    return first.shape[:-1]


def _couple(first: Tensor, second: Tensor, degrees: tuple[int, ...]) -> Tensor:
    """(n, u, a) and (n, v, b) to (n, c, u v), with c over all orders of the degrees in turn."""
    samples, copies1, size1 = first.shape
    copies2, size2 = second.shape[1:]
    (table,) = _coupling_table(first, size1 // 2, size2 // 2, degrees)
    kernels = (second @ table).view(samples, copies2, size1, -1)  # (n, v, a, c)
    kernels = kernels.permute(0, 2, 3, 1).reshape(samples, size1, -1)
    product = (first @ kernels).view(samples, copies1, -1, copies2)
    return product.transpose(1, 2).flatten(2)


@constant_tables
def _coupling_table(l1: int, l2: int, degrees: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """(b, a c) for the blocks (l1, l2, l3) of several l3 side by side."""
    blocks = np.concatenate([clebsch_gordan(l1, l2, l3).numpy() for l3 in degrees], axis=2)
    return (np.ascontiguousarray(blocks.transpose(1, 0, 2).reshape(2 * l2 + 1, -1)),)


@constant_tables
def _depthwise_table(size: int, triples: tuple[tuple[int, int, int, int], ...]) -> tuple[np.ndarray, ...]:
    """(all components of y, path a c) for paths (place in y, l1, l2, l3) of one l1: zero between different paths."""
    orders = [2 * l3 + 1 for *_, l3 in triples]
    table = np.zeros((size, len(triples), 2 * triples[0][1] + 1, sum(orders)))
    for path, (start, l1, l2, l3) in enumerate(triples):
        column = sum(orders[:path])
        block = clebsch_gordan(l1, l2, l3).numpy().transpose(1, 0, 2)
        table[start : start + 2 * l2 + 1, path, :, column : column + 2 * l3 + 1] = block
    return (table.reshape(size, -1),)


@constant_tables
def _positions(members: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The members as an index."""
    return (np.array(members, dtype=np.int64),)

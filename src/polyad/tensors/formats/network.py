"""General tensor networks: any graph, with hyperedges.

    x_{output} = sum over all other labels of the product of the tensors

Every other format is such a network; this one keeps its operations where no special structure helps. A network with
loops has no exact SVD form, so truncation asks for each bond which matrix P of low rank may stand on it. With the
bond cut open the network is a linear map e, found as a triangle by QR decompositions alone, and

    |x - x(P)| = |e(1) - e(P)|

is minimised over P = M N^T; a hyperedge between m tensors takes m such matrices. Bonds are visited until no rank
falls; the error is the norm of the difference, in full precision unless the network's cuts are too wide for it.

Source of the environment's use: M. Lubasch, J. I. Cirac, M.-C. Banuls, Phys. Rev. B 90 (2014) 064425.

When not to use it: for chains and trees, whose own formats find the best ranks in one sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._network_triangle import network_triangle
from polyad.tensors.formats._norms import CANCELLED, differentiable_norm
from polyad.tensors.formats.base import (
    TensorFormat,
    Truncation,
    check_arrays,
    check_dense,
    check_indices,
    check_matrix,
    check_memory,
    check_same,
    check_squeezed,
    check_tolerance,
    refuse_gradient,
)
from polyad.tensors.formats.contraction import Label, check_labels, contract_network
from polyad.tensors.formats.cp import normal
from polyad.tensors.formats.tucker import direct_sum


@final
@dataclass(frozen=True, eq=False, repr=False)
class TensorNetwork(TensorFormat):
    """Tensors joined by labels.

    Args:
        tensors: any number of tensors.
        indices: one label a dimension of each tensor; a label on several tensors joins them.
        output: the labels of the modes, in order; by default those that stand on one tensor only, as they come.

    `ranks` are the sizes of `bonds`, the labels that are summed, in the order of their first appearance. No batch.
    `truncate` searches (see the module), so its ranks need not be the smallest there are; its error is measured.
    """

    tensors: tuple[Tensor, ...]
    indices: tuple[tuple[Label, ...], ...]
    output: tuple[Label, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", tuple(self.tensors))
        object.__setattr__(self, "indices", tuple(tuple(labels) for labels in self.indices))
        check_arrays(self.tensors, "TensorNetwork")
        if self.output is None:
            every = [label for labels in self.indices for label in labels]
            object.__setattr__(self, "output", tuple(label for label in every if every.count(label) == 1))
        object.__setattr__(self, "output", tuple(self.output or ()))
        check_labels(self.tensors, self.indices, self.modes)
        if not self.modes:
            raise InputError("output: the network has no open mode; contract_network gives its value as a number")

    @classmethod
    def random(
        cls,
        indices: Sequence[Sequence[Label]],
        sizes: Mapping[Label, int],
        *,
        output: Sequence[Label] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> TensorNetwork:
        """Normal tensors on this graph such that entries have variance one; `sizes` gives the size of every label."""
        unknown = {label for labels in indices for label in labels} - set(sizes)
        if unknown:
            raise InputError(f"sizes: no size for labels {sorted(map(str, unknown))}")
        tensors = [normal([sizes[label] for label in labels], generator, dtype) for labels in indices]
        network = cls(
            tuple(tensors), tuple(tuple(labels) for labels in indices), None if output is None else tuple(output)
        )
        terms = 1
        for rank in network.ranks:
            terms *= rank
        return network.scale(terms**-0.5)

    @classmethod
    def from_dense(
        cls,
        tensor: Num[Tensor, "..."],
        *,
        indices: Sequence[Sequence[Label]],
        tolerance: float | None = None,
        ranks: int | Mapping[Label, int] | None = None,
        output: Sequence[Label] | None = None,
        starts: int = 3,
        sweeps: int = 100,
        seed: int = 0,
    ) -> TensorNetwork:
        """The best of several alternating least squares fits on a graph; without a gradient.

        With a tolerance, fits of growing ranks until one keeps it; then bonds are truncated one by one as far as the
        rest allows. Both errors are measured; ranks need not be the smallest there are.

        Args:
            tensor: dense, finite, not zero.
            indices: the graph, one label a dimension of each tensor.
            tolerance: allowed relative error, not below the square root of rounding: least squares show no less.
            ranks: size of every bond, one for all or one each; with a tolerance the largest sizes.
            output: labels of the tensor's modes, in order; by default those that stand once, as they come.
            starts: random starts of each fit.
            sweeps: largest number of sweeps over the tensors of each start.
            seed: of the starts.
        """
        from polyad.tensors.formats._network_fit import fit_dense, fit_within

        check_dense(tensor)
        refuse_gradient([tensor], "from_dense: tensors are found by alternating least squares")
        check_tolerance(tolerance, 1 if ranks is not None else None, tensor.dtype)
        every = [label for labels in indices for label in labels]
        modes = tuple(label for label in every if every.count(label) == 1) if output is None else tuple(output)
        if len(modes) != tensor.ndim:
            raise InputError(f"output: {len(modes)} labels for a tensor of {tensor.ndim} modes; name each mode once")
        if starts < 1:
            raise InputError(f"starts: {starts} was given; give at least 1")
        bonds = dict.fromkeys(label for label in every if label not in modes)
        given = tensor.numel() if ranks is None else ranks
        caps = dict.fromkeys(bonds, given) if isinstance(given, int) else dict(given)
        with torch.no_grad():
            wanted = cls((tensor.detach(),), (modes,), modes)
            if tolerance is None:
                return fit_dense(wanted, indices, caps, starts=starts, sweeps=sweeps, seed=seed)[0]
            return fit_within(wanted, indices, tolerance, caps, starts=starts, sweeps=sweeps, seed=seed)

    @property
    def modes(self) -> tuple[Label, ...]:
        """Labels of the modes, in order."""
        return self.output or ()

    @property
    def bonds(self) -> tuple[Label, ...]:
        """Labels that are summed, in the order of their first appearance."""
        return tuple(label for label in self._sizes() if label not in self.modes)

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """The tensors."""
        return self.tensors

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        sizes = self._sizes()
        return tuple(sizes[label] for label in self.modes)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Always empty."""
        return ()

    @property
    def ranks(self) -> tuple[int, ...]:
        """Sizes of `bonds`."""
        sizes = self._sizes()
        return tuple(sizes[label] for label in self.bonds)

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries."""
        check_memory(self)
        return contract_network(self.tensors, self.indices, self.modes)

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples: every mode's label becomes the label of the sample."""
        indices = check_indices(indices, self.shape)
        place = {label: mode for mode, label in enumerate(self.modes)}
        sample = ("sample",)
        tensors, labels = [], []
        for tensor, names in zip(self.tensors, self.indices, strict=True):
            mine = [k for k, name in enumerate(names) if name in place]
            if mine:
                picked = tensor.movedim(mine, list(range(len(mine))))
                tensor = picked[tuple(indices[:, place[names[k]]] for k in mine)]
                names = (sample, *(name for name in names if name not in place))
            tensors.append(tensor)
            labels.append(names)
        return contract_network(tensors, labels, [sample])

    def inner(self, other: TensorNetwork) -> Num[Tensor, "..."]:
        """The two networks contracted over their modes; they may be different graphs."""
        check_same(self, other)
        mine, others = self._renamed("mine"), other._renamed("other")
        return contract_network([*(t.conj() for t in self.tensors), *other.tensors], [*mine, *others], [])

    def norm(self) -> Num[Tensor, "..."]:
        """By `inner`; by a triangle (see `_network_triangle`) where terms cancel so far that squares lose digits."""
        lengths = [torch.linalg.vector_norm(tensor.detach()) for tensor in self.tensors]
        size = torch.ones_like(lengths[0])
        for length in lengths:
            size = size * length
        if not bool(size > 0):
            return size
        unit = type(self)(
            tuple(t / length for t, length in zip(self.tensors, lengths, strict=True)), self.indices, self.modes
        )
        fixed = type(self)(tuple(tensor.detach() for tensor in unit.tensors), self.indices, self.modes)
        with torch.no_grad():
            square = fixed.inner(fixed).real.clamp_min(0)
            positive = type(self)(tuple(tensor.abs() for tensor in fixed.tensors), self.indices, self.modes)
            found = square.sqrt()
            if bool(square <= CANCELLED * positive.inner(positive).real):
                triangle = network_triangle(fixed.tensors, self.indices, self.modes)
                found = found if triangle is None else torch.linalg.vector_norm(triangle)
        return differentiable_norm(found, unit, fixed) * size

    def add(self, other: TensorNetwork) -> TensorNetwork:
        """The sum on the same graph, block-diagonal along the bonds (or, in separate parts, joined by a label)."""
        check_same(self, other)
        if self.indices != other.indices or self.modes != other.modes:
            raise InputError("other: its labels differ; only networks on the same graph can be added")
        if len(self._spanning_tree(0, self.bonds)) != len(self.tensors) - 1:
            return self._add_by_label(other)
        bonds = set(self.bonds)
        tensors = [
            direct_sum(mine, others, [k - len(names) for k, name in enumerate(names) if name in bonds])
            for mine, others, names in zip(self.tensors, other.tensors, self.indices, strict=True)
        ]
        return type(self)(tuple(tensors), self.indices, self.modes)

    def scale(self, factor: Num[Tensor, "..."] | complex) -> TensorNetwork:
        """The tensor times a number."""
        return type(self)((self.tensors[0] * factor, *self.tensors[1:]), self.indices, self.modes)

    def hadamard(self, other: TensorNetwork) -> TensorNetwork:
        """The entrywise product: both networks side by side, their modes' labels shared."""
        check_same(self, other)
        return type(self)(
            (*self.tensors, *other.tensors),
            (*self._renamed("mine"), *other._renamed("other")),
            tuple(("mode", mode) for mode in range(self.order)),
        )

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> TensorNetwork:
        """Multiply the matrix onto one mode; where the mode is a hyperedge, the matrix becomes a tensor of its own."""
        mode = check_matrix(matrix, mode, self.shape)
        label = self.modes[mode]
        holders = [place for place, names in enumerate(self.indices) if label in names]
        if len(holders) == 1:
            place = holders[0]
            at = self.indices[place].index(label)
            tensors = list(self.tensors)
            tensors[place] = torch.tensordot(matrix, tensors[place], dims=([1], [at])).movedim(0, at)
            return type(self)(tuple(tensors), self.indices, self.modes)
        fresh = self._fresh()
        indices = (*self.indices, (fresh, label))
        return type(self)((*self.tensors, matrix), indices, tuple(fresh if m == label else m for m in self.modes))

    def squeeze(self, modes: Sequence[int]) -> TensorNetwork:
        """Remove modes of size one."""
        gone = {self.modes[mode] for mode in check_squeezed(modes, self.shape)}
        tensors, indices = [], []
        for tensor, names in zip(self.tensors, self.indices, strict=True):
            kept = [name for name in names if name not in gone]
            tensors.append(tensor.reshape([s for s, name in zip(tensor.shape, names, strict=True) if name not in gone]))
            indices.append(tuple(kept))
        return type(self)(tuple(tensors), tuple(indices), tuple(m for m in self.modes if m not in gone))

    def orthogonalise(self, center: int = 0) -> TensorNetwork:
        """Isometries towards tensor `center` along a spanning tree of the plain bonds; hyperedges stay as they are."""
        if not 0 <= center < len(self.tensors):
            raise InputError(f"center: {center} was given, allowed is 0..{len(self.tensors) - 1}")
        tensors = list(self.tensors)
        for child, parent, bond in reversed(self._spanning_tree(center, self.plain_bonds())):
            at, there = self.indices[child].index(bond), self.indices[parent].index(bond)
            moved = tensors[child].movedim(at, -1)
            q, r = torch.linalg.qr(moved.reshape(-1, moved.shape[-1]))
            tensors[child] = q.reshape(*moved.shape[:-1], q.shape[-1]).movedim(-1, at)
            tensors[parent] = torch.tensordot(r, tensors[parent], dims=([1], [there])).movedim(0, there)
        return type(self)(tuple(tensors), self.indices, self.modes)

    def truncate(
        self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Truncation[TensorNetwork]:
        """Bond by bond until no rank falls, hyperedges too; without a gradient."""
        from polyad.tensors.formats._network_rounding import truncate_network

        found = truncate_network(self, tolerance=tolerance, ranks=ranks)
        return Truncation(type(self)(found.value.tensors, self.indices, self.modes), found.error)

    def _add_by_label(self, other: TensorNetwork) -> TensorNetwork:
        """One more label of size two on every tensor chooses the summand; bonds are padded to the larger of both."""
        label = self._fresh()
        tensors = []
        for mine, others in zip(self.tensors, other.tensors, strict=True):
            sizes = [max(pair) for pair in zip(mine.shape, others.shape, strict=True)]
            both = mine.new_zeros((2, *sizes))
            for place, tensor in enumerate((mine, others)):
                both[place][tuple(slice(size) for size in tensor.shape)] = tensor
            tensors.append(both)
        return type(self)(tuple(tensors), tuple((label, *names) for names in self.indices), self.modes)

    def plain_bonds(self) -> tuple[Label, ...]:
        """Summed labels that join exactly two tensors."""
        every = [label for labels in self.indices for label in labels]
        return tuple(label for label in self.bonds if every.count(label) == 2)

    def _sizes(self) -> dict[Label, int]:
        sizes: dict[Label, int] = {}
        for tensor, labels in zip(self.tensors, self.indices, strict=True):
            sizes.update(zip(labels, tensor.shape, strict=True))
        return sizes

    def _renamed(self, mark: str) -> list[tuple[Label, ...]]:
        """Modes are called by their number, all else by the mark and its old name."""
        place: dict[Label, Label] = {label: ("mode", mode) for mode, label in enumerate(self.modes)}
        return [tuple(place.get(name, (mark, name)) for name in names) for names in self.indices]

    def _fresh(self) -> Label:
        return next(name for number in count() if (name := ("new", number)) not in self._sizes())

    def _spanning_tree(self, center: int, bonds: Sequence[Label]) -> list[tuple[int, int, Label]]:
        """(child, parent, bond), parents first."""
        allowed, found, reached, queue = set(bonds), [], {center}, [center]
        for parent in queue:
            for child, names in enumerate(self.indices):
                shared = [name for name in names if name in allowed and name in self.indices[parent]]
                if child not in reached and shared:
                    reached.add(child)
                    queue.append(child)
                    found.append((child, parent, shared[0]))
        return found

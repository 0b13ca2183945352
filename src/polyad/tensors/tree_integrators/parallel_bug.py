"""The parallel Basis Update and Galerkin integrator: all sub-flows of a step at once.

With the centre moved to any node p, the value is U_p S in the frame of everything else, all taken at time t0. Every
node integrates its own tensor over the step, between these old bases:

    leaf   K' = F(K V^T) conj(V)                      the basis becomes [U_0, fresh directions of K(t1)]
    core   C' = <U_0 ..| F(C x U_0 ..) >              gives C_bar(t1), old ranks

No sub-flow waits for another one. Afterwards, from the leaves to the root, the core at p is put together in the bases
of its children, old directions first, r + fresh in each mode:

    no fresh direction           C_bar(t1)
    fresh in mode j alone        `augment='F0'`: h <U_fresh_j, U_0 ..| F(Y_0) >
                                 `augment='K'`:  U_fresh_j^H Y_j(t1) Q_j          (Y_j: the child, Q_j its frame)
    fresh in two modes or more   0

and extends the basis of its own node. At the end the tree is truncated to `tol`. The two choices differ by O(h^2) a
step; K is the more accurate one and needs no evaluation of F, F0 is the one with the published analysis for trees.

A step is rejected and repeated with the new bases as old ones (the old value padded by zeros) where a rank has doubled
and may still grow, or where h |<U_fresh ..| F(Y_0)>|, the size of what the zero blocks leave out, exceeds 10 tol.

Sources: G. Ceruti, J. Kusch, C. Lubich, D. Sulz, arXiv:2412.00858 (2024) for trees; G. Ceruti, J. Kusch, C. Lubich, BIT
Numer. Math. 64 (2024) 30 for matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.tree_integrators.centres import Centres, move_centre
from polyad.tensors.tree_integrators.fields import Field, Function, as_field
from polyad.tensors.tree_integrators.flows import SubFlow, solve_all
from polyad.tensors.tree_integrators.frames import extend_basis, pad, truncate_orthonormal
from polyad.tensors.tree_integrators.operators import TreeOperator
from polyad.tensors.tree_integrators.stepping import Step, check_options, prepare
from polyad.tensors.tree_integrators.work import Ledger, flow_key

_ALLOWED = 10.0


@final
@dataclass(frozen=True)
class ParallelBUG:
    """Parallel BUG integrator for Y' = F(t, Y).

    Args:
        F: a `TreeOperator`, a `Field`, or a function (t, network) -> network.
        tol: absolute truncation error a step (Frobenius norm).
        r_max: largest rank; None for no limit.
        augment: blocks with one fresh mode from F(Y_0) ('F0') or from the sub-flows ('K').
        rejections: how often a step may be repeated in larger bases; 0 never rejects.
        substeps: RK4 sub-steps of every sub-flow; None chooses them so that sub-step times |J| stays below `stiffness`.
        stiffness: see `substeps` and `flows`; RK4 is stable up to 2.8.
        executor: solves large sub-flows; the largest and all small ones stay in this process.
        count: count flops and critical path (slower).
    """

    F: TreeOperator | Field | Function
    tol: float = 1e-8
    r_max: int | None = None
    augment: Literal["F0", "K"] = "F0"
    rejections: int = 0
    substeps: int | None = None
    stiffness: float = 0.25
    executor: Executor | None = None
    count: bool = False

    def __post_init__(self) -> None:
        check_options(self.tol, self.r_max, self.substeps, self.stiffness)
        if self.augment not in ("F0", "K"):
            raise InputError(f"augment: {self.augment!r} was given; 'F0' or 'K' is allowed")
        if self.rejections < 0:
            raise InputError(f"rejections: {self.rejections} was given; 0 or more is allowed")

    def step(self, value: TreeTensorNetwork, time: float, step: float) -> Step:
        """The value at time + step.

        Raises:
            ConvergenceError: a sub-flow overflowed.
            InputError: `value` has batch dimensions or does not fit F.
        """
        field = as_field(self.F, value)
        nodes, arrays = prepare(field, value)
        ledger, last = Ledger(self.count), len(nodes) - 1
        for rejected in range(self.rejections + 1):
            begun = [("round", last)] if rejected else []
            old = move_centre(field, nodes, arrays, ledger, begun)
            augmented, estimate = self._augmented(field, old, time, step, ledger)
            cut, error = truncate_orthonormal(
                nodes, augmented, tolerance=self.tol, r_max=self.r_max, ledger=ledger, after=[("augment", last)]
            )
            if rejected == self.rejections or not self._is_too_small(arrays, augmented, cut, abs(step) * estimate):
                break
            arrays = [*augmented[:-1], pad(arrays[-1], augmented[-1].shape)]
        return Step(value.with_nodes(cut), error, rejected, estimate, ledger.work())

    def _is_too_small(
        self, old: Sequence[Tensor], augmented: Sequence[Tensor], cut: Sequence[Tensor], neglected: float
    ) -> bool:
        """Whether a step is worth repeating in the augmented bases."""
        ranks = [(a.shape[-1], b.shape[-1], c.shape[-1]) for a, b, c in zip(old, augmented, cut, strict=True)][:-1]
        if all(before == grown for before, grown, _ in ranks):
            return False
        doubled = any(now >= 2 * before and now < (self.r_max or now + 1) for before, _, now in ranks)
        return doubled or neglected > _ALLOWED * self.tol

    def _augmented(
        self, field: Field, old: Centres, time: float, step: float, ledger: Ledger
    ) -> tuple[list[Tensor], float]:
        """The new value in augmented bases, orthonormal, and the largest |F(Y_0) in fresh directions of all modes|."""
        rates = [
            ledger.run(
                "rate",
                place,
                field.site,
                place,
                [old.below[child] for child in node.children],
                old.above[place],
                after=[("frame", place), *(("below", child) for child in node.children)],
            )
            for place, node in enumerate(old.nodes)
        ]
        flows = [
            SubFlow(rate, centre, time, step, substeps=self.substeps, stiffness=self.stiffness)
            for rate, centre in zip(rates, old.centres, strict=True)
        ]
        solved = solve_all(flows, executor=self.executor, count=self.count)
        grown = _Augmentation(field, old, time, step, self.augment, self.augment == "F0" or self.rejections > 0)
        for place, (solution, flops) in enumerate(solved):
            node = old.nodes[place]
            ledger.record(*flow_key(node, place), flops, after=[("rate", place)])
            waits = [flow_key(node, place), *(("augment", child) for child in node.children)]
            ledger.run("augment", place, grown.add, place, solution, after=waits)
        return grown.arrays, grown.estimate


@final
class _Augmentation:
    """Bases and cores that grow from the leaves to the root."""

    def __init__(
        self, field: Field, old: Centres, time: float, step: float, augment: Literal["F0", "K"], needs_rate: bool
    ) -> None:
        self.field, self.old, self.time, self.step, self.augment = field, old, time, step, augment
        self.needs_rate, self.estimate = needs_rate, 0.0
        self.arrays: list[Tensor] = []
        self._remainders: list[Tensor] = []  # fresh^H Y(t1)
        self._mixed: list[Any] = []  # parts of the field: new bases against old ones

    def add(self, place: int, solution: Tensor) -> None:
        """The next node, children before parents."""
        node, array = self.old.nodes[place], self.old.arrays[place]
        if node.children:
            widths = [self.arrays[child].shape[-1] for child in node.children]
            solution = self._assemble(place, pad(solution, [*widths, solution.shape[-1]]))
            array = pad(array, [*widths, array.shape[-1]])
        if place == len(self.old.nodes) - 1:
            self.arrays.append(solution)
            return
        basis, remainder = extend_basis(array.flatten(0, -2), solution.flatten(0, -2))
        self.arrays.append(basis.reshape(*array.shape[:-1], basis.shape[-1]))
        self._remainders.append(remainder)
        parts = [self._mixed[child] for child in node.children]
        part = self.field.below(place, self.arrays[-1], self.old.arrays[place], parts) if self.needs_rate else None
        self._mixed.append(part)

    def _assemble(self, place: int, core: Tensor) -> Tensor:
        """The padded core with its blocks of one fresh mode."""
        children, widths = self.old.nodes[place].children, self.old.centres[place].shape
        if self.needs_rate:
            start = self.field.site(place, [self._mixed[child] for child in children], self.old.above[place])
            rate = start(self.time, self.old.centres[place])
            fresh = rate[tuple(slice(width, None) for width in widths[:-1])]
            self.estimate = max(self.estimate, float(torch.linalg.vector_norm(fresh)))
        for number, child in enumerate(children):
            block = [slice(0, width) for width in widths]
            block[number] = slice(widths[number], None)
            if self.augment == "F0":
                core[tuple(block)] = self.step * rate[tuple(block)]
            else:
                frame = self.old.frames[child].movedim(number, 0)
                core[tuple(block)] = torch.tensordot(self._remainders[child], frame, dims=1).movedim(0, number)
        return core

"""Basis Update and Galerkin integrators that update bases first and cores afterwards, from the leaves to the root.

Every leaf solves the same K-step as in the parallel integrator. A core waits for its children: it starts from the old
core in their new bases, C(t0) = C_0 x (U_new^H U_0) .., and solves its Galerkin equation there,

    C' = < U_new .. | F(C x U_new ..) >

* rank-adaptive: U_new = [U_0, fresh directions of K(t1)], up to 2r in each mode; truncation to `tol` at the end;
* fixed rank: U_new is a basis of K(t1) alone, and nothing is truncated.

Sources: G. Ceruti, C. Lubich, D. Sulz, SIAM J. Numer. Anal. 61 (2023) 194 (rank-adaptive, trees); G. Ceruti, J. Kusch,
C. Lubich, BIT Numer. Math. 62 (2022) 1149 (matrices); G. Ceruti, C. Lubich, BIT Numer. Math. 62 (2022) 23 (fixed rank).

When not to use it: the core equations of size (2r)^m are the largest ones and come one after the other; see
`parallel_bug`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tucker import multiply_modes
from polyad.tensors.tree_integrators.centres import Centres, move_centre
from polyad.tensors.tree_integrators.fields import Field, Function, as_field
from polyad.tensors.tree_integrators.flows import SubFlow
from polyad.tensors.tree_integrators.frames import extend_basis, truncate_orthonormal
from polyad.tensors.tree_integrators.operators import TreeOperator
from polyad.tensors.tree_integrators.stepping import Step, check_options, prepare
from polyad.tensors.tree_integrators.work import Ledger, flow_key


@final
@dataclass(frozen=True)
class SequentialBUG:
    """Sequential BUG integrator for Y' = F(t, Y).

    Args:
        F: a `TreeOperator`, a `Field`, or a function (t, network) -> network.
        tol: absolute truncation error a step (Frobenius norm); not used at fixed rank.
        r_max: largest rank; not used at fixed rank.
        adaptive: rank-adaptive, or fixed rank.
        substeps: RK4 sub-steps of every sub-flow; None chooses them so that sub-step times |J| stays below `stiffness`.
        stiffness: see `substeps` and `flows`; RK4 is stable up to 2.8.
        count: count flops and critical path (slower).
    """

    F: TreeOperator | Field | Function
    tol: float = 1e-8
    r_max: int | None = None
    adaptive: bool = True
    substeps: int | None = None
    stiffness: float = 0.25
    count: bool = False

    def __post_init__(self) -> None:
        check_options(self.tol, self.r_max, self.substeps, self.stiffness)

    def step(self, value: TreeTensorNetwork, time: float, step: float) -> Step:
        """The value at time + step.

        Raises:
            ConvergenceError: a sub-flow overflowed.
            InputError: `value` has batch dimensions or does not fit F.
        """
        field = as_field(self.F, value)
        nodes, arrays = prepare(field, value)
        ledger, last = Ledger(self.count), len(nodes) - 1
        old = move_centre(field, nodes, arrays, ledger)
        new = _Update(field, old, self.adaptive)
        for place, node in enumerate(nodes):
            waits = [("frame", place), *(("augment", child) for child in node.children)]
            rate, start = ledger.run("rate", place, new.problem, place, after=waits)
            flow = SubFlow(rate, start, time, step, substeps=self.substeps, stiffness=self.stiffness)
            solution = ledger.run(*flow_key(node, place), flow.solve, after=[("rate", place)])
            ledger.run("augment", place, new.add, place, solution, after=[flow_key(node, place)])
        if not self.adaptive:
            return Step(value.with_nodes(new.arrays), work=ledger.work())
        cut, error = truncate_orthonormal(
            nodes, new.arrays, tolerance=self.tol, r_max=self.r_max, ledger=ledger, after=[("augment", last)]
        )
        return Step(value.with_nodes(cut), error, work=ledger.work())


@final
class _Update:
    """New arrays from the leaves to the root."""

    def __init__(self, field: Field, old: Centres, adaptive: bool) -> None:
        self.field, self.old, self.adaptive = field, old, adaptive
        self.arrays: list[Tensor] = []
        self._changes: list[Tensor] = []  # U_new^H U_0
        self._below: list[Any] = []

    def problem(self, place: int) -> tuple[Any, Tensor]:
        """The restricted field of a node and its initial value, both in the children's new bases."""
        children = self.old.nodes[place].children
        rate = self.field.site(place, [self._below[child] for child in children], self.old.above[place])
        return rate, self._changed(place, self.old.centres[place])

    def add(self, place: int, solution: Tensor) -> None:
        """The next node, children before parents."""
        if place == len(self.old.nodes) - 1:
            self.arrays.append(solution)
            return
        array = self._changed(place, self.old.arrays[place])
        before, after = array.flatten(0, -2), solution.flatten(0, -2)
        basis = extend_basis(before, after)[0] if self.adaptive else torch.linalg.qr(after).Q
        self._changes.append(basis.mH @ before)
        self.arrays.append(basis.reshape(*array.shape[:-1], basis.shape[-1]))
        parts = [self._below[child] for child in self.old.nodes[place].children]
        self._below.append(self.field.below(place, self.arrays[-1], self.arrays[-1], parts))

    def _changed(self, place: int, array: Tensor) -> Tensor:
        children = self.old.nodes[place].children
        return multiply_modes(array, {k: self._changes[c] for k, c in enumerate(children)}, array.ndim)

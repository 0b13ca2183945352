"""The projector-splitting integrator on trees: forward in tensors, backward in the matrices between them.

The projection on the tangent space of tree tensor networks of fixed ranks is an alternating sum, one term a node minus
one an edge; a Lie splitting of it integrates, from node p with its centre there, for each child in turn

    X = S Q;   child's subtree, starting from U S, over the step: U S_1;   S' = -<U| F(U S Q) |Q> from S_1

and finally the node's own tensor. The flat tree (0, 1, .., d-1) is the integrator for the Tucker format,
`chain_tree(d)` the one for tensor trains, (0, 1) the one for matrices. Ranks stay. It reproduces curves of these ranks
exactly.

Sources: C. Lubich, I. Oseledets, BIT Numer. Math. 54 (2014) 171 (matrices); C. Lubich, I. Oseledets, B. Vandereycken,
SIAM J. Numer. Anal. 53 (2015) 917 (tensor trains); C. Lubich, B. Vandereycken, H. Walach, SIAM J. Numer. Anal. 56
(2018) 1273 (Tucker); G. Ceruti, C. Lubich, H. Walach, SIAM J. Numer. Anal. 59 (2021) 289 (trees).

When not to use it: dissipative problems, where the backward sub-flows are unstable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Node
from polyad.tensors.formats.tucker import multiply_modes
from polyad.tensors.tree_integrators.fields import Field, Function, as_field
from polyad.tensors.tree_integrators.flows import Rate, SubFlow
from polyad.tensors.tree_integrators.frames import split
from polyad.tensors.tree_integrators.operators import TreeOperator
from polyad.tensors.tree_integrators.stepping import Step, check_options, prepare


@final
@dataclass(frozen=True)
class ProjectorSplitting:
    """Projector-splitting integrator (Lie splitting, first order) for Y' = F(t, Y).

    Args:
        F: a `TreeOperator`, a `Field`, or a function (t, network) -> network.
        substeps: RK4 sub-steps of every sub-flow; None chooses them so that sub-step times |J| stays below `stiffness`.
        stiffness: see `substeps` and `flows`; RK4 is stable up to 2.8.
    """

    F: TreeOperator | Field | Function
    substeps: int | None = None
    stiffness: float = 0.25

    def __post_init__(self) -> None:
        check_options(0.0, None, self.substeps, self.stiffness)

    def step(self, value: TreeTensorNetwork, time: float, step: float) -> Step:
        """The value at time + step.

        Raises:
            ConvergenceError: a sub-flow overflowed.
            InputError: `value` has batch dimensions or does not fit F.
        """
        field = as_field(self.F, value)
        nodes, arrays = prepare(field, value)
        sweep = _Sweep(self, field, nodes, arrays, time, step)
        arrays[-1] = sweep.advance(len(nodes) - 1, arrays[-1], field.top())
        return Step(value.with_nodes(arrays))


@final
class _Sweep:
    """Arrays and parts of the field, brought up to the new time one after the other."""

    def __init__(
        self,
        options: ProjectorSplitting,
        field: Field,
        nodes: Sequence[Node],
        arrays: list[Tensor],
        time: float,
        step: float,
    ) -> None:
        self.options, self.field, self.nodes, self.arrays = options, field, nodes, arrays
        self.time, self.step = time, step
        self.below: list[Any] = [None] * len(nodes)
        for place in range(len(nodes) - 1):
            self._renew(place)

    def advance(self, place: int, centre: Tensor, above: Any) -> Tensor:
        """The subtree at `place` with its centre there, over the step; arrays below are replaced."""
        for number, child in enumerate(self.nodes[place].children):
            frame, matrix = split(centre, number)
            outside = self.field.above(place, number, frame, self._parts(place), above)
            moved = self.advance(child, self.arrays[child] @ matrix, outside)
            basis, triangle = torch.linalg.qr(moved.flatten(0, -2))
            self.arrays[child] = basis.reshape(*moved.shape[:-1], basis.shape[-1])
            self._renew(child)
            back = self._solve(self.field.edge(child, self.below[child], outside), triangle, sign=-1.0)
            centre = multiply_modes(frame, {number: back}, frame.ndim)
        return self._solve(self.field.site(place, self._parts(place), above), centre)

    def _parts(self, place: int) -> list[Any]:
        return [self.below[child] for child in self.nodes[place].children]

    def _renew(self, place: int) -> None:
        array = self.arrays[place]
        self.below[place] = self.field.below(place, array, array, self._parts(place))

    def _solve(self, rate: Rate, start: Tensor, sign: float = 1.0) -> Tensor:
        options = self.options
        flow = SubFlow(rate, start, self.time, self.step, options.substeps, options.stiffness, sign)
        return flow.solve()

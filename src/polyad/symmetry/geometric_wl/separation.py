"""Can a network tell two structures apart? Every test of this package on one pair, and what follows for networks.

    result = distinguishable(first, second)
    result.gwl                          iterations of GWL after which colours differ, None if they never do
    result.body_orders                  the same for invariant message passing of body order 2, 3, ...
    result.least_layers()               for the networks that Polyad has: fewest layers that theory does not rule out
    print(result)                       all of it as a table

Networks are ruled out by the test that bounds them, on the edges that they are given. What is not ruled out can be
separated by *some* network of that kind, with features of sufficient degree and width; a given one may lack these, or
lose the signal on its way. Networks that start from scalars see a limited body order in their first layer:

    network                                       first layer                   further layers
    scalars and distances (SchNet)                IGWL, body order 2            the same
    scalars and angles (DimeNet-like)             IGWL, body order 3            the same
    EGNN, read out by its scalars                 IGWL, body order 2            GWL
    vectors, tensors with norms (GVP, TFN)        IGWL, body order 3            GWL
    MACE, correlation nu                          IGWL, body order nu + 1       GWL
    TensorNet: its embedding is the first layer
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.geometric_wl.graphs import GeometricGraph, from_points
from polyad.symmetry.geometric_wl.nested import nested_colours
from polyad.symmetry.geometric_wl.orbits import TOLERANCE, Array, Group
from polyad.symmetry.geometric_wl.stars import invariant_colours


@final
@dataclass(frozen=True)
class Separation:
    """What the tests say of two structures. Iterations are counted from 0, the nodes alone; None means never.

    Args:
        group: "O(3)" or "SO(3)".
        gwl: first iteration at which GWL sees a difference.
        igwl: the same for IGWL, which sees whole stars.
        body_orders: the same for IGWL of each body order.
    """

    group: Group
    gwl: int | None
    igwl: int | None
    body_orders: dict[int, int | None]

    def __bool__(self) -> bool:
        """Whether GWL tells them apart: if not, no equivariant message passing does."""
        return self.gwl is not None

    def least_layers(self) -> dict[str, int | None]:
        """Fewest layers that theory does not rule out, by network; None where it rules out any number.

        Raises:
            InputError: `body_orders` lacks 2 to 4.
        """
        missing = sorted({2, 3, 4} - set(self.body_orders))
        if missing:
            raise InputError(f"body_orders: {missing} are missing; leave the argument at its default")
        two, three = self.body_orders[2], self.body_orders[3]
        mace = {
            f"MACE, correlation {order - 1}": _layers(found, self.gwl)
            for order, found in sorted(self.body_orders.items())
            if order > 2
        }
        tensors = _layers(three, self.gwl)
        return {
            "SchNet, InvariantNetwork": two,
            "DimeNet-like": three,
            "EGNN": _layers(two, self.gwl),
            "GVP-like": tensors,
            "TFN": tensors,
            **mace,
            "TensorNet": None if tensors is None else max(tensors - 1, 0),
        }

    def __str__(self) -> str:
        """Tests and networks, a line each."""
        tests = {"GWL": self.gwl, "IGWL": self.igwl}
        tests |= {f"IGWL, body order {order}": found for order, found in sorted(self.body_orders.items())}
        lines = [f"told apart by ({self.group})", *(_line(name, found, "iteration") for name, found in tests.items())]
        if {2, 3, 4} <= set(self.body_orders):
            lines += ["not ruled out for", *(_line(name, x, "layer") for name, x in self.least_layers().items())]
        return "\n".join(lines)


def distinguishable(
    first: GeometricGraph | PointGraph,
    second: GeometricGraph | PointGraph,
    *,
    body_orders: tuple[int, ...] = (2, 3, 4, 5),
    group: Group = "O(3)",
    tolerance: float = TOLERANCE,
) -> Separation:
    """All tests on two structures, run until no further iteration can change them.

    Args:
        first, second: from `geometric_graph(positions, edge_index)`, or a `PointGraph` of one structure.
        body_orders: of the invariant tests; an order k looks at all sets of k - 1 neighbours of every node.
        group: "O(3)" for networks that cannot tell mirror images apart, "SO(3)" for those that can.
        tolerance: differences that do not count, as a share of the longest edge.

    Raises:
        InputError: a batch of several structures, unequal features, a body order below 2, an unknown group.
    """
    graphs = [_single(first), _single(second)]
    nodes = graphs[0].num_nodes

    def moment(steps: Iterator[Array]) -> int | None:
        for step, colours in enumerate(steps):
            one, other = (np.sort(part) for part in np.split(colours, [nodes]))
            if not np.array_equal(one, other):
                return step
        return None

    return Separation(
        group=group,
        gwl=moment(nested_colours(graphs, group=group, tolerance=tolerance)),
        igwl=moment(invariant_colours(graphs, body_order=None, group=group, tolerance=tolerance)),
        body_orders={
            order: moment(invariant_colours(graphs, body_order=order, group=group, tolerance=tolerance))
            for order in body_orders
        },
    )


def _single(graph: GeometricGraph | PointGraph) -> GeometricGraph:
    if isinstance(graph, GeometricGraph):
        return graph
    if graph.num_structures != 1:
        raise InputError(f"graph: a batch of {graph.num_structures} structures was given; give one, or `from_points`")
    return from_points(graph)[0]


def _layers(one_layer: int | None, nested: int | None) -> int | None:
    """For networks whose first layer is bounded by a body order, the others by GWL."""
    if one_layer is not None and one_layer <= 1:
        return one_layer
    return None if nested is None else max(nested, 2)


def _line(name: str, found: int | None, unit: str) -> str:
    answer = "no" if found is None else f"yes, from {found} {unit}{'' if found == 1 else 's'}"
    return f"  {name:<26}{answer}"

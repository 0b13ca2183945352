"""What learning needs of data whatever is learned: parts that do not know each other, and a look at the neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures


def hold_out(data: Structures, share: float, *, seed: int = 0) -> tuple[Structures, Structures]:
    """A random part of the data, and the rest.

    Lattices are drawn by name, which is that of the base net: no relative of a held-out net is in the rest. The share
    is then one of the names.

    Raises:
        InputError: a share that leaves either part empty.
    """
    group = torch.arange(len(data))
    if is_lattices(data) and data.names:
        numbers = {name: k for k, name in enumerate(dict.fromkeys(data.names))}
        group = torch.tensor([numbers[name] for name in data.names])
    groups = int(group.max()) + 1 if len(group) else 0
    count = round(share * groups)
    if not 0 < count < groups:
        what = "structures" if groups == len(data) else "base nets"
        raise InputError(f"validation: a share of {share} of {groups} {what} leaves a part empty; change it")
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(seed))
    held = torch.isin(group, order[:count])
    return data[torch.nonzero(held)[:, 0]], data[torch.nonzero(~held)[:, 0]]


def is_lattices(data: Structures) -> bool:
    """Whether the structures bring struts with a radius."""
    return "radius" in data.edge_features


def refuse_empty(data: Structures) -> None:
    """Refuse structures without atoms.

    Raises:
        InputError: names the first.
    """
    empty = torch.nonzero(data.node_start.diff() == 0)
    if len(empty):
        raise InputError(f"data: structure {int(empty[0])} has no atom; remove it")


def refuse_non_finite(name: str, values: Tensor, structure: Tensor) -> None:
    """Refuse values that are not finite; `structure` is whose each of them is.

    Raises:
        InputError: names the first structure.
    """
    bad = torch.nonzero(~torch.isfinite(values))[:, 0]
    if len(bad):
        raise InputError(f"data: {name} of structure {int(structure[bad[0]])} is not finite; mend or remove it")


def mean_neighbors(data: Structures, cutoff: float, *, sample: int = 200) -> float:
    """Edges that end in a node, on the average over the first structures; 1 where there are none.

    Lattices bring their edges; others have those that the cutoff gives.
    """
    some = data[: min(sample, len(data))]
    some = some if is_lattices(data) else some.with_neighbors(cutoff)
    return max(round(some.num_edges / some.num_nodes, 3), 1.0)

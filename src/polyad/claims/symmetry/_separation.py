"""Minimal networks on pairs of structures: differences of outputs by random weights, and accuracy after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from polyad.symmetry.geometric_wl import GeometricGraph, geometric_graph, to_points
from polyad.symmetry.geometric_wl.equivariant_networks import EgnnLike, GvpLike, MaceLike, TfnLike
from polyad.symmetry.geometric_wl.invariant_networks import DimeNetLike, SchNetLike

Build = Callable[..., nn.Module]
"""Of a network, by layers, seed and what else it takes."""

Pair = tuple[GeometricGraph, GeometricGraph]
"""Two structures."""

SEEDS = 10
EPOCHS = 100
LEARNING_RATE = 5e-3

CHAIN_NETWORKS: dict[str, Build] = {
    "SchNet-like": SchNetLike,
    "DimeNet-like": DimeNetLike,
    "EGNN": EgnnLike,
    "GVP-like": GvpLike,
    "TFN, l_max 1": partial(TfnLike, lmax=1),
    "MACE-like, l_max 1, nu 2": partial(MaceLike, lmax=1, correlation=2),
}

ENVIRONMENT_NETWORKS: dict[str, Build] = {
    "SchNet-like": SchNetLike,
    "DimeNet-like": DimeNetLike,
    "EGNN": EgnnLike,
    "GVP-like": GvpLike,
    "TFN, l_max 2": partial(TfnLike, lmax=2),
    "MACE-like, nu 2": partial(MaceLike, lmax=2, correlation=2),
    "MACE-like, nu 3": partial(MaceLike, lmax=2, correlation=3, channels=8),
    "MACE-like, nu 4": partial(MaceLike, lmax=3, correlation=4, channels=4),
    "MACE-like, nu 3, SO(3)": partial(MaceLike, lmax=4, correlation=3, channels=4, group="SO(3)"),
    "MACE-like, nu 4, SO(3)": partial(MaceLike, lmax=3, correlation=4, channels=4, group="SO(3)"),
}

STAR_NETWORKS: dict[str, tuple[Build, int]] = {  # with the largest order of their features
    "EGNN": (EgnnLike, 1),
    "GVP-like": (GvpLike, 1),
    **{f"TFN, l_max {lmax}": (partial(TfnLike, lmax=lmax, channels=8), lmax) for lmax in (1, 2, 3, 5, 10)},
    **{
        f"MACE-like, l_max {lmax}, nu 2": (partial(MaceLike, lmax=lmax, correlation=2, channels=4), lmax)
        for lmax in (1, 2, 3, 5)
    },
}


def moved(graph: GeometricGraph, *, seed: int, turn: bool = True) -> GeometricGraph:
    """The graph renumbered and, with `turn`, rotated: what must not matter."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.eye(3, dtype=torch.float64)
    if turn:
        rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        rotation = rotation * torch.linalg.det(rotation).sign()
    order = torch.randperm(graph.num_nodes, generator=generator)
    return geometric_graph(graph.positions[order] @ rotation.T, order.argsort()[graph.edge_index])


@torch.no_grad()
def differences(build: Build, pair: Pair, *, turn: bool = True, **options: Any) -> Tensor:
    """Largest difference of eight outputs over the largest output, in float64, by seed of the weights, ascending.

    The second structure comes renumbered and turned, so that equal outputs are equal up to rounding only. Eight outputs
    are seldom all small, as two may be.
    """
    found = []
    for seed in range(SEEDS):
        values = build(seed=seed, outputs=8, **options).double()(
            to_points([pair[0], moved(pair[1], seed=seed, turn=turn)])
        )
        found.append((values[0] - values[1]).abs().max() / values.abs().max())
    return torch.stack(found).sort().values


def trained_accuracy(build: Build, pair: Pair, *, turn: bool = True, **options: Any) -> float:
    """Mean share of the pair told right, in percent, after training on it; tested on renumbered, turned copies.

    All seeds train at once as one stack of weights: their losses add up, and Adam's step is that of every weight alone.
    """
    models = [build(seed=seed, outputs=1, **options).double() for seed in range(SEEDS)]
    weights, buffers = stack_module_state(models)
    sample, wanted = to_points(list(pair)), torch.tensor([0.0, 1.0], dtype=torch.float64).expand(SEEDS, 2)

    def outputs(points: Any) -> Tensor:
        return vmap(lambda w, b: functional_call(models[0], (w, b), (points,)))(weights, buffers)[..., 0]

    optimizer = torch.optim.Adam(list(weights.values()), lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(outputs(sample), wanted, reduction="sum") / 2
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        copies = to_points([moved(graph, seed=number, turn=turn) for number, graph in enumerate(pair)])
        right = (outputs(copies) > 0) == (wanted > 0.5)
    return 100.0 * float(right.double().mean())


def listed(values: Sequence[object]) -> str:
    """Values for a cell of the table."""
    return ", ".join(str(value) for value in values) if values else "none"

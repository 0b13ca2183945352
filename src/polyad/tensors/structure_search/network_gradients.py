"""Adam on the cores of a network, for any scalar function of its dense tensor.

    minimise f( dense(cores) )          all starts at once where f gives one number a start

When not to use it: for plain least squares; alternating least squares (`network_als`) is a hundred times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.structure_search.network_als import (
    FitTarget,
    NetworkFit,
    Progress,
    Sweeps,
    network_loss,
    starting_cores,
)
from polyad.tensors.structure_search.plans import to_dense
from polyad.tensors.structure_search.structures import NetworkStructure


def adam_cores(
    function: Callable[[Tensor], Tensor],
    structure: NetworkStructure,
    cores: Sequence[Tensor],
    *,
    free: Sequence[int] | None = None,
    offset: Tensor | None = None,
    steps: int = 1000,
    learning_rate: float = 1e-2,
    extra: Sequence[Tensor] = (),
    goal: float = -inf,
    progress: Progress | None = None,
) -> list[Tensor]:
    """Cores (starts, ...) after Adam steps.

    Args:
        function: dense tensors (starts, *shape) to one loss a start.
        structure, cores: where to begin; the cores given are not changed.
        free: nodes whose cores move, by default all.
        offset: added to the dense tensor.
        steps, learning_rate: of Adam.
        extra: further tensors that move, in place (weights of other layers).
        goal: stop when a start is at this loss.
        progress: called with steps done and the most there can be.
    """
    moving = set(range(structure.nodes) if free is None else free)
    variables = [
        core.detach().clone().requires_grad_(node in moving) if node in moving else core.detach()
        for node, core in enumerate(cores)
    ]
    optimiser = torch.optim.Adam([*(variables[node] for node in sorted(moving)), *extra], lr=learning_rate)
    for step in range(steps):
        optimiser.zero_grad()
        dense = to_dense(structure, variables)
        losses = function(dense if offset is None else dense + offset)
        total = losses.sum()
        if not bool(torch.isfinite(total.detach())):
            raise InputError(f"learning_rate: {learning_rate:g} made the loss overflow; take a smaller one")
        if float(losses.detach().min()) <= goal:
            break
        total.backward()
        optimiser.step()
        if progress is not None:
            progress(step + 1, steps)
    return [variable.detach() for variable in variables]


def fit_network_adam(
    tensor: Tensor,
    structure: NetworkStructure,
    *,
    mask: Tensor | None = None,
    starts: int = 2,
    steps: int = 10_000,
    learning_rate: float = 1e-3,
    goal: float = 1e-8,
    seed: int = 0,
    progress: Progress | None = None,
) -> NetworkFit:
    """As `fit_network`, by Adam: the setting of the structure-search papers."""
    target = FitTarget.of(tensor, mask)
    if tuple(tensor.shape) != structure.shape:
        raise InputError(f"structure: it is for shape {structure.shape}, the tensor has {tuple(tensor.shape)}")
    history: list[float] = []

    def loss(dense: Tensor) -> Tensor:
        values = target.loss(dense)
        history.append(min([float(values.detach().min()), *history[-1:]]))
        return values

    cores = adam_cores(
        loss,
        structure,
        starting_cores(target, structure, starts, seed),
        steps=steps,
        learning_rate=learning_rate,
        goal=goal,
        progress=progress,
    )
    losses = network_loss(target, structure, cores)
    reason = "goal" if float(losses.min()) <= goal else "steps"
    found = Sweeps(cores, losses, tuple(history), reason)
    return NetworkFit(structure.network(found.best), found.loss, found.history, tuple(losses.tolist()), reason)

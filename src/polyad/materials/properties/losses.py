"""What a property network is trained on, and how its errors are stated.

    relative   100 * mean over structures of |X - X'|^2 / |X|^2       tensors that are never zero
    absolute   mean over structures and components of (X - X')^2 / scale^2

With `augment`, every structure of a training batch is turned or mirrored at random, and its target with it: the way in
which a network without symmetry can learn some. Prepared data hold the checked arrays under the name `property`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.materials.elasticity import longitudinal_stiffness
from polyad.materials.properties.targets import PropertyTarget
from polyad.materials.structures import Structures
from polyad.tensors.rotations import random_rotations, spread_directions

PREPARED = "property"
"""Name of the checked target in prepared data."""


@final
@dataclass(frozen=True)
class PropertyLoss:
    """Mean squared errors of the arrays.

    Args:
        target: what is learned.
        scale: unit of the errors, where they are absolute.
        relative: errors of each structure in units of its own target.
        augment: turn and mirror training structures at random.
    """

    target: PropertyTarget
    scale: float = 1.0
    relative: bool = False
    augment: bool = False

    def __call__(self, model: nn.Module, batch: Structures) -> Tensor:
        """Mean over the structures."""
        if self.augment and model.training:
            batch = turned_at_random(batch, self.target)
        wanted = _target(batch)
        squares = (model(batch) - wanted).reshape(len(batch), -1).square()
        if self.relative:
            return 100 * (squares.sum(1) / wanted.reshape(len(batch), -1).square().sum(1)).mean()
        return squares.mean() / self.scale**2

    def metrics(self, model: nn.Module, batch: Structures) -> dict[str, Tensor]:
        """`mae`, the mean absolute error of a component, and `relative`, of the whole over the whole."""
        wanted = _target(batch)
        gap = (model(batch) - wanted).abs()
        return {"mae": gap.mean(), "relative": gap.sum() / wanted.abs().sum().clamp_min(1e-300)}


def turned_at_random(batch: Structures, target: PropertyTarget) -> Structures:
    """Every structure under a rotation or reflection of its own, drawn from torch's generator; targets too."""
    seed = int(torch.randint(2**62, ()))
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotations(len(batch), generator=generator, reflections=True).to(batch.positions)
    moved = turned(batch, rotation)
    return moved.replace(targets={PREPARED: target.rotate(_target(batch), rotation)})


def turned(batch: Structures, rotation: Float[Tensor, "structures 3 3"]) -> Structures:
    """Structure b with positions Q_b x and lattice vectors Q_b a; targets are left as they are."""
    by_node = rotation.index_select(0, batch.structure)
    return batch.replace(
        positions=(by_node @ batch.positions[..., None])[..., 0],
        cell=batch.cell @ rotation.mT,
    )


def directional_error(found: Float[Tensor, "b 6 6"], wanted: Float[Tensor, "b 6 6"], *, directions: int = 250) -> float:
    """Mean over structures of the mean |c(n) - c'(n)| over the mean c(n), for directions n spread over the sphere."""
    normals = spread_directions(directions)
    one, other = (longitudinal_stiffness(x.double().cpu(), normals) for x in (found, wanted))
    return float(((one - other).abs().mean(1) / other.mean(1)).mean())


def unphysical_share(found: Float[Tensor, "b n n"], *, tolerance: float = 1e-6) -> float:
    """Share of symmetric matrices with an eigenvalue below -tolerance times the largest."""
    values = torch.linalg.eigvalsh(found.double().cpu())
    return float((values[:, 0] < -tolerance * values.abs().max(1).values).double().mean())


def _target(batch: Structures) -> Tensor:
    if PREPARED not in batch.targets:
        raise InputError(f"data: have no {PREPARED!r}; pass them through `prepare_property` first")
    return batch.targets[PREPARED]

"""What a potential is trained on: errors of energy an atom, force components and stress, weighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.materials.structures import Structures


@final
@dataclass(frozen=True)
class PotentialLoss:
    """Weighted mean squares of the errors of energy (an atom), forces (a component) and stress (a component).

    Energies are compared without the shifts: batches carry the target `interaction_energy`, which `prepare_energies`
    makes in float64 of total energies.

    Args:
        energy: weight of the energies; 0 leaves them out.
        forces: weight of the forces; 0 leaves them out.
        stress: weight of the stresses; 0 leaves them out.
        huber: errors beyond this size count linearly; None never.
    """

    energy: float = 1.0
    forces: float = 100.0
    stress: float = 0.0
    huber: float | None = None

    def __post_init__(self) -> None:
        weights = (self.energy, self.forces, self.stress)
        if min(weights) < 0 or max(weights) == 0:
            raise InputError(f"loss: weights {weights} of energy, forces, stress; give none negative, one positive")

    def __call__(self, potential: nn.Module, batch: Structures) -> Tensor:
        """The loss of a batch."""
        errors = self._errors(potential, batch)
        terms = [getattr(self, name) * self._size(error) for name, error in errors.items()]
        return torch.stack(terms).sum()

    def metrics(self, potential: nn.Module, batch: Structures) -> dict[str, Tensor]:
        """Mean absolute errors: `energy_mae` an atom, `forces_mae` and `stress_mae` a component."""
        return {f"{name}_mae": error.abs().mean() for name, error in self._errors(potential, batch).items()}

    def _errors(self, potential: nn.Module, batch: Structures) -> dict[str, Tensor]:
        found = potential(batch, forces=self.forces > 0, stress=self.stress > 0)
        errors: dict[str, Tensor] = {}
        if self.energy > 0:
            atoms = batch.node_start.diff().to(batch.positions.dtype)
            errors["energy"] = (found["interaction_energy"] - _target(batch.targets, "interaction_energy")) / atoms
        if self.forces > 0:
            errors["forces"] = found["forces"] - _target(batch.node_targets, "forces")
        if self.stress > 0:
            errors["stress"] = found["stress"] - _target(batch.targets, "stress")
        return errors

    def _size(self, error: Tensor) -> Tensor:
        if self.huber is None:
            return error.square().mean()
        # twice torch's, so that both sizes agree where errors are small
        return 2 * nn.functional.huber_loss(error, torch.zeros_like(error), delta=self.huber)


def prepare_energies(structures: Structures, potential: Any, *, target: str = "energy") -> Structures:
    """Data with the target `interaction_energy`: what is left of the energies when the potential's shifts are taken.

    Raises:
        InputError: no such target, or species the potential is not made for.
    """
    total = _target(structures.targets, target).double()
    rest = total - potential.free_energy(structures).to(total.device)
    return structures.replace(targets={**structures.targets, "interaction_energy": rest})


def _target(targets: Any, name: str) -> Tensor:
    if name not in targets:
        raise InputError(f"target: the data have no {name!r}, only {list(targets)}; leave it out of the loss")
    return targets[name]

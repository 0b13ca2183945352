"""A comparison measures what it says: errors on data nobody trained on, and equivariance by turning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.learning.comparing import (
    compare_potentials,
    comparison_facts,
    equivariance_error,
    plot_comparison,
)
from polyad.materials.learning.data import hold_out
from polyad.materials.learning.potentials import evaluate_potential, load_potential
from polyad.materials.potentials import Potential
from tests.materials.learning.test_potentials import frames

SMALL = {"schnet": {"channels": 8, "layers": 1}, "tensornet": {"channels": 4, "radial": 6}}


def test_errors_are_of_the_test_part(tmp_path: Path) -> None:
    data = frames(30)
    found = compare_potentials(data, ["schnet", "tensornet"], folder=tmp_path, minutes=0.02, cutoff=4.0, options=SMALL)
    held, _ = hold_out(data, 0.2, seed=0)
    for contender in found:
        predicted = evaluate_potential(load_potential(tmp_path / contender.model), held)
        gap = (predicted["forces"] - held.node_targets["forces"]).abs().mean()
        assert contender.force_mae == pytest.approx(float(gap))
        gap = ((predicted["energy"] - held.targets["energy"]) / 7).abs().mean()
        assert contender.energy_mae == pytest.approx(float(gap))
        assert contender.equivariance < 1e-4
        assert contender.steps > 0
    facts = comparison_facts(found)
    assert [row["model"] for row in facts] == ["schnet", "tensornet"]
    axes = plot_comparison(found).axes[0]
    assert [line.get_label() for line in axes.lines] == ["schnet", "tensornet"]


class Lopsided(nn.Module):
    """Knows which way is up."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, graph: PointGraph) -> Tensor:
        return graph.sum_messages((graph.vectors.square() * torch.tensor([1.0, 2.0, 3.0]) * self.weight).sum(1))


def test_equivariance_error_sees_a_preferred_direction() -> None:
    potential = Potential(Lopsided(), species=[1, 6, 8], cutoff=4.0).eval()
    assert equivariance_error(potential, frames(3)) > 0.1


def test_names_must_be_known_and_different(tmp_path: Path) -> None:
    for models in (["schnet", "schnet"], ["unknown"], []):
        with pytest.raises(InputError, match="models"):
            compare_potentials(frames(5), models, folder=tmp_path, minutes=0.01)

"""A comparison of properties measures what it says: errors on nets nobody trained on, equivariance by turning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.learning.comparing import comparison_facts
from polyad.materials.learning.comparing_properties import (
    SOLVER,
    compare_properties,
    fitting_models,
    plot_properties,
    property_equivariance_error,
    property_errors,
    solver_row,
)
from polyad.materials.learning.data import hold_out
from polyad.materials.learning.properties import evaluate_property, load_property
from polyad.materials.properties.losses import directional_error
from polyad.materials.properties.targets import TARGETS
from polyad.materials.structures import Structures
from tests.materials.properties.lattices import batch_of, cells, data_set, model_of

SMALL = {"lattice": {"channels": 2, "hidden": 6, "readout": 3}, "cgc": {"width": 8}}


def test_errors_are_of_the_test_nets(tmp_path: Path) -> None:
    data = data_set(10)
    found = compare_properties(
        data, ["lattice", "cgc"], target="elasticity", folder=tmp_path, minutes=0.01, options=SMALL, test=0.2
    )
    held, _ = hold_out(data, 0.2, seed=0)
    wanted = held.targets["stiffness"]
    for contender in found:
        predicted = evaluate_property(load_property(tmp_path / contender.model), held).double()
        assert contender.mae == pytest.approx(float((predicted - wanted).abs().mean()))
        assert contender.relative == pytest.approx(float((predicted - wanted).abs().sum() / wanted.abs().sum()))
        assert contender.directional == pytest.approx(directional_error(predicted, wanted))
        assert contender.steps > 0
    ours, baseline = found
    assert ours.equivariance < 1e-4 < baseline.equivariance
    assert ours.unphysical == 0.0
    assert [row["model"] for row in comparison_facts(found)] == ["lattice", "cgc"]
    assert [line.get_label() for line in plot_properties(found).axes[0].lines] == ["lattice", "cgc"]


def test_the_solver_is_exact_and_physical() -> None:
    row = solver_row(data_set(3))
    assert row is not None
    assert row.model == SOLVER
    assert row.relative < 1e-9
    assert row.equivariance < 1e-9
    assert row.unphysical == 0.0
    assert row.evaluation > 0
    assert solver_row(Structures.from_arrays(torch.eye(3, dtype=torch.float64), [6, 1, 6])) is None


def test_equivariance_error_sees_a_preferred_direction() -> None:
    data = batch_of(cells())
    assert property_equivariance_error(model_of("lattice"), data) < 1e-10
    assert property_equivariance_error(model_of("cgc"), data) > 1e-3


def test_other_targets_have_no_directional_error() -> None:
    target = TARGETS["piezoelectric"]
    values = target.to_array(torch.ones(2, 18, dtype=torch.float64))
    data = Structures.from_arrays(
        torch.zeros(2, 3, dtype=torch.float64), [1, 1], sizes=[1, 1], targets={"piezoelectric": values}
    )
    errors = property_errors(target, 1.5 * values, data)
    assert errors["relative"] == pytest.approx(0.5)
    assert errors["directional"] is errors["unphysical"] is None


def test_models_that_fit_are_found() -> None:
    fitting = fitting_models(data_set(3), target="elasticity")
    assert {"lattice", "cgc", "cgc+", "nnconv"} <= set(fitting)
    assert "icomformer" not in fitting
    with pytest.raises(InputError, match="needs the column"):
        fitting_models(data_set(3), target="dielectric")


def test_names_must_be_known_and_different(tmp_path: Path) -> None:
    for models in (["cgc", "cgc"], ["unknown"], []):
        with pytest.raises(InputError, match="models"):
            compare_properties(data_set(3), models, target="elasticity", folder=tmp_path, minutes=0.01)

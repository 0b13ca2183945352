"""Property models are trained, kept and loaded with their units; targets of every kind; what cannot be is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.materials.learning.comparing_properties import property_equivariance_error
from polyad.materials.learning.potentials import train_potential
from polyad.materials.learning.properties import (
    evaluate_property,
    load_property,
    new_property,
    prepare_property,
    train_property,
)
from polyad.materials.learning.registry import PROPERTIES
from polyad.materials.properties.losses import PropertyLoss
from polyad.materials.properties.model import strut_density
from polyad.materials.properties.targets import TARGETS
from polyad.materials.structures import Structures
from tests.materials.learning.test_potentials import frames
from tests.materials.properties.lattices import SMALL, data_set

TINY = {"channels": 2, "hidden": 6, "readout": 3}


def molecules(**targets: Tensor) -> Structures:
    return frames(8).replace(node_targets={}, targets=targets)


def test_training_lowers_the_error_and_the_file_is_the_model(tmp_path: Path) -> None:
    data = data_set(8)
    model, result = train_property(
        data, "lattice", target="elasticity", folder=tmp_path, options=TINY, steps=30, batch_size=16,
        learning_rate=1e-2, validate_every=10, ema=0.8, validation=data,
    )  # fmt: skip
    losses = [row["validation_loss"] for row in result.history]
    start = new_property(data, "lattice", target="elasticity", options=TINY)[0].double()
    first = PropertyLoss(start.target, relative=True)(start, prepare_property(data, start))
    assert min(losses) < 0.5 * float(first.detach())
    assert {"validation_relative", "validation_mae"} <= set(result.history[0])
    kept = load_property(tmp_path)
    found = evaluate_property(kept, data)
    assert torch.equal(found, evaluate_property(model, data))
    assert found.shape == (16, 6, 6)
    assert (kept.positivity, kept.struts, kept.target.name) == ("square", True, "elasticity")
    assert float(torch.linalg.eigvalsh(found.double()).min()) > -1e-9


def test_batches_do_not_matter() -> None:
    data = data_set(4)
    model, _ = new_property(data, "lattice", target="elasticity", options=TINY)
    model = model.double()
    one, other = evaluate_property(model, data, batch_size=1), evaluate_property(model, data)
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-15)
    with pytest.raises(InputError, match="no structure"):
        evaluate_property(model, data[:0])


def test_units_come_from_the_data() -> None:
    data = data_set(4)
    model, facts = new_property(data, "cgc", target="elasticity")
    per_density = data.targets["stiffness"] / strut_density(data)[:, None, None]
    scale = TARGETS["elasticity"].to_features(per_density).square().mean().sqrt()
    assert float(model.scale) == pytest.approx(float(scale))
    assert facts["positivity"] == "none"
    lengths = data.edge_vectors().norm(dim=1)
    assert 0.97 < float((lengths <= facts["cutoff"]).double().mean()) < 1.0
    gap = torch.arange(8.0).double()
    model, _ = new_property(molecules(gap=gap), "lattice", target="gap", options=TINY)
    assert float(model.shift) == pytest.approx(3.5)
    assert float(model.scale) == pytest.approx(float((gap - 3.5).square().mean().sqrt()))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_lattice_network_trains(name: str) -> None:
    model, result = train_property(
        data_set(4), name, target="elasticity", folder=None, options=SMALL[name], steps=2, validation=0.5
    )
    assert model.positivity == PROPERTIES[name].positivity
    assert math.isfinite(result.history[-1]["validation_loss"])


@pytest.mark.parametrize("target", ["dielectric", "piezoelectric", "magnetic-anisotropy", "gap"])
def test_molecules_have_properties_too(target: str, tmp_path: Path) -> None:
    if target == "gap":
        values = torch.arange(8.0).double()
    else:
        wanted = TARGETS[target]
        features = torch.randn(8, wanted.irreps.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        values = wanted.to_array(features)
    data = molecules(**{target: values})
    train_property(data, "lattice", target=target, folder=tmp_path, options={**TINY, "correlation": 2}, steps=2,
                   validation=0.25, cutoff=3.0)  # fmt: skip
    assert evaluate_property(load_property(tmp_path), data).shape == values.shape


@pytest.mark.parametrize("target", ["magnetic-anisotropy", "dielectric"])
def test_gaussian_moments_give_symmetric_matrices(target: str, tmp_path: Path) -> None:
    wanted = TARGETS[target]
    data = molecules(**{target: wanted.to_array(torch.ones(8, wanted.irreps.dim, dtype=torch.float64))})
    options = {"width": 8, "radial": 2, "gaussians": 4}
    train_property(data, "gaussian-moment-tensors", target=target, folder=tmp_path, options=options, steps=2,
                   validation=0.25, cutoff=3.0)  # fmt: skip
    model = load_property(tmp_path).double()
    assert property_equivariance_error(model, data) < 1e-10
    assert evaluate_property(model, data).abs().max() > 1e-3
    with pytest.raises(InputError, match="0e and 2e"):
        new_property(data_set(2), "gaussian-moment-tensors", target="elasticity")


def test_every_network_has_its_own_rate() -> None:
    history = train_property(
        data_set(4), "cgc", target="elasticity", folder=None, options=SMALL["cgc"], steps=4, validation=0.5,
        schedule=lambda done: 1.0, validate_every=2,
    )[1].history  # fmt: skip
    assert {row["learning_rate"] for row in history} == {PROPERTIES["cgc"].rate}


def test_positivity_is_an_option() -> None:
    data = data_set(3)
    for positivity in ("exp", "none"):
        model, facts = new_property(data, "lattice", target="elasticity", options={**TINY, "positivity": positivity})
        assert model.positivity == facts["positivity"] == positivity
        assert "positivity" not in facts["options"]
    with pytest.raises(InputError, match="'cube' is unknown"):
        new_property(data, "lattice", target="elasticity", options={"positivity": "cube"})


def test_prepared_data_are_checked_and_lean() -> None:
    data = data_set(3)
    model, _ = new_property(data, "lattice", target="elasticity", options=TINY)
    assert list(prepare_property(data, model).targets) == ["property"]
    broken = data.targets["stiffness"].clone()
    broken[1, 2, 2] = math.nan
    with pytest.raises(InputError, match=r"structure 1 \(net0\) is not finite"):
        train_property(
            data.replace(targets={"stiffness": broken}),
            "lattice",
            target="elasticity",
            folder=None,
            steps=1,
            validation=data,
        )


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    data = data_set(3)
    for model, target, options, words in (
        ("latice", "elasticity", {}, r"'latice' is unknown; there are cgc, cgc\+"),
        ("lattice", "elastic", {}, "'elastic' is unknown; there are elasticity"),
        ("lattice", "dielectric", {}, "needs the column dielectric_tensor or dielectric; the data have stiffness"),
        ("lattice", "elasticity", {"chanels": 3}, "no option 'chanels'"),
    ):
        with pytest.raises(InputError, match=words):
            new_property(data, model, target=target, options=options)
    train_potential(frames(6), "schnet", folder=tmp_path, options={"channels": 4, "layers": 1}, steps=1)
    with pytest.raises(FileFormatError, match="no property model but 'potential'"):
        load_property(tmp_path)

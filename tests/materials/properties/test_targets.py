"""Arrays and features are the same numbers in another basis, and turn together; bad columns are refused by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.targets import TARGETS, PropertyTarget, property_target
from polyad.materials.structures import Structures
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.tensor_basis import rotate_tensor
from polyad.tensors.notation import mandel_to_tensor, tensor_to_mandel
from polyad.tensors.rotations import random_rotations

IRREPS = {
    "elasticity": "2x0e+2x2e+1x4e",
    "dielectric": "0e+2e",
    "piezoelectric": "2x1o+1x2o+1x3o",
    "electro-optic": "2x1o+1x2o+1x3o",
    "piezo-optic": "2x0e+1x1e+3x2e+1x3e+1x4e",
    "magnetic-anisotropy": "2e",
}

every = pytest.mark.parametrize("name", sorted(TARGETS))


def features_of(target: PropertyTarget, count: int = 4) -> Tensor:
    return torch.randn(count, target.irreps.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def structures(count: int, **targets: Tensor) -> Structures:
    return Structures.from_arrays(
        torch.zeros(count, 3, dtype=torch.float64), [1] * count, sizes=[1] * count, targets=targets
    )


@every
def test_change_of_basis_is_orthonormal(name: str) -> None:
    target = TARGETS[name]
    assert target.irreps == Irreps(IRREPS[name])
    rows = target.matrix(torch.zeros((), dtype=torch.float64))
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-12)
    features = features_of(target)
    array = target.to_array(features)
    assert array.shape == (4, *target.shape)
    assert torch.allclose(array.flatten(1).norm(dim=1), features.norm(dim=1))
    assert torch.allclose(target.to_features(array), features, atol=1e-12)


def test_elasticity_has_all_minor_and_major_symmetries() -> None:
    target = TARGETS["elasticity"]
    tensor = mandel_to_tensor(target.to_array(features_of(target)))
    for axes in ((0, 2, 1, 3, 4), (0, 1, 2, 4, 3), (0, 3, 4, 1, 2)):
        assert torch.allclose(tensor, tensor.permute(axes), atol=1e-10)


def test_upper_triangle_is_orthonormal_after_weighting_only() -> None:
    rows = TARGETS["elasticity"].matrix(torch.zeros((), dtype=torch.float64)).unflatten(1, (6, 6))
    i, j = torch.triu_indices(6, 6)
    plain = rows[:, i, j]
    weighted = plain * torch.where(i == j, 1.0, 2.0).double().sqrt()
    eye = torch.eye(21, dtype=torch.float64)
    assert torch.allclose(weighted @ weighted.T, eye, atol=1e-12)
    assert not torch.allclose(plain @ plain.T, eye, atol=0.1)


@every
def test_features_turn_with_the_tensor(name: str) -> None:
    target = TARGETS[name]
    rotation = random_rotations(4, generator=torch.Generator().manual_seed(3), reflections=True)
    assert float(torch.linalg.det(rotation).min()) < 0 < float(torch.linalg.det(rotation).max())
    array = target.to_array(features_of(target))
    order = len(target.formula.split("=")[0])
    tensor = mandel_to_tensor(array) if target.mandel else array
    expected = rotate_tensor(tensor, rotation, order=order)
    expected = tensor_to_mandel(expected) if target.mandel else expected
    assert torch.allclose(target.rotate(array, rotation), expected, atol=1e-10)


@every
def test_values_are_read(name: str) -> None:
    target = TARGETS[name]
    array = target.to_array(features_of(target))
    assert torch.equal(target.values(structures(4, **{target.columns[0]: array})), array)
    assert torch.equal(target.values(structures(4, **{name: array})), array)


def test_fourth_order_is_read_in_both_forms() -> None:
    target = TARGETS["elasticity"]
    array = target.to_array(features_of(target))
    assert torch.allclose(target.values(structures(4, stiffness=mandel_to_tensor(array))), array, atol=1e-12)


def test_scalars_are_columns() -> None:
    data = structures(3, gap=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    target = property_target("gap", data)
    assert target.irreps == Irreps("0e")
    assert torch.equal(target.values(data), data.targets["gap"])
    column = structures(3, gap=data.targets["gap"][:, None])
    assert torch.equal(target.values(column), data.targets["gap"])
    rotation = random_rotations(3, generator=torch.Generator().manual_seed(0), reflections=True)
    assert torch.equal(target.rotate(data.targets["gap"], rotation), data.targets["gap"])


def test_bad_columns_are_one_clear_line() -> None:
    good = TARGETS["elasticity"].to_array(features_of(TARGETS["elasticity"]))
    nan, lopsided = good.clone(), good.clone()
    nan[2, 0, 1] = math.nan
    lopsided[1, 0, 1] += 5.0
    for data, words in (
        (structures(4, stiffness=good[:, :3]), r"has shape \(3, 6\), elasticity needs \(6, 6\) or"),
        (structures(4, stiffness=nan), "stiffness of structure 2 is not finite"),
        (structures(4, stiffness=lopsided), "structure 1 lacks the symmetry ijkl=jikl=klij"),
        (structures(4, gap=good), "needs the column stiffness or elastic_tensor or elasticity; the data have gap"),
    ):
        with pytest.raises(InputError, match=words):
            TARGETS["elasticity"].values(data)
    with pytest.raises(InputError, match=r"'gapp' is unknown; there are elasticity, .* columns gap"):
        property_target("gapp", structures(1, gap=torch.zeros(1)))
    with pytest.raises(InputError, match=r"shape \(6, 6\), s needs \(\)"):
        property_target("s", structures(4, s=good)).values(structures(4, s=good))

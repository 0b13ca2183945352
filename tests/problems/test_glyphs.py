"""Drawn characters: what is random and what is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.glyphs import CHARACTERS, glyphs

STILL: dict[str, Any] = {"shift": 0.0, "turn": 0.0, "stretch": 0.0, "noise": 0.0}


def test_shapes_classes_and_seeds() -> None:
    images, labels = glyphs(75, classes=36, size=16, seed=3)
    assert images.shape == (75, 1, 16, 16)
    assert labels.bincount(minlength=36).tolist() == [3] * 3 + [2] * 33
    again = glyphs(75, classes=36, size=16, seed=3)
    assert torch.equal(again.images, images)
    assert torch.equal(again.labels, labels)
    assert not torch.equal(glyphs(75, classes=36, size=16, seed=4).images, images)


def test_still_characters_are_centred_and_differ() -> None:
    images, labels = glyphs(72, classes=36, **STILL)
    first = images[labels.argsort(stable=True)[::2]][:, 0]
    second = images[labels.argsort(stable=True)[1::2]][:, 0]
    torch.testing.assert_close(first, second)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1 + 1e-6
    flat = first.flatten(1)
    distance = torch.cdist(flat, flat) + 100 * torch.eye(36)
    assert float(distance.min()) > 1
    place = torch.arange(28.0) - 13.5
    zero = first[CHARACTERS.index("O")]
    assert abs(float((zero.sum(0) * place).sum() / zero.sum())) < 0.75
    assert float(zero[13:15, 13:15].mean()) < 0.1  # hollow
    assert float(zero.mean()) > 0.05


def test_each_freedom_is_bounded_by_its_own_option() -> None:
    still = glyphs(40, classes=1, **STILL).images
    assert float((still - still[:1]).abs().max()) == 0
    for name in STILL:
        moved = glyphs(40, classes=1, **{**STILL, name: 0.1}).images
        assert float((moved - still).abs().max()) > 0.01, name
    noisy = glyphs(40, classes=1, **{**STILL, "noise": 0.5}).images - still
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.02)
    shifted = glyphs(400, classes=1, **{**STILL, "shift": 0.1}).images[:, 0]
    place = torch.arange(28.0) - 13.5
    center = (shifted.sum(1) * place).sum(-1) / shifted.sum((1, 2))
    assert 2.5 < float(center.max() - center.min()) / 2 < 2.9  # a tenth of 28 pixels


@pytest.mark.parametrize("options", [{"classes": 37}, {"classes": 0}, {"size": 3}, {"noise": -1.0}])
def test_bad_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        glyphs(3, **options)
    with pytest.raises(InputError):
        glyphs(0)

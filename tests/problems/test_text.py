"""Documentation as numbers, and a transformer that cannot look ahead."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.text import CharacterTransformer, EncodedText, encoded_documentation


def test_codes_spell_the_documentation() -> None:
    text = encoded_documentation(("random",))
    spelled = "".join(text.characters[code] for code in text.codes.tolist())
    assert "Random number generators" in " ".join(spelled.split()) or "Random variable generators" in spelled
    assert list(text.characters) == sorted(set(spelled))


def test_targets_are_the_next_characters() -> None:
    text = EncodedText(torch.arange(50), "x" * 50)
    inputs, targets = text.draw(200, 8, generator=torch.Generator().manual_seed(0))
    assert inputs.shape == targets.shape == (200, 8)
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs - inputs[:, :1], torch.arange(8).expand(200, 8))
    assert (int(inputs.min()), int(targets.max())) == (0, 48)
    with pytest.raises(InputError, match="context"):
        text.draw(1, 49, generator=torch.Generator())


def test_no_character_sees_what_follows() -> None:
    torch.manual_seed(0)
    model = CharacterTransformer(20, context=6, width=16, layers=2, heads=2)
    codes = torch.randint(20, (3, 6), generator=torch.Generator().manual_seed(0))
    changed = codes.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 20
    one, other = model(codes), model(changed)
    assert one.shape == (3, 20, 6)
    torch.testing.assert_close(one[..., :4], other[..., :4])
    assert float((one[..., 4:] - other[..., 4:]).detach().abs().amin((0, 1)).min()) > 0

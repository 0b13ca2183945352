"""Layers are watched once, only when wanted, and let go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polyad.optim.curvature.layers import DENSE, SCALE, TABLE, Rows
from polyad.optim.curvature.watching import LayerWatcher


class Tied(nn.Module):
    """Two layers on one weight, and a third on it with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(6, 4), nn.LayerNorm(4)
        self.one, self.two, self.three = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.two.weight = self.three.weight = self.one.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.three(self.two(self.one(self.norm(self.table(words)))))


def passed(model: nn.Module, seen: list[Rows], words: Tensor) -> list[Rows]:
    seen.clear()
    model(words).square().mean().backward()
    return list(seen)


def test_rows_make_the_gradient_and_shared_weights_are_one_layer() -> None:
    torch.manual_seed(0)
    model, seen = Tied().double(), []
    watcher = LayerWatcher(model, seen.append)
    assert list(watcher.layers) == ["table", "norm", "one"]
    rows = passed(model, seen, torch.tensor([[0, 3], [5, 3], [1, 1]]))
    assert sorted(one.layer.name for one in rows) == ["norm", "one", "one", "table"]
    assert not any(one.gradients.requires_grad for one in rows)
    by_name = {one.layer.name: one for one in rows}
    torch.testing.assert_close(by_name["table"].per_sample_gradient().sum(0), model.table.weight.grad)
    both = torch.stack([model.norm.weight.grad, model.norm.bias.grad], 1)
    torch.testing.assert_close(by_name["norm"].per_sample_gradient().sum(0), both)
    third = model.three.bias.grad[:, None] * 0  # the use with a bias is not seen
    shared = sum((one.per_sample_gradient().sum(0) for one in rows if one.layer.name == "one"), third)
    inputs = model.two(model.one(model.norm(model.table(torch.tensor([[0, 3], [5, 3], [1, 1]])))))
    outputs = model.three(inputs)
    missing = (outputs * 2 / outputs.numel()).flatten(0, 1).mT @ inputs.flatten(0, 1)
    torch.testing.assert_close(shared + missing, model.one.weight.grad)


@pytest.mark.parametrize("kind", [DENSE, TABLE, SCALE])
def test_kinds_and_wishes(kind: str) -> None:
    model, seen, wanted = Tied(), [], [True]
    watcher = LayerWatcher(model, seen.append, wanted=lambda: wanted[0], kinds=(kind,))
    words = torch.tensor([[0, 3]])
    assert {one.layer.kind for one in passed(model, seen, words)} == {kind}
    wanted[0] = False
    assert passed(model, seen, words) == []
    wanted[0] = True
    watcher.remove()
    assert passed(model, seen, words) == []


def test_frozen_weights_are_not_watched_and_attention_comes_back() -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "frozen": nn.Linear(4, 4)})
    model["frozen"].weight.requires_grad_(False)
    watcher = LayerWatcher(model, lambda rows: None)
    assert set(watcher.layers) == {"attention.q", "attention.k", "attention.v", "attention.out"}
    assert "forward" in vars(model["attention"])
    watcher.remove()
    assert "forward" not in vars(model["attention"])

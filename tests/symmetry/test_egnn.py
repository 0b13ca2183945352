"""EGNN: equal to the formulas of the paper written as loops, and equivariant in any dimension."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.egnn import EGNN
from polyad.testing import assert_gradient_matches

DOUBLE = {"dtype": torch.float64}


def network(**options: Any) -> EGNN:
    """A small network whose positions move at the start, unlike a fresh one's."""
    model = EGNN(scalars=2, channels=6, layers=2, **options).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in model.layers:
            layer.along[-1].weight.normal_(generator=generator)
    return model


def inputs(dimension: int = 3, *, nodes: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    index = (torch.rand(nodes, nodes, generator=generator) < 0.7).fill_diagonal_(False)
    index[:, 0] = False  # a node that receives nothing
    edges = index.nonzero().T
    scalars = torch.randn(nodes, 2, generator=generator, **DOUBLE)
    positions, velocities = torch.randn(2, nodes, dimension, generator=generator, **DOUBLE)
    return scalars, positions, edges, torch.randn(edges.shape[1], 3, generator=generator, **DOUBLE), velocities


def test_layers_are_the_papers_formulas() -> None:
    model = network(edge_scalars=3, velocities=True, attention=True)
    h, x, edges, a, v = inputs()
    found_h, found_x = model(h, x, edges, a, v)
    h = model.embedding(h)
    for layer in model.layers:
        new_h, new_x = [], []
        for i in range(len(x)):
            message, push, count = torch.zeros(6, **DOUBLE), torch.zeros(3, **DOUBLE), 0
            for e in range(edges.shape[1]):
                j, target = edges[:, e].tolist()
                if target == i:
                    square = ((x[i] - x[j]) ** 2).sum()[None]
                    m = layer.message(torch.cat([h[i], h[j], square, a[e]]))
                    m = m * torch.sigmoid(layer.gate[0](m))
                    message, push, count = message + m, push + (x[i] - x[j]) * layer.along(m), count + 1
            new_h.append(h[i] + layer.update(torch.cat([h[i], message])))
            new_x.append(x[i] + layer.speed(h[i]) * v[i] + push / max(count, 1))
        h, x = torch.stack(new_h), torch.stack(new_x)
    assert torch.allclose(found_h, h, atol=1e-12)
    assert torch.allclose(found_x, x, atol=1e-12)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_equivariant_under_motions_and_reflections(dimension: int) -> None:
    model = network(edge_scalars=3, velocities=True)
    h, x, edges, a, v = inputs(dimension)
    scalars, moved = model(h, x, edges, a, v)
    assert float((moved - x).detach().abs().max()) > 0.1
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        q = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, **DOUBLE))[0]
        for turn in (q, q * torch.tensor([-1.0] + [1.0] * (dimension - 1), **DOUBLE)):
            turned_h, turned_x = model(h, x @ turn.T + 3.0, edges, a, v @ turn.T)
            assert torch.allclose(turned_h, scalars, atol=1e-10)
            assert torch.allclose(turned_x, moved @ turn.T + 3.0, atol=1e-10)


def test_equivariant_under_renumbering_and_blind_to_other_structures() -> None:
    model = network(outputs=4)
    h, x, edges, _, _ = inputs()
    scalars, moved = model(h, x, edges)
    assert scalars.shape == (6, 4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    again_h, again_x = model(h[order], x[order], place[edges])
    assert torch.allclose(again_h, scalars[order], atol=1e-12)
    assert torch.allclose(again_x, moved[order], atol=1e-12)
    both = model(torch.cat([h, 2 * h]), torch.cat([x, x - 1]), torch.cat([edges, edges + 6], dim=1))
    assert torch.allclose(both[0][:6], scalars, atol=1e-12)
    assert torch.allclose(both[1][:6], moved, atol=1e-12)


def test_gradient_of_a_scalar_with_respect_to_positions() -> None:
    model = network(outputs=1)
    h, x, edges, _, _ = inputs()
    assert_gradient_matches(lambda y: model(h, y, edges)[0].sum(), x)


def test_weights_come_from_the_seed() -> None:
    same, other = (
        [torch.equal(p, q) for p, q in zip(network().parameters(), network(seed=s).parameters(), strict=True)]
        for s in (0, 1)
    )
    assert all(same)
    assert not all(other)


def test_bad_input_is_refused() -> None:
    h, x, edges, a, v = inputs()
    for call in (
        lambda: EGNN(scalars=0),
        lambda: EGNN(scalars=1, outputs=0),
        lambda: network()(h[:, :1], x, edges),
        lambda: network()(h, x, edges, a),
        lambda: network(edge_scalars=3)(h, x, edges),
        lambda: network()(h, x, edges, None, v),
        lambda: network(velocities=True)(h, x, edges),
    ):
        with pytest.raises(InputError):
            call()

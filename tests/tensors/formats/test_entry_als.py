"""Ridge ALS on scattered entries: planted tensors, stationarity of the objective, agreement with masked ALS."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import CP, Tucker
from polyad.tensors.formats.entry_als import cp_from_entries, tucker_from_entries

SHAPE = (12, 10, 9)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def some_places(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, size, (count,), generator=generator) for size in SHAPE], 1)


def fit(kind: str, places: torch.Tensor, values: torch.Tensor, **options):
    if kind == "cp":
        return cp_from_entries(places, values, SHAPE, 2, **options)
    return tucker_from_entries(places, values, SHAPE, (2, 2, 2), **options)


def planted(kind: str) -> Tucker | CP:
    factors = tuple(draw(size, 2, seed=k + 1) for k, size in enumerate(SHAPE))
    return CP(torch.ones(2).double(), factors) if kind == "cp" else Tucker(draw(2, 2, 2), factors)


@pytest.mark.parametrize("kind", ["cp", "tucker"])
def test_planted_tensor_is_recovered_from_half_its_entries(kind):
    truth, places = planted(kind), some_places(600)
    found = fit(kind, places, truth.entries(places), ridge=1e-6, sweeps=80, seed=3)
    everywhere = torch.cartesian_prod(*(torch.arange(size) for size in SHAPE))
    error = (found.value.entries(everywhere) - truth.entries(everywhere)).norm() / truth.entries(everywhere).norm()
    assert float(error) < 1e-3


@pytest.mark.parametrize("kind", ["cp", "tucker"])
def test_objective_falls_and_ends_stationary(kind):
    """The gradient of the written-out objective vanishes; duplicated entries count twice."""
    truth, places = planted(kind), some_places(300)
    places = torch.cat([places, places[:40]])
    values = truth.entries(places) + 0.3 * draw(340, seed=8)
    found = fit(kind, places, values, ridge=0.7, sweeps=3000, tolerance=1e-14)
    history = torch.tensor(found.history)
    assert bool((history.diff() <= 1e-9 * history[0]).all())
    parts = [part.clone().requires_grad_() for part in found.value.factors]
    if kind == "cp":
        value, penalised = CP(torch.ones(2).double(), tuple(parts)), parts
    else:
        core = found.value.core.clone().requires_grad_()
        value, penalised = Tucker(core, tuple(parts)), [*parts, core]
    objective = (values - value.entries(places)).square().sum() + 0.7 * sum(part.square().sum() for part in penalised)
    assert float(objective.detach()) == pytest.approx(found.history[-1], rel=1e-10)
    for gradient in torch.autograd.grad(objective, penalised):
        assert gradient.abs().max() < 1e-3
    assert found.error == pytest.approx(float((values - found.value.entries(places)).square().mean().sqrt()), rel=1e-10)


def test_rows_without_entries_are_zero():
    places = some_places(200)
    places[:, 0] = places[:, 0].clamp(max=10)
    found = tucker_from_entries(places, draw(200), SHAPE, (2, 2, 2))
    assert float(found.value.factors[0][11].abs().max()) == 0


def test_stops_and_reports():
    places, calls = some_places(100), []
    found = cp_from_entries(
        places, draw(100), SHAPE, 2, sweeps=3, tolerance=0.0, progress=lambda done, total: calls.append((done, total))
    )
    assert found.stopped_by == "sweeps"
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert cp_from_entries(places, draw(100), SHAPE, 2, tolerance=0.0, seconds=1e-9).stopped_by == "seconds"


def test_bad_input_is_refused():
    places, values = some_places(20), draw(20)
    for arguments, options, match in (
        ((places + 20, values, SHAPE, (1, 1, 1)), {}, "indices"),
        ((places, values * float("nan"), SHAPE, (1, 1, 1)), {}, "values"),
        ((places, values, SHAPE, (1, 1)), {}, "ranks"),
        ((places, values, SHAPE, (1, 0, 1)), {}, "ranks"),
        ((places, values, SHAPE, (1, 1, 1)), {"ridge": 0.0}, "ridge"),
    ):
        with pytest.raises(InputError, match=match):
            tucker_from_entries(*arguments, **options)

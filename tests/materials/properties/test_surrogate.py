"""Design through a network keeps density, cell and bounds, follows its gradient, and is solved exactly."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, effective_stiffness, named_cell
from polyad.materials.lattice.design import StiffnessAlong
from polyad.materials.properties.surrogate import design_by_surrogate
from tests.materials.properties.lattices import batch_of, model_of

WISH = StiffnessAlong([[0.0, 0.0, 1.0]])


def test_it_improves_the_prediction_within_its_bounds() -> None:
    start = named_cell("kelvin", density=0.02).perturb(0.03, seed=1)
    model = model_of("lattice").float()
    found = design_by_surrogate(start, model, WISH, steps=12, move=0.1, stretch=1.5)
    assert next(model.parameters()).dtype == torch.float32
    assert all(p.requires_grad for p in model.parameters())
    assert found.objective[-1] < found.objective[0]
    assert float(found.lattice.relative_density) == pytest.approx(float(start.relative_density), rel=1e-9)
    assert torch.equal(found.lattice.cell, start.cell)
    moved = (found.lattice.positions - start.positions).abs().max()
    assert 0 < float(moved) <= 0.1 * float(start.edge_lengths.mean())
    factor = found.lattice.radius / start.radius
    assert 1 < float(factor.max() / factor.min()) <= 1.5**2
    both = LatticeBatch.from_lattices([start, found.lattice])
    assert torch.allclose(found.exact, effective_stiffness(both), rtol=1e-12)
    again = model.double()(batch_of([start, found.lattice])).detach()
    assert torch.allclose(found.predicted, again, rtol=1e-9)
    assert float(WISH.value(found.predicted[1])) == pytest.approx(min(found.objective), rel=1e-9)
    assert float(WISH.value(found.predicted[0])) == pytest.approx(found.objective[0], rel=1e-9)


def test_time_and_frame_are_kept() -> None:
    start, calls = named_cell("octet", density=0.02), []
    found = design_by_surrogate(
        start, model_of("lattice"), WISH, steps=50, seconds=0.0, frame={"shear": False},
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(1, 50)]
    assert len(found.objective) == 1
    plain = effective_stiffness(LatticeBatch.from_lattices([start]), shear=False)
    assert torch.allclose(found.exact[0], plain[0], rtol=1e-12)


def test_what_cannot_be_is_refused() -> None:
    start = named_cell("octet", density=0.02)
    with pytest.raises(InputError, match="predicts dielectric; give a model of elasticity"):
        design_by_surrogate(start, model_of("lattice", target="dielectric"), WISH)
    for options in ({"steps": 0}, {"move": 0.5}, {"stretch": 0.9}):
        with pytest.raises(InputError, match="surrogate: steps"):
            design_by_surrogate(start, model_of("lattice"), WISH, **options)  # type: ignore[arg-type]

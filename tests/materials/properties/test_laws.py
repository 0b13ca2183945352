"""What networks of lattices keep with untrained weights: the order of nodes and edges, the choice of cell and origin;
of the equivariant one the symmetries of space and the sign of the energy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.materials.lattice import StrutLattice
from polyad.materials.learning.registry import PROPERTIES
from polyad.materials.properties.losses import turned
from polyad.materials.properties.model import PropertyModel
from polyad.materials.properties.positivity import POSITIVITY
from polyad.materials.properties.targets import TARGETS
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations
from tests.materials.properties.lattices import SMALL, batch_of, cells, model_of

EXACT = 1e-12
every = pytest.mark.parametrize("name", sorted(SMALL))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).flatten(1).norm(dim=1).max() / expected.flatten(1).norm(dim=1).max())


def predict(model: PropertyModel, lattices: list[StrutLattice]) -> Tensor:
    return model(batch_of(lattices)).detach()


def test_all_lattice_networks_are_here() -> None:
    modules = ("lattice_network", "crystal_graph", "frame_averaged")
    assert {name for name, x in PROPERTIES.items() if any(module in x.place for module in modules)} == set(SMALL)


@every
def test_choice_of_cell_and_origin(name: str) -> None:
    model, lattices = model_of(name), cells()
    plain = predict(model, lattices)
    assert bool((plain.flatten(1).norm(dim=1) > 1e-6).all())
    skewed = [[1, 1, 0], [0, 1, 0], [0, -2, 1]]
    for change in (
        lambda x: x.translate([0.31, -0.2, 0.77]),
        lambda x: x.translate([0.31, -0.2, 0.77]).wrap(),
        lambda x: x.change_cell(skewed),
        lambda x: x.tile((2, 1, 3)),
        lambda x: x.move_nodes_by_cells(torch.randint(-2, 3, (x.num_nodes, 3))),
    ):
        assert relative(predict(model, [change(x) for x in lattices]), plain) < EXACT


@every
def test_order_of_nodes_and_struts(name: str) -> None:
    model, lattices = model_of(name), cells()
    generator = torch.Generator().manual_seed(0)

    def shuffled(x: StrutLattice) -> StrutLattice:
        nodes, edges = (torch.randperm(n, generator=generator) for n in (x.num_nodes, x.num_edges))
        place = nodes.argsort()
        forward = torch.rand(x.num_edges, generator=generator) < 0.5
        index = place[x.edge_index]
        index = torch.where(forward, index, index.flip(0))[:, edges]
        shift = torch.where(forward[:, None], x.edge_shift, -x.edge_shift)[edges]
        return StrutLattice(x.cell, x.positions[nodes], index, shift, x.radius[edges])

    assert relative(predict(model, [shuffled(x) for x in lattices]), predict(model, lattices)) < EXACT


def test_an_edge_without_its_shift_would_break_the_origin() -> None:
    model, lattices = model_of("lattice"), cells()
    moved = batch_of([x.translate([0.31, -0.2, 0.77]).wrap() for x in lattices])
    blind = [batch.replace(edge_shift=torch.zeros_like(batch.edge_shift)) for batch in (batch_of(lattices), moved)]
    assert relative(model(blind[0]).detach(), model(blind[1]).detach()) > 1e-3


@every
def test_batch_is_its_structures(name: str) -> None:
    model, lattices = model_of(name), cells()
    alone = torch.cat([predict(model, [x]) for x in lattices])
    assert relative(predict(model, lattices), alone) < EXACT


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *(("lattice", target) for target in sorted(TARGETS)),
        ("frame-averaged-cgc", "elasticity"),
        ("frame-averaged-cgc", "piezo-optic"),
        ("frame-averaged-nnconv", "elasticity"),
    ],
)
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_tensors_turn_with_the_lattice(name: str, target: str, improper: bool) -> None:
    model, data = model_of(name, target=target), batch_of(cells())
    q = random_rotations(len(data), generator=torch.Generator().manual_seed(4)) * (-1.0 if improper else 1.0)
    found, expected = model(turned(data, q)).detach(), model.target.rotate(model(data).detach(), q)
    assert float(expected.flatten(1).norm(dim=1).max()) > 1e-6
    assert float((found - expected).norm()) < 1e-10 * float(expected.norm())


@pytest.mark.parametrize("positivity", sorted(POSITIVITY))
def test_stiffness_is_covariant_and_positive(positivity: str) -> None:
    model, lattices = model_of("lattice", positivity=positivity), cells()
    plain = predict(model, lattices)
    q = random_rotations(1, generator=torch.Generator().manual_seed(5))[0]
    for turn in (q, -q):
        moved = predict(model, [x.rotate(turn) for x in lattices])
        assert relative(moved, rotate_mandel(plain, turn)) < 1e-10
    assert relative(plain, plain.mT) < EXACT
    lowest = torch.linalg.eigvalsh(plain)
    if positivity == "none":
        assert float(lowest.min()) < 0
    else:
        assert bool((lowest[:, 0] >= -1e-6 * lowest[:, -1]).all())


def test_single_precision_is_equivariant_to_its_rounding() -> None:
    model, data = model_of("lattice").float(), batch_of(cells()).to(torch.float32)
    q = random_rotations(len(data), generator=torch.Generator().manual_seed(4), reflections=True, dtype=torch.float32)
    assert relative(model(turned(data, q)).detach(), model.target.rotate(model(data).detach(), q)) < 1e-5


@pytest.mark.parametrize("name", ["cgc", "cgc+", "nnconv"])
def test_baselines_do_not_turn(name: str) -> None:
    model, data = model_of(name), batch_of(cells())
    q = random_rotations(len(data), generator=torch.Generator().manual_seed(4))
    assert relative(model(turned(data, q)).detach(), model.target.rotate(model(data).detach(), q)) > 1e-3

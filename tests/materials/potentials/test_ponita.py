"""Ponita on atoms: forces of both kinds under rotations, exact for the grid's own and by the number of orientations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.potentials import Potential
from polyad.materials.potentials.ponita import PRESETS, PonitaPotential
from polyad.symmetry.position_orientation import icosahedral_rotations
from polyad.tensors.rotations import random_rotations
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule, turned


def network(**options: Any) -> PonitaPotential:
    chosen = {"kinds": 3, "cutoff": CUTOFF, "channels": 8, "layers": 2, "basis": 16, **options}
    return PonitaPotential(**chosen).double().eval()


def potential(**options: Any) -> Potential:
    return Potential(network(**options), species=[1, 6, 8], cutoff=CUTOFF, scale=20.0).eval()


def test_both_kinds_of_forces_turn_with_the_icosahedron() -> None:
    data, turns = molecule(), icosahedral_rotations()
    model, direct = potential(orientations="icosahedron"), network(orientations="icosahedron", output="vector")
    one, vectors = model(data), direct(graph_of(data)).detach()
    assert float(one["forces"].norm()) > 1e-2
    assert float(vectors.norm()) > 1e-3
    for q in (*turns[1::12], *-turns[2::12]):
        two = model(turned(data, q))
        assert float((one["energy"] - two["energy"]).abs()) < 1e-10
        assert float((one["forces"] @ q.T - two["forces"]).abs().max()) < 1e-10
        assert float((vectors @ q.T - direct(graph_of(turned(data, q)))).detach().abs().max()) < 1e-10


def test_error_under_any_rotation_falls_with_the_orientations() -> None:
    data, turns = molecule(atoms=4), random_rotations(20, generator=torch.Generator().manual_seed(0))
    table = []
    for points in (6, 20, 50, 100):
        options = {"orientations": points, "channels": 4, "layers": 1}
        model, direct = potential(**options), network(output="vector", **options)
        one, vectors, errors = model(data), direct(graph_of(data)).detach(), []
        for q in turns:
            two = model(turned(data, q))
            again = direct(graph_of(turned(data, q))).detach()
            errors.append([
                (one["energy"] - two["energy"]).abs().sum() / one["energy"].abs().sum(),
                (one["forces"] @ q.T - two["forces"]).norm() / one["forces"].norm(),
                (vectors @ q.T - again).norm() / vectors.norm(),
            ])  # fmt: skip
        table.append(torch.tensor(errors).mean(0))
    found = torch.stack(table)
    assert bool((found[1:] < found[:-1]).all()), found
    assert bool((found[-1] < found[0] / 50).all()), found
    assert bool((found[0] > 1e-4).all()), found


def test_vectors_learn_forces() -> None:
    """Ninety steps on one molecule: the vector readout comes close to a spring's forces."""
    graph = graph_of(molecule(atoms=4))
    unit = graph.vectors / graph.distances()[:, None]
    target = graph.sum_messages((1.5 - graph.distances())[:, None] * unit)
    model = network(output="vector").train()
    optimizer, errors = torch.optim.Adam(model.parameters(), lr=1e-2), []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(90):
            optimizer.zero_grad()
            error = (model(graph) - target).square().mean() / target.square().mean()
            error.backward()
            optimizer.step()
            errors.append(float(error.detach()))
    assert errors[-1] < 0.02 < 0.5 < errors[0]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_options(name: str) -> None:
    chosen = PRESETS[name]
    model = PonitaPotential(kinds=4, cutoff=6.0, **chosen)
    trunk = model.network.trunk
    assert len(trunk.blocks) == chosen["layers"]
    assert trunk.blocks[0].norm.normalized_shape == (chosen["channels"],)
    assert len(model.network.grid) == chosen["orientations"]


def test_bad_options_are_refused() -> None:
    for options in ({"orientations": "cube"}, {"output": "tensor"}, {"channels": 0}):
        with pytest.raises(InputError):
            network(**options)

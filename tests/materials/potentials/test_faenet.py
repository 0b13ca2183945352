"""FAENet against explicit loops, the facts of elements, and what its frames keep in energies and forces."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.learning.potentials import new_potential
from polyad.materials.potentials import Potential
from polyad.materials.potentials.faenet import FAENet, FrameAveragedFAENet, GraphNorm, period_and_group
from polyad.materials.structures import Structures
from polyad.symmetry.frames import DegenerateFrameWarning, frames_3d, turned
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule, rotation
from tests.materials.potentials.test_tensornet import turned as moved

SMALL: dict[str, Any] = {"kinds": 3, "cutoff": CUTOFF, "channels": 6, "layers": 2, "radial": 5}


def network(**options: object) -> FAENet:
    net = FAENet(**{**SMALL, "species": [1, 6, 8], "force_head": True, **options}).double()
    generator = torch.Generator().manual_seed(5)
    for weight in net.parameters():  # gains and shifts that are not 1
        weight.data += 0.2 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return net


def graph() -> PointGraph:
    return graph_of(Structures.concatenate([molecule(), molecule(1, 4)]))


def by_loops(net: FAENet, graph: PointGraph, tags: Tensor | None) -> tuple[Tensor, Tensor]:
    """Atom by atom and edge by edge."""
    act, atoms = nn.functional.silu, []
    facts = {0: (1, 1), 1: (2, 14), 2: (2, 16)}  # hydrogen, carbon, oxygen
    for node, kind in enumerate(graph.kind.tolist()):
        period, group = facts[kind]
        parts = [net.element.weight[kind], net.period.weight[period], net.group.weight[group], net.properties[kind]]
        if tags is not None:
            parts.append(net.tag.weight[tags[node]])
        atoms.append(net.atom(torch.cat(parts)))
    edges = []
    centres = [k * CUTOFF / (net.radial - 1) for k in range(net.radial)]
    for r in graph.vectors:
        d = float(r.norm())
        basis = torch.tensor([math.exp(-0.5 * ((d - c) / (centres[1] - centres[0])) ** 2) for c in centres]).double()
        edge = act(torch.cat([net.along(r), net.length(basis)]))
        edges.append((edge if net.edge is None else act(net.edge(edge)), 0.5 * (1 + math.cos(math.pi * d / CUTOFF))))
    state = torch.stack(atoms)
    for layer in net.interactions:
        message = torch.zeros(len(atoms), layer.up.in_features, dtype=torch.float64)
        joined = torch.cat([layer.of_edge.weight, layer.of_target.weight, layer.of_source.weight], dim=1)
        for (source, target), (edge, window) in zip(graph.edge_index.T.tolist(), edges, strict=True):
            f = act(joined @ torch.cat([edge, state[target], state[source]]) + layer.of_edge.bias)
            message[target] += window * act(layer.down(state[source])) * f
        for number in range(graph.num_structures):
            own = graph.structure == number
            centred = message[own] - layer.norm.shift * message[own].mean(0)
            size = (centred.square().mean(0) + 1e-5).sqrt()
            message[own] = layer.norm.gain * centred / size + layer.norm.bias
        state = state + act(layer.up(act(message)))
    return (net.weight(state) * net.energy(state))[:, 0], net.force(state)


@pytest.mark.parametrize("options", [{}, {"edge_layers": 2, "filters": 10, "tags": 3}], ids=["plain", "more"])
def test_network_equals_loops(options: dict) -> None:
    net, data = network(**options), graph()
    tags = torch.arange(data.num_nodes) % 3 if options else None
    with torch.no_grad():
        found, (energy, forces) = net(data, tags), by_loops(net, data, tags)
    assert torch.allclose(found["energy"], energy, atol=1e-12)
    assert torch.allclose(found["forces"], forces, atol=1e-12)


def test_facts_of_elements_are_seen() -> None:
    rows = {1: (1, 1), 2: (1, 18), 3: (2, 1), 4: (2, 2), 5: (2, 13), 13: (3, 13), 18: (3, 18), 19: (4, 1), 21: (4, 3),
            26: (4, 8), 30: (4, 12), 31: (4, 13), 57: (6, 0), 70: (6, 0), 71: (6, 3), 79: (6, 11), 92: (7, 0),
            118: (7, 18)}  # fmt: skip
    assert {number: period_and_group(number) for number in rows} == rows
    one, other = network(), network(species=[1, 6, 16])
    assert torch.equal(one.properties[:2], other.properties[:2])
    assert torch.allclose(one.properties[2], torch.tensor([math.log(15.999) / 4, 0.66, 0.76, 0.0]).double(), atol=1e-3)
    assert float((one(graph())["energy"] - other(graph())["energy"]).detach().abs().max()) > 1e-3
    assert network(species=None)(graph())["energy"].shape == (11,)
    data = molecule().replace(targets={"energy": torch.ones(1, dtype=torch.float64)})
    potential, facts = new_potential(data, "faenet", options={"channels": 4})
    assert facts["options"]["species"] == [1, 6, 8]  # so that a file rebuilds the network
    assert potential.network.averaged.model.period is not None  # type: ignore[union-attr]


def test_norm_of_structures() -> None:
    values = torch.randn(11, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = GraphNorm(4).double()(graph(), values)
    for low, high in ((0, 7), (7, 11)):
        assert torch.allclose(found[low:high].mean(0), torch.zeros(4).double(), atol=1e-12)
        assert torch.allclose(found[low:high].std(0, correction=0), torch.ones(4).double(), atol=1e-4)


def test_average_is_the_mean_over_the_elements_of_the_frame() -> None:
    net, data = FrameAveragedFAENet(**SMALL).double().eval(), graph_of(molecule())
    frames = net.averaged.frames(data)
    assert len(frames) == 8
    inside = net.averaged.model(turned(data, frames))["energy"].detach().view(8, -1)
    assert float((inside - inside[0]).abs().max()) > 1e-3
    assert torch.allclose(net(data), inside.mean(0), atol=1e-13)
    assert len(frames_3d(data.positions, group="SE")) == 4


def test_group_and_plane_are_handed_on() -> None:
    data = molecule()
    mirrored = data.replace(positions=data.positions * torch.tensor([1.0, 1.0, -1.0]))
    gaps = {}
    for name, options in {"E": {}, "SE": {"group": "SE"}, "plane": {"plane": True}}.items():
        net = FrameAveragedFAENet(**SMALL, **options).double().eval()
        gaps[name] = float((net(graph_of(data)) - net(graph_of(mirrored))).abs().max())
    assert gaps["E"] < 1e-10 < 1e-4 < min(gaps["SE"], gaps["plane"])


@pytest.mark.parametrize("frames", ["stochastic", "full", "augmented"])
def test_residual_error_of_rotations(frames: str) -> None:
    """Zero over full frames, not zero with one draw, nor for the bare network."""
    net = FrameAveragedFAENet(**SMALL, frames=frames, inference="stochastic" if frames == "stochastic" else "full")
    potential = Potential(net, species=[1, 6, 8], cutoff=CUTOFF).double().eval()
    data, worst = molecule(), 0.0
    for seed in range(8):
        q = rotation(seed, improper=False)
        one, two = potential(data), potential(moved(data, q))
        worst = max(worst, float((one["forces"] @ q.T - two["forces"]).abs().max()))
    assert worst < 1e-10 if frames == "full" else worst > 1e-3


def kite(gap: float) -> Structures:
    """Four different atoms, two principal moments of the edges nearly equal."""
    positions = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    return Structures.from_arrays(positions * torch.tensor([1 + gap, 1.0, 1.0]), [1, 6, 8, 6])


def test_forces_near_equal_moments_are_derivatives_and_grow_as_one_over_the_gap() -> None:
    potential = Potential(FrameAveragedFAENet(**SMALL).double(), species=[1, 6, 8], cutoff=CUTOFF).double().eval()
    sizes = []
    for gap in (1e-2, 1e-3, 1e-4):
        data = kite(gap)
        forces = potential(data)["forces"]
        sizes.append(float(forces.abs().max()))
        step, move = 1e-4 * gap, torch.zeros(4, 3, dtype=torch.float64)
        move[2, 0] = step
        plus, minus = (potential(data.replace(positions=data.positions + s * move))["energy"] for s in (1, -1))
        slope = -float(plus - minus) / (2 * step)
        assert slope == pytest.approx(float(forces[2, 0]), rel=1e-3, abs=1e-5)
    assert sizes[2] / sizes[1] == pytest.approx(10, rel=0.2)
    with pytest.warns(DegenerateFrameWarning):
        assert bool(torch.isfinite(potential(kite(0.0))["forces"]).all())
    with pytest.warns(DegenerateFrameWarning):  # two atoms
        pair = potential(Structures.from_arrays(torch.eye(3).double()[:2], [1, 6]))
    assert bool(torch.isfinite(pair["forces"]).all())
    assert float(pair["forces"].abs().max()) > 1e-4


def test_bad_input_is_refused() -> None:
    for options in ({"layers": 0}, {"edge_layers": 3}, {"filters": 5}, {"species": [1, 6]}, {"species": [1, 6, 0]}):
        with pytest.raises(InputError):
            network(**options)
    with pytest.raises(InputError, match="none were given"):
        network(tags=2)(graph())
    with pytest.raises(InputError, match="some were given"):
        network()(graph(), torch.zeros(11, dtype=torch.long))
    with pytest.raises(InputError, match="'every' is none"):
        FrameAveragedFAENet(**SMALL, frames="every")

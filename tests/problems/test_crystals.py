"""Crystals have the energy that loops over pairs and angles give, no two atoms are close, and helices have a hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems.crystals import RADII, crystal_energy, family_crystals, helices, random_crystals, with_energy


def energy_by_loops(one: Structures) -> float:
    """The formula of the module, over all images within reach."""
    steps = torch.cartesian_prod(*[torch.arange(-5.0, 6, dtype=torch.float64)] * 3) @ one.cell[0]
    radii = [RADII[int(z)] for z in one.species]
    total = 0.0
    for i in range(one.num_nodes):
        around = []
        for j in range(one.num_nodes):
            vectors = one.positions[j] + steps - one.positions[i]
            lengths = vectors.norm(dim=1)
            for k in torch.nonzero((lengths > 1e-9) & (lengths < 6.0))[:, 0].tolist():
                r = float(lengths[k])
                s = (radii[i] + radii[j]) / 2 ** (1 / 6)
                total += 0.5 * 0.4 * ((s / r) ** 12 - (s / r) ** 6) * (1 - r * r / 36) ** 3
                if r < 4.0:
                    around.append((vectors[k] / r, (1 - r * r / 16) ** 3))
        for number, (u, w) in enumerate(around):
            for v, x in around[:number]:
                total += 0.2 * (float(u @ v) + 1 / 3) ** 2 * w * x
    return total / one.num_nodes


def test_energies_are_those_of_loops() -> None:
    for data in (random_crystals(2, seed=0, atoms=(2, 3)), family_crystals(4, seed=1)[3]):
        for b in range(len(data)):
            assert abs(float(data.targets["energy"][b]) - energy_by_loops(data[b])) < 1e-10


def test_energy_is_differentiable_and_extensive_per_atom() -> None:
    data = family_crystals(4, seed=2)[[3]]
    double = Structures.from_arrays(
        torch.cat([data.positions, data.positions + data.cell[0, 1]]),
        torch.cat([data.species, data.species]),
        cell=data.cell * torch.tensor([1.0, 2, 1])[:, None],
    )
    assert torch.allclose(with_energy(double).targets["energy"], data.targets["energy"], atol=1e-12)
    vectors = data.edge_vectors().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: crystal_energy(data, v), vectors, atol=1e-6, fast_mode=True)


def test_random_crystals_are_what_they_say() -> None:
    data = random_crystals(40, seed=3, atoms=(3, 6))
    assert len(data) == 40
    assert set(data.node_start.diff().tolist()) == {3, 4, 5, 6}
    assert set(data.species.tolist()) == set(RADII)
    source, target = data.edge_index
    radii = torch.tensor([RADII[int(z)] for z in data.species])
    assert float((data.edge_vectors().norm(dim=1) / (radii[source] + radii[target])).min()) > 0.93
    assert torch.equal(data.positions, random_crystals(40, seed=3, atoms=(3, 6)).positions)
    assert not torch.equal(data.targets["energy"], random_crystals(40, seed=4, atoms=(3, 6)).targets["energy"])


def test_families_are_their_prototypes() -> None:
    data = family_crystals(8, seed=0, shake=0.0, strain=0.0)
    assert data.names[:4] == ("rock salt", "caesium chloride", "zinc blende", "perovskite")
    near = {"rock salt": (6, 2.0), "caesium chloride": (8, 4 / math.sqrt(3)), "zinc blende": (4, 4 / math.sqrt(3))}
    for b, name in enumerate(data.names):
        one = data[b]
        edge = float(one.cell[0, 0, 0])
        lengths = one.edge_vectors().norm(dim=1)
        first = lengths[one.edge_index[0] == 0].sort().values
        if name == "perovskite":
            assert one.species.unique(return_counts=True)[1].sort().values.tolist() == [1, 1, 3]
            assert torch.allclose(first[:12], torch.tensor(edge / math.sqrt(2), dtype=torch.float64))
            continue
        neighbors, unit = near[name]
        bond = edge / unit  # the sum of two radii, up to a few per cent
        assert int((first < first[0] * 1.0001).sum()) == neighbors
        assert abs(float(first[0]) / bond - 1) < 1e-9
        kinds = one.species[one.edge_index[:, (one.edge_index[0] == 0) & (lengths < first[0] * 1.0001)]]
        assert bool((kinds[0] != kinds[1]).all())
    shaken = family_crystals(4, seed=0)
    assert bool((shaken.cell[0] != shaken.cell[0].diag().diag()).any())


def hand_of(one: Structures) -> float:
    """Sign of the volume that the three steps up the helix span, found from neighbouring images along its axis."""
    axis = one.cell[0, 0]
    height = (one.positions - one.positions[0]) @ axis / axis.square().sum()
    order = (height - height.floor()).argsort()
    first, second, third = (one.positions[k] - height[k].floor() * axis for k in order)
    steps = torch.stack([second - first, third - second, first + axis - third])
    return float(torch.linalg.det(steps).sign())


def test_helices_have_the_hand_they_say() -> None:
    data = helices(60, seed=0, noise=0.02, strain=0.02)
    found = torch.tensor([hand_of(data[b]) for b in range(len(data))], dtype=torch.float64)
    assert torch.equal(found, data.targets["hand"])
    assert 15 < int((found > 0).sum()) < 45


def test_hands_are_mirror_images() -> None:
    """Same distances, whatever the hand, where there is neither noise nor strain."""
    data = helices(8, seed=1, noise=0.0, strain=0.0).with_neighbors(5.0)
    lengths = [data[b].edge_vectors().norm(dim=1).sort().values for b in range(8)]
    assert set(data.targets["hand"].tolist()) == {1.0, -1.0}
    assert all(torch.allclose(x, lengths[0]) for x in lengths)
    volumes: Tensor = torch.linalg.det(data.cell)
    assert torch.equal(volumes.sign(), data.targets["hand"])


def test_bad_input_is_refused() -> None:
    for make, options in (
        (random_crystals, {"count": 0}),
        (random_crystals, {"count": 2, "atoms": (3, 2)}),
        (random_crystals, {"count": 2, "spacing": 0.5}),
        (family_crystals, {"count": 0}),
        (family_crystals, {"count": 1, "shake": -1.0}),
        (helices, {"count": 0}),
        (helices, {"count": 1, "noise": -1.0}),
    ):
        with pytest.raises(InputError, match=make.__name__):
            make(seed=0, **options)
    data = helices(1, seed=0)
    with pytest.raises(InputError, match="no radius"):
        with_energy(data.replace(species=data.species + 1))

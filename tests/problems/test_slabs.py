"""Slabs against ASE's, loops and finite differences; the metal rests at its spacing; frames differ by seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems.slabs import CUTOFF, METAL, SPACING, fcc111, slab_frames, slab_potential
from polyad.symmetry.radial import polynomial_window


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    frames = slab_frames(3, seed=1)
    last = frames.num_nodes - 1
    step = 1e-5
    for node, axis in ((0, 0), (7, 2), (int(frames.node_start[1]) - 1, 0), (last, 1), (last - 4, 2)):
        move = torch.zeros_like(frames.positions)
        move[node, axis] = step
        up, down = (
            slab_potential(frames.replace(positions=frames.positions + s * move)).targets["energy"].sum()
            for s in (1, -1)
        )
        force = float(frames.node_targets["forces"][node, axis])
        assert float(-(up - down) / (2 * step)) == pytest.approx(force, abs=1e-6)


def test_the_same_seed_gives_the_same_frames_of_every_kind() -> None:
    frames, again, other = (slab_frames(8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(frames.positions, again.positions)
    assert frames.positions.shape != other.positions.shape or not torch.equal(frames.positions, other.positions)
    assert set(frames.species.tolist()) == {6, 8, METAL}
    assert set(frames.node_start.diff().tolist()) == {13, 14}
    assert frames.periodic.tolist() == [[True, True, False]] * 8
    distance = torch.linalg.vector_norm(frames.edge_vectors(), dim=-1)
    assert float(distance.min()) > 0.8
    assert float(distance.max()) < CUTOFF
    assert float(frames.node_targets["forces"].abs().max()) < 40
    # what is adsorbed lies on the surface, and nowhere else
    adsorbed = frames.positions[frames.species != METAL][:, 2] - float(fcc111((2, 2, 3))[0][:, 2].max())
    assert float(adsorbed.min()) > -0.5
    assert float(adsorbed.max()) < 4


def test_slab_is_the_one_that_ase_builds() -> None:
    from ase.build import fcc111 as reference

    for size in ((2, 2, 3), (3, 2, 4)):
        places, cell = fcc111(size)
        atoms = reference("Cu", size=size, a=SPACING * math.sqrt(2), vacuum=7.5)
        assert torch.allclose(torch.from_numpy(atoms.cell.array), cell, atol=1e-9)
        ours = Structures.from_arrays(places, [METAL] * len(places), cell=cell[None])
        theirs = ours.replace(positions=torch.from_numpy(atoms.positions))
        found = []
        for slab in (ours, theirs):
            slab = slab.with_neighbors(6.0)
            found.append(torch.linalg.vector_norm(slab.edge_vectors(), dim=-1).sort().values)
        assert torch.allclose(*found, atol=1e-9)


def bulk(spacing: float) -> Structures:
    edge = math.sqrt(2) * spacing
    places = edge * torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    return Structures.from_arrays(places, [METAL] * 4, cell=edge * torch.eye(3, dtype=torch.float64)[None])


def test_metal_rests_at_its_spacing_with_the_energy_of_shells() -> None:
    low, rest, high = (float(slab_potential(bulk(SPACING + s)).targets["energy"][0]) / 4 for s in (-1e-3, 0, 1e-3))
    assert abs(high - low) / 2e-3 < 1e-4
    assert low + high - 2 * rest > 0
    # 12 neighbours at d and 6 at sqrt(2) d; cubic symmetry leaves no density but that of l = 0
    shells = [(12, SPACING), (6, math.sqrt(2) * SPACING)]
    window = [float(polynomial_window(torch.tensor(d, dtype=torch.float64), CUTOFF, power=12)) for _, d in shells]
    pair = sum(w * n * 0.0855 * math.exp(-10.96 * (d / 2.556 - 1)) for w, (n, d) in zip(window, shells, strict=True))
    density = sum(w * n * math.exp(-2 * 2.278 * (d / 2.556 - 1)) for w, (n, d) in zip(window, shells, strict=True))
    assert rest == pytest.approx(pair - 1.224 * math.sqrt(density), abs=1e-9)


def test_density_and_pairs_against_loops() -> None:
    positions = torch.tensor(
        [[0.0, 0, 0], [2.5, 0.1, 0], [0.3, 2.4, 0.2], [1.2, 1.0, 1.6], [1.3, 1.1, 2.8]], dtype=torch.float64
    )
    species = [METAL, METAL, METAL, 6, 8]
    found = float(slab_potential(Structures.from_arrays(positions, species)).targets["energy"][0])
    strength = {METAL: (1.0, 2.556), 6: (0.5, 1.87), 8: (0.4, 1.93)}
    morse = {(6, 8): (4.0, 2.0, 1.15), (6, METAL): (0.9, 1.8, 1.90), (8, METAL): (0.6, 1.8, 1.95)}
    legendre = [lambda c: 1, lambda c: c, lambda c: (3 * c**2 - 1) / 2, lambda c: (5 * c**3 - 3 * c) / 2]

    def window(d: float) -> float:
        return float(polynomial_window(torch.tensor(d, dtype=torch.float64), CUTOFF, power=12))

    def separation(i: int, j: int) -> Tensor:
        return positions[j] - positions[i]

    expected = 0.0
    for i in range(5):
        for j in range(i):
            d = float(separation(i, j).norm())
            if species[i] == species[j] == METAL:
                expected += window(d) * 2 * 0.0855 * math.exp(-10.96 * (d / 2.556 - 1))
            else:
                depth, a, rest = morse[tuple(sorted((species[i], species[j])))]
                expected += window(d) * depth * ((1 - math.exp(-a * (d - rest))) ** 2 - 1)
        if species[i] != METAL:
            continue
        square = 0.0
        for j in range(5):
            for k in range(5):
                if i in (j, k):
                    continue
                a, b = separation(i, j), separation(i, k)
                cosine = float(a @ b / (a.norm() * b.norm()))
                terms = []
                for other, vector in ((j, a), (k, b)):
                    s, r = strength[species[other]]
                    d = float(vector.norm())
                    terms.append(window(d) * s * math.exp(-2 * 2.278 * (d / r - 1)))
                angular = sum(t * p(cosine) for t, p in zip((1, 0.5, 0.5, 0.5), legendre, strict=True))
                square += terms[0] * terms[1] * angular
        expected -= 1.224 * square**0.25
    assert found == pytest.approx(expected, abs=1e-10)


def test_what_is_no_slab_is_refused() -> None:
    with pytest.raises(InputError, match="slab_frames"):
        slab_frames(0, seed=0)
    with pytest.raises(InputError, match="slab_frames"):
        slab_frames(1, seed=0, size=(1, 2, 3))
    with pytest.raises(InputError, match=r"\[1\]"):
        slab_potential(Structures.from_arrays(torch.eye(3, dtype=torch.float64), [1, 29, 29]))

"""Clusters: the energy by loops over pairs and triples, forces by finite differences, frames by seed."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems.clusters import CUTOFF, cluster_frames, cluster_potential
from polyad.symmetry.radial import polynomial_window


def test_energy_against_loops() -> None:
    frames = cluster_frames(2, seed=3, atoms=5)

    def window(d: float, reach: float, power: int) -> float:
        return float(polynomial_window(torch.tensor(d, dtype=torch.float64), reach, power=power))

    for number in range(2):
        x = frames[number].positions
        expected = 0.0
        for i in range(5):
            for j in range(i):
                d = float((x[i] - x[j]).norm())
                expected += ((1 - math.exp(-4 * (d - 1))) ** 2 - 1) * window(d, CUTOFF, 12)
            others = [j for j in range(5) if j != i]
            for n, j in enumerate(others):
                for k in others[:n]:
                    a, b = x[j] - x[i], x[k] - x[i]
                    near = window(float(a.norm()), 1.7, 6) * window(float(b.norm()), 1.7, 6)
                    expected += 2 * near * (float(a @ b / (a.norm() * b.norm())) + 1 / 3) ** 2
        assert float(frames.targets["energy"][number]) == pytest.approx(expected, abs=1e-10)


def test_a_pair_and_a_right_angle_have_their_energies() -> None:
    pair = torch.tensor([[0.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    bond = float(polynomial_window(torch.tensor(1.0, dtype=torch.float64), CUTOFF, power=12))
    found = cluster_potential(Structures.from_arrays(pair, [18, 18]))
    assert float(found.targets["energy"][0]) == pytest.approx(-bond)
    far = torch.tensor([[0.0, 0, 0], [1.69, 0, 0], [0, 0, 1.0]], dtype=torch.float64)
    assert float(cluster_potential(Structures.from_arrays(far, [18] * 3)).targets["energy"][0]) < -bond


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    frames = cluster_frames(3, seed=1)
    step = 1e-6
    for node, axis in ((0, 0), (11, 2), (23, 1)):
        move = torch.zeros_like(frames.positions)
        move[node, axis] = step
        up, down = (
            cluster_potential(frames.replace(positions=frames.positions + s * move)).targets["energy"].sum()
            for s in (1, -1)
        )
        assert float(-(up - down) / (2 * step)) == pytest.approx(
            float(frames.node_targets["forces"][node, axis]), abs=1e-5
        )


def test_frames_are_dense_and_differ_by_seed() -> None:
    frames, again, other = (cluster_frames(30, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(frames.positions, again.positions)
    assert not torch.equal(frames.positions, other.positions)
    distance = torch.linalg.vector_norm(frames.edge_vectors(), dim=-1)
    assert float(distance.min()) > 0.6
    assert float((distance < 1.7).sum()) / frames.num_nodes > 1.5
    with pytest.raises(InputError, match="cluster_frames"):
        cluster_frames(3, seed=0, atoms=1)

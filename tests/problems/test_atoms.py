"""The generators against ASE-free oracles: finite differences, loops, equipartition, published silicon."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems.atoms import molecule_energy, molecule_frames, silicon_frames, stillinger_weber_silicon


def test_frames_have_exact_forces_and_differ_by_seed() -> None:
    frames = molecule_frames(6, seed=0, replicas=3, spacing=5)
    again, other = (molecule_frames(6, seed=s, replicas=3, spacing=5) for s in (0, 1))
    assert torch.equal(frames.positions, again.positions)
    assert not torch.equal(frames.positions, other.positions)
    x = frames.positions.view(6, 9, 3)
    assert torch.allclose(molecule_energy(x), frames.targets["energy"])
    step = 1e-5
    for atom, axis in ((0, 0), (2, 1), (8, 2)):
        move = torch.zeros(9, 3, dtype=torch.float64)
        move[atom, axis] = step
        slope = (molecule_energy(x + move) - molecule_energy(x - move)) / (2 * step)
        assert torch.allclose(-slope, frames.node_targets["forces"].view(6, 9, 3)[:, atom, axis], atol=1e-6)


def test_energy_is_invariant_and_sees_chirality_of_nothing() -> None:
    x = molecule_frames(2, seed=0, replicas=2, spacing=1).positions.view(2, 9, 3)
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    assert torch.allclose(molecule_energy(x @ q.T + 1.0), molecule_energy(x), atol=1e-10)
    assert torch.allclose(molecule_energy(-x), molecule_energy(x), atol=1e-10)


@pytest.mark.slow
def test_frames_have_the_temperature_asked_for() -> None:
    """Configurational temperature (H. H. Rugh 1997): kT = <|grad U|^2> / <laplacian of U> in equilibrium."""
    frames = molecule_frames(300, seed=2, temperature=300.0, replicas=100, spacing=40)
    x = frames.positions.view(-1, 27)
    curvature = torch.func.vmap(torch.func.hessian(lambda y: molecule_energy(y.view(9, 3))))(x)
    laplacian = curvature.diagonal(dim1=1, dim2=2).sum(1).mean()
    square = frames.node_targets["forces"].view(-1, 27).square().sum(1).mean()
    assert float(square / laplacian) == pytest.approx(8.617333e-5 * 300.0, rel=0.05)


def test_silicon_has_its_published_energy_and_equilibrium() -> None:
    cell = 5.431 * torch.eye(3, dtype=torch.float64)
    fcc = torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    places = torch.cat([fcc, fcc + 0.25]) @ cell
    perfect = stillinger_weber_silicon(Structures.from_arrays(places, [14] * 8, cell=cell[None]))
    # -2 epsilon an atom at the lattice constant 5.431 (Stillinger and Weber 1985)
    assert float(perfect.targets["energy"][0]) / 8 == pytest.approx(-2 * 2.1683, abs=1e-4)
    assert float(perfect.node_targets["forces"].abs().max()) < 1e-10
    assert float(perfect.targets["stress"].abs().max()) < 1e-4


def test_silicon_against_loops() -> None:
    positions = 2.2 * torch.tensor([[0, 0, 0], [1, 0.1, 0], [0, 1, 0.2], [0.3, 0, 1]], dtype=torch.float64)
    cluster = stillinger_weber_silicon(Structures.from_arrays(positions, [14] * 4))
    sigma, epsilon, a = 2.0951, 2.1683, 1.8
    total = 0.0
    for i, j in combinations(range(4), 2):
        r = (positions[i] - positions[j]).norm() / sigma
        if r < a:
            total += epsilon * 7.049556277 * (0.6022245584 / r**4 - 1) * torch.exp(1 / (r - a))
    for i in range(4):
        for j, k in combinations([x for x in range(4) if x != i], 2):
            u, v = (positions[j] - positions[i]) / sigma, (positions[k] - positions[i]) / sigma
            if u.norm() < a and v.norm() < a:
                cosine = u @ v / (u.norm() * v.norm())
                decay = torch.exp(1.2 / (u.norm() - a) + 1.2 / (v.norm() - a))
                total += epsilon * 21.0 * (cosine + 1 / 3) ** 2 * decay
    assert float(cluster.targets["energy"][0]) == pytest.approx(float(total), rel=1e-12)
    assert "stress" not in cluster.targets


def test_silicon_frames_have_derivatives() -> None:
    frames = silicon_frames(2, seed=0)
    step, move = 1e-5, torch.zeros_like(frames.positions)
    move[3, 1] = step
    high, low = (
        stillinger_weber_silicon(frames.replace(positions=frames.positions + s * move)).targets["energy"][0]
        for s in (1, -1)
    )
    assert -float(high - low) / (2 * step) == pytest.approx(float(frames.node_targets["forces"][3, 1]), abs=1e-5)
    strain = torch.zeros(3, 3, dtype=torch.float64)
    strain[0, 2] = strain[2, 0] = step / 2
    changed = [
        frames.replace(
            positions=frames.positions @ (torch.eye(3) + s * strain), cell=frames.cell @ (torch.eye(3) + s * strain)
        )
        for s in (1, -1)
    ]
    high, low = (stillinger_weber_silicon(x).targets["energy"] for x in changed)
    slope = (high - low) / (2 * step) / torch.linalg.det(frames.cell)
    assert torch.allclose(slope, frames.targets["stress"][:, 0, 2], atol=1e-6)


def test_bad_input_is_refused() -> None:
    for build in (
        lambda: molecule_frames(0, seed=0),
        lambda: molecule_frames(1, seed=0, temperature=0.0),
        lambda: silicon_frames(0, seed=0),
        lambda: silicon_frames(1, seed=0, strain=-1.0),
    ):
        with pytest.raises(InputError):
            build()

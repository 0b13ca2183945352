"""Space groups of lattices: known orders, projections, and that stiffness has the symmetry."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import StrutLattice, effective_stiffness, named_cell
from polyad.materials.lattice.design import find_symmetry, symmetrise
from polyad.materials.lattice.design.variables import make_variables
from polyad.tensors.notation import rotation_mandel
from tests.materials.lattice.seeds import body_centred_with_cube, random_net, random_rotation


@pytest.mark.parametrize(
    ("lattice", "symbol", "order"),
    [
        (named_cell("simple_cubic"), "Pm-3m", 48),
        (named_cell("octet"), "Fm-3m", 48),
        (named_cell("octet", primitive=False), "Fm-3m", 192),
        (named_cell("diamond"), "Fd-3m", 48),
        (named_cell("kelvin"), "Im-3m", 48),
        (named_cell("srs"), "I4_132", 24),  # chiral: no mirror
        (named_cell("kagome_prism"), "P6/mmm", 24),
        (random_net(2), "P-1", 1),
    ],
)
def test_known_space_groups(lattice: StrutLattice, symbol: str, order: int) -> None:
    found = find_symmetry(lattice)
    assert found.order == order
    if order > 1:
        assert found.symbol == symbol
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(found.rotations @ found.rotations.mT, identity.expand(order, 3, 3))


def test_radii_break_the_symmetry() -> None:
    lattice = body_centred_with_cube()
    assert find_symmetry(lattice).order == 48
    along_z = torch.arange(lattice.num_edges) == 2
    thicker = lattice.replace(radius=torch.where(along_z, 1.2 * lattice.radius, lattice.radius))
    found = find_symmetry(thicker)
    assert (found.symbol, found.order) == ("P4/mmm", 16)
    assert len(find_symmetry(lattice).fixing(torch.tensor([0.0, 0.0, 1.0])).rotations) == 16


def test_the_graph_counts_not_the_points() -> None:
    # the same nodes and strut middles, but only one of the two diagonals of a square
    lattice = named_cell("simple_cubic")
    braced = StrutLattice(
        lattice.cell, lattice.positions, [[0] * 4, [0] * 4], [*torch.eye(3).tolist(), [1, 1, 0]], 0.03
    )
    found = find_symmetry(braced)
    assert found.order == 8  # mmm with axes along the diagonals


@pytest.mark.parametrize(
    "name", ["reentrant", "pyrite", "carbon_nitride", "snub_hexagonal_prism", "truncated_cuboctahedron"]
)
def test_stiffness_has_the_symmetry_wherever_the_variables_go(name: str) -> None:
    rotation = random_rotation(3)
    lattice = named_cell(name, primitive=False).rotate(rotation)
    symmetry = find_symmetry(lattice)
    variables = make_variables(
        symmetrise(lattice, symmetry), density=0.02, vary=("positions", "radius", "cell"), symmetry=symmetry
    )
    point = 0.05 * torch.randn(variables.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = variables.lattice(point)
    stiffness = effective_stiffness(changed)
    turn = rotation_mandel(symmetry.rotations)
    assert float((turn @ stiffness @ turn.mT - stiffness).abs().max()) < 1e-10 * float(stiffness.abs().max())
    assert find_symmetry(changed).order >= symmetry.order
    assert float((changed.positions - lattice.positions).abs().max()) > 1e-3


def test_free_variables_would_break_it() -> None:
    lattice = named_cell("diamond", primitive=False)
    assert make_variables(lattice, density=0.02, symmetry=find_symmetry(lattice)).count == 0
    variables = make_variables(lattice, density=0.02)
    point = 0.1 * torch.randn(variables.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert find_symmetry(variables.lattice(point)).order == 1


def test_projections_are_projections_onto_invariants() -> None:
    lattice = named_cell("kelvin")
    symmetry = find_symmetry(lattice)
    generator = torch.Generator().manual_seed(1)
    for project, shape in (
        (symmetry.project_displacements, (lattice.num_nodes, 3)),
        (symmetry.project_radii, (lattice.num_edges,)),
        (symmetry.project_deformations, (3, 3)),
    ):
        field, other = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        once = project(field)
        torch.testing.assert_close(project(once), once)
        torch.testing.assert_close((once * other).sum(), (field * project(other)).sum())  # orthogonal
    deformation = symmetry.project_deformations(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(deformation, deformation[0, 0] * torch.eye(3, dtype=torch.float64))  # cubic


def test_symmetrise_removes_noise() -> None:
    exact = named_cell("kelvin", density=0.02)
    generator = torch.Generator().manual_seed(0)
    noise = 1e-7 * torch.randn(exact.num_nodes, 3, generator=generator, dtype=torch.float64)
    skew = torch.eye(3, dtype=torch.float64) + 1e-7 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    noisy = exact.replace(
        cell=exact.cell @ skew, positions=exact.positions @ skew + noise, radius=exact.radius * (1 + noise[0, 0])
    )
    symmetry = find_symmetry(noisy)
    assert symmetry.order == 48
    clean = symmetrise(noisy, symmetry)
    assert float((clean.positions - noisy.positions).abs().max()) < 1e-6
    lengths = clean.edge_lengths
    assert float((lengths - lengths[0]).abs().max()) < 1e-14
    stiffness = effective_stiffness(clean)
    turn = rotation_mandel(symmetry.rotations)
    assert float((turn @ stiffness @ turn.mT - stiffness).abs().max()) < 1e-12 * float(stiffness.abs().max())


def test_bad_tolerance() -> None:
    with pytest.raises(InputError, match="tolerance"):
        find_symmetry(named_cell("bcc"), tolerance=0.5)

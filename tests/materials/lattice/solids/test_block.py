"""Finite blocks: counts in closed form, brute force on random nets, gradings and scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.block import Boundary, StrutBlock, in_millimetres, strut_block
from tests.materials.lattice.seeds import body_centred_with_cube, octet, random_net, simple_cubic


def segments(block: StrutBlock) -> set[tuple[float, ...]]:
    """Every strut as its rounded end points, whatever their order."""
    ends = torch.stack([block.starts, block.ends], dim=1).numpy().round(6) + 0.0
    return {tuple(sum(sorted(map(tuple, pair)), ())) for pair in ends.tolist()}


def brute_force(lattice: StrutLattice, counts: tuple[int, int, int], boundary: str) -> set[tuple[float, ...]]:
    """Sample every image of every strut at 1,001 points and look which of them lie in the closed box."""
    inverse = np.linalg.inv(lattice.cell.numpy())
    begin = lattice.positions.numpy()[lattice.edge_index[0]] @ inverse
    along = lattice.edge_vectors.numpy() @ inverse
    at = np.linspace(0, 1, 1001)[:, None]
    found = set()
    for e in range(lattice.num_edges):
        for shift in itertools.product(*(range(-3, n + 3) for n in counts)):
            points = begin[e] + shift + at * along[e]
            inside = ((points > -1e-6) & (points < np.array(counts) + 1e-6)).all(1)
            if (inside[0] and inside[-1]) if boundary == "drop" else inside.sum() > 1:
                pair = sorted(map(tuple, ((points[[0, -1]] @ lattice.cell.numpy()).round(6) + 0.0).tolist()))
                found.add(tuple(sum(pair, ())))
    return found


@pytest.mark.parametrize("boundary", ["keep", "drop"])
def test_simple_cubic_counts(boundary: Boundary) -> None:
    block = strut_block(simple_cubic(), (2, 3, 4), boundary=boundary)
    assert len(block.positions) == 3 * 4 * 5
    assert block.edge_index.shape[1] == 2 * 4 * 5 + 3 * 3 * 5 + 4 * 3 * 4
    assert block.num_pieces == 1
    assert block.cycle_rank == 133 - 60 + 1


@pytest.mark.parametrize("boundary", ["keep", "drop"])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_nets_against_brute_force(seed: int, boundary: Boundary) -> None:
    lattice = random_net(seed, nodes=4, extra=3).wrap()
    counts = (2, 1, 1)
    assert segments(strut_block(lattice, counts, boundary=boundary)) == brute_force(lattice, counts, boundary)


def test_octet_in_its_primitive_cell_against_brute_force() -> None:
    assert segments(strut_block(octet(), 2)) == brute_force(octet(), (2, 2, 2), "keep")


def test_trim_holds_what_keep_holds() -> None:
    lattice = random_net(5)
    assert segments(strut_block(lattice, 2, boundary="keep")) <= segments(strut_block(lattice, 2, boundary="trim"))


def test_struts_are_images_of_their_strut() -> None:
    lattice = body_centred_with_cube()
    block = strut_block(lattice, 2, cell_size_mm=6.0)
    vectors = (block.ends - block.starts) / 6.0
    torch.testing.assert_close(vectors, lattice.edge_vectors[block.strut])
    torch.testing.assert_close(block.radii, 6.0 * lattice.radius[block.strut][:, None].expand(-1, 2))
    assert block.edges.diagonal().tolist() == pytest.approx([12.0, 12.0, 12.0])


def test_scale_is_the_length_of_the_first_lattice_vector() -> None:
    lattice = in_millimetres(octet(0.03), 5.0)
    assert float(torch.linalg.vector_norm(lattice.cell[0])) == pytest.approx(5.0)
    assert float(lattice.radius[0]) == pytest.approx(0.03 * 5.0 / np.sqrt(0.5))
    assert float(lattice.relative_density) == pytest.approx(float(octet(0.03).relative_density))
    assert in_millimetres(lattice, None) is lattice


def test_origin_chooses_another_part_of_the_lattice() -> None:
    lattice = simple_cubic()
    shifted = strut_block(lattice, 2, origin=(0.5, 0.5, 0.5), boundary="drop")
    assert len(shifted.positions) == 8  # the nodes within (0.5, 2.5)^3
    assert shifted.positions.amin(0).tolist() == [0.5, 0.5, 0.5]
    cut = strut_block(lattice, 2, origin=(0.5, 0.5, 0.5), boundary="keep")
    assert cut.edge_index.shape[1] == 3 * 4 * 3  # every line of two nodes has three struts, two of them cut


def test_grading_is_taken_at_both_ends() -> None:
    block = strut_block(simple_cubic(0.05), (3, 1, 1), cell_size_mm=10.0, grading=lambda x: 1.0 + x[:, 0] / 30.0)
    factor = 1.0 + torch.stack([block.starts[:, 0], block.ends[:, 0]], dim=1) / 30.0
    torch.testing.assert_close(block.radii, 0.5 * factor)
    assert float(block.radii.max()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": 0}, "one positive integer or three"),
        ({"counts": (1, 2)}, "one positive integer or three"),
        ({"cell_size_mm": -1.0}, "must be a positive length"),
        ({"grading": lambda x: x[:, 0]}, "not a positive number"),
        ({"grading": lambda x: x}, "one factor for"),
        ({"boundary": "drop", "origin": (0.5, 0.5, 0.5)}, "no strut lies within 1 x 1 x 1"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        strut_block(simple_cubic(), **options)

"""Printability against brute force and hand-made cases; the table of materials is sane and sourced."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.printing import clearances, material, materials, printability
from tests.materials.lattice.seeds import body_centred, octet, random_net, simple_cubic


def test_angles_and_diameters() -> None:
    report = printability(simple_cubic(0.05), cell_size_mm=4.0, minimum_diameter_mm=0.4)
    assert report.diameter_mm.tolist() == pytest.approx([0.4] * 3)
    assert report.overhang_deg.tolist() == pytest.approx([90, 90, 0])
    assert report.overhanging.tolist() == [0, 1]
    assert report.too_thin.tolist() == []  # a limit met exactly is met
    assert not report.printable
    assert str(report) == "2 struts overhang (up to 90 degrees)"
    assert printability(simple_cubic(0.05), cell_size_mm=3.99, minimum_diameter_mm=0.4).too_thin.tolist() == [0, 1, 2]


def test_build_direction_turns_the_angles() -> None:
    angle = math.degrees(math.atan(math.sqrt(2)))  # bcc struts lean 54.7 degrees from z
    report = printability(body_centred(0.05), cell_size_mm=5.0, minimum_diameter_mm=0.1, maximum_overhang_deg=angle)
    assert report.overhang_deg.tolist() == pytest.approx([angle] * 4)
    assert report.printable
    assert str(report).startswith("printable: 4 struts, thinnest")
    upright = printability(
        body_centred(0.05), cell_size_mm=5.0, minimum_diameter_mm=0.1, build_direction=(2.0, 2.0, 2.0)
    )
    assert sorted(upright.overhang_deg.tolist()) == pytest.approx([0] + [math.degrees(math.acos(1 / 3))] * 3, abs=1e-6)


def test_gap_of_two_skew_struts() -> None:
    """Along x at z = 0 and along y at z = 0.7: through the next cell below the axes pass at 0.3."""
    lattice = StrutLattice(
        torch.eye(3), [[0, 0.5, 0], [0.5, 0, 0.7]], [[0, 1], [0, 1]], [[1, 0, 0], [0, 1, 0]], [0.1, 0.05]
    )
    pairs, gap = clearances(lattice, 0.16)
    assert pairs.tolist() == [[0, 1]]
    assert gap.tolist() == pytest.approx([0.15])
    _, gap = clearances(lattice, 0.45)  # and each beside the other's images, half a cell along
    assert gap.tolist() == pytest.approx([0.15] + [math.hypot(0.5, 0.3) - 0.15] * 4)
    report = printability(
        lattice, cell_size_mm=10.0, minimum_diameter_mm=1.0, maximum_overhang_deg=90.0, minimum_gap_mm=2.0
    )
    assert report.too_close.tolist() == [[0, 1]]
    assert report.gap_mm.tolist() == pytest.approx([1.5])
    assert "1 pairs too close (smallest gap 1.5 mm)" in str(report)
    thick = lattice.replace(radius=torch.tensor([0.2, 0.2], dtype=torch.float64))
    overlap = printability(thick, cell_size_mm=10.0, minimum_diameter_mm=1.0, maximum_overhang_deg=90.0)
    assert overlap.gap_mm.tolist() == pytest.approx([-1.0])


@pytest.mark.parametrize("seed", [0, 4])
def test_clearances_against_sampled_axes(seed: int) -> None:
    """Axes sampled at 61 points each, images -2 to 2; pairs that share a node image are left out."""
    lattice = random_net(seed, nodes=4, extra=2, radius=0.02)
    below, coarse = 0.25, 6e-3
    starts, vectors, radius = lattice.positions[lattice.edge_index[0]], lattice.edge_vectors, lattice.radius
    at = torch.linspace(0, 1, 61, dtype=torch.float64)[:, None]
    lines = starts[:, None] + at * vectors[:, None]
    shifts = list(itertools.product(range(-2, 3), repeat=3))
    moves = torch.tensor(shifts, dtype=torch.float64) @ lattice.cell
    (source, target), offset = lattice.edge_index.tolist(), lattice.edge_shift.tolist()
    ends = [{(source[e], 0, 0, 0), (target[e], *offset[e])} for e in range(lattice.num_edges)]
    expected = []
    for e, f in itertools.combinations_with_replacement(range(lattice.num_edges), 2):
        distance = torch.cdist(lines[e].expand(len(shifts), -1, -1), lines[f] + moves[:, None]).amin((1, 2))
        for shift, gap in zip(shifts, (distance - radius[e] - radius[f]).tolist(), strict=True):
            moved = {(n, a + shift[0], b + shift[1], c + shift[2]) for n, a, b, c in ends[f]}
            if gap < below and not ends[e] & moved and not (e == f and shift < (0, 0, 0)):
                expected.append((gap, e, f))
    pairs, gap = clearances(lattice, below + coarse)
    expected = [row for row in sorted(expected) if row[0] < below - coarse]
    found = gap < expected[-1][0] + 1e-12  # sampled gaps are never smaller than true ones
    assert len(expected) > 5
    assert {(e, f) for _, e, f in expected} <= set(map(tuple, pairs[found].tolist()))
    torch.testing.assert_close(
        gap[: len(expected)], torch.tensor([g for g, _, _ in expected], dtype=torch.float64), rtol=0, atol=coarse
    )


def test_octet_struts_that_meet_in_a_node_are_not_too_close() -> None:
    assert len(clearances(octet(0.05), 0.0)[0]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum_diameter_mm": -1.0}, "minimum_diameter_mm"),
        ({"minimum_gap_mm": math.nan}, "minimum_gap_mm"),
        ({"maximum_overhang_deg": 91.0}, "from 0 \\(upright\\) to 90"),
        ({"build_direction": (0.0, 0.0, 0.0)}, "not all zero"),
        ({"cell_size_mm": 0.0}, "positive length"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        printability(simple_cubic(), **({"cell_size_mm": 5.0, "minimum_diameter_mm": 0.3} | options))


def test_materials_are_sane_and_sourced() -> None:
    table = materials()
    assert {"Ti-6Al-4V", "316L", "AlSi10Mg", "PA12", "PLA", "TPU 95A"} <= set(table)
    for name, entry in table.items():
        assert entry.name == name
        assert entry.source
        assert 0.01 < entry.young_modulus_gpa < 250
        assert 0 < entry.poisson_ratio < 0.5
        assert 1e-4 < entry.yield_mpa * 1e-3 / entry.young_modulus_gpa < 0.5  # strain at yield
        assert 0.8 < entry.density_g_cm3 < 10
        assert 0.1 < entry.conductivity_w_mk < 400
        assert 5e-6 < entry.expansion_1_k < 2e-4
    metals, polymers = ("Ti-6Al-4V", "316L", "AlSi10Mg", "CoCrMo"), ("PA12", "PLA", "ABS", "PEEK")
    assert min(table[m].conductivity_w_mk for m in metals) > 10 * max(table[p].conductivity_w_mk for p in polymers)
    assert max(table[m].expansion_1_k for m in metals) < min(table[p].expansion_1_k for p in polymers)


def test_materials_by_name() -> None:
    assert material("ti6al4v") is material("Ti-6Al-4V")
    assert material("316l").shear_modulus_gpa == pytest.approx(193 / 2.56)
    with pytest.raises(InputError, match="unknown name 'unobtainium'; there are Ti-6Al-4V"):
        material("unobtainium")

"""The .lat catalogue: what is written reads back, and what is published is understood."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.io import load, save, scan
from polyad.materials.lattice.io.lat import read_lat, write_lat
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.records import LatticeRecord
from polyad.tensors.notation import mandel_to_voigt_compliance

BLOCK = """----- lattice_transition -----
Name: sc_p_0.0_1

Base name: sc
Imperfection level: 0.0
Normalized unit cell parameters (a,b,c,alpha,beta,gamma):
1, 1, 1, 90, 90, 90

Nodal positions:
0.5 0.5 0.5
1 0.5 0.5

Bar connectivities:
0 1

Fundamental edge adjacency
0 0
0 0
0 0

Fundamental tesselation vectors
1 0 0
0 1 0
0 0 1

"""


def read(text, densities=(0.01,)):
    return list(read_lat("test.lat", text, densities=densities))


def test_minimal_block():
    ((label, records),) = read(BLOCK, densities=(0.01, 0.02))
    assert label == "sc_p_0.0_1"
    assert [r.density for r in records] == [0.01, 0.02]
    assert records[0].base_name == "sc"
    assert records[0].metadata == {"imperfection_level": "0.0"}
    assert records[0].lattice.num_nodes == 1
    assert float(records[0].lattice.radius[0]) == pytest.approx(math.sqrt(0.01 / (3 * math.pi)))


def test_six_integer_vectors_are_differences():
    text = BLOCK.replace("1 0 0\n0 1 0", "-1 0 2 0 0 2\n3 0 0 3 1 0").replace("0 0 1\n\n", "0 0 0 0 0 0.99999\n\n")
    ((_, records),) = read(text)
    assert records[0].lattice.edge_shift.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_counting_from_one():
    text = BLOCK.replace("0 0\n0 0\n0 0\n\nFund", "1 1\n1 1\n1 1\n\nFund").replace("\n0 1\n\n", "\n1 2\n\n")
    ((_, records),) = read(text)
    assert records[0].lattice.num_nodes == 1


def with_table(notation, values):
    table = (
        f"Compliance tensors{notation} start (flattened upper triangular)\n-> at relative density 0.01:\n"
        + ",".join(map(repr, values))
        + f"\nCompliance tensors{notation} end\n\n"
    )
    return BLOCK.replace("Nodal positions", table + "Nodal positions")


def test_voigt_and_mandel_tables_mean_the_same():
    """A stiffness without any symmetry, written both ways, with Voigt's factors from the definition."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    stiffness = root @ root.T + torch.eye(6, dtype=torch.float64)
    compliance = torch.linalg.inv(stiffness)
    upper = torch.triu_indices(6, 6).unbind()
    ((_, mandel),) = read(with_table(" (Mandel)", compliance[upper].tolist()))
    assert torch.allclose(mandel[0].stiffness, stiffness, rtol=1e-9)
    factors = torch.tensor([1.0] * 3 + [2**0.5] * 3, dtype=torch.float64)
    voigt = compliance * factors[:, None] * factors  # engineering strain: S_44 = 4 S_2323 = 2 (Mandel's)
    assert torch.allclose(voigt, mandel_to_voigt_compliance(compliance))
    for notation in (" (Voigt)", ""):
        ((_, found),) = read(with_table(notation, voigt[upper].tolist()))
        assert torch.allclose(found[0].stiffness, stiffness, rtol=1e-9)


def test_singular_compliance_is_noted():
    ((_, records),) = read(with_table(" (Mandel)", [1.0] * 21))
    assert records[0].stiffness is None
    assert "singular" in records[0].notes[0]


CELLS = ["simple_cubic", "octet", "bcc_sc", "kelvin", "quartz", "hcp", "weaire_phelan", "ths"]


@pytest.mark.parametrize("name", CELLS)
def test_round_trip(name, tmp_path):
    """Geometry, radii and stiffness to the last digits, in the conventional cell (a along x)."""
    records = []
    for density in (0.002, 0.005):
        lattice = named_cell(name, primitive=False, density=density).translate(
            torch.tensor([0.11, 0.07, 0.29], dtype=torch.float64)
        )
        lattice = lattice.replace(radius=lattice.radius * torch.linspace(0.9, 1.1, lattice.num_edges).double()).wrap()
        stiffness = effective_stiffness(lattice) if name != "weaire_phelan" else None
        stiffness = None if stiffness is None else (stiffness + stiffness.T) / 2
        records.append(
            LatticeRecord(f"{name}_1", lattice, density, stiffness, base_name=name, metadata={"nodal_hash": "-42"})
        )
    save(records, tmp_path / "cells.lat")
    found = load(tmp_path / "cells.lat")
    assert [r.density for r in found] == [0.002, 0.005]
    for old, new in zip(records, found, strict=True):
        assert (old.name, old.base_name, old.metadata) == (new.name, new.base_name, new.metadata)
        assert torch.equal(old.lattice.edge_index, new.lattice.edge_index)
        assert torch.equal(old.lattice.edge_shift, new.lattice.edge_shift)
        assert torch.equal(old.lattice.radius, new.lattice.radius)
        assert torch.allclose(old.lattice.positions, new.lattice.positions, rtol=0, atol=1e-14)
        assert torch.allclose(old.lattice.cell, new.lattice.cell, rtol=0, atol=1e-14)
        if old.stiffness is not None:
            assert torch.allclose(old.stiffness, new.stiffness, rtol=1e-6, atol=1e-9 * float(old.stiffness.max()))


@pytest.mark.parametrize("name", CELLS[:6])
def test_written_window_reduces_to_the_fundamental_form(name, tmp_path):
    lattice = named_cell(name, primitive=False).translate(torch.tensor([0.1, 0.2, 0.3]).double())
    text = write_lat([LatticeRecord(name, lattice, 0.01)])
    start = text.index("Fundamental edge adjacency")
    radii = slice(text.index("Fundamental edge radii start"), text.index("Nodal positions"))
    ((_, found),) = read(text[:start].replace(text[radii], ""), densities=(0.01,))
    assert "reduced" in found[0].notes[0]
    first, second = effective_stiffness(lattice), effective_stiffness(found[0].lattice)
    assert float((first - second).norm() / first.norm()) < 1e-8


def test_turned_cells_are_refused_not_turned():
    with pytest.raises(InputError, match="rotate"):
        write_lat([LatticeRecord("a", named_cell("octet"), 0.01)])
    with pytest.raises(InputError, match="without blanks"):
        write_lat([LatticeRecord("a b", named_cell("simple_cubic"), 0.01)])


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("1, 1, 1, 90, 90, 90", "1, 1, 1, 90, 90", "expected 6 cell parameters, found 5", 7),
        ("1, 1, 1, 90, 90, 90", "1, 1, 1, 10, 10, 90", "no three vectors", 2),
        ("0.5 0.5 0.5", "0.5 x 0.5", "'x' is no number", 10),
        ("0.5 0.5 0.5", "0.5 nan 0.5", "not finite", 10),
        ("0 0\n0 0\n0 0\n", "0 0\n0 0\n0 7\n", "names node 7", 2),
        ("1 0 0\n", "1.4 0 0\n", "no whole number", 22),
        ("1 0 0\n0 1 0\n", "1 0 0\n", "3 fundamental edges but 2", 2),
        ("1 0 0\n0 1 0\n", "0 0 0\n0 1 0\n", "zero length", 2),
        ("Normalized unit cell parameters", "Nothing", "unit cell parameters", 2),
        (
            "Nodal positions",
            "Compliance tensors (Mandel) start\n-> at relative density 0.1:\n1,2\nx",
            "truncated|expected",
            None,
        ),
    ],
)
def test_errors_name_line_and_remedy(old, new, message, line):
    ((_, error),) = read(BLOCK.replace(old, new, 1))
    assert isinstance(error, FileFormatError)
    assert error.line == line or line is None
    with pytest.raises(FileFormatError, match=message):
        raise error
    assert "\n" not in str(error)


def test_wrong_number_of_radii():
    table = "Fundamental edge radii start\n-> at relative density 0.1:\n0.1,0.1\nFundamental edge radii end\n\n"
    ((_, error),) = read(BLOCK.replace("Nodal positions", table + "Nodal positions"))
    assert "2 edge radii for 3" in str(error)


def test_published_catalogue(shared_data):
    """500 cells: all read; densities are those of their radii to five digits; windows reduce to the published form."""
    records = load(shared_data / "lattice" / "jmps_val.lat")
    assert len(records) == 1499
    assert len({r.name for r in records}) == 500
    assert sum(r.stiffness is not None for r in records) == 1491
    off = [abs(float(r.lattice.relative_density) / r.density - 1) for r in records]
    assert max(off) < 1e-4
    tensors = torch.stack([r.stiffness for r in records if r.stiffness is not None])
    assert bool((torch.linalg.eigvalsh(tensors) > 0).all())


def test_published_windows_reduce_to_published_nets(shared_data):
    text = (shared_data / "lattice" / "jmps_val.lat").read_text().replace("-0.99999", "-1")
    blocks = text.split("----- lattice_transition -----")[1:101]
    for block in blocks:
        tail = block[block.index("Fundamental edge adjacency") :]
        radii = block[block.index("Fundamental edge radii start") : block.index("Nodal positions")]
        full = "----- lattice_transition -----" + block.replace(radii, "")
        ((_, published),), ((_, reduced),) = read(full), read(full.replace(tail, ""))
        a, b = published[0].lattice, reduced[0].lattice
        assert (a.num_nodes, a.num_edges) == (b.num_nodes, b.num_edges)
        assert np.allclose(a.edge_lengths.sort().values, b.edge_lengths.sort().values, atol=1e-4)


def test_catalogue_without_radii(shared_data):
    found = dict(scan(shared_data / "lattice" / "sample_cat.lat"))
    assert len(found) == 20
    cubic = next(records for name, records in found.items() if name.startswith("cub"))
    assert [r.density for r in cubic] == [0.001, 0.003, 0.01]
    for record in cubic:  # published: S11 = 3 / rho
        assert float(torch.linalg.inv(record.stiffness)[0, 0]) == pytest.approx(3 / record.density, rel=1e-4)
        assert float(record.lattice.relative_density) == pytest.approx(record.density)

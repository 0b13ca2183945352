"""Readers against ASE, against what a test wrote itself, and against real files where they are."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError
from polyad.materials.lattice import named_cell
from polyad.materials.lattice.io import save
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.structures import from_ase, read_structures

XYZ = """3
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 Energy=-1.5 note="a b" pbc="F F F"
O 0 0 0.1 1 2 3
H 0.9 0 0 4 5 6
H 0 0.9 0 7 8 9
2
Lattice="4 0 0 0 5 0 1 0 6" Properties=species:S:1:pos:R:3:forces:R:3 Energy=2.5 extra=3 pbc="T T F"
Na 0 0 0 0 0 0
Cl 2 2 2 -1 0 1
"""

ROCK_SALT = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""

TRICLINIC = """data_odd
_cell_length_a 3.1
_cell_length_b 4.2
_cell_length_c 5.3
_cell_angle_alpha 81
_cell_angle_beta 97
_cell_angle_gamma 104
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 Si 0.1 0.2 0.3
O1 O 0.7 0.1 0.9
"""


def test_extended_xyz(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    (tmp_path / "a.xyz").write_text(XYZ)
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(XYZ.encode()))
    found = read_structures(tmp_path / "a.xyz")
    assert found.node_start.tolist() == [0, 3, 5]
    assert found.species.tolist() == [8, 1, 1, 11, 17]
    assert found.periodic.tolist() == [[False] * 3, [True, True, False]]
    assert found.cell[1].tolist() == [[4, 0, 0], [0, 5, 0], [1, 0, 6]]
    assert found.targets["energy"].tolist() == [-1.5, 2.5]
    assert found.node_targets["forces"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0], [-1, 0, 1]]
    assert list(found.targets) == ["energy"]  # extra is missing in the first, note is no number
    packed = read_structures(tmp_path / "a.xyz.gz", limit=1, dtype=torch.float32)
    assert len(packed) == 1
    assert packed.positions.dtype == torch.float32


def test_results_of_a_calculator_are_targets() -> None:
    ase = pytest.importorskip("ase")
    from ase.calculators.lj import LennardJones

    atoms = ase.Atoms("Ar3", positions=[[0, 0, 0], [1.2, 0, 0], [0, 1.3, 0]], calculator=LennardJones())
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    found = from_ase(atoms)
    assert found.targets["energy"].tolist() == [energy]
    assert np.array_equal(found.node_targets["forces"].numpy(), forces)


@pytest.mark.parametrize("text", [ROCK_SALT, TRICLINIC], ids=["symmetry", "triclinic"])
def test_cif_is_what_ase_reads(tmp_path: Path, text: str) -> None:
    pytest.importorskip("ase")
    import ase.io

    (tmp_path / "a.cif").write_text(text)
    mine, other = read_structures(tmp_path / "a.cif"), ase.io.read(tmp_path / "a.cif")
    assert np.allclose(mine.cell[0], other.cell.array, atol=1e-9)

    def wrapped(species: list[int], positions: np.ndarray) -> list[tuple[float, ...]]:
        fractional = positions @ np.linalg.inv(other.cell.array)
        places = np.round(fractional - np.floor(fractional + 1e-6), 5) + 0.0
        return sorted((z, *place) for z, place in zip(species, places.tolist(), strict=True))

    assert wrapped(mine.species.tolist(), mine.positions.numpy()) == wrapped(other.numbers.tolist(), other.positions)


def test_poscar(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    text = "salt\n2.0\n1 0 0\n0 1 0\n0.5 0 1\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    (tmp_path / "POSCAR").write_text(text)
    found = read_structures(tmp_path / "POSCAR")
    assert found.cell[0].tolist() == [[2, 0, 0], [0, 2, 0], [1, 0, 2]]
    assert found.species.tolist() == [11, 17]
    assert torch.allclose(found.positions[1], torch.tensor([1.5, 1.0, 1.0], dtype=torch.float64))


def test_table_of_cif_strings(tmp_path: Path) -> None:
    rows = "".join(f'{k},"{text}",{gap},word\n' for k, (text, gap) in enumerate([(ROCK_SALT, 8.5), (TRICLINIC, 1.25)]))
    (tmp_path / "a.csv").write_text("id,cif,gap,formula\n" + rows)
    found = read_structures(tmp_path / "a.csv", targets=["gap"])
    assert found.node_start.tolist() == [0, 8, 10]
    assert {key: value.tolist() for key, value in found.targets.items()} == {"gap": [8.5, 1.25]}
    assert found.names == ("salt", "odd")


def test_lattices_come_with_struts_and_stiffness(tmp_path: Path) -> None:
    stiffness = torch.eye(6, dtype=torch.float64)
    records = [
        LatticeRecord("k", named_cell("kelvin", density=0.02), 0.02, stiffness, base_name="base"),
        LatticeRecord("o", named_cell("octet", density=0.03), 0.03, 2 * stiffness),
    ]
    save(records, tmp_path / "a.parquet")
    found = read_structures(tmp_path / "a.parquet")
    assert found.names == ("base", "o")
    assert found.targets["density"].tolist() == [0.02, 0.03]
    assert torch.equal(found.targets["stiffness"], torch.stack([stiffness, 2 * stiffness]))
    assert found.num_edges == 2 * sum(record.lattice.num_edges for record in records)
    assert len(read_structures(tmp_path / "a.parquet", limit=1)) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xyz", b"", "holds no structure"),
        ("a.xyz", b"three\n\nO 0 0 0\n", "a.xyz:1: expected the number of atoms"),
        ("a.xyz", b"999999\n\nO 0 0 0\n", "a.xyz:1: expected the number of atoms"),
        ("a.xyz", b"1\n\nXx 0 zero 0\n", "cannot be read as extxyz"),
        ("a.xyz.gz", b"\x1f\x8b\x08broken", "is no complete gzip file"),
        ("a.xyz", b"\xff\xfe\x00", "is no text"),
        ("a.cif", b"data_x\nloop_\n", "cannot be read as cif|holds no structure"),
        ("a.csv", b"x,y\n1,2\n", "has no column 'cif'; columns are x, y"),
        ("a.csv", b"cif,y\nnothing,2\n", "cannot be read as structure 1"),
        ("a.cif", TRICLINIC.replace(" Si ", " Qq ").encode(), "unknown element"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    pytest.importorskip("ase")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=words) as error:
        read_structures(tmp_path / name)
    assert "\n" not in str(error.value)


def test_missing_targets_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    (tmp_path / "a.xyz").write_text(XYZ)
    with pytest.raises(
        FileFormatError, match=re.escape("no target 'stress' in every structure; there are energy, forces")
    ):
        read_structures(tmp_path / "a.xyz", targets=["stress"])
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_structures(tmp_path / "absent.xyz")


def test_real_files(shared_data: Path) -> None:
    pytest.importorskip("ase")
    molecules = read_structures(shared_data / "molecules" / "rmd17_ethanol_test_01.xyz.gz", limit=50)
    assert len(molecules) == 50
    assert molecules.node_start.diff().unique().tolist() == [9]
    assert float(molecules.node_targets["forces"].reshape(50, 9, 3).sum(1).abs().max()) < 1e-2  # no net force
    crystals = read_structures(shared_data / "crystals" / "perov_5_val.csv.gz", limit=100)
    assert crystals.node_start.diff().unique().tolist() == [5]
    assert "heat_ref" in crystals.targets

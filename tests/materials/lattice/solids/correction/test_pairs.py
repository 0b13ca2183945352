"""Pairs: the same rows whatever is killed, and both tensors what the solvers say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.solids.correction.pairs import (
    PairRecipe,
    draw_pair,
    generate_pairs,
    needed_resolution,
    pairs_of,
    read_pairs,
)
from polyad.materials.lattice.solids.homogenized import solid_stiffness

RECIPE = PairRecipe(
    count=3, seed=5, kind="named", densities=(0.15, 0.3), across=2.0, most_voxels=1200, blend=2, tolerance=1e-2,
    shard_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    generate_pairs(folder, RECIPE)
    return folder


def test_interrupted_and_elsewhere_made_pairs_are_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """A shard that is missing, one cut short, a leftover of a killed run; then the same through an executor."""
    shards = sorted(made.glob("shard-*.parquet"))
    whole = [shard.read_bytes() for shard in shards]
    assert len(shards) == 2
    shards[1].write_bytes(whole[1][:100])
    (made / ".shard-00000-of-00002.abc.part.parquet").write_bytes(b"half")
    with ThreadPoolExecutor(1) as executor:
        generate_pairs(made, RECIPE, executor=executor)
    assert [shard.read_bytes() for shard in shards] == whole
    assert not list(made.glob(".shard*"))
    with pytest.raises(InputError, match="seed 5, asked for 6"):
        generate_pairs(made, replace(RECIPE, seed=6))


def test_both_tensors_are_those_of_the_solvers(made: Path) -> None:
    pairs = read_pairs(made)
    assert len(pairs) == 3
    assert bool((pairs.across >= 2).all())
    for row in (0, 2):
        record = pairs.table.record(row)
        torch.testing.assert_close(record.stiffness, effective_stiffness(record.lattice))
        assert float(record.lattice.relative_density) == pytest.approx(record.density)
        with pytest.warns(UserWarning, match="voxels across"):
            solid = solid_stiffness(record.lattice, resolution=int(pairs.resolution[row]), blend=2, tolerance=1e-2)
        torch.testing.assert_close(pairs.solid_stiffness[row], solid.stiffness, rtol=1e-9, atol=1e-12)
        assert float(pairs.solid_density[row]) == pytest.approx(solid.density)
        assert 0.15 <= record.density <= 0.3


def test_a_row_depends_on_its_number_alone(made: Path) -> None:
    record, solid = draw_pair(RECIPE, 2)
    other = read_pairs(made)
    assert other.table.name[2] == record.name
    torch.testing.assert_close(other.solid_stiffness[2], solid.stiffness, rtol=1e-12, atol=0)
    again = pairs_of([record], [solid])
    assert float(again.across[0]) == float(other.across[2])


def test_the_resolution_is_that_of_the_thinnest_strut() -> None:
    lattice = named_cell("simple_cubic", density=0.1)
    resolution = needed_resolution(lattice, 5.0, most_voxels=10**6)
    diameter = 2 * float(lattice.radius.min()) / float(lattice.cell[0].norm())
    assert resolution * diameter >= 5 > (resolution - 1) * diameter
    with pytest.raises(InputError, match="at most 1000"):
        needed_resolution(lattice, 5.0, most_voxels=1000)


def test_what_is_no_set_of_pairs_is_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no shards"):
        read_pairs(tmp_path)
    (tmp_path / "shard-00000-of-00002.parquet").write_bytes((made / "shard-00000-of-00002.parquet").read_bytes())
    with pytest.raises(FileFormatError, match="1 of 2 shards are missing"):
        read_pairs(tmp_path)
    (tmp_path / "shard.parquet").write_bytes(b"no parquet")
    with pytest.raises(FileFormatError, match="no pairs"):
        read_pairs(tmp_path / "shard.parquet")
    for wrong in ({"count": 0}, {"kind": "glass"}, {"densities": (0.3, 0.1)}, {"across": 0.1}, {"poisson_ratio": 0.5}):
        with pytest.raises(InputError):
            PairRecipe(**{"count": 1, "seed": 0, **wrong})
    with pytest.raises(InputError, match="none of 100 nets"):
        draw_pair(PairRecipe(count=1, seed=0, kind="named", densities=(0.4, 0.45), most_voxels=64), 0)

"""Data sets: the same rows by any route, whole files after any kill, exact round trips, relatives kept together."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polyad.errors import FileFormatError, InputError, NumericalWarning
from polyad.materials.lattice import StrutLattice, effective_stiffness, homogenize
from polyad.materials.lattice.dataset import (
    SCHEMA,
    SCHEMA_VERSION,
    LatticeTable,
    Recipe,
    generate,
    part_of,
    read_dataset,
    read_manifest,
    read_records,
    split,
    split_dataset,
    table_writer,
    write_records,
)
from polyad.materials.lattice.dataset.schema import schema_facts
from polyad.materials.lattice.io import load, save, scan
from polyad.materials.lattice.records import LatticeRecord
from tests.materials.lattice.nets import trial_nets
from tests.materials.lattice.seeds import octet, random_net

ROOT = Path(__file__).resolve().parents[3]
RECIPE = Recipe(
    count=100, seed=7, generator=trial_nets.GENERATOR, densities=(0.001, 0.05), levels=(0.0, 0.05), shard_size=17
)


def contents(folder: Path) -> dict[str, str]:
    """Hash of every visible file."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name[0] != "."}


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name[0] == "." and p.name != ".lock")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lattices") / "made"
    generate(folder, RECIPE)
    return folder


def rows_of(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(p) for p in sorted(folder.glob("*.parquet"))]).replace_schema_metadata()


# ---------------------------------------------------------------- what is generated


def test_rows_are_what_the_recipe_says(made: Path) -> None:
    """Density, perturbation, stiffness and seeds of every row, each recomputed from the lattice itself."""
    records = list(read_records(made))
    assert len(records) == 100
    thickest, factors = [0.0] * 25, [set() for _ in range(25)]
    for number, record in enumerate(records):
        net, variant = divmod(number, 4)
        lowered = record.density / RECIPE.densities[variant % 2]
        assert record.metadata["level"] == RECIPE.levels[variant // 2]
        assert record.name == f"{record.base_name}_7_{net}_p{record.metadata['level']:g}"
        assert record.base_name == f"base_{record.metadata['seed'] % 1000}"
        assert record.metadata["kind"] == "trial"
        assert record.source == "trial_nets"
        assert float(record.lattice.relative_density) == pytest.approx(record.density, rel=1e-12)
        expected = homogenize(record.lattice)
        assert torch.equal(record.stiffness, expected.stiffness)
        assert record.metadata["mechanisms"] == int(expected.mechanisms)
        base = trial_nets.draw(seed=record.metadata["seed"]).lattice
        moved = torch.linalg.vector_norm(record.lattice.positions - base.positions, dim=1)
        step = record.metadata["level"] * base.edge_lengths.mean()
        torch.testing.assert_close(moved, step.expand_as(moved), rtol=1e-9, atol=1e-15)
        thickest[net] = max(thickest[net], float((record.lattice.radius / record.lattice.edge_lengths).max()))
        factors[net].add(round(lowered, 12))
        ratio = record.lattice.radius / base.radius
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-12, atol=0)
    assert len({r.metadata["seed"] for r in records}) == 25
    for found, slenderness in zip(factors, thickest, strict=True):
        (factor,) = found  # one for all variants, 1 unless a strut is as thick as allowed
        assert 0.1 <= factor <= 1
        assert slenderness == pytest.approx(0.2, rel=1e-12) if factor < 1 else slenderness <= 0.2
    assert {factor < 1 for (factor,) in factors} == {True, False}
    perturbed = [r.lattice.positions.flatten().tolist() for r in records if r.metadata["level"] > 0]
    assert perturbed[0] == perturbed[1], "densities of one level share their geometry"


@pytest.mark.parametrize("shard_size", [1000, 40, 3])
def test_a_row_depends_on_seed_and_number_alone(made: Path, tmp_path: Path, shard_size: int) -> None:
    generate(tmp_path / "other", replace(RECIPE, count=37, shard_size=shard_size))
    assert rows_of(tmp_path / "other").equals(rows_of(made).slice(0, 37))


def test_another_seed_gives_other_rows(made: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", replace(RECIPE, seed=8, count=12))
    ours, theirs = rows_of(made).slice(0, 12), rows_of(tmp_path / "other")
    assert not set(ours.column("seed").to_pylist()) & set(theirs.column("seed").to_pylist())
    assert not set(map(str, ours.column("stiffness"))) & set(map(str, theirs.column("stiffness")))


def test_two_processes_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = generate(tmp_path / "two", RECIPE, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert contents(tmp_path / "two") == contents(made)
    assert [p.name for p in paths] == [RECIPE.shard_name(n) for n in range(6)]
    assert seen[0] == (0, 100)
    assert seen[-1] == (100, 100)
    assert len(seen) == 7


def test_two_dask_workers_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    from polyad.executors import dask_executor

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
            local_directory=tmp_path / "scratch",
        ) as cluster,
        dask_executor(cluster.scheduler_address) as (executor, threads),
    ):
        assert threads == 2
        generate(tmp_path / "dask", RECIPE, executor=executor, workers=threads)
    assert contents(tmp_path / "dask") == contents(made)


def test_mechanisms_are_counted_and_warned_of(tmp_path: Path) -> None:
    recipe = Recipe(count=2, seed=0, generator=f"{__name__}:two_chains", densities=(1e-4,), levels=(0.0,))
    sys.modules.setdefault(__name__, sys.modules[two_chains.__module__])
    with pytest.warns(NumericalWarning, match=r"shard-00000-of-00001.parquet: lattice 0 has 5 zero-energy motions"):
        generate(tmp_path / "out", recipe)
    (table,) = read_dataset(tmp_path / "out")
    assert table.mechanisms.tolist() == [5, 5]


def two_chains(*, seed: int) -> LatticeRecord:
    lattice = StrutLattice(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 1], [0, 1]], [[1, 0, 0], [0, 1, 0]], 0.01)
    return LatticeRecord(name="chains", lattice=lattice, density=6e-4)


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    """No more results than asked for wait to be written, whatever the number of shards."""
    from concurrent.futures import Executor, Future

    class Counting(Executor):
        started = 0
        most = 0

        def submit(self, function, /, *arguments, **options):  # type: ignore[no-untyped-def]
            Counting.started += 1
            Counting.most = max(Counting.most, Counting.started - written())
            future: Future = Future()
            future.set_result(function(*arguments, **options))
            return future

    folder = tmp_path / "out"

    def written() -> int:
        return len(list(folder.glob("shard-*.parquet")))

    generate(folder, replace(RECIPE, shard_size=4), workers=3, executor=Counting())
    assert Counting.started == 25
    assert Counting.most <= 6


# ---------------------------------------------------------------- interruptions


def prepared_processes() -> ForkServerContext:
    """Processes that start with everything imported, so that a kill meets work and not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.materials.lattice.nets.trial_nets"])
    return context


def survive_kills(folder: Path, recipe: Recipe, kills: int, expected: dict[str, str]) -> None:
    """Kill the work again and again at random moments, checking the folder, then let it end."""
    context = prepared_processes()
    chance = random.Random(kills)
    landed = 0
    for _ in range(kills):
        work = context.Process(target=trial_nets.run, args=(folder, recipe, 0.01))
        work.start()
        while not (folder / "manifest.json").exists() and work.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.12))
        landed += work.is_alive()
        os.kill(work.pid or 0, signal.SIGKILL)
        work.join()
        found = contents(folder)
        assert found.items() <= expected.items(), "a file under its final name is not whole"
        assert len(hidden(folder)) <= 1
    assert landed, "every run ended before it was killed: the test showed nothing"
    generate(folder, recipe)
    assert contents(folder) == expected
    assert hidden(folder) == []


def test_killed_and_continued(tmp_path: Path) -> None:
    recipe = replace(RECIPE, shard_size=4)
    generate(tmp_path / "whole", recipe)
    survive_kills(tmp_path / "killed", recipe, 5, contents(tmp_path / "whole"))


@pytest.mark.slow
def test_killed_twenty_times_and_continued(tmp_path: Path) -> None:
    recipe = replace(RECIPE, count=1000, shard_size=4)
    generate(tmp_path / "whole", recipe)
    survive_kills(tmp_path / "killed", recipe, 20, contents(tmp_path / "whole"))


def test_leftovers_go_and_damaged_shards_are_made_again(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    generate(folder, RECIPE)
    damaged = folder / RECIPE.shard_name(2)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (folder / RECIPE.shard_name(4)).unlink()
    (folder / f".{Path(RECIPE.shard_name(4)).stem}.0123456789ab.part.parquet").write_bytes(b"PAR1")
    (folder / "notes.txt").write_text("kept")
    kept = (folder / RECIPE.shard_name(0)).stat().st_mtime_ns
    generate(folder, RECIPE)
    assert {k: v for k, v in contents(folder).items() if k != "notes.txt"} == contents(made)
    assert (folder / RECIPE.shard_name(0)).stat().st_mtime_ns == kept, "a whole shard was written again"
    assert (folder / "notes.txt").read_text() == "kept"
    assert hidden(folder) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 8}, "with seed 7, asked for 8"),
        ({"count": 101}, "with count 100, asked for 101"),
        ({"densities": (0.001,)}, "with densities [0.001, 0.05], asked for [0.001]"),
        ({"poisson_ratio": 0.2}, "with poisson_ratio 0.3, asked for 0.2"),
    ],
)
def test_other_parameters_are_refused(made: Path, change: dict, words: str) -> None:
    before = contents(made)
    with pytest.raises(InputError) as caught:
        generate(made, replace(RECIPE, **change))
    assert words in str(caught.value)
    assert contents(made) == before


def test_the_folder_belongs_to_one_run(made: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(made / ".lock", "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing here"):
            generate(made, RECIPE)
    generate(made, RECIPE)


def test_full_disk_leaves_whole_files(made: Path, tmp_path: Path) -> None:
    """The manifest fits, a shard does not."""
    folder = tmp_path / "full"
    message = error_on_full_disk(generate, folder, RECIPE)
    assert "parquet: cannot be written" in message
    assert "free some space" in message
    assert list(contents(folder)) == ["manifest.json"]
    assert hidden(folder) == []
    generate(folder, RECIPE)
    assert contents(folder) == contents(made)


def error_on_full_disk(function: Callable, *arguments: object) -> str:
    """Text of the error that a function ends with where no file can grow beyond 8 kB."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    work = prepared_processes().Process(target=trial_nets.on_full_disk, args=(function, arguments, 8192, theirs))
    work.start()
    theirs.close()
    message = ours.recv()
    work.join()
    return message


def test_full_disk_leaves_no_part_of_a_split(made: Path, tmp_path: Path) -> None:
    message = error_on_full_disk(split_dataset, made, tmp_path / "parts")
    assert ".parquet: cannot be written" in message
    assert "free some space" in message
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"shard_size": -1}, "shard_size is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"densities": ()}, "densities are"),
        ({"densities": (math.nan,)}, "densities are"),
        ({"densities": (0.01, 0.01)}, "every number once"),
        ({"levels": (-0.1,)}, "levels are"),
        ({"slenderness": 0.6}, "slenderness is"),
        ({"young_modulus": 0.0}, "young_modulus is"),
        ({"poisson_ratio": 0.7}, "poisson_ratio is"),
    ],
)
def test_impossible_recipes_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(RECIPE, **options)


@pytest.mark.parametrize("generator", ["", "nowhere", "nowhere:f", "polyad:nothing", "polyad.errors"])
def test_unknown_generator_is_refused_before_anything_is_written(tmp_path: Path, generator: str) -> None:
    with pytest.raises(InputError, match="is unknown; choose one of all"):
        generate(tmp_path / "out", replace(RECIPE, generator=generator))
    assert not (tmp_path / "out").exists()


def test_nets_that_cannot_be_thickened_end_in_one_line(tmp_path: Path) -> None:
    recipe = replace(RECIPE, generator="tests.materials.lattice.nets.trial_nets:draw_impossible", count=3)
    with pytest.raises(InputError, match=r"net 0: none of 100 nets .* times the length of its strut"):
        generate(tmp_path / "out", recipe)


@pytest.mark.parametrize("place", ["file", "file/below", "no/such/folder"])
def test_folders_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        generate(tmp_path / place, RECIPE)


def test_shards_without_manifest_are_not_touched(made: Path, tmp_path: Path) -> None:
    stray = tmp_path / RECIPE.shard_name(0)
    stray.write_bytes(b"mine")
    with pytest.raises(InputError, match="holds shards without"):
        generate(tmp_path, RECIPE)
    assert stray.read_bytes() == b"mine"


# ---------------------------------------------------------------- reading and writing


def some_records() -> list[LatticeRecord]:
    ragged = [random_net(n, nodes=2 + n, extra=n + 1) for n in range(4)]
    records = [
        LatticeRecord(
            name=f"net {n}",
            lattice=lattice,
            density=0.01 * (n + 1),
            stiffness=effective_stiffness(lattice) if n % 2 else None,
            base_name=f"base {n // 2}",
            source="here",
            metadata={"kind": "test", "level": 0.1, "seed": 5, "mechanisms": 0, "ångström": [1, "two"]} if n else {},
            notes=("one", "two") if n == 2 else (),
        )
        for n, lattice in enumerate(ragged)
    ]
    return records


def assert_same(a: LatticeRecord, b: LatticeRecord) -> None:
    for field in ("cell", "positions", "edge_index", "edge_shift", "radius"):
        assert torch.equal(getattr(a.lattice, field), getattr(b.lattice, field)), field
    assert (a.stiffness is None) == (b.stiffness is None)
    if a.stiffness is not None and b.stiffness is not None:
        assert torch.equal(a.stiffness, b.stiffness)
    for field in ("name", "density", "base_name", "source", "metadata", "notes"):
        assert getattr(a, field) == getattr(b, field), field


def test_records_survive_the_round_trip_to_the_bit(tmp_path: Path) -> None:
    records = some_records()
    assert write_records(records, tmp_path / "a.parquet", origin="test") == 4
    for ours, theirs in zip(records, read_records(tmp_path / "a.parquet"), strict=True):
        assert_same(ours, theirs)
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.equals(SCHEMA)
    assert schema_facts(schema)["schema"] == SCHEMA_VERSION
    assert schema_facts(schema)["origin"] == "test"


def test_load_save_and_scan_know_parquet(made: Path, tmp_path: Path) -> None:
    save(some_records(), tmp_path / "a.parquet")
    for ours, theirs in zip(some_records(), load(tmp_path / "a.parquet"), strict=True):
        assert_same(ours, theirs)
    assert sum(len(found) for _, found in scan(made)) == 100
    for ours, theirs in zip(load(made), read_records(made), strict=True):
        assert_same(ours, theirs)


def test_batches_hold_the_same_lattices_as_records(made: Path) -> None:
    records = list(read_records(made))
    tables = list(read_dataset(made, columns=["stiffness", "base_name"], batch_size=8))
    assert all(len(table) <= 8 for table in tables)
    assert sum(map(len, tables)) == 100
    row = 0
    for table in tables:
        torch.testing.assert_close(effective_stiffness(table.lattices), table.stiffness, rtol=0, atol=0)
        for place in range(len(table)):
            assert torch.equal(table.lattices[place].radius, records[row].lattice.radius)
            assert table.base_name[place] == records[row].base_name
            row += 1


def test_columns_beyond_the_lattice_may_be_missing(tmp_path: Path) -> None:
    write_records(some_records(), tmp_path / "a.parquet")
    few = pq.read_table(tmp_path / "a.parquet").select(
        ["name", "radius", "edge_shift", "edge_index", "positions", "cell", "density"]
    )
    pq.write_table(few, tmp_path / "few.parquet")
    for ours, theirs in zip(some_records(), read_records(tmp_path / "few.parquet"), strict=True):
        assert torch.equal(ours.lattice.positions, theirs.lattice.positions)
        assert (theirs.stiffness, theirs.metadata, theirs.base_name) == (None, {}, ours.name)


def test_plain_lists_from_other_tools_are_read(tmp_path: Path) -> None:
    """Without Arrow's own schema a Parquet file knows no fixed-size lists and other integer widths."""
    lattice = octet()
    plain = pa.table(
        {
            "name": ["octet"],
            "density": [0.02],
            "cell": [lattice.cell.flatten().tolist()],
            "positions": [lattice.positions.tolist()],
            "edge_index": [lattice.edge_index.T.tolist()],
            "edge_shift": [lattice.edge_shift.tolist()],
            "radius": [lattice.radius.tolist()],
        }
    )
    pq.write_table(plain, tmp_path / "plain.parquet", store_schema=False)
    (record,) = read_records(tmp_path / "plain.parquet")
    assert torch.equal(effective_stiffness(record.lattice), effective_stiffness(lattice))


def test_incomplete_data_sets_are_not_read_as_whole(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    generate(folder, RECIPE)
    (folder / RECIPE.shard_name(3)).unlink()
    with pytest.raises(FileFormatError, match="1 of 6 shards are missing"):
        next(read_dataset(folder))
    assert read_manifest(folder)["seed"] == 7
    (folder / "manifest.json").write_text('{"format": []')
    with pytest.raises(FileFormatError, match="is no manifest"):
        next(read_dataset(folder))


def damaged(change: str, value: object) -> pa.Table:
    record = some_records()[1]
    table = {name: column for name, column in zip(SCHEMA.names, _columns([record]), strict=True)}
    table[change] = [value]
    return pa.table(table)


def _columns(records: list[LatticeRecord]) -> list[list]:
    from polyad.materials.lattice.dataset.arrow import to_arrow

    return [column.to_pylist() for column in to_arrow(LatticeTable.from_records(records)).columns]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("edge_index", [[0, 99]] * 8, "edge_index"),
        ("edge_index", [[0, -1]] * 8, "edge_index"),
        ("edge_index", [[0, 1]], "differ in length"),
        ("edge_index", [[0, 1, 2]] * 8, "edge_index"),
        ("edge_index", [[0, None]] * 8, "null"),
        ("edge_shift", [[0, 0, 2**30]] * 8, "edge_shift"),
        ("edge_shift", "0 0 0", "edge_shift"),
        ("positions", [], "at least one node"),
        ("positions", [[math.nan, 0.0, 0.0]] * 3, "NaN"),
        ("radius", [-1.0] * 8, "radius"),
        ("radius", [10.0] * 8, "beyond half its length"),
        ("cell", [1.0] * 9, "cell is singular"),
        ("cell", [1.0] * 8, "cell"),
        ("density", 0.0, "density"),
        ("density", None, "null"),
        ("stiffness", [math.inf] * 36, "stiffness"),
        ("stiffness", [float(n) for n in range(36)], "stiffness"),
        ("metadata", "[]", "metadata"),
        ("name", None, "null"),
    ],
)
def test_bad_numbers_in_a_file_are_one_line(tmp_path: Path, column: str, value: object, words: str) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(damaged(column, value), path)
    with pytest.raises(FileFormatError) as caught:
        list(read_records(path))
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_and_mutated_files_are_refused_or_read(tmp_path: Path) -> None:
    """Any damage ends in FileFormatError or in valid lattices: nothing else escapes, nothing crashes."""
    path = tmp_path / "a.parquet"
    write_records(some_records(), path)
    content = path.read_bytes()
    chance = random.Random(3)
    messages = []
    for trial in range(300):
        data = bytearray(content)
        if trial % 3 == 0:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            for record in read_records(path):
                assert bool(torch.isfinite(record.lattice.positions).all())
        except FileFormatError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"not parquet at all"])
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(FileFormatError, match="cannot be read as Parquet"):
        list(read_records(tmp_path / "a.parquet"))


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def records():  # type: ignore[no-untyped-def]
        yield some_records()[0]
        raise InputError("bad source")

    with pytest.raises(InputError, match="bad source"):
        write_records(records(), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no records"):
        write_records([], tmp_path / "a.parquet")
    with pytest.raises(InputError, match="metadata cannot be stored"):
        write_records([replace(some_records()[0], metadata={"x": math.nan})], tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_duckdb_reads_the_shards(made: Path) -> None:
    """The query of the guide, against the same numbers from the reader."""
    duckdb = pytest.importorskip("duckdb")
    text = (ROOT / "docs" / "lattice-data.md").read_text(encoding="utf-8")
    query = text.split("```sql\n")[1].split("```")[0].replace("lattices/", f"{made}/")
    found = duckdb.sql(query).fetchall()
    records = list(read_records(made))
    for kind, count, mean in found:
        mine = [r for r in records if r.metadata["kind"] == kind]
        assert count == len(mine)
        bulk = np.mean([float(r.stiffness[:3, :3].sum()) / 9 / r.density for r in mine if r.stiffness is not None])
        assert mean == pytest.approx(bulk, rel=1e-9)
    assert len(found) == 1


def test_the_guide_lists_every_column() -> None:
    from polyad.materials.lattice.dataset import schema

    text = (ROOT / "docs" / "lattice-data.md").read_text(encoding="utf-8")
    rows = [line for line in (schema.__doc__ or "").splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == SCHEMA.names
    assert all(row in text for row in rows)


# ---------------------------------------------------------------- splitting


def test_no_relative_of_a_test_net_is_trained_on(made: Path, tmp_path: Path) -> None:
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    counts = split_dataset(made, tmp_path / "parts", fractions=fractions, seed=1)
    parts = {name: list(read_records(tmp_path / "parts" / f"{name}.parquet")) for name in fractions}
    assert counts == {name: len(records) for name, records in parts.items()}
    assert sum(counts.values()) == 100
    bases = {name: {r.base_name for r in records} for name, records in parts.items()}
    assert not bases["train"] & bases["test"]
    assert not bases["train"] & bases["validation"]
    assert not bases["validation"] & bases["test"]
    assert all(part_of(base, fractions, seed=1) == name for name, members in bases.items() for base in members)
    originals = {(r.name, r.density): r for r in read_records(made)}
    for records in parts.values():
        for record in records:
            assert_same(record, originals.pop((record.name, record.density)))
    assert not originals


def test_shares_are_met_and_nets_never_move() -> None:
    names = [f"net_{n}" for n in range(20_000)]
    parts = split(names, {"train": 0.8, "validation": 0.15, "test": 0.05}, seed=3)
    for part, share in (("train", 0.8), ("validation", 0.15), ("test", 0.05)):
        assert len(parts[part]) / 20_000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))
    assert split(names[:10], {"train": 0.8, "validation": 0.15, "test": 0.05}, seed=3)["train"] == [
        n for n in names[:10] if n in set(parts["train"])
    ]
    assert split(names, seed=1) != split(names, seed=2)
    assert split(["a", "b", "a"], {"all": 1.0}) == {"all": ["a", "b"]}
    assert part_of("a", {"none": 0.0, "all": 1.0, "nothing": 0.0}) == "all"


@pytest.mark.parametrize(
    "fractions", [{}, {"a": 0.5}, {"a": 0.7, "b": 0.7}, {"a": -0.5, "b": 1.5}, {"a": math.nan}, {"../a": 1.0}]
)
def test_impossible_fractions_are_refused(fractions: dict) -> None:
    with pytest.raises(InputError, match="fractions are"):
        part_of("net", fractions)


def test_empty_part_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_records(some_records()[:1], tmp_path / "one.parquet")
    with pytest.raises(InputError, match="is empty"):
        split_dataset(tmp_path / "one.parquet", tmp_path / "parts")
    assert list((tmp_path / "parts").iterdir()) == []


def test_table_writer_appends(tmp_path: Path) -> None:
    table = LatticeTable.from_records(some_records())
    with table_writer(tmp_path / "a.parquet") as write:
        write(table)
        write(table)
    assert [r.name for r in read_records(tmp_path / "a.parquet")] == [r.name for r in some_records()] * 2


def test_manifest_is_readable_json(made: Path) -> None:
    content = json.loads((made / "manifest.json").read_text())
    assert content["parameters"]["generator"] == trial_nets.GENERATOR
    assert content["parameters"]["levels"] == [0.0, 0.05]

"""The main job from end to end, on what is built in: lattices, tensors, the proof, a design, and files to print.

`run_demo` leaves in a folder

    lattices.parquet   all named cells at four densities, and generated lattices, with their tensors
    report.html        one self-contained page
    design.json        the designs, with target and reached values
    design.stl, .3mf   the isotropic design as a watertight solid
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from polyad.errors import InputError
from polyad.files import atomic_write
from polyad.materials import elasticity
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.closed_forms import KnownValue, known_values
from polyad.materials.lattice.dataset import LatticeTable, Recipe, table_writer
from polyad.materials.lattice.dataset.variants import shard_table
from polyad.materials.lattice.design import Design, Isotropy, StiffnessAlong, design
from polyad.materials.lattice.homogenization import effective_stiffness
from polyad.materials.lattice.nets.named import list_cells, named_cell
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report import write_report
from polyad.materials.lattice.solids.solid import export
from polyad.materials.lattice.solving import solve_records

DENSITIES = (0.003, 0.01, 0.03, 0.05)
GENERATED = Recipe(count=2000, seed=1, densities=(0.003, 0.01), levels=(0.02, 0.05), shard_size=100)
DESIGN_DENSITY = 0.05
CELL_MM = 10.0
BLOCK = 2

Progress = Callable[[int, int], None]
Stage = Callable[[str, str], contextlib.AbstractContextManager[Progress]]
"""Called with what is done and the unit that is counted; gives the progress callback of that stage."""


@final
@dataclass(frozen=True)
class Goal:
    """One number that a design was asked for, at the start, as asked, and as reached."""

    design: str
    quantity: str
    start: float
    target: float
    reached: float


@final
@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found.

    Args:
        files: what was written.
        named: number of named cells.
        lattices: rows of lattices.parquet.
        known: closed forms beside computed values.
        rate: lattices solved a second, stiffness alone, all rows of lattices.parquet in one batch.
        mean_nodes, mean_struts: of these lattices.
        goals: of the designs.
        seconds: of each stage.
    """

    files: tuple[Path, ...]
    named: int
    lattices: int
    known: tuple[KnownValue, ...]
    rate: float
    mean_nodes: float
    mean_struts: float
    goals: tuple[Goal, ...]
    seconds: dict[str, float]


def run_demo(
    out_dir: str | os.PathLike[str],
    *,
    cells: Sequence[str] | None = None,
    generated: Recipe = GENERATED,
    block: int = BLOCK,
    stage: Stage | None = None,
) -> Demo:
    """Run the main job and write its files.

    Args:
        out_dir: made where absent (its parent must exist); files of an earlier run are replaced.
        cells: named cells to solve; all by default.
        generated: recipe of the generated lattices.
        block: cells along each direction of the printed design.
        stage: shows progress, see `Stage`.

    Raises:
        InputError: the folder cannot be made or written.
    """
    folder = Path(out_dir)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({(error.strerror or '').lower()}); give another --out") from error
    clock = _Clock(stage)
    with clock("Solving named cells", "lattices") as progress:
        named = _named_records(list_cells() if cells is None else cells, progress)
    with clock("Generating lattices", "lattices") as progress:
        tables = [LatticeTable.from_records(named), *_generated_tables(generated, progress)]
    with table_writer(folder / "lattices.parquet", recipe=generated.to_json()) as write:
        for table in tables:
            write(table)
    with clock("Checking closed forms", "values") as progress:
        known = known_values()
        progress(len(known), len(known))
    with clock("Measuring the solver", "runs") as progress:
        batch = _joined(tables)
        rate = _rate(batch, progress)
    with clock("Designing", "designs") as progress:
        designs = _designs(progress)
    goals = _goals(designs)
    with atomic_write(folder / "design.json") as handle:
        handle.write(_document(designs, goals).encode())
    with clock("Writing solids", "files") as progress:
        for number, suffix in enumerate((".stl", ".3mf")):
            lattice = designs["isotropic"].lattice
            export(lattice, folder / f"design{suffix}", counts=block, cell_size_mm=CELL_MM)
            progress(number + 1, 2)
    with clock("Writing the report", "lattices") as progress:
        write_report(
            folder / "report.html",
            [record for table in tables for record in table.records()],
            list(designs.values()),
            design_names=list(designs),
            title="Polyad: named cells, generated lattices and two designs",
            progress=progress,
        )
    names = ("lattices.parquet", "report.html", "design.json", "design.stl", "design.3mf")
    return Demo(
        files=tuple(folder / name for name in names),
        named=len(named) // len(DENSITIES),
        lattices=len(batch),
        known=tuple(known),
        rate=rate,
        mean_nodes=batch.positions.shape[0] / len(batch),
        mean_struts=batch.radius.shape[0] / len(batch),
        goals=goals,
        seconds=clock.seconds,
    )


class _Clock:
    """Enters stages and notes how long they take."""

    def __init__(self, stage: Stage | None) -> None:
        self.seconds: dict[str, float] = {}
        self._stage = stage

    @contextlib.contextmanager
    def __call__(self, description: str, unit: str) -> Iterator[Progress]:
        begin = time.perf_counter()
        shown = contextlib.nullcontext(_silent) if self._stage is None else self._stage(description, unit)
        with shown as progress:
            yield progress
        self.seconds[description] = time.perf_counter() - begin


def _silent(done: int, total: int) -> None:
    pass


def _named_records(cells: Sequence[str], progress: Progress) -> list[LatticeRecord]:
    """Named cells at all densities, solved."""
    records = [
        LatticeRecord(name=name, lattice=named_cell(name, density=density), density=density, metadata={"kind": "named"})
        for name in cells
        for density in DENSITIES
    ]
    solved = solve_records(records, progress=lambda done: progress(done, len(records)))
    return [replace(s.as_record(), source="polyad.materials.lattice.named_cell") for s in solved]


def _generated_tables(recipe: Recipe, progress: Progress) -> Iterator[LatticeTable]:
    for shard in range(recipe.num_shards):
        yield shard_table(recipe, shard)
        progress(recipe.shard_rows(shard).stop, recipe.count)


def _joined(tables: list[LatticeTable]) -> LatticeBatch:
    return LatticeBatch.from_lattices([table.lattices[n] for table in tables for n in range(len(table))])


def _rate(batch: LatticeBatch, progress: Progress) -> float:
    """Lattices a second, the best of five runs."""
    best = 0.0
    for run in range(5):
        begin = time.perf_counter()
        effective_stiffness(batch)
        best = max(best, len(batch) / (time.perf_counter() - begin))
        progress(run + 1, 5)
    return best


def _designs(progress: Progress) -> dict[str, Design]:
    """Cube edges and body diagonals made isotropic; the simple cubic cell made twice as stiff along z."""
    density = DESIGN_DENSITY
    start = named_cell("bcc_sc", density=density)
    isotropic = design(start, Isotropy(), density=density, vary=("radius",), symmetry=True)
    progress(1, 2)
    cube = named_cell("simple_cubic", density=density)
    stiff = design(cube, StiffnessAlong([0.0, 0.0, 1.0], goal=2 * _young_z(effective_stiffness(cube))), density=density)
    progress(2, 2)
    return {"isotropic": isotropic, "twice as stiff along z": stiff}


def _young_z(stiffness: torch.Tensor) -> float:
    return float(elasticity.young_modulus(stiffness, torch.tensor([0.0, 0.0, 1.0], dtype=stiffness.dtype)))


def _distance(stiffness: torch.Tensor) -> float:
    return float(elasticity.symmetry_distance(stiffness, "isotropic"))


def _goals(designs: dict[str, Design]) -> tuple[Goal, ...]:
    first, second = designs.values()
    rows = []
    for name, result in designs.items():
        rows.append(Goal(name, "relative density", DESIGN_DENSITY, DESIGN_DENSITY, result.density))
    before = first.history.stiffness[0], second.history.stiffness[0]
    rows.insert(1, Goal("isotropic", "anisotropy", _distance(before[0]), 0.0, _distance(first.stiffness)))
    least = _young_z(before[1])
    rows.append(Goal("twice as stiff along z", "E(z) / E_s", least, 2 * least, _young_z(second.stiffness)))
    return tuple(rows)


def _document(designs: dict[str, Design], goals: tuple[Goal, ...]) -> str:
    """The isotropic design as `Design.to_json` writes it, with the goals of both and the other design beside it."""
    first, second = designs.values()

    def values(field: str) -> dict[str, dict[str, Any]]:
        return {name: {g.quantity: getattr(g, field) for g in goals if g.design == name} for name in designs}

    row = json.loads(first.to_json())
    row |= {"start_values": values("start"), "target": values("target"), "reached": values("reached")}
    row["tolerance"] = 0.01
    row["also"] = json.loads(second.to_json())
    return json.dumps(row, allow_nan=False)

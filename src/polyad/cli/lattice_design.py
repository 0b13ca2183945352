"""`polyad lattice design`: from options to the library's design, and its files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import typer

from polyad.cli.lattice_inputs import one_lattice, read_objective, read_target
from polyad.cli.progress import progress_bar
from polyad.cli.tables import number, print_table
from polyad.errors import InputError
from polyad.files import atomic_write

if TYPE_CHECKING:
    from polyad.materials.lattice import StrutLattice
    from polyad.materials.lattice.design import Design

_PARTS = ("positions", "radius", "cell")


@final
@dataclass(frozen=True)
class Limits:
    """What the printer asks for, in millimetres and degrees; `cell_mm` is the length of the first lattice vector."""

    minimum_diameter: float | None
    overhang: float | None
    clearance: float | None
    cell_mm: float


@final
@dataclass(frozen=True)
class Outputs:
    """Files to write; None is not written."""

    design: Path
    stl: Path | None
    threemf: Path | None
    report: Path | None
    counts: tuple[int, int, int]


def run_design(
    start: str,
    objective: Sequence[str],
    target: str | None,
    *,
    density: float | None,
    vary: str,
    symmetry: bool,
    limits: Limits,
    search: dict[str, Any],
    workers: int,
    frame: dict[str, Any],
    outputs: Outputs,
) -> None:
    """Design, print target and reached values, write the files; see `polyad lattice design --help`.

    Raises:
        ConvergenceError: no design keeps all constraints; nothing is written.
    """
    from polyad.executors import local_executor
    from polyad.materials.lattice.design import design

    _check_suffixes(outputs)
    parts = [part.strip() for part in vary.split(",") if part.strip()]
    if not parts or not set(parts) <= set(_PARTS):
        raise InputError(f"--vary: {vary!r} must be some of {','.join(_PARTS)}")
    record = one_lattice(start, density=density)
    wish = read_objective(objective, None if target is None else read_target(target))
    constraints = _constraints(record.lattice, limits)
    steps, several = search["iterations"], search["starts"] > 1
    with ExitStack() as stack:
        if workers > 1 and several:
            search = search | {"executor": stack.enter_context(local_executor(min(workers, search["starts"])))}
        advance = stack.enter_context(progress_bar("Designing", unit="starts" if several else "steps"))
        if several:
            search = search | {"progress": advance}
        else:
            search = search | {"callback": lambda step: advance(step.iteration, steps)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "design is not feasible")  # said below, as the error
            result = design(
                record.lattice,
                wish,
                density=record.density if density is None else density,
                constraints=constraints,
                vary=parts,
                symmetry=symmetry,
                frame=frame,
                **search,
            )
    _print_design(result)
    result.require_feasible()
    if not several and _stood_still(result):
        typer.echo(
            "no step improved the start: a symmetric lattice is often a saddle; --starts 4 tries perturbed ones too"
        )
    _write(result, outputs, limits.cell_mm)


def _stood_still(result: Design) -> bool:
    """Whether the search ended where it began, short of an objective of zero."""
    first, last = float(result.history.objective[0]), float(result.objective)
    return abs(first - last) <= 1e-9 * abs(first) and abs(last) > 1e-9


def _check_suffixes(outputs: Outputs) -> None:
    for option, path, suffix in (
        ("--out", outputs.design, ".json"),
        ("--stl", outputs.stl, ".stl"),
        ("--3mf", outputs.threemf, ".3mf"),
        ("--report", outputs.report, ".html"),
    ):
        if path is not None and path.suffix.lower() != suffix:
            raise InputError(f"{option}: {path} must end in {suffix}")


def _constraints(lattice: StrutLattice, limits: Limits) -> list[Any]:
    from polyad.materials.lattice.design import Clearance, Overhang, RadiusBounds

    if not (math.isfinite(limits.cell_mm) and limits.cell_mm > 0):
        raise InputError(f"--cell-mm: {limits.cell_mm} must be a positive length")
    scale = limits.cell_mm / float(lattice.cell[0].norm())
    constraints: list[Any] = []
    if limits.minimum_diameter is not None:
        constraints.append(RadiusBounds(minimum=0.5 * limits.minimum_diameter / scale))
    if limits.overhang is not None:
        constraints.append(Overhang(limits.overhang))
    if limits.clearance is not None:
        constraints.append(Clearance(limits.clearance / scale))
    return constraints


def _print_design(result: Design) -> None:
    rows = [
        [name, number(result.start_quantities[name], 6), number(reached, 6)]
        for name, reached in result.quantities.items()
    ]
    rows.append(["relative density", number(result.density, 9), number(result.density, 9)])
    rows.append(["objective", number(float(result.history.objective[0]), 6), number(result.objective, 6)])
    print_table(["quantity (E_s = 1)", "start", "reached"], rows)
    kept = "all constraints kept" if result.feasible else "not feasible"
    typer.echo(f"{result.iterations} iterations ({result.reason}); {kept}")


def _write(result: Design, outputs: Outputs, cell_mm: float) -> None:
    from polyad.materials.lattice.report import write_report
    from polyad.materials.lattice.solids.solid import export

    with atomic_write(outputs.design) as handle:
        handle.write(result.to_json().encode())
    typer.echo(f"wrote {outputs.design}")
    for path in (outputs.stl, outputs.threemf):
        if path is not None:
            with progress_bar("Joining struts", unit="solids") as advance:
                export(result.lattice, path, counts=outputs.counts, cell_size_mm=cell_mm, progress=advance)
            typer.echo(f"wrote {path}")
    if outputs.report is not None:
        poisson = float(result.frame.get("poisson_ratio", 0.3))
        write_report(outputs.report, designs=[result], title=outputs.design.stem, poisson_ratio=poisson)
        typer.echo(f"wrote {outputs.report}")

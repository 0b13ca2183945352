"""`polyad lattice solve`: read, solve, print, compare, write."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyad.cli.failures import print_line
from polyad.cli.lattice_inputs import find_lattices
from polyad.cli.progress import format_rate, progress_bar
from polyad.cli.tables import number, percent, print_table
from polyad.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from polyad.materials.lattice import LatticeRecord
    from polyad.materials.lattice.solving import Comparison, SolvedRecord

_COLUMNS = ("lattice", "density", "E", "nu", "K", "G", "anisotropy", "mechanisms")
_QUANTILES = (0, 5, 50, 95, 100)
_SKIPPED_NAMED = 20
_OUTLIERS_NAMED = 40


def solve_files(
    files: Sequence[str],
    *,
    out: Path | None,
    compare: bool,
    densities: Sequence[float],
    solid: tuple[float, float, str],
    shear: bool,
    cutoff: float | None,
    threads: int,
    rows: int,
    resolution: int | None = None,
    corrected: Path | None = None,
) -> None:
    """Solve everything that can be read, and print what was found; see `polyad lattice solve --help`."""
    import time

    import numpy as np
    import torch

    from polyad.materials.lattice.dataset import LatticeTable, table_writer
    from polyad.materials.lattice.solving import solve_records

    if out is not None and out.suffix.lower() != ".parquet":
        raise InputError(f"--out: {out} must end in .parquet; other formats are written by 'polyad lattice convert'")
    if threads:
        torch.set_num_threads(threads)
    young, poisson, unit = solid
    first: list[list[str]] = []
    errors: list[tuple[str, float, float]] = []
    table: list[np.ndarray] = []
    bodies: list[SolvedRecord] = []
    begin = time.perf_counter()
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar("Solving", unit="lattices"))
        write: Any = None
        if out is not None:
            facts = {"young_modulus": young, "poisson_ratio": poisson, "shear": shear, "unit": unit}
            write = stack.enter_context(table_writer(out, solid=facts))
        records = readable_records(files, densities, cutoff)
        solved = solve_records(
            records,
            young_modulus=young,
            poisson_ratio=poisson,
            shear=shear,
            progress=lambda done: advance(done, 0),
        )
        for batch in _chunks(solved, 1024):
            values = _values(batch)
            names = [s.record.name for s in batch]
            if resolution is not None or corrected is not None:
                bodies += batch[: rows - len(bodies)]
            first += [_row(*pair) for pair in zip(names, values, strict=True)][: rows - len(first)]
            table.append(values)
            found = ((s.record.name, s.record.density, s.relative_error) for s in batch)
            errors += [(name, density, error) for name, density, error in found if error is not None]
            if write is not None:
                write(LatticeTable.from_records([s.as_record() for s in batch]))
    seconds = time.perf_counter() - begin
    every = np.concatenate(table)
    _print_results(first, every, unit)
    rate = format_rate(len(every) / seconds)
    typer.echo(f"{len(every):,} lattices in {seconds:.3g} s ({rate} a second, reading included)")
    if bodies and corrected is not None:
        from polyad.cli.lattice_corrected import print_corrected

        print_corrected(bodies, corrected, poisson=poisson, unit=unit)
        if len(every) > len(bodies):
            typer.echo(f"the first {len(bodies)} of {len(every):,} corrected; raise --rows for more")
    if bodies and resolution is not None:
        from polyad.cli.lattice_solid import print_solids

        print_solids(bodies, poisson=poisson, resolution=resolution, unit=unit)
        if len(every) > len(bodies):
            typer.echo(f"the first {len(bodies)} of {len(every):,} as solids; raise --rows for more")
    if compare:
        from polyad.materials.lattice.solving import Comparison

        if not errors:
            raise InputError("--compare: no lattice of these files has a published tensor")
        names_, densities_, errors_ = zip(*errors, strict=True)
        _print_comparison(Comparison(names_, np.array(densities_), np.array(errors_)))
    if out is not None:
        typer.echo(f"wrote {out}")


def readable_records(files: Sequence[str], densities: Sequence[float], cutoff: float | None) -> Iterator[LatticeRecord]:
    """Records of all files; what cannot be read is named with its reason.

    Raises:
        FileFormatError: nothing at all can be read.
    """
    skipped: list[FileFormatError] = []
    count = 0
    for _, found in find_lattices(files, densities, cutoff=cutoff):
        if isinstance(found, FileFormatError):
            skipped.append(found)
            if len(skipped) <= _SKIPPED_NAMED:
                print_line(f"skipped: {found}")
            continue
        count += len(found)
        yield from found
    if not count:
        raise skipped[0] if skipped else FileFormatError(files[0], "holds no lattice")
    if skipped:
        more = len(skipped) - _SKIPPED_NAMED
        print_line(
            f"skipped {len(skipped):,} lattices that cannot be read" + (f", {more:,} not named" if more > 0 else "")
        )


def _chunks(items: Iterable[SolvedRecord], size: int) -> Iterator[list[SolvedRecord]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _values(batch: Sequence[SolvedRecord]) -> Any:
    """(records, 7): density, E, nu, K, G, anisotropy, mechanisms."""
    import numpy as np
    import torch

    from polyad.materials.lattice.solving import isotropic_moduli

    moduli = isotropic_moduli(torch.stack([s.stiffness for s in batch]))
    density = np.array([s.record.density for s in batch])
    mechanisms = np.array([float(s.mechanisms) for s in batch])
    columns = (density, moduli.young, moduli.poisson, moduli.bulk, moduli.shear, moduli.anisotropy, mechanisms)
    return np.stack(columns, axis=1)


def _row(name: str, values: Any) -> list[str]:
    return [name, *(number(x) for x in values[:-1]), f"{values[-1]:.0f}"]


def _print_results(first: list[list[str]], every: Any, unit: str) -> None:
    """The first rows, and of long lists the spread of every column."""
    import numpy as np

    scale = unit or "E_s"
    columns = [f"{name} ({scale})" if name in ("E", "K", "G") else name for name in _COLUMNS]
    if first:
        print_table(columns, first, title="Isotropic (Hill) averages of the stiffness")
    if len(every) <= len(first):
        return
    typer.echo(f"... and {len(every) - len(first):,} more; all {len(every):,}:")
    rows = []
    for share in _QUANTILES:
        label = {0: "least", 50: "median", 100: "greatest"}.get(share, f"{share} %")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any number
            rows.append(_row(label, np.nanpercentile(every, share, axis=0)))
    print_table(columns, rows)
    singular, moving = int(np.isnan(every[:, 1]).sum()), int((every[:, -1] > 0).sum())
    if moving or singular:
        typer.echo(f"{moving:,} lattices have zero-energy motions, {singular:,} a direction without stiffness")


def _print_comparison(comparison: Comparison) -> None:
    errors = comparison.errors
    rows = [["median", percent(comparison.median)]]
    rows += [[f"{share} % are below", percent(comparison.percentile(share))] for share in (90, 99, 99.5)]
    rows += [["greatest", percent(float(errors.max()))]]
    rows += [[f"share below {limit:.3g} %", percent(comparison.share_below(limit / 100))] for limit in (0.1, 0.2, 1.0)]
    print_table(["difference from the published tensors", f"{len(errors):,} tensors"], rows)
    outliers = comparison.outliers(0.01)
    if outliers:
        shown = [[name, number(density, 6), percent(error)] for name, density, error in outliers[:_OUTLIERS_NAMED]]
        print_table(["beyond 1 %", "density", "difference"], shown)
        if len(outliers) > len(shown):
            typer.echo(f"... and {len(outliers) - len(shown):,} more")

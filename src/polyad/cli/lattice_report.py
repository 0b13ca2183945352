"""`polyad lattice report`: lattices and designs of some files on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from polyad.cli.lattice_inputs import read_design
from polyad.cli.lattice_solve import readable_records
from polyad.cli.progress import progress_bar
from polyad.errors import InputError


def report_files(
    files: Sequence[str],
    out: Path,
    densities: Sequence[float],
    solid: tuple[float, float, str],
    *,
    title: str,
    cutoff: float | None,
) -> None:
    """Write the page; see `polyad lattice report --help`."""
    from polyad.materials.lattice.report import write_report

    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out: {out} must end in .html")
    found = [(word, read_design(word)) for word in files]
    designs = [design for _, design in found if design is not None]
    others = [word for word, design in found if design is None]
    records = list(readable_records(others, densities, cutoff)) if others else []
    young, poisson, unit = solid
    with progress_bar("Analysing", unit="lattices") as advance:
        write_report(
            out,
            records,
            designs,
            title=title,
            young_modulus=young,
            poisson_ratio=poisson,
            unit=unit,
            progress=advance,
        )
    typer.echo(f"wrote {out}")

"""`polyad tensor FILES...`: compress dense arrays, and say which structure they have and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyad.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from polyad.tensors.formats import Compression

app = typer.Typer(add_completion=False)

_PICTURES = (".png", ".svg", ".pdf")


@app.command()
def tensor(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Real arrays: .npy, .npz, .parquet.")],
    tol: Annotated[float, typer.Option("--tol", metavar="T", help="Allowed relative error (Frobenius).")] = 1e-3,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="F", help="Try only this: tucker, train, tree or cp; repeatable."),
    ] = None,
    array: Annotated[
        str | None, typer.Option("--array", metavar="NAME", help="Which array of .npz files that hold several.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="S", min=0, help="Begin no further format after this time.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the CP starts.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.safetensors", help="Write the compressed tensor.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE.png", help="Draw spectra, and error against rank.")
    ] = None,
) -> None:
    """Compress arrays to a tolerance: which format, which ranks, how much smaller, and why."""
    _check_outputs(files, out, png)
    from polyad.cli.progress import progress_bar
    from polyad.tensors.formats import compress, read_array, save_format
    from polyad.tensors.formats.base import check_dense
    from polyad.tensors.formats.compress import FORMATS

    for file in files:
        dense = read_array(file, name=array)
        check_dense(dense, name=str(file))
        if dense.ndim < 2:
            raise FileFormatError(file, f"holds a vector of {len(dense)} entries; at least 2 modes are needed")
        with progress_bar(f"Compressing {file.name}", unit="formats") as advance:
            found = compress(dense, tol=tol, formats=formats or FORMATS, seconds=seconds, seed=seed, progress=advance)
        _print_compression(file, dense, found)
        if out is not None:
            facts = {"source": file.name, "relative_error": found.best.error, "tolerance": tol, "reason": found.reason}
            save_format(out, found.value, modes=found.best.modes, facts=facts)
            typer.echo(f"wrote {out} ({out.stat().st_size:,} bytes; the array was {file.stat().st_size:,})")
        if png is not None:
            _draw(png, file, dense, tol)


def _check_outputs(files: list[Path], out: Path | None, png: Path | None) -> None:
    """Before any work: outputs have suffixes that their content fits, and hold one array each."""
    for option, path, suffixes in (("--out", out, (".safetensors",)), ("--png", png, _PICTURES)):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise InputError(f"{option}: {path} has the suffix {path.suffix!r}; allowed are {', '.join(suffixes)}")
        if len(files) > 1:
            raise InputError(f"{option}: it holds one array, {len(files)} files were given; give one file at a time")


def _print_compression(file: Path, dense: Tensor, found: Compression) -> None:
    from rich.markup import escape

    from polyad.cli.tables import print_table

    best = found.best
    rows = [
        ["shape", _sizes(dense.shape)],
        ["format", type(best.value).__name__],
        ["ranks", _sizes(best.value.ranks)],
        ["numbers stored", f"{best.numbers:,} of {dense.numel():,}"],
        ["compression ratio", f"{found.ratio:.4g}"],
        ["relative error", f"{best.error:.3e}"],
    ]
    if best.modes != tuple(range(dense.ndim)):
        rows.insert(2, ["order of modes", " ".join(map(str, best.modes))])
    print_table([escape(str(file)), str(dense.dtype).removeprefix("torch.")], rows)
    typer.echo(f"why: {found.reason}")


def _draw(png: Path, file: Path, dense: Tensor, tol: float) -> None:
    from polyad.files import atomic_path
    from polyad.tensors.formats import plot_spectra, unfolding_spectra

    spectra = unfolding_spectra(dense)
    figure = plot_spectra(spectra, tolerance=tol, title=f"{file.name}, {_sizes(dense.shape)}")
    with atomic_path(png) as path:
        figure.savefig(path, dpi=150)
    typer.echo(f"wrote {png}")
    drawn = {spectrum.rows for spectrum in spectra}
    missing = [k for k in range(2, dense.ndim - 1) if tuple(range(k)) not in drawn]
    if missing:
        cuts = ", ".join(str(k) for k in missing)
        typer.echo(f"left out as too large: the spectra of the cuts after the first {cuts} modes")


def _sizes(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))

"""`polyad tensor FILES...`: compress dense arrays, and say which structure they have and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyad.errors import ConvergenceError, FileFormatError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from polyad.tensors.formats import Compression, StoredArray, TensorFormat

app = typer.Typer(add_completion=False)

_PICTURES = (".png", ".svg", ".pdf")
_SEARCHES = ("greedy", "alternating")


@app.command()
def tensor(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Real arrays: .npy, .npz, .parquet, .zarr, .tif, images and video; colour is a mode, frames come "
            "first, integers are computed with as float64.",
        ),
    ],
    tol: Annotated[float, typer.Option("--tol", metavar="T", help="Allowed relative error (Frobenius).")] = 1e-3,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="F", help="Try only this: tucker, train, tree or cp; repeatable."),
    ] = None,
    array: Annotated[
        str | None, typer.Option("--array", metavar="NAME", help="Which array of .npz, .zarr or .tif with several.")
    ] = None,
    cross: Annotated[
        bool,
        typer.Option("--cross", help="Sample a .npy or .zarr too large for memory: a tensor train, error estimated."),
    ] = False,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="HOW", help="Search for a network of any graph: greedy or alternating."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="S", min=0, help="Begin no further format (or sweep) after it.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of CP starts and samples.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.safetensors", help="Write the compressed tensor.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE.png", help="Draw spectra, and error against rank.")
    ] = None,
) -> None:
    """Compress arrays to a tolerance: which format, which ranks, how much smaller, and why."""
    _check_outputs(files, out, png)
    if search is not None:
        if cross or formats:
            raise InputError("--search: it chooses the format itself, so --cross and --format are left out")
        if search not in _SEARCHES:
            raise InputError(f"--search: {search!r} was given, allowed are {' and '.join(_SEARCHES)}")
    if cross:
        if png is not None or (formats or ["train"]) != ["train"]:
            raise InputError("--cross: it finds a tensor train from samples, so --png and other formats are left out")
        for file in files:
            _sample(file, array, tol=tol, seconds=seconds, seed=seed, out=out)
        return
    from polyad.cli.progress import progress_bar
    from polyad.tensors.formats import compress, open_array
    from polyad.tensors.formats.base import check_dense
    from polyad.tensors.formats.compress import FORMATS

    for file in files:
        stored = open_array(file, name=array)
        _check_order(stored)
        dense = stored.read()
        check_dense(dense, name=str(file))
        if search is not None:
            _search(file, stored, dense, search, tol=tol, seconds=seconds, seed=seed, out=out, png=png)
            continue
        with progress_bar(f"Compressing {file.name}", unit="formats") as advance:
            found = compress(dense, tol=tol, formats=formats or FORMATS, seconds=seconds, seed=seed, progress=advance)
        _print_compression(file, stored, found)
        if out is not None:
            facts = {"source": file.name, "relative_error": found.best.error, "tolerance": tol, "reason": found.reason}
            _save(out, file, found.value, modes=found.best.modes, facts=facts)
        if png is not None:
            _draw(png, file, dense, tol)


def _sample(file: Path, array: str | None, *, tol: float, seconds: float | None, seed: int, out: Path | None) -> None:
    """A tensor train from entries of the file, which is never read as a whole."""
    from polyad.cli.progress import progress_bar
    from polyad.tensors.formats import open_array, tt_cross

    stored = open_array(file, name=array)
    _check_order(stored)
    try:
        with progress_bar(f"Sampling {file.name}", unit="entries") as advance:
            found = tt_cross(
                stored.entries, stored.shape, tolerance=tol, seconds=seconds or None, seed=seed, progress=advance
            )
    except FileFormatError:
        raise
    except InputError as error:
        raise FileFormatError(file, f"cannot be sampled ({error})") from error
    numbers, count = found.value.storage.numbers, prod(stored.shape)
    rows = [
        ["shape", _sizes(stored.shape)],
        ["format", "TensorTrain"],
        ["ranks", _sizes(found.value.ranks)],
        ["numbers stored", f"{numbers:,} of {count:,}"],
        ["compression ratio", f"{count / numbers:.4g}"],
        ["relative error", f"{found.error:.3e} (estimated on random entries)"],
        ["entries read", f"{found.evaluations:,} of {count:,}"],
    ]
    _print(file, stored, rows)
    if found.error > tol:
        raise ConvergenceError(
            f"{file}: --cross stopped by its limit of {found.stopped_by} at relative error {found.error:.2e}, above "
            f"--tol {tol:g}; allow a larger --tol, or more --seconds if these were given"
        )
    if out is not None:
        facts = {"source": file.name, "relative_error": found.error, "tolerance": tol, "reason": "sampled by --cross"}
        _save(out, file, found.value, modes=tuple(range(len(stored.shape))), facts=facts)


def _search(
    file: Path,
    stored: StoredArray,
    dense: Tensor,
    method: str,
    *,
    tol: float,
    seconds: float | None,
    seed: int,
    out: Path | None,
    png: Path | None,
) -> None:
    """A network whose graph and ranks are both searched for, as a table, in text and as a picture."""
    from polyad.cli.progress import progress_bar
    from polyad.files import atomic_path
    from polyad.tensors.structure_search import plot_structure, search_structure

    unit = "numbers" if method == "greedy" else "structures"
    with progress_bar(f"Searching {file.name}", unit=unit) as advance:
        found = search_structure(dense, method=method, tol=tol, seconds=seconds or None, seed=seed, progress=advance)
    rows = [
        ["shape", _sizes(stored.shape)],
        ["format", "TensorNetwork"],
        ["bonds", str(len(found.structure.edges))],
        ["numbers stored", f"{found.parameters:,} of {prod(stored.shape):,}"],
        ["compression ratio", f"{found.ratio:.4g}"],
        ["relative error", f"{found.error:.3e}"],
        ["structures tried", f"{found.evaluations:,}"],
    ]
    _print(file, stored, rows)
    typer.echo(found.drawing)
    if found.error > tol:
        raise ConvergenceError(
            f"{file}: --search {method} stopped by {found.stopped_by} at relative error {found.error:.2e}, above --tol "
            f"{tol:g}; allow a larger --tol, or more --seconds if these were given"
        )
    if out is not None:
        facts = {"source": file.name, "relative_error": found.error, "tolerance": tol, "reason": f"--search {method}"}
        _save(out, file, found.value, modes=tuple(range(dense.ndim)), facts=facts)
    if png is not None:
        with atomic_path(png) as path:
            plot_structure(found.structure, title=f"{file.name}, relative error {found.error:.2e}").savefig(
                path, dpi=150
            )
        typer.echo(f"wrote {png}")


def _check_outputs(files: list[Path], out: Path | None, png: Path | None) -> None:
    """Before any work: outputs have suffixes that their content fits, and hold one array each."""
    for option, path, suffixes in (("--out", out, (".safetensors",)), ("--png", png, _PICTURES)):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise InputError(f"{option}: {path} has the suffix {path.suffix!r}; allowed are {', '.join(suffixes)}")
        if len(files) > 1:
            raise InputError(f"{option}: it holds one array, {len(files)} files were given; give one file at a time")


def _check_order(stored: StoredArray) -> None:
    if len(stored.shape) < 2:
        what = f"a vector of {stored.shape[0]} entries" if stored.shape else "a single number"
        raise FileFormatError(stored.path, f"holds {what}; at least 2 modes are needed")


def _print_compression(file: Path, stored: StoredArray, found: Compression) -> None:
    best, count = found.best, prod(stored.shape)
    rows = [
        ["shape", _sizes(stored.shape)],
        ["format", type(best.value).__name__],
        ["ranks", _sizes(best.value.ranks)],
        ["numbers stored", f"{best.numbers:,} of {count:,}"],
        ["compression ratio", f"{found.ratio:.4g}"],
        ["relative error", f"{best.error:.3e}"],
    ]
    if best.modes != tuple(range(len(stored.shape))):
        rows.insert(2, ["order of modes", " ".join(map(str, best.modes))])
    _print(file, stored, rows)
    typer.echo(f"why: {found.reason}")


def _print(file: Path, stored: StoredArray, rows: list[list[str]]) -> None:
    """The table, headed by the file and the type of its numbers, and that of the work where it is another."""
    import numpy as np
    from rich.markup import escape

    from polyad.cli.tables import print_table

    kept = np.dtype(stored.dtype).name
    work = str(stored.working_type).removeprefix("torch.")
    print_table([escape(str(file)), kept if kept == work else f"{kept}, read as {work}"], rows)


def _save(out: Path, file: Path, value: TensorFormat, *, modes: Sequence[int], facts: dict[str, Any]) -> None:
    from polyad.tensors.formats import save_format

    save_format(out, value, modes=modes, facts=facts)
    before = sum(part.stat().st_size for part in (file.rglob("*") if file.is_dir() else [file]) if part.is_file())
    typer.echo(f"wrote {out} ({out.stat().st_size:,} bytes; the array was {before:,})")


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

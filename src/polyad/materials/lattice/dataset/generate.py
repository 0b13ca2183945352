"""Generate data sets of any size: one Parquet file a shard, in constant memory, continued after any interruption.

Workers turn (recipe, shard number) into the bytes of a file; this process alone writes them, each file whole or not at
all. So an interrupted run, however it ended, leaves whole shards and at most one hidden temporary file, and running the
same command again makes exactly the shards that are missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from polyad.errors import FileFormatError, InputError, NumericalWarning
from polyad.executors import local_executor, map_unordered
from polyad.files import atomic_write, read_bytes
from polyad.materials.lattice.dataset.recipe import Recipe
from polyad.materials.lattice.dataset.variants import ShardResult, make_shard

MANIFEST = "manifest.json"
_LOCK = ".lock"
_FORMAT = "polyad lattices"


@runtime_checkable
class ShardRecipe(Protocol):
    """What `generate` asks of a recipe; `Recipe` is one."""

    @property
    def count(self) -> int:
        """Number of rows."""

    @property
    def num_shards(self) -> int:
        """Number of files."""

    def shard_rows(self, shard: int) -> range:
        """Numbers of the rows of one shard."""

    def shard_name(self, shard: int) -> str:
        """Name of the file of one shard."""

    def to_json(self) -> dict[str, Any]:
        """All parameters as JSON values."""


AnyRecipe = TypeVar("AnyRecipe", bound=ShardRecipe)


def generate(
    out_dir: str | os.PathLike[str],
    recipe: AnyRecipe,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    make: Callable[[AnyRecipe, int], ShardResult] = make_shard,  # type: ignore[assignment]  # that of `Recipe`
) -> list[Path]:
    """Make the data set of a recipe in a folder, or the part of it that is missing there.

    The rows depend on the recipe alone: not on `workers`, the executor, or how often the work was interrupted.

    Args:
        out_dir: made where absent (its parent must exist).
        recipe: what to make.
        workers: local processes; with an `executor`, the number of tasks that it works on at once.
        executor: any executor, such as a Dask client's; default: spawned local processes, none for one worker.
        progress: called with (rows that are on the disk, rows in all).
        make: (recipe, shard number) -> the shard, importable by its name; the default knows `Recipe`.

    Returns:
        the shards in order.

    Raises:
        InputError: a folder that holds something else, is being written by another process or cannot be written; a full
            disk (what was written before stays, and is not made again).

    Warns:
        NumericalWarning: what the solver noticed, once a shard.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; give at least 1")
    if isinstance(recipe, Recipe):
        recipe.base_generator()
    folder = Path(out_dir)
    with _own(folder):
        _agree(folder, recipe)
        _remove_leftovers(folder)
        shards = [folder / recipe.shard_name(n) for n in range(recipe.num_shards)]
        missing = [n for n, path in enumerate(shards) if not _is_whole(path, len(recipe.shard_rows(n)))]
        done = recipe.count - sum(len(recipe.shard_rows(n)) for n in missing)
        if progress is not None:
            progress(done, recipe.count)
        with contextlib.ExitStack() as stack:
            if executor is None and workers > 1 and len(missing) > 1:
                executor = stack.enter_context(local_executor(min(workers, len(missing))))
            results = map_unordered(partial(make, recipe), missing, executor=executor, in_flight=2 * workers)
            for shard, content, complaints in stack.enter_context(contextlib.closing(results)):
                with atomic_write(shards[shard]) as handle:
                    handle.write(content)
                for complaint in complaints:
                    warnings.warn(f"{shards[shard].name}: {complaint}", NumericalWarning, stacklevel=2)
                done += len(recipe.shard_rows(shard))
                if progress is not None:
                    progress(done, recipe.count)
    return shards


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The parameters of the data set in a folder, as `Recipe.to_json` gives them.

    Raises:
        FileFormatError: no manifest, or one that was not written here.
    """
    path = Path(folder) / MANIFEST
    try:
        content = json.loads(read_bytes(path, limit=1 << 20))
        if content["format"] != _FORMAT or not isinstance(content["parameters"], dict):
            raise ValueError("another format")
        return content["parameters"]
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(path, "is no manifest of a data set of lattices; choose another folder") from error


def _agree(folder: Path, recipe: ShardRecipe) -> None:
    """Write the manifest, or refuse to continue a data set with other parameters."""
    ours = json.loads(json.dumps(recipe.to_json()))
    if not (folder / MANIFEST).exists():
        if next(folder.glob("shard-*.parquet"), None) is not None:
            raise InputError(f"{folder}: holds shards without {MANIFEST}; choose an empty folder")
        with atomic_write(folder / MANIFEST) as handle:
            handle.write(json.dumps({"format": _FORMAT, "parameters": ours}, indent=2).encode() + b"\n")
        return
    theirs = read_manifest(folder)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"{folder}: holds a data set with {name} {theirs.get(name)!r}, asked for {ours.get(name)!r}; "
                "give the same parameters to continue it, or another folder"
            )


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows == rows)
    except (OSError, pa.ArrowException):
        return False


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of a run that was killed; the lock says that no other run is writing here."""
    for pattern in (".shard-*.part.parquet", ".manifest.*.part.json"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with it, whatever ends it."""
    try:
        folder.mkdir(exist_ok=True)
        handle = open(folder / _LOCK, "ab")  # noqa: SIM115 (held below)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{folder}: cannot be written ({reason}); choose another folder") from error
    with handle:
        try:
            import fcntl
        except ImportError:  # Windows: no lock; two runs at once make the same files
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run is writing here; wait for it or choose another folder") from error
        except OSError:  # a file system without locks
            pass
        yield

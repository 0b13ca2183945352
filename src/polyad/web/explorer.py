"""All that a running server holds: its worker pools, its catalogue, its designs and a folder of its own."""

from __future__ import annotations

import asyncio
import functools
import secrets
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

from polyad.errors import InputError
from polyad.web import exporting, indexing, tasks
from polyad.web.designs import DesignBoard
from polyad.web.library import Library, Shelf
from polyad.web.settings import Settings
from polyad.web.wire import NotFoundError
from polyad.web.workers import Task, WorkerError, WorkerPool

QUICK_SECONDS = 20.0
"""Time limit of a solve."""

START_PATIENCE = 150.0
"""Seconds that a solve waits for a worker that has to be started."""

MOST_PENDING = 500
"""Solves that run or wait."""

STORE_SECONDS = 3600.0
"""Time limit of indexing a file that the server was started with."""


@final
class Explorer:
    """Start it, hand it requests from any thread, close it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.library = Library()
        self.folder = Path(tempfile.mkdtemp(prefix="polyad-explorer-"))
        heavy, memory = settings.heavy, settings.memory_bytes
        self._heavy = WorkerPool(heavy, memory_bytes=memory, ready=1, prepare=tasks.prepare)
        self._solvers = WorkerPool(settings.solvers, memory_bytes=memory, ready=1, prepare=tasks.prepare)
        self._designers = WorkerPool(heavy, memory_bytes=memory, prepare=tasks.prepare)
        self._dispatchers = ThreadPoolExecutor(settings.solvers)
        self._pending = 0
        self.designs = DesignBoard(self._designers, seconds=settings.design_seconds)
        self.loading = True
        self.complaints: list[str] = []

    def load(self) -> None:
        """Fill the catalogue; until then `loading` is true, and what has been read can be seen."""
        try:
            self._shelve("named", "Named cells", "named", indexing.index_named_cells, {}, QUICK_SECONDS * 3)
            for number, path in enumerate(self.settings.files, start=1):
                payload = {"path": str(path)}
                self._shelve(f"file{number}", path.name, "file", indexing.index_file, payload, STORE_SECONDS)
        finally:
            self.loading = False

    def load_in_background(self) -> None:
        """`load` in a thread."""
        threading.Thread(target=self.load, daemon=True).start()

    def close(self) -> None:
        """End all workers and remove the folder."""
        self.designs.close()
        for pool in (self._solvers, self._heavy, self._designers):
            pool.close()
        self._dispatchers.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def quick(self, task: Task, payload: Any) -> Any:
        """A task that a moving slider waits for.

        A thread for every worker, not for every visitor: many threads would wait for the interpreter more than for the
        worker, and some for much longer than others.
        """
        if self._pending >= MOST_PENDING:
            raise WorkerError(f"{MOST_PENDING} solves are waiting already; try again")
        self._pending += 1
        work = functools.partial(self._solvers.run, task, payload, seconds=QUICK_SECONDS, patience=START_PATIENCE)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._dispatchers, work)
        finally:
            self._pending -= 1

    def analyse(self, payload: dict[str, Any]) -> Any:
        """Everything about some lattices."""
        return self._heavy.run(tasks.analyse_lattices, payload, seconds=self.settings.upload_seconds)

    def export(self, payload: dict[str, Any]) -> Any:
        """A file to take away."""
        return self._heavy.run(exporting.export_lattices, payload, seconds=self.settings.export_seconds, patience=120.0)

    def upload(self, path: Path, name: str, *, density: float, cutoff: float | None) -> Shelf:
        """A shelf of a visitor's file; the file is removed.

        Raises:
            InputError: no lattice can be read.
            WorkerError: reading took too long or too much memory.
        """
        payload = {"path": str(path), "density": density, "cutoff": cutoff}
        key, seconds = f"up{secrets.token_hex(5)}", self.settings.upload_seconds
        try:
            shelf = self._index(key, name, "upload", indexing.index_file, payload, seconds)
        finally:
            path.unlink(missing_ok=True)
        self._forget_oldest()
        return shelf

    def keep(self, name: str, text: str) -> Shelf:
        """A design's JSON as a shelf of its own."""
        path = self.folder / f"{secrets.token_hex(8)}.json"
        path.write_text(text, encoding="utf-8")
        key, payload = f"design{secrets.token_hex(4)}", {"path": str(path)}
        try:
            shelf = self._index(key, name, "design", indexing.index_file, payload, self.settings.upload_seconds)
        finally:
            path.unlink(missing_ok=True)
        self._forget_oldest()
        return shelf

    def remove(self, key: str) -> None:
        """Forget a shelf that a visitor brought.

        Raises:
            NotFoundError: there is none, or it is one of the server's own.
        """
        kinds = {shelf.key: shelf.kind for shelf in self.library.shelves}
        if kinds.get(key) not in ("upload", "design"):
            raise NotFoundError(f"shelf: there is no uploaded {key[:80]!r}")
        self._drop(key)

    def _forget_oldest(self) -> None:
        kept = [shelf for shelf in self.library.shelves if shelf.kind in ("upload", "design")]
        for shelf in kept[: max(len(kept) - self.settings.kept_uploads, 0)]:
            self._drop(shelf.key)

    def _drop(self, key: str) -> None:
        shelf = self.library.remove(key)
        for path in (shelf.index, shelf.lattices) if shelf else ():
            if path.parent == self.folder:  # a store of the server's owner stays
                path.unlink(missing_ok=True)

    def _shelve(self, key: str, title: str, kind: str, task: Task, payload: dict[str, Any], seconds: float) -> None:
        try:
            self._index(key, title, kind, task, payload, seconds)
        except (InputError, WorkerError) as error:
            self.complaints.append(f"{title}: {error}")
            sys.stderr.write(f"{title}: {error}\n")

    def _index(self, key: str, title: str, kind: str, task: Task, payload: dict[str, Any], seconds: float) -> Shelf:
        lattices, index = self.folder / f"{key}.lattices.parquet", self.folder / f"{key}.index.parquet"
        common = {"key": key, "title": title, "lattices": str(lattices), "index": str(index)}
        done = self._heavy.run(
            task, {"density": self.settings.density} | payload | common, seconds=seconds, patience=seconds
        )
        found = tuple(done["complaints"])
        shelf = Shelf(key, title, kind, done["rows"], Path(done["lattices"]), index, found)
        self.library.add(shelf)
        return shelf

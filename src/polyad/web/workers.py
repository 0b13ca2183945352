"""Worker processes that serve one request at a time, within limits of time and memory, and are replaced when they die.

A pool of `concurrent.futures` breaks as a whole when one of its processes dies. Here every process has a pipe of its
own: a crash, a process out of memory or one that takes too long fails the request that it served and no other. While a
task runs it may emit events, and be told to stop.

*When not to use it*: to fan out one large job; see `polyad.executors`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_connection
from typing import Any, Protocol, final, runtime_checkable

from polyad.errors import ConvergenceError, InputError

Task = Callable[[Any, "Channel"], Any]
"""A function at the top of a module: (payload, channel) to a result; both are plain values."""

_POLL = 0.05  # seconds between looks at the stop event
_START = 120.0  # seconds that a process may take to load its libraries
_GRACE = 5.0  # seconds that a stopped task has to come back with what it has


class WorkerError(RuntimeError):
    """A task did not come back: its process died, took too long, or had a bug; or no process was free."""


@runtime_checkable
class Channel(Protocol):
    """A running task's line to its caller."""

    def emit(self, event: Any) -> None:
        """Hand the caller an event (a plain value)."""

    def stopped(self) -> bool:
        """Whether the caller asked the task to come to an end."""


@final
class _PipeChannel:
    """The line of a task in a worker process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stopped = False

    def emit(self, event: Any) -> None:
        self._connection.send(("event", event))

    def stopped(self) -> bool:
        if not self._stopped and self._connection.poll():
            self._connection.recv()
            self._stopped = True
        return self._stopped


@final
class WorkerPool:
    """`size` processes that run tasks; see the module. Close it when done.

    Args:
        size: processes, and so tasks at a time; started when they are needed.
        memory_bytes: what a process may allocate beyond what it holds when its first task begins (Linux).
        ready: processes that are started at once.
        prepare: called first in every process, to load what tasks will need; importable by its name.
    """

    def __init__(
        self, size: int, *, memory_bytes: int, ready: int = 0, prepare: Callable[[], None] | None = None
    ) -> None:
        self._memory_bytes, self._prepare = memory_bytes, prepare
        self._free: list[_Worker] = []
        self._waiting: deque[Future[_Worker]] = deque()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        for number in range(size):
            self._add(start=number >= size - ready)

    def run(
        self,
        task: Task,
        payload: Any,
        *,
        seconds: float,
        patience: float = 30.0,
        on_event: Callable[[Any], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Any:
        """Run a task in a free process and return its result.

        Args:
            task: importable by its name.
            payload: plain values.
            seconds: time limit of the task; its process is killed after it.
            patience: seconds to wait for a free process.
            on_event: called with every event of the task, in this thread.
            stop: when it is set, the task is asked to come to an end, and killed if it does not.

        Raises:
            InputError, ConvergenceError: the task's own, with its message.
            WorkerError: no process was free, or it died or took too long.
        """
        worker = self._take(patience)
        try:
            return worker.run(task, payload, seconds, on_event, stop)
        finally:
            if worker.alive:
                self._give(worker)
            else:
                with self._lock:
                    self._all.discard(worker)
                    closed = self._closed
                if not closed:
                    self._add(start=True)

    def close(self) -> None:
        """End all processes; what they do is lost."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.kill()

    def _add(self, *, start: bool) -> None:
        worker = _Worker(self._memory_bytes, self._prepare)
        if start:
            worker.start()
        with self._lock:
            self._all.add(worker)
        self._give(worker)

    def _take(self, patience: float) -> _Worker:
        """A free worker; who has waited longest gets the next one, so that nobody starves under load."""
        with self._lock:
            if self._free:
                return self._free.pop()
            place: Future[_Worker] = Future()
            self._waiting.append(place)
        try:
            return place.result(patience)
        except TimeoutError:
            with self._lock:
                if not place.done():  # else a worker came at the last moment
                    self._waiting.remove(place)
                    raise WorkerError(f"all workers were busy for {patience:.0f} s; try again") from None
            return place.result()

    def _give(self, worker: _Worker) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(worker)
            else:
                self._free.append(worker)


@final
class _Worker:
    """One process and the caller's end of its pipe."""

    def __init__(self, memory_bytes: int, prepare: Callable[[], None] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._theirs, memory_bytes, prepare), daemon=True)
        self._ready = False
        self.alive = True

    def start(self) -> None:
        self._process.start()
        self._theirs.close()

    def _wait_until_ready(self) -> None:
        """Wait until the libraries are loaded: the time limit is the task's alone."""
        if self._process.pid is None:
            self.start()
        if not self._ready:
            if not self._connection.poll(_START):
                self.kill()
                raise WorkerError(f"a worker process did not start within {_START:.0f} s")
            self._connection.recv()
            self._ready = True

    def run(
        self,
        task: Task,
        payload: Any,
        seconds: float,
        on_event: Callable[[Any], None] | None,
        stop: threading.Event | None,
    ) -> Any:
        try:
            self._wait_until_ready()
            deadline, told = time.monotonic() + seconds, False
            self._connection.send(("task", task, payload))
            while True:
                if stop is not None and stop.is_set() and not told:
                    self._connection.send(("stop",))
                    told, deadline = True, min(deadline, time.monotonic() + _GRACE)
                left = deadline - time.monotonic()
                if left <= 0:
                    self.kill()
                    raise WorkerError(f"took longer than {seconds:.0f} s and was ended" if not told else "was stopped")
                if not self._connection.poll(min(left, _POLL) if stop is not None else left):
                    continue
                kind, value = self._connection.recv()
                if kind == "event":
                    if on_event is not None:
                        on_event(value)
                    continue
                return self._conclude(kind, value)
        except (EOFError, OSError):
            self.kill()
            raise WorkerError("the worker process died, most likely for want of memory") from None

    def _conclude(self, kind: str, value: Any) -> Any:
        if kind == "result":
            return value
        if kind == "input":
            raise InputError(value)
        if kind == "convergence":
            raise ConvergenceError(value)
        self.kill()  # its memory may be in pieces
        raise WorkerError(value)

    def kill(self) -> None:
        self.alive = False
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(5)
        self._connection.close()


def _serve(connection: Connection, memory_bytes: int, prepare: Callable[[], None] | None) -> None:
    """Life of a worker process: one task after the other until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if prepare is not None:
        prepare()
    limit_memory(memory_bytes)
    connection.send("ready")
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if message[0] != "task":  # a stop that came after its task had ended
            continue
        with contextlib.suppress(OSError):
            connection.send(_answer(message[1], message[2], _PipeChannel(connection)))


def _answer(task: Task, payload: Any, channel: Channel) -> tuple[str, Any]:
    try:
        return "result", task(payload, channel)
    except InputError as error:
        return "input", str(error)
    except ConvergenceError as error:
        return "convergence", str(error)
    except MemoryError:
        return "failure", "needs more memory than a worker may take"
    except Exception as error:  # a bug of ours: the server's log has the traceback, the visitor a line
        traceback.print_exc()
        return "failure", f"failed with {type(error).__name__}"


def limit_memory(extra_bytes: int) -> None:
    """Let this process allocate at most `extra_bytes` beyond what it has mapped now; nothing happens but on Linux."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as handle:
        mapped = int(handle.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + extra_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _end_with(sentinel: int) -> None:
    wait_for_connection([sentinel])
    os._exit(1)

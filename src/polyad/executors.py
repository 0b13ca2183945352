"""Work that fans out: local processes, a Dask cluster, and a bounded number of tasks in flight.

Everything in Polyad that fans out takes any `concurrent.futures.Executor`. This module makes the two usual ones and
hands them work without ever holding more than a few results:

    with local_executor(8) as executor:
        for result in map_unordered(work, items, executor=executor, in_flight=16):
            ...

*When not to use it*: work that lasts less than about 10 ms an item; hand out larger pieces.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing.connection import wait as wait_for_connection
from typing import Any, TypeVar

from polyad.errors import InputError, MissingDependencyError

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@contextlib.contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """Pool of spawned processes on this machine, one thread each, that end with this process whatever ends it.

    Raises:
        InputError: `workers` is below 1.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; give at least 1")
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker, initargs=()
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def dask_executor(address: str, *, timeout: float = 10.0) -> Iterator[tuple[Executor, int]]:
    """Executor of a running Dask cluster and its number of threads.

    Args:
        address: of the scheduler, such as "tcp://host:8786".
        timeout: seconds to wait for it.

    Raises:
        InputError: nothing answers at the address, or the cluster has no worker.
        MissingDependencyError: Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError("working on a Dask cluster", "polyad[dask]") from error
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"dask: no scheduler answers at {address!r}; start one with 'dask scheduler'") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise InputError(f"dask: the cluster at {address!r} has no worker; start some with 'dask worker {address}'")
        with client.get_executor(pure=False) as executor:
            yield executor, threads


def map_unordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    executor: Executor | None = None,
    in_flight: int = 4,
) -> Generator[Result, None, None]:
    """Results of function(item) as they are ready; at most `in_flight` are running, queued or waiting to be taken.

    Args:
        function: importable by its name where the executor runs it elsewhere.
        items: taken one by one, when there is room.
        executor: None works here, one item after the other.
        in_flight: twice the number of workers keeps all of them busy.

    Closing the generator (it has `close`) drops what is queued.

    Raises:
        InputError: a worker process died (killed, or out of memory).
    """
    if executor is None:
        yield from map(function, items)
        return
    remaining = iter(items)
    waiting: set[Future[Any]] = set()
    try:
        while True:
            free = max(in_flight, 1) - len(waiting)
            waiting |= {executor.submit(function, item) for item in itertools.islice(remaining, free)}
            if not waiting:
                return
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            while ready:
                yield ready.pop().result()
    except BrokenExecutor as error:
        raise InputError(
            "a worker process died, most likely for want of memory; run again, with fewer workers if it repeats"
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _prepare_worker() -> None:
    """Runs first in every local worker: one thread, deaf to Ctrl-C, gone when the parent is gone."""
    for name in _THREAD_VARIABLES:  # read when the numerical libraries are loaded, which is later
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = multiprocessing.parent_process()
    if parent is not None:
        # a worker waits on a queue that it could write to itself, so a killed parent would leave it waiting for ever
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for_connection([sentinel])
    os._exit(1)

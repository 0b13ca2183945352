"""Worker pools: limits hold, and what befalls one task befalls no other."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from polyad.errors import InputError
from polyad.web import workers
from polyad.web.workers import WorkerError, WorkerPool
from tests.web import worker_tasks as given

PLENTY = 2 * 2**30


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(1, memory_bytes=PLENTY, ready=1)
    yield made
    made.close()


def test_results_come_back_from_one_process(pool: WorkerPool) -> None:
    assert pool.run(given.double, 21, seconds=10) == 42
    assert pool.run(given.process, None, seconds=10) == pool.run(given.process, None, seconds=10)


def test_refusals_keep_their_words_and_the_process(pool: WorkerPool) -> None:
    before = pool.run(given.process, None, seconds=10)
    with pytest.raises(InputError, match=r"^radius: is wrong$"):
        pool.run(given.refuse, "radius: is wrong", seconds=10)
    assert pool.run(given.process, None, seconds=10) == before


def test_events_arrive_in_order_and_stop_is_heard(pool: WorkerPool) -> None:
    seen: list[int] = []
    stop = threading.Event()

    def see(number: int) -> None:
        seen.append(number)
        if number == 5:
            stop.set()

    reached = pool.run(given.count_until_stopped, 10_000, seconds=60, on_event=see, stop=stop)
    assert 5 <= reached < 10_000
    assert seen == list(range(reached + 1))


def test_late_stop_does_not_spoil_the_next_task(pool: WorkerPool) -> None:
    stop = threading.Event()
    stop.set()
    assert pool.run(given.double, 1, seconds=10, stop=stop) == 2
    assert pool.run(given.double, 2, seconds=10) == 4


def test_nobody_waits_for_ever(pool: WorkerPool) -> None:
    thread = threading.Thread(target=pool.run, args=(given.sleep, 1.0), kwargs={"seconds": 10})
    thread.start()
    time.sleep(0.2)
    with pytest.raises(WorkerError, match="busy"):
        pool.run(given.double, 1, seconds=10, patience=0.05)
    thread.join()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux only")
def test_memory_is_limited(pool: WorkerPool) -> None:
    assert pool.run(given.allocate, PLENTY // 4, seconds=20) == PLENTY // 4
    with pytest.raises(WorkerError, match="memory"):
        pool.run(given.allocate, 4 * PLENTY, seconds=20)


def test_a_bug_replaces_the_process(pool: WorkerPool) -> None:
    before = pool.run(given.process, None, seconds=10)
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        pool.run(given.fail, None, seconds=10)
    assert pool.run(given.process, None, seconds=10) != before


def test_a_death_or_a_timeout_fails_its_own_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.2)
    pool = WorkerPool(2, memory_bytes=PLENTY, ready=2)
    try:
        answers: list[float] = []
        other = threading.Thread(target=lambda: answers.append(pool.run(given.sleep, 1.5, seconds=30)))
        other.start()
        time.sleep(0.3)
        with pytest.raises(WorkerError, match="died"):
            pool.run(given.die, None, seconds=10)
        other.join()
        assert answers == [1.5]
        with pytest.raises(WorkerError, match="longer than 0"):
            pool.run(given.sleep, 60.0, seconds=0.3)
        stop = threading.Event()
        with pytest.raises(WorkerError, match="stopped"):
            pool.run(given.ignore_stop, None, seconds=60, on_event=lambda event: stop.set(), stop=stop)
    finally:
        pool.close()


def test_closed_pool_ends_what_runs() -> None:
    pool = WorkerPool(1, memory_bytes=PLENTY)
    errors: list[Exception] = []

    def work() -> None:
        try:
            pool.run(given.sleep, 60.0, seconds=100)
        except WorkerError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    pool.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(errors) == 1

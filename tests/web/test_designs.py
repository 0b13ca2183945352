"""The board of designs: states, results and failures, without processes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from polyad.errors import InputError
from polyad.web.designs import MOST_WAITING, DesignBoard, Job
from polyad.web.wire import NotFoundError
from polyad.web.workers import WorkerError, WorkerPool


def board(monkeypatch: pytest.MonkeyPatch, run: Any) -> DesignBoard:
    pool = WorkerPool(1, memory_bytes=2**30)
    monkeypatch.setattr(pool, "run", run)
    return DesignBoard(pool, seconds=5.0)


def ended(job: Job) -> Job:
    for _ in range(200):
        if job.state != "running":
            return job
        time.sleep(0.02)
    raise AssertionError("the design did not end")


def test_a_design_gathers_events_and_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: Any, payload: Any, *, on_event: Any, **options: Any) -> Any:
        on_event({"step": 0})
        return {"json": "text", "objective": float("inf")}

    made = board(monkeypatch, run)
    job = ended(made.start({"name": "x"}))
    assert (job.state, job.events, job.json, job.result) == ("done", [{"step": 0}], "text", {"objective": None})
    assert made.get(job.number) is job
    with pytest.raises(NotFoundError):
        made.get("other")


@pytest.mark.parametrize("error", [InputError("goal: no"), WorkerError("died")])
def test_a_failure_keeps_its_words(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(task: Any, payload: Any, **options: Any) -> Any:
        raise error

    job = ended(board(monkeypatch, run).start({"name": "x"}))
    assert (job.state, job.error) == ("failed", str(error))


def test_no_more_wait_than_may_and_all_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: Any, payload: Any, *, stop: Any, **options: Any) -> Any:
        assert stop.wait(30)
        return {"json": ""}

    made = board(monkeypatch, run)
    jobs = [made.start({"name": str(number)}) for number in range(MOST_WAITING)]
    with pytest.raises(WorkerError, match="wait"):
        made.start({"name": "one too many"})
    made.close()
    assert {ended(job).state for job in jobs} == {"done"}

"""Running and finished designs: each has a thread that waits for its worker, and a list of events that only grows.

Whoever watches reads the list from where he stopped, so a page may come late, leave and come back.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, final

from polyad.errors import ConvergenceError, InputError
from polyad.web.designing import run_design
from polyad.web.wire import NotFoundError, plain
from polyad.web.workers import WorkerError, WorkerPool

MOST_JOBS = 64
"""Designs remembered; of more, the oldest that ended are forgotten."""

MOST_WAITING = 16
"""Designs that run or wait for a free worker."""


@final
@dataclass(eq=False)
class Job:
    """One design.

    Args:
        number: by which it is asked for; not to be guessed.
        name: given by the visitor.
        state: "running", "done" or "failed".
        events: accepted points so far; only ever appended to.
        result: of a design that is done, without its JSON.
        json: the text of `Design.to_json`.
        error: of a design that failed.
        stop: set it to end the search with what was found.
    """

    number: str
    name: str
    state: str = "running"
    events: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    json: str = ""
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def summary(self) -> dict[str, Any]:
        """What a list of designs shows."""
        return {"id": self.number, "name": self.name, "state": self.state, "steps": len(self.events)}


@final
class DesignBoard:
    """All designs of a server."""

    def __init__(self, pool: WorkerPool, *, seconds: float) -> None:
        self._pool, self._seconds = pool, seconds
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, payload: dict[str, Any]) -> Job:
        """Begin a design; `payload` has the fields of `DesignRequest`.

        Raises:
            WorkerError: too many designs run or wait.
        """
        job = Job(secrets.token_urlsafe(9), str(payload["name"])[:200])
        with self._lock:
            if sum(other.state == "running" for other in self._jobs.values()) >= MOST_WAITING:
                raise WorkerError(f"{MOST_WAITING} designs run or wait already; stop one")
            self._jobs[job.number] = job
            ended = [number for number, other in self._jobs.items() if other.state != "running"]
            for number in ended[: max(len(self._jobs) - MOST_JOBS, 0)]:
                del self._jobs[number]
        threading.Thread(target=self._run, args=(job, payload), daemon=True).start()
        return job

    def get(self, number: str) -> Job:
        """The design of this number.

        Raises:
            NotFoundError: there is none.
        """
        with self._lock:
            job = self._jobs.get(number)
        if job is None:
            raise NotFoundError(f"design: there is no {number[:40]!r}; it may have been forgotten")
        return job

    def jobs(self) -> list[Job]:
        """All designs, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def close(self) -> None:
        """Stop everything."""
        for job in self.jobs():
            job.stop.set()

    def _run(self, job: Job, payload: dict[str, Any]) -> None:
        try:
            result = self._pool.run(
                run_design,
                payload | {"seconds": self._seconds},
                seconds=1.2 * self._seconds + 10.0,  # it ends by itself before
                patience=4 * self._seconds,
                on_event=job.events.append,
                stop=job.stop,
            )
            job.json = result.pop("json")
            job.result = plain(result)
            job.state = "done"
        except (InputError, ConvergenceError, WorkerError) as error:
            job.error = str(error)
            job.state = "failed"

"""The interface for scripts and for the page: thin handlers that check, hand over to a worker and answer.

FastAPI is optional and so imported inside functions. It looks at the annotations of handlers when they are added; here
they are therefore real objects, and this module does without postponed evaluation.
"""

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from polyad import __version__
from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.web import tasks
from polyad.web.designs import Job
from polyad.web.explorer import Explorer
from polyad.web.indexing import NUMBERS
from polyad.web.library import TEXTS, Filter
from polyad.web.models import AnalyseRequest, DesignRequest, ExportRequest, FreedomRequest, SolveRequest, as_payload
from polyad.web.wire import write_lattice

MOST_COMPARED = 12
HEARTBEAT = 10.0
"""Seconds after which a silent stream of events says that it lives."""


def add_catalogue_routes(app: Any, explorer: Explorer) -> None:
    """Everything that reads the catalogue, and files that come in."""
    from fastapi import Query, Request

    library = explorer.library

    @app.get("/api/status", tags=["catalogue"])
    def status() -> dict[str, Any]:
        """What the server holds: version, shelves, columns, and whether it is still reading."""
        return {
            "version": __version__,
            "loading": explorer.loading,
            "complaints": explorer.complaints,
            "columns": list(NUMBERS),
            "texts": list(TEXTS),
            "symmetries": list(elasticity.SYMMETRIES),
            "upload_bytes": explorer.settings.upload_bytes,
            "density": explorer.settings.density,
            "shelves": [
                {"key": x.key, "title": x.title, "kind": x.kind, "rows": x.rows, "complaints": list(x.complaints)}
                for x in library.shelves
            ],
        }

    @app.get("/api/cells", tags=["catalogue"])
    def cells(
        search: str = "",
        symmetry: str = "",
        shelf: str = "",
        range: list[str] = Query(default=[], description="column:least:greatest; an end may be left out"),
        sort: str = "name",
        descending: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:
        """One page of the catalogue, searched and sorted."""
        wanted = Filter(search, symmetry, shelf, _ranges(range))
        total, rows = library.rows(wanted, sort=sort, descending=descending, offset=offset, limit=limit)
        return {"total": total, "rows": rows}

    @app.get("/api/points", tags=["catalogue"])
    def points(
        x: str, y: str, search: str = "", symmetry: str = "", shelf: str = "", range: list[str] = Query(default=[])
    ) -> dict[str, Any]:
        """Two numbers of all lattices that the filter leaves (a fair sample of many)."""
        return {"points": library.points(Filter(search, symmetry, shelf, _ranges(range)), x, y)}

    @app.get("/api/bounds", tags=["catalogue"])
    def bounds(poisson_ratio: float = 0.3) -> dict[str, Any]:
        """Upper Hashin-Shtrikman bounds on E, K and G of isotropic porous solids against density, for E_s = 1."""
        density = np.geomspace(1e-4, 1.0, 97)
        return {"density": density.tolist(), **tasks.bounds(density, poisson_ratio)}

    @app.get("/api/lattices/{name}", tags=["catalogue"])
    def lattice(name: str) -> dict[str, Any]:
        """The lattice of an id of the catalogue."""
        record = library.record(name)
        return {
            "id": name,
            "name": record.name,
            "source": record.source,
            "density": record.density,
            "notes": list(record.notes),
            "lattice": write_lattice(record.lattice),
        }

    @app.post(
        "/api/upload",
        tags=["catalogue"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def upload(
        request: Request, name: str = "file", density: float | None = None, cutoff: float | None = None
    ) -> dict[str, Any]:
        """Read a file (the body, as it is) in a worker process and put its lattices up as a shelf."""
        from starlette.concurrency import run_in_threadpool

        for what, value in (("density", density), ("cutoff", cutoff)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{what}: {value} must be a positive number")
        path = explorer.folder / f"{secrets.token_hex(8)}.upload"
        try:
            with open(path, "wb") as handle:
                async for part in request.stream():
                    handle.write(part)
            shelf = await run_in_threadpool(
                explorer.upload, path, _title(name), density=density or explorer.settings.density, cutoff=cutoff
            )
        finally:
            path.unlink(missing_ok=True)
        return {"key": shelf.key, "title": shelf.title, "rows": shelf.rows, "complaints": list(shelf.complaints)}

    @app.delete("/api/shelves/{key}", tags=["catalogue"])
    def remove(key: str) -> dict[str, Any]:
        """Forget an uploaded file or a kept design."""
        explorer.remove(key)
        return {"removed": key}


def add_lattice_routes(app: Any, explorer: Explorer) -> None:
    """Everything that works on lattices which the request holds."""
    from fastapi import Response

    @app.post("/api/solve", tags=["lattice"], response_class=Response)
    async def solve(request: SolveRequest) -> Response:
        """Tensor (Kelvin-Mandel order 11, 22, 33, 23, 13, 12, in units of E_s), moduli, drawing, mesh of E(n)."""
        content = await explorer.quick(tasks.solve_as_json, as_payload(request))
        return Response(content, media_type="application/json")

    @app.post("/api/freedom", tags=["lattice"])
    async def freedom(request: FreedomRequest) -> dict[str, Any]:
        """The space group, and how nodes and radii may change within it."""
        return await explorer.quick(tasks.freedom, as_payload(request))

    @app.post("/api/analyse", tags=["lattice"])
    def analyse(request: AnalyseRequest) -> dict[str, Any]:
        """Everything that a report says of some lattices, in its packed form."""
        if not 1 <= len(request.lattices) <= MOST_COMPARED:
            raise InputError(f"lattices: are {len(request.lattices)}; give 1 to {MOST_COMPARED}")
        return explorer.analyse(as_payload(request))

    @app.post("/api/export", tags=["lattice"], response_class=Response)
    def export(request: ExportRequest) -> Response:
        """A file: STL or 3MF for printers, JSON, or a report."""
        if len(request.lattices) + len(request.designs) > MOST_COMPARED:
            raise InputError(f"lattices: at most {MOST_COMPARED} are written at once")
        jobs = [explorer.designs.get(number) for number in request.designs]
        unfinished = [job.name for job in jobs if job.state != "done"]
        if unfinished:
            raise InputError(f"designs: {unfinished[0]!r} is not done")
        payload = as_payload(request) | {"designs": [job.json for job in jobs], "names": [job.name for job in jobs]}
        file = explorer.export(payload)
        disposition = f'attachment; filename="{file["name"]}"'
        return Response(file["content"], media_type=file["type"], headers={"Content-Disposition": disposition})


def add_design_routes(app: Any, explorer: Explorer) -> None:
    """Designs: begin, watch, stop, keep."""
    from fastapi import Header
    from fastapi.responses import StreamingResponse

    board = explorer.designs

    @app.post("/api/design", tags=["design"], status_code=202)
    def begin(request: DesignRequest) -> dict[str, Any]:
        """Begin a design; watch it at /api/design/ID/events."""
        return board.start(as_payload(request)).summary()

    @app.get("/api/design", tags=["design"])
    def designs() -> dict[str, Any]:
        """All designs of this server."""
        return {"designs": [job.summary() for job in board.jobs()]}

    @app.get("/api/design/{number}", tags=["design"])
    def one(number: str) -> dict[str, Any]:
        """How a design stands, with its result when it is done."""
        job = board.get(number)
        return {**job.summary(), "result": job.result, "error": job.error}

    @app.get("/api/design/{number}/events", tags=["design"], response_class=StreamingResponse)
    async def events(number: str, last_event_id: str | None = Header(default=None)) -> StreamingResponse:
        """Server-sent events: "step" for every accepted point, then "done" or "failed"."""
        first = int(last_event_id) + 1 if last_event_id and last_event_id.isdecimal() else 0
        return StreamingResponse(_stream(board.get(number), first), media_type="text/event-stream")

    @app.post("/api/design/{number}/stop", tags=["design"])
    def stop(number: str) -> dict[str, Any]:
        """End the search with what was found."""
        job = board.get(number)
        job.stop.set()
        return job.summary()

    @app.post("/api/design/{number}/keep", tags=["design"])
    def keep(number: str, name: str = "") -> dict[str, Any]:
        """Put a finished design into the catalogue."""
        job = board.get(number)
        if job.state != "done":
            raise InputError("design: is not done; wait for it or stop it first")
        shelf = explorer.keep(_title(name) if name else job.name, job.json)
        return {"key": shelf.key, "id": f"{shelf.key}:0", "title": shelf.title}


async def _stream(job: Job, first: int) -> AsyncIterator[str]:
    sent, spoke = first, time.monotonic()
    while True:
        state = job.state  # before the events: a design that is done adds no more
        while sent < len(job.events):
            yield _message("step", job.events[sent], sent)
            sent, spoke = sent + 1, time.monotonic()
        if state != "running":
            yield _message(state, job.result if state == "done" else {"error": job.error}, sent)
            return
        if time.monotonic() - spoke > HEARTBEAT:
            yield ": alive\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(0.05)


def _message(event: str, data: Any, number: int) -> str:
    return f"id: {number}\nevent: {event}\ndata: {json.dumps(data, allow_nan=False)}\n\n"


def _title(name: str) -> str:
    """The last part of a file's name, without what cannot be printed: it is shown, and never opened."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(character for character in last if character.isprintable())[:100] or "file"


def _ranges(texts: list[str]) -> tuple[tuple[str, float, float], ...]:
    if len(texts) > 32:
        raise InputError(f"range: {len(texts)} were given; at most 32 are taken")
    return tuple(_range(text) for text in texts)


def _range(text: str) -> tuple[str, float, float]:
    parts = text.split(":")
    try:
        name, least, greatest = parts
        return name, float(least or "-inf"), float(greatest or "inf")
    except ValueError:
        raise InputError(f"range: {text[:80]!r} is not understood; write column:least:greatest") from None

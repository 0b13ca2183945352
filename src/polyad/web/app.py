"""`create_app`: the explorer as an ASGI application on FastAPI.

Nothing is loaded from outside: the page, the drawing code that it shares with reports, and plotly.js come from the
installed packages by a list of names, so that no path of a request ever reaches the file system.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from polyad import __version__
from polyad.errors import ConvergenceError, InputError, MissingDependencyError
from polyad.web.gate import Gate
from polyad.web.settings import Settings
from polyad.web.workers import WorkerError

SHARED = (
    "scene.css",
    "report.css",
    "shapes.js",
    "camera.js",
    "scene.js",
    "picking.js",
    "panel.js",
    "tensor.js",
    "charts.js",
)
"""Drawing code of `polyad.materials.lattice` that the page uses."""

THREADS = 160
"""Requests that may wait for workers at a time."""

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def create_app(settings: Settings | None = None) -> Any:
    """The application, for uvicorn or any other ASGI server; its workers start and end with it.

    Args:
        settings: default: loopback, no token, the named cells.

    Raises:
        MissingDependencyError: FastAPI or DuckDB is not installed (`pip install 'polyad[web]'`).
    """
    try:
        from fastapi import FastAPI
        from starlette.middleware.gzip import GZipMiddleware
    except ImportError as error:
        raise MissingDependencyError("the lattice explorer", "polyad[web]") from error
    # these load torch, which whoever only asks for the settings need not wait for
    from polyad.web.explorer import Explorer
    from polyad.web.routes import add_catalogue_routes, add_design_routes, add_lattice_routes

    chosen = settings or Settings()
    explorer = Explorer(chosen)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        from anyio.to_thread import current_default_thread_limiter

        current_default_thread_limiter().total_tokens = THREADS
        explorer.load_in_background()
        try:
            yield
        finally:
            explorer.close()

    app = FastAPI(
        title="Polyad lattice explorer",
        version=__version__,
        description="Stiffness of strut lattices in units of the solid's Young's modulus.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.explorer = explorer
    add_catalogue_routes(app, explorer)
    add_lattice_routes(app, explorer)
    add_design_routes(app, explorer)
    _add_pages(app)
    _add_error_answers(app)
    app.add_middleware(GZipMiddleware, minimum_size=4096, compresslevel=4)
    app.add_middleware(Gate, settings=chosen)
    return app


def _add_pages(app: Any) -> None:
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    def page(name: str) -> Response:
        path = static_files().get(name)
        if path is None:
            return JSONResponse({"error": "there is no such file"}, status_code=404)
        return FileResponse(path, media_type=TYPES[path.suffix])

    app.router.routes.extend(
        [
            Route("/", lambda request: page("index.html")),
            Route("/docs", lambda request: page("interface.html")),
            Route("/static/{name}", lambda request: page(request.path_params["name"])),
        ]
    )


@cache
def static_files() -> dict[str, Path]:
    """Every file that the page may ask for, by its name."""
    own = Path(str(files("polyad.web"))) / "static"
    assets = Path(str(files("polyad.materials.lattice"))) / "assets"
    found = {path.name: path for path in sorted(own.iterdir()) if path.suffix in TYPES}
    found |= {name: assets / name for name in SHARED}
    found["plotly.js"] = Path(str(files("plotly"))) / "package_data" / "plotly.min.js"
    return found


def _add_error_answers(app: Any) -> None:
    """Every error is answered as {"error": one line}."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    from polyad.web.wire import NotFoundError

    def answer(status: int, text: str) -> JSONResponse:
        # what a visitor sent may hold half a surrogate pair, which UTF-8 cannot
        safe = text.encode("utf-8", "replace").decode("utf-8")
        return JSONResponse({"error": safe}, status_code=status)

    async def wrong_input(request: Any, error: Exception) -> JSONResponse:
        return answer(404 if isinstance(error, NotFoundError) else 422, str(error))

    async def invalid(request: Any, error: Any) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
        return answer(422, f"{place or 'body'}: {first.get('msg', 'is not valid')}"[:400])

    async def unavailable(request: Any, error: Exception) -> JSONResponse:
        return answer(503, str(error))

    async def refused(request: Any, error: Any) -> JSONResponse:
        return answer(error.status_code, str(error.detail))

    app.add_exception_handler(InputError, wrong_input)
    app.add_exception_handler(ConvergenceError, wrong_input)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(WorkerError, unavailable)
    app.add_exception_handler(HTTPException, refused)

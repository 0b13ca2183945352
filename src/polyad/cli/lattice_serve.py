"""`polyad lattice serve`: the explorer in the browser."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyad.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from polyad.web import Settings


def serve(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES...]", help="Lattices to show beside the named cells; Parquet stores too."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is open, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="WORD", help="Asked of every visitor [default: made up where open]."),
    ] = None,
    density: Annotated[float, typer.Option("--density", metavar="RHO", help="Of the named cells.")] = 0.05,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes that solve.")] = 2,
    upload_mb: Annotated[int, typer.Option("--upload-mb", metavar="MB", min=1, help="Largest file taken.")] = 32,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """See, compare and design lattices in the browser; Ctrl-C ends it."""
    try:
        import uvicorn

        from polyad.web import Settings, create_app
        from polyad.web.settings import MEBIBYTE, is_loopback
    except ImportError as error:
        raise MissingDependencyError("polyad lattice serve", "polyad[web]") from error
    missing = [path for path in files or () if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: does not exist")
    token = token or os.environ.get("POLYAD_TOKEN") or (None if is_loopback(host) else secrets.token_urlsafe(18))
    settings = Settings(
        host=host,
        port=port,
        token=token,
        files=tuple(files or ()),
        density=density,
        solvers=workers,
        upload_bytes=upload_mb * MEBIBYTE,
    )
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    with _bound(host, port) as listening:
        address = page_address(settings, listening.getsockname()[1])
        typer.echo(f"Polyad's lattice explorer: {address}   (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listening])


def page_address(settings: Settings, port: int) -> str:
    """What to open in the browser, with the token where there is one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{port}/" + (f"?token={settings.token}" if settings.token else "")


def _bound(host: str, port: int) -> Any:
    """A listening socket: before the page is opened, it is sure that it will answer."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        reason = error.strerror or str(error)
        raise InputError(f"--port: {host}:{port} cannot be listened at ({reason}); choose another") from error
    return made

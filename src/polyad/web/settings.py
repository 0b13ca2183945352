"""Settings of the explorer: where it listens, what it shows, and what a request may cost."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

from polyad.errors import InputError

MEBIBYTE = 2**20


@final
@dataclass(frozen=True)
class Settings:
    """What `create_app` needs to know.

    Args:
        host: address to listen at. Anything but loopback demands a token.
        port: of the address; 0 takes a free one.
        token: what a visitor must show (in the address once, as a cookie afterwards, or as bearer token); None lets
            everybody on this machine in.
        files: lattices to show beside the named cells: files of any known format, or Parquet stores.
        density: relative density of the named cells, and of nets that state none.
        solvers: processes for solves while sliders move.
        heavy: processes for files, exports and analyses; as many again run designs.
        upload_bytes: largest file that may be sent.
        body_seconds: a request must have arrived after this time.
        upload_seconds: time limit of reading and analysing one file.
        export_seconds: time limit of an export.
        design_seconds: time limit of a design.
        memory_bytes: what a worker may allocate beyond what it holds when it starts.
        kept_uploads: files and designs kept; of more, the oldest are forgotten.

    Raises:
        InputError: a limit that is not positive, a port out of range, a token that is short or does not fit an address,
            or an open address without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    files: tuple[Path, ...] = ()
    density: float = 0.05
    solvers: int = 2
    heavy: int = 1
    upload_bytes: int = 32 * MEBIBYTE
    body_seconds: float = 30.0
    upload_seconds: float = 60.0
    export_seconds: float = 180.0
    design_seconds: float = 600.0
    memory_bytes: int = 3 * 1024 * MEBIBYTE
    kept_uploads: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port: {self.port} must lie between 0 and 65535")
        if not 0 < self.density < 0.5:
            raise InputError(f"density: {self.density} must be positive and below 0.5")
        limits = ("solvers", "heavy", "memory_bytes", "kept_uploads")
        for field in fields(self):
            if field.name in limits or field.name.endswith(("_bytes", "_seconds")):
                value = getattr(self, field.name)
                if not (math.isfinite(value) and value > 0):
                    raise InputError(f"{field.name}: {value} must be positive")
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9_.~-]{12,200}", self.token):
            raise InputError("token: must have 12 to 200 letters, digits, dashes, dots and underscores")
        if self.token is None and not is_loopback(self.host):
            raise InputError(f"host: {self.host!r} is open to other machines; give a token, or listen at 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

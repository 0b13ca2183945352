"""What every request passes first: who may come in, how much he may bring, and how long he may take to bring it.

- With a token: it must be shown as `Authorization: Bearer`, as cookie, or once in the address (`?token=`), which sets
  the cookie. Without one, the server listens at loopback and the `Host` must be loopback's name, so that a page from
  elsewhere cannot reach it under a name of its own (DNS rebinding).
- What changes something must come from a page of this server, if it comes from a page (`Origin`).
- A body is counted while it arrives, and must have arrived in time.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, final
from urllib.parse import parse_qs, urlsplit

from polyad.web.settings import MEBIBYTE, Settings, is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "polyad-explorer"
UPLOAD = "/api/upload"
LARGEST_JSON = 4 * MEBIBYTE
SAFE = ("GET", "HEAD", "OPTIONS")

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from outside; plotly writes styles into its drawings."""

_HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


@final
class Gate:
    """ASGI middleware around `app`; see the module."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        limit = self.settings.upload_bytes if scope["path"] == UPLOAD else LARGEST_JSON
        if _length(headers) > limit:
            await _refuse(send, 413, f"the request is larger than {limit} bytes")
            return
        cookie = self._new_cookie(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(b"set-cookie", cookie)] if cookie else []
                store = [(b"cache-control", b"no-store" if scope["path"].startswith("/api") else b"no-cache")]
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS, *store, *extra]}
            await send(message)

        await self.app(scope, _limited(receive, limit, self.settings.body_seconds), send_with_headers)

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        token = self.settings.token
        if token is None and not is_loopback(_hostname(host)):
            return 403, "this server answers to localhost only"
        if token is not None and not any(_same(token, given) for given in _shown(scope, headers)):
            return 401, "a token is needed: open the address that the server printed"
        origin = headers.get("origin")
        if scope["method"] not in SAFE and origin is not None and urlsplit(origin).netloc != host:
            return 403, "requests from other pages are refused"
        return None

    def _new_cookie(self, scope: Message) -> bytes:
        if self.settings.token is None or not _query_token(scope):
            return b""
        return f"{COOKIE}={self.settings.token}; Path=/; HttpOnly; SameSite=Strict".encode()


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _shown(scope: Message, headers: dict[str, str]) -> list[str]:
    shown = _query_token(scope)
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        shown.append(value.strip())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return shown + ([cookie.value] if cookie is not None else [])


def _query_token(scope: Message) -> list[str]:
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])


def _same(token: str, given: str) -> bool:
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "surrogateescape"))


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _limited(receive: Receive, limit: int, seconds: float) -> Receive:
    """`receive` that counts what comes and looks at the clock until the body is complete."""
    began = time.monotonic()
    state = {"bytes": 0, "complete": False}

    async def limited() -> Message:
        from starlette.exceptions import HTTPException

        if state["complete"]:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(began + seconds - time.monotonic(), 0.001))
        except TimeoutError:
            raise HTTPException(408, f"the request did not arrive within {seconds:.0f} s") from None
        state["bytes"] += len(message.get("body", b""))
        state["complete"] = not message.get("more_body", False)
        if state["bytes"] > limit:
            raise HTTPException(413, f"the request is larger than {limit} bytes")
        return message

    return limited


async def _refuse(send: Send, status: int, text: str) -> None:
    import json

    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

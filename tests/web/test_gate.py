"""The gate around a small application: token, origin, sizes and slow clients."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polyad.web.gate import COOKIE, LARGEST_JSON, Gate
from polyad.web.settings import Settings, is_loopback

pytest.importorskip("starlette", reason="Starlette is not installed")

TOKEN = "a-token-of-some-length"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    settings: Settings, path: str = "/", *, method: str = "GET", query: str = "", bodies: Any = (b"",), **headers: str
) -> tuple[int, dict[str, str]]:
    sent: list[Any] = []
    waiting = list(bodies)

    async def receive() -> Any:
        if not waiting:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or len(bodies) > 1}

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": "localhost:8000", **{key.replace("_", "-"): value for key, value in headers.items()}}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in named.items()],
    }  # fmt: skip
    asyncio.run(Gate(application, settings)(scope, receive, send))
    return sent[0]["status"], {key.decode(): value.decode() for key, value in sent[0]["headers"]}


OPEN = Settings(host="0.0.0.0", token=TOKEN)


def test_token_is_taken_from_header_cookie_or_address() -> None:
    assert ask(OPEN)[0] == 401
    assert ask(OPEN, authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(OPEN, cookie=f"{COOKIE}={TOKEN}")[0] == 200
    status, headers = ask(OPEN, query=f"token={TOKEN}", host="machine.example:8000")
    assert status == 200
    assert headers["set-cookie"].startswith(f"{COOKIE}={TOKEN};")
    assert "HttpOnly" in headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer \xff"},
        {"cookie": f"{COOKIE}="},
        {"cookie": "\x00;;=,"},
        {"cookie": f"other={TOKEN}"},
    ],
)
def test_wrong_tokens_are_refused(headers: dict[str, str]) -> None:
    assert ask(OPEN, **headers)[0] == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:8", 200), ("evil.example", 403), ("", 403), ("[::1", 403)],
)
def test_without_a_token_the_name_must_be_loopbacks(host: str, status: int) -> None:
    assert ask(Settings(), host=host)[0] == status


def test_changes_come_from_this_page() -> None:
    assert ask(Settings(), method="POST", origin="http://localhost:8000")[0] == 200
    assert ask(Settings(), method="POST", origin="http://localhost:9000")[0] == 403
    assert ask(Settings(), method="POST", origin="null")[0] == 403
    assert ask(Settings(), method="DELETE", origin="https://evil.example")[0] == 403


def test_declared_and_counted_sizes_are_limited() -> None:
    from starlette.exceptions import HTTPException

    assert ask(Settings(), method="POST", content_length=str(LARGEST_JSON + 1))[0] == 413
    with pytest.raises(HTTPException) as caught:  # answered by the application's handler
        ask(Settings(), method="POST", bodies=[b"x" * LARGEST_JSON, b"x"], content_length="5")
    assert caught.value.status_code == 413


def test_slow_clients_are_let_go() -> None:
    from starlette.exceptions import HTTPException

    with pytest.raises(HTTPException) as caught:
        ask(Settings(body_seconds=0.05), method="POST", bodies=[b"a", b"b"])
    assert caught.value.status_code == 408


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

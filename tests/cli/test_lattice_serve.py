"""`polyad lattice serve`: the address that is printed, and what is refused before anything starts."""

from __future__ import annotations

import socket

import pytest

from polyad.cli import main
from polyad.cli.lattice_serve import page_address
from polyad.web.settings import Settings


@pytest.mark.parametrize(
    ("host", "token", "expected"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:81/"),
        ("::1", None, "http://[::1]:81/"),
        ("0.0.0.0", "abcdefghijkl", "http://127.0.0.1:81/?token=abcdefghijkl"),
    ],
)
def test_address(host: str, token: str | None, expected: str) -> None:
    assert page_address(Settings(host=host, token=token), 81) == expected


def test_absent_file_and_short_token_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    assert main(["lattice", "serve", "absent.lat"]) == 2
    assert "absent.lat: does not exist" in capsys.readouterr().err
    assert main(["lattice", "serve", "--host", "0.0.0.0", "--token", "abc"]) == 2
    assert "token" in capsys.readouterr().err


def test_taken_port_is_told() -> None:
    from polyad.cli import lattice_serve
    from polyad.errors import InputError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="choose another"):
            lattice_serve._bound("127.0.0.1", taken.getsockname()[1])

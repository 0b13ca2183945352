"""The progress bar: silent where nobody watches, complete where somebody does."""

from __future__ import annotations

import pytest

from polyad.cli.progress import format_rate, progress_bar


def test_silent_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYAD_PROGRESS", raising=False)
    with progress_bar("Solving") as advance:
        advance(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_drawn_on_stderr_when_asked(
    way: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("POLYAD_PROGRESS", "1" if way == "environment" else "0")
    with progress_bar("Solving", unit="lattices", shown=True if way == "argument" else None) as advance:
        for done in range(1, 41):
            advance(done, 40)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Solving" in captured.err
    assert "40/40" in captured.err
    assert "lattices/s" in captured.err


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.01234, "0.0123"), (4.5678, "4.57"), (78.94, "78.9"), (999.7, "1,000"), (12345.0, "12,300"), (0.5, "0.5")],
)
def test_rate_has_three_digits(rate: float, text: str) -> None:
    assert format_rate(rate) == text

"""Rows come back as written; what lies beyond the checkpoint or was cut short is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyad.errors import FileFormatError
from polyad.training.metrics import MetricsLog, read_metrics


def test_rows_come_back(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-300}, {"step": 3, "loss": 2.0, "extra": 5.0}]
    log = MetricsLog(tmp_path)
    for row in rows:
        log.add(row)
    assert read_metrics(tmp_path / "metrics.csv") == rows == log.rows


def test_resumed_log_drops_rows_beyond_the_checkpoint(tmp_path: Path) -> None:
    first = MetricsLog(tmp_path)
    for step in range(1, 6):
        first.add({"step": step, "loss": float(step)})
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("6,0.")  # killed while writing
    second = MetricsLog(tmp_path, step=3)
    second.add({"step": 4, "loss": -4.0})
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["loss"] for row in rows] == [1.0, 2.0, 3.0, -4.0]
    assert MetricsLog(tmp_path, step=0).rows == []
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_foreign_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(FileFormatError, match=r"metrics\.csv:2: is no table of metrics"):
        MetricsLog(tmp_path, step=3)


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, tensorboard=True)
    log.add({"step": 4, "loss": 0.25})
    log.add({"step": 8, "loss": 0.125})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(4, 0.25), (8, 0.125)]

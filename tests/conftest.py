"""What all tests share: the optional folder of real data, and one thread a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Under pytest-xdist every worker keeps to one thread, so that workers do not fight for cores."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $POLYAD_DATA, or `shared/data` beside the checkout; skips where absent."""
    named = os.environ.get("POLYAD_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} is no folder (set POLYAD_DATA to its place)")
    return folder

"""What a measurement ran on is said in a few honest words."""

from __future__ import annotations

import json
import os
import platform
import socket

import torch

from polyad import __version__
from polyad.claims.machine import describe_machine, describe_versions


def test_machine_is_described_without_naming_it() -> None:
    machine = describe_machine()
    assert machine["processor"]
    assert 1 <= machine["cores"] <= (os.cpu_count() or 1)
    assert machine["memory_gib"] is None or machine["memory_gib"] > 0.1
    assert platform.system() in machine["system"]
    assert (machine["accelerator"] is not None) == torch.cuda.is_available()
    assert socket.gethostname() not in json.dumps(machine).split('"')


def test_versions_are_those_installed() -> None:
    versions = describe_versions("rich", "no-such-package-at-all")
    assert versions["polyad"] == __version__
    assert versions["torch"] == torch.__version__
    assert "rich" in versions
    assert "no-such-package-at-all" not in versions

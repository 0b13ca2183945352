"""What a measurement ran on: processor, memory, versions. Nothing that names a person or a host."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from polyad import __version__

_MEASURED_PACKAGES = ("torch", "numpy", "scipy", "numba")


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GiB, system and accelerator (where torch has found one)."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "accelerator": _accelerator(),
    }


def describe_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, Polyad, the numerical packages and those named, as far as they are installed."""
    versions = {"python": platform.python_version(), "polyad": __version__}
    for name in (*_MEASURED_PACKAGES, *packages):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")  # never imported for this question alone
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())

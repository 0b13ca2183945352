"""Writes the pages that come from cards and results: `python docs/generate.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from polyad.claims.pages import write_pages

if __name__ == "__main__":
    for path in write_pages(Path(__file__).resolve().parent):
        sys.stdout.write(f"wrote {path.name}\n")

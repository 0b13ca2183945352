"""`python -m polyad` is the command `polyad`."""

from __future__ import annotations

import sys

from polyad.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Where claims find real data: a folder that a machine may have and need not."""

from __future__ import annotations

import os
from pathlib import Path

from polyad.claims.checkout import find_checkout


def find_data(name: str) -> Path | None:
    """A file of the data folder, or None where it is not there.

    The folder is $POLYAD_DATA, or `shared/data` beside the checkout that this package runs from.
    """
    named, checkout = os.environ.get("POLYAD_DATA"), find_checkout()
    if named:
        folder = Path(named)
    elif checkout is not None:
        folder = checkout.parent / "shared" / "data"
    else:
        return None
    return folder / name if (folder / name).is_file() else None

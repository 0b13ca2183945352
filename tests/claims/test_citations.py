"""A script cites what it uses, however it imports it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyad.claims.cards import read_card
from polyad.claims.citations import cited_systems
from polyad.errors import FileFormatError

STONE = read_card(Path(__file__).parent / "trial_cards" / "physics" / "falling_stone.py")


@pytest.mark.parametrize(
    "script",
    [
        "from polyad.physics.stones import fall",
        "from polyad.physics.stones import fall as drop",
        "from polyad.physics.stones.free import fall_time",
        "from polyad.physics.stones import *",
        "from polyad.physics import stones\nprint(stones.fall(1))",
        "from polyad.physics import stones as s\nprint(s.free.fall(1))",
        "from polyad import physics\nphysics.stones.fall.__doc__",
        "import polyad.physics.stones\npolyad.physics.stones.fall(1)",
        "import polyad.physics.stones as s\nfor t in s.fall(1): pass",
        "def later():\n    from polyad.physics.stones import fall",
    ],
)
def test_used(script: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    assert cited_systems(path, [STONE]) == [STONE]


@pytest.mark.parametrize(
    "script",
    [
        "",
        "from polyad.physics.stones import throw",
        "from polyad.physics import stones\nstones.throw(1)",
        "import polyad.physics.stones",
        "from polyad.physics.stonesthrow import fall",
        "from physics.stones import fall",
        "from .polyad.physics.stones import fall",
        "text = 'from polyad.physics.stones import fall'",
        "stones = object()\nstones.fall(1)",
    ],
)
def test_not_used(script: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    assert cited_systems(path, [STONE]) == []


@pytest.mark.parametrize("content", [b"def f(:\n", b"\xff\xfe", b"a = '\0'"])
def test_what_is_no_script_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a Python file"):
        cited_systems(path, [STONE])

"""Scripts: found, run, asked, and answered in one line where something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.optim.racing.scripts import is_script, load_maker

GOOD = """
import torch
from dataclasses import dataclass
from neighbour import SIZE

@dataclass
class Sizes:
    inputs: "int" = SIZE

def make_problem(seed: int):
    torch.manual_seed(seed)
    model = torch.nn.Linear(Sizes().inputs, 1)

    def loss(model, generator):
        return model(torch.randn(4, SIZE, generator=generator)).square().mean()

    return model, loss

def wrong(seed, other):
    return None

def broken(seed):
    return 1 / seed

if __name__ == "__main__":
    raise RuntimeError("not when it is asked for a problem")
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "neighbour.py").write_text("SIZE = 7\n")
    (tmp_path / "mine.py").write_text(GOOD)
    return str(tmp_path / "mine.py")


def test_a_script_makes_problems(script: str) -> None:
    for words in (script, f"{script}:make_problem"):
        make = load_maker(words)
        one, other, third = make(0), make(0), make(1)
        assert one.model.weight.shape == (1, 7)
        assert torch.equal(one.model.weight, other.model.weight)
        assert not torch.equal(one.model.weight, third.model.weight)


def test_words_for_scripts_and_for_names() -> None:
    assert [is_script(words) for words in ("a.py", "b/c.py:f", "text", "glyphs-mlp")] == [True, True, False, False]


def test_failures_are_one_line(script: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    for text, words in (
        ("x = (", r"bad.py:1: is no Python"),
        ("import torch\n\nx = undefined\n", r"bad.py:3: NameError: name 'undefined'"),
        ("import polyad_is_not_this\n", r"bad.py:1: ModuleNotFoundError"),
        ("raise SystemExit(1)\n", "ends by itself"),
        ("def problem(seed): pass\n", "no function 'make_problem'; define .*; it has problem"),
        ("make_problem = 3\n", "no function 'make_problem'"),
    ):
        bad.write_text(text)
        with pytest.raises(FileFormatError, match=words) as caught:
            load_maker(str(bad))
        assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError, match="No such file"):
        load_maker(str(tmp_path / "absent.py"))
    with pytest.raises(InputError, match="one argument, the seed"):
        load_maker(f"{script}:wrong")(0)
    with pytest.raises(InputError, match=r"broken\(0\): ZeroDivisionError: division by zero"):
        load_maker(f"{script}:broken")(0)
    with pytest.raises(InputError, match=r"broken: returned of type float"):
        load_maker(f"{script}:broken")(1)

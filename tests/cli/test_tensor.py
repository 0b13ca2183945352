"""`polyad tensor`: what it prints is true, what it writes comes back, and wrong input is one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from polyad.cli import main
from polyad.tensors import formats
from polyad.tensors.formats import CP, TensorTrain, Tucker, load_format
from tests.cli.printed import row

Tensor = Callable[..., str]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def tensor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tensor:
    """Runs `polyad tensor ...` in an empty folder and returns stdout, or for a failure stderr."""
    monkeypatch.chdir(tmp_path)

    def words(*arguments: object, code: int = 0) -> str:
        result = main(["tensor", *map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


def test_it_says_what_it_found_and_writes_it(tensor: Tensor) -> None:
    dense = Tucker.random((20, 18, 16), (3, 2, 4), generator=seeded(2)).to_dense().numpy()
    np.save("field.npy", dense)
    text = tensor("field.npy", "--tol", "1e-6", "--out", "small.safetensors", "--png", "ranks.png")
    numbers = 3 * 2 * 4 + 20 * 3 + 18 * 2 + 16 * 4
    assert row(text, "shape")[1:] == ["20", "x", "18", "x", "16"]
    assert row(text, "format")[1:] == ["Tucker"]
    assert row(text, "ranks")[1:] == ["3", "x", "2", "x", "4"]
    assert row(text, "numbers stored")[2:] == [str(numbers), "of", "5,760"]
    assert float(row(text, "compression ratio")[2]) == pytest.approx(5760 / numbers, rel=1e-3)
    assert f"why: Tucker of rank 3x2x4 stores {numbers} numbers" in text
    back = load_format("small.safetensors")
    error = np.linalg.norm(back.to_dense().numpy() - dense) / np.linalg.norm(dense)
    assert error <= 1e-6
    assert float(row(text, "relative error")[2]) == pytest.approx(error, rel=1e-2, abs=1e-15)
    assert back.facts["source"] == "field.npy"
    assert back.facts["tolerance"] == 1e-6
    assert Path("ranks.png").read_bytes().startswith(b"\x89PNG")


def test_formats_can_be_asked_for(tensor: Tensor) -> None:
    np.save("x.npy", CP.random((9, 8, 7), 2, generator=seeded(1)).to_dense().numpy())
    assert row(tensor("x.npy"), "format")[1] == "CP"
    assert row(tensor("x.npy", "--format", "train"), "format")[1] == "TensorTrain"
    text = tensor("x.npy", "--format", "train", "--format", "tucker")
    assert row(text, "format")[1] in ("TensorTrain", "Tucker")


def test_a_reordered_train_is_written_in_the_order_of_the_array(tensor: Tensor) -> None:
    planted = TensorTrain.random((8, 9, 7, 8, 6), 3, generator=seeded(3)).to_dense()
    dense = planted.permute(2, 0, 4, 1, 3).contiguous().numpy()
    np.savez_compressed("x.npz", noise=np.ones(3), data=dense)
    text = tensor("x.npz", "--array", "data", "--format", "train", "--out", "x.safetensors")
    assert sorted(row(text, "order of modes")[3:]) == list("01234")
    back = load_format("x.safetensors").to_dense().numpy()
    assert np.linalg.norm(back - dense) <= 1e-3 * np.linalg.norm(dense)


def test_several_files_are_told_apart(tensor: Tensor) -> None:
    np.save("a.npy", np.outer(np.arange(1.0, 9), np.arange(1.0, 8)))
    np.save("b[bold].npy", np.eye(6))
    text = tensor("a.npy", "b[bold].npy")
    assert text.index("a.npy") < text.index("8 x 7") < text.index("b[bold].npy") < text.index("6 x 6")
    assert "nothing is gained" in text  # the identity has full rank


def test_cuts_that_are_not_drawn_are_named(tensor: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("x.npy", TensorTrain.random((4, 5, 4, 5), 2, generator=seeded(0)).to_dense().numpy())
    assert "left out" not in tensor("x.npy", "--png", "x.png")
    monkeypatch.setattr(formats, "unfolding_spectra", partial(formats.unfolding_spectra, largest_cut=10))
    assert "cuts after the first 2 modes" in tensor("x.npy", "--png", "x.svg")


@pytest.mark.parametrize(
    ("array", "arguments", "message"),
    [
        (np.ones(5), [], "holds a vector of 5 entries"),
        (np.full((2, 2), np.nan), [], "x.npy: it holds NaN or Inf"),
        (np.zeros((2, 2)), [], "x.npy: every entry is zero"),
        (np.zeros((2, 0)), [], "x.npy: shape (2, 0) has no entries"),
        (np.array([[None]]), [], "holds Python objects"),
        (np.eye(3), ["--tol", "0"], "tolerance: 0 was given"),
        (np.eye(3), ["--tol", "2"], "tolerance: 2 was given"),
        (np.eye(3), ["--format", "hologram"], "allowed are ('tucker', 'train', 'tree', 'cp')"),
        (np.eye(3), ["--out", "x.npy"], "--out: x.npy has the suffix '.npy'; allowed are .safetensors"),
        (np.eye(3), ["--png", "x.gif"], "--png: x.gif has the suffix '.gif'; allowed are .png, .svg, .pdf"),
        (np.eye(3), ["y.npy", "--out", "x.safetensors"], "--out: it holds one array, 2 files were given"),
        (np.eye(3), ["--out", "no/x.safetensors"], "folder"),
        (np.eye(3), ["y.npy"], "y.npy: cannot be read"),
        (np.eye(3), ["--array", "x"], "says nothing"),
    ],
)
def test_wrong_input_is_one_line(array: np.ndarray, arguments: list[str], message: str, tensor: Tensor) -> None:
    np.save("x.npy", array, allow_pickle=True)
    said = tensor("x.npy", *arguments, code=2)
    assert message in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["x.npy"]

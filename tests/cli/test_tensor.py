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
from polyad.tensors.formats import CP, TensorRing, TensorTrain, Tucker, load_format
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


def test_the_type_in_the_file_is_named_where_the_work_is_done_in_another(tensor: Tensor) -> None:
    np.save("counts.npy", np.outer(np.arange(1, 9), np.arange(1, 8)).astype(np.uint8))
    np.save("field.npy", np.outer(np.arange(1.0, 9), np.arange(1.0, 8)))
    assert row(tensor("counts.npy"), "counts.npy")[1:] == ["uint8,", "read", "as", "float64"]
    assert row(tensor("field.npy"), "field.npy")[1:] == ["float64"]


def test_stores_stacks_and_video(tensor: Tensor) -> None:
    """Each holds a stack of frames of low rank; the format is found, and its error kept."""
    time, rows, columns = np.meshgrid(np.arange(8), np.arange(24), np.arange(32), indexing="ij")
    frames = 100 + 60 * np.cos(0.1 * rows) * np.sin(0.1 * columns + 0.3 * time)
    zarr, tifffile = pytest.importorskip("zarr"), pytest.importorskip("tifffile")
    group = zarr.open_group("runs.zarr", mode="w")
    group.create_array("first", data=frames, chunks=(4, 24, 16))
    group.create_array("noise", data=np.random.default_rng(0).random((9, 9)))
    tifffile.imwrite("stack.tif", frames.astype(np.float32))
    pytest.importorskip("av")
    iio = pytest.importorskip("imageio.v3")
    grey = frames.astype(np.uint8)[..., None].repeat(3, -1)
    iio.imwrite("film.avi", grey, plugin="pyav", codec="mpeg4", fps=10)
    for arguments, shape, tolerance in (
        (["runs.zarr", "--array", "first"], "8 x 24 x 32", "1e-6"),
        (["stack.tif"], "8 x 24 x 32", "1e-5"),
        (["film.avi"], "8 x 24 x 32 x 3", "0.05"),
    ):
        text = tensor(*arguments, "--tol", tolerance, "--out", "x.safetensors")
        assert " ".join(row(text, "shape")[1:]) == shape
        assert float(row(text, "relative error")[2]) <= float(tolerance)
        assert float(row(text, "compression ratio")[2]) > 4
        dense = load_format("x.safetensors").to_dense().numpy()
        wanted = frames if dense.ndim == 3 else frames[..., None]
        assert np.linalg.norm(dense - wanted) <= 0.1 * np.linalg.norm(np.broadcast_to(wanted, dense.shape))
    assert "name one of first, noise" in tensor("runs.zarr", code=2)


def test_a_file_is_sampled_and_never_read_whole(tensor: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = TensorTrain.random((30, 20, 25, 16), 3, generator=seeded(4))
    np.save("x.npy", planted.to_dense().numpy())
    monkeypatch.setattr(formats.StoredArray, "read", lambda self: pytest.fail("the file was read as a whole"))
    text = tensor("x.npy", "--cross", "--tol", "1e-8", "--out", "x.safetensors")
    assert row(text, "format")[1:] == ["TensorTrain"]
    assert row(text, "ranks")[1:] == ["3", "x", "3", "x", "3"]
    assert float(row(text, "relative error")[2]) <= 1e-8
    read, of, all_of_them = row(text, "entries read")[2:]
    assert int(read.replace(",", "")) < 10_000
    assert (of, all_of_them) == ("of", "240,000")
    back = load_format("x.safetensors")
    assert float((back.value - planted).norm()) <= 1e-7 * float(planted.norm())
    assert back.facts["reason"] == "sampled by --cross"


def test_samples_that_do_not_suffice_are_an_error(tensor: Tensor) -> None:
    np.save("x.npy", np.random.default_rng(0).random((300, 300)))
    said = tensor("x.npy", "--cross", "--tol", "1e-3", "--out", "x.safetensors", code=2)
    assert "--cross stopped by its limit of sweeps at relative error" in said
    assert "above --tol 0.001" in said
    assert not Path("x.safetensors").exists()
    for array, message in ((np.zeros((9, 9)), "zero at all"), (np.full((9, 9), np.nan), "holds NaN or Inf at (")):
        np.save("x.npy", array)
        said = tensor("x.npy", "--cross", code=2)
        assert message in said
        assert said.startswith("polyad: error: x.npy")
    np.savez("x.npz", np.ones((3, 3)))
    assert "entry by entry" in tensor("x.npz", "--cross", code=2)
    assert "--cross: it finds a tensor train" in tensor("x.npy", "--cross", "--format", "cp", code=2)
    assert "--cross: it finds a tensor train" in tensor("x.npy", "--cross", "--png", "x.png", code=2)


def test_a_planted_ring_is_searched_for_and_drawn(tensor: Tensor) -> None:
    ring = TensorRing.random((5, 4, 5, 4), 2, generator=seeded(2))
    np.save("x.npy", ring.to_dense().numpy())
    text = tensor("x.npy", "--search", "greedy", "--tol", "0.02", "--out", "x.safetensors", "--png", "x.png")
    assert row(text, "format")[1:] == ["TensorNetwork"]
    assert float(row(text, "relative error")[2]) <= 0.02
    numbers = int(row(text, "numbers stored")[2].replace(",", ""))
    assert numbers <= 2 * ring.storage.numbers
    assert len([line for line in text.splitlines() if "--" in line]) == int(row(text, "bonds")[1])
    back = load_format("x.safetensors")
    assert back.value.storage.numbers == numbers
    assert float((back.to_dense() - ring.to_dense()).norm()) <= 0.02 * float(ring.norm())
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


def test_searches_that_fail_or_contradict_themselves(tensor: Tensor) -> None:
    np.save("x.npy", np.random.default_rng(0).random((6, 6, 6)) - 0.5)
    said = tensor(
        "x.npy", "--search", "alternating", "--tol", "1e-3", "--seconds", "0.01", "--out", "x.safetensors", code=2
    )
    assert "x.npy: --search alternating stopped by" in said
    assert "above --tol 0.001" in said
    assert not Path("x.safetensors").exists()
    assert "allowed are greedy and alternating" in tensor("x.npy", "--search", "luck", code=2)
    assert "--search: it chooses the format" in tensor("x.npy", "--search", "greedy", "--cross", code=2)
    assert "--search: it chooses the format" in tensor("x.npy", "--search", "greedy", "--format", "cp", code=2)


def test_a_constant_array_is_one_term(tensor: Tensor) -> None:
    np.save("x.npy", np.full((6, 7, 8), 2.5))
    text = tensor("x.npy")
    assert set(row(text, "ranks")[1:]) <= {"1", "x"}
    assert float(row(text, "relative error")[2]) < 1e-12
    text = tensor("x.npy", "--cross")
    assert row(text, "ranks")[1:] == ["1", "x", "1"]


@pytest.mark.parametrize(
    ("array", "arguments", "message"),
    [
        (np.ones(5), [], "holds a vector of 5 entries"),
        (np.array(5.0), [], "holds a single number"),
        (np.ones((2, 2), complex), [], "holds complex numbers"),
        (np.array([[1.0, np.inf]]), [], "x.npy: it holds NaN or Inf"),
        (np.full((2, 2), np.nan), [], "x.npy: it holds NaN or Inf"),
        (np.zeros((2, 2)), [], "x.npy: every entry is zero"),
        (np.zeros((2, 0)), [], "x.npy: shape (2, 0) has no entries"),
        (np.array([[None]]), [], "holds Python objects"),
        (np.eye(3), ["--tol", "0"], "tolerance: 0 was given"),
        (np.eye(3), ["--tol", "2"], "tolerance: 2 was given"),
        (np.eye(3), ["--tol", "1"], "tolerance: 1 was given"),
        (np.eye(3), ["--tol", "nan"], "tolerance: nan was given"),
        (np.eye(3), ["--tol=-0.1"], "tolerance: -0.1 was given"),
        (np.eye(3), ["--tol=-0.1", "--cross"], "tolerance: -0.1 was given"),
        (np.eye(3), ["--tol", "2", "--cross"], "tolerance: 2 was given"),
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

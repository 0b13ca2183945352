"""Formats on disk: every format and dtype comes back bit by bit, and what is wrong with a file is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from polyad.errors import FileFormatError, InputError
from polyad.tensors.formats import (
    CP,
    TensorFormat,
    TensorNetwork,
    TensorRing,
    TensorTrain,
    TreeTensorNetwork,
    Tucker,
    compress,
    load_format,
    save_format,
)

SHAPE = (3, 4, 2, 5)
TREE = ((0, 2), (1, (3,)))
LABELS = (("a", 0, 7), (7, 1, ("b", 1)), (("b", 1), 2, "d"), ("d", 3, "a"))
SIZES = {"a": 2, 7: 3, ("b", 1): 2, "d": 3, 0: 3, 1: 4, 2: 2, 3: 5}
KINDS = ["CP", "Tucker", "TensorTrain", "TensorRing", "TreeTensorNetwork", "TensorNetwork"]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def draw(kind: str, dtype: torch.dtype = torch.float64, batch: tuple[int, ...] = ()) -> TensorFormat:
    options: dict[str, Any] = {"generator": torch.Generator().manual_seed(3), "dtype": dtype}
    if kind == "TensorNetwork":
        return TensorNetwork.random(LABELS, SIZES, output=(2, 0, 3, 1), **options)
    options["batch_shape"] = batch
    if kind == "TreeTensorNetwork":
        return TreeTensorNetwork.random(SHAPE, 2, tree=TREE, **options)
    kinds: dict[str, Any] = {"CP": CP, "Tucker": Tucker, "TensorTrain": TensorTrain, "TensorRing": TensorRing}
    return kinds[kind].random(SHAPE, 2, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_format_comes_back_bit_by_bit(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    value = draw(kind, dtype)
    save_format(tmp_path / "x.safetensors", value)
    found = load_format(tmp_path / "x.safetensors")
    assert type(found.value) is type(value)
    assert found.value.dtype == dtype
    assert len(found.value.arrays) == len(value.arrays)
    assert all(torch.equal(a, b) for a, b in zip(found.value.arrays, value.arrays, strict=True))
    assert torch.equal(found.to_dense(), value.to_dense())
    assert found.modes == (0, 1, 2, 3)
    if isinstance(value, TensorNetwork) and isinstance(found.value, TensorNetwork):
        assert (found.value.indices, found.value.output) == (value.indices, value.output)
    if isinstance(value, TreeTensorNetwork) and isinstance(found.value, TreeTensorNetwork):
        assert found.value.tree == TREE


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_batches_come_back(kind: str, tmp_path: Path) -> None:
    value = draw(kind, batch=(2, 3))
    save_format(tmp_path / "x.safetensors", value, modes=(1, 0, 3, 2))
    found = load_format(tmp_path / "x.safetensors")
    assert found.value.batch_shape == (2, 3)
    assert torch.equal(found.to_dense(), value.to_dense().permute(0, 1, 3, 2, 5, 4))


def test_many_arrays_keep_their_order(tmp_path: Path) -> None:
    value = TensorTrain.random((2,) * 12, 2, generator=torch.Generator().manual_seed(0))
    save_format(tmp_path / "x.safetensors", value)
    assert torch.equal(load_format(tmp_path / "x.safetensors").to_dense(), value.to_dense())


def test_views_gradients_and_conjugates_are_saved_as_values(tmp_path: Path) -> None:
    base = torch.randn(4, 6, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    value = Tucker(base[:2, :2], (base[:, ::3].requires_grad_().conj(), base.T[:, 1:3]))
    save_format(tmp_path / "x.safetensors", value)
    found = load_format(tmp_path / "x.safetensors").value
    assert not any(array.requires_grad for array in found.arrays)
    assert all(torch.equal(a, b) for a, b in zip(found.arrays, value.arrays, strict=True))


def test_shuffled_train_returns_in_the_order_of_the_array(tmp_path: Path) -> None:
    planted = TensorTrain.random((8, 9, 7, 8, 6), 3, generator=torch.Generator().manual_seed(3))
    dense = planted.to_dense().permute(2, 0, 4, 1, 3)
    found = compress(dense, tol=1e-6, formats=("train",))
    assert found.best.modes != (0, 1, 2, 3, 4)  # else the test below says nothing
    save_format(tmp_path / "x.safetensors", found.value, modes=found.best.modes, facts={"error": found.best.error})
    back = load_format(tmp_path / "x.safetensors")
    assert back.facts == {"error": found.best.error}
    assert float((back.to_dense() - dense).norm()) <= 1e-6 * float(dense.norm())


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    value = draw("Tucker")
    save_format(tmp_path / "x.safetensors", value)
    assert torch.equal(load_file(tmp_path / "x.safetensors")["0000"], value.arrays[0])
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as handle:
        header = json.loads(handle.metadata()["polyad"])
    assert header["format"] == "Tucker"
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": (0, 1, 2)}, "permutation of 0..3"),
        ({"modes": (0, 1, 2, 2)}, "permutation of 0..3"),
        ({"facts": {"x": float("nan")}}, "cannot be written as JSON"),
        ({"facts": {"x": object()}}, "cannot be written as JSON"),
    ],
)
def test_what_cannot_be_saved_is_said_and_leaves_no_file(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        save_format(tmp_path / "x.safetensors", draw("CP"), **options)
    network = TensorNetwork((torch.ones(2, 2).double(),), ((frozenset(), 1),))
    with pytest.raises(InputError, match="label frozenset"):
        save_format(tmp_path / "x.safetensors", network)
    assert list(tmp_path.iterdir()) == []


def edited(path: Path, **changes: Any) -> Path:
    """The file of a train of shape 3 x 4 x 2 x 5 with other entries in its header."""
    save_format(path, draw("TensorTrain"))
    with safetensors.safe_open(path, "pt") as handle:
        header = json.loads(handle.metadata()["polyad"])
    save_file(load_file(path), path, metadata={"polyad": json.dumps({**header, **changes})})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "Pickle"}, "does not describe a tensor format"),
        ({"format": "TreeTensorNetwork", "structure": [0, 0, 1]}, "does not describe a tensor format"),
        ({"format": "TreeTensorNetwork", "structure": {}}, "does not describe a tensor format"),
        ({"format": "TensorNetwork", "structure": {"indices": [[0]], "output": [0]}}, "does not describe"),
        ({"format": "Tucker"}, "does not describe a tensor format"),
        ({"complex": True}, "does not describe a tensor format"),
        ({"modes": [0, 1]}, "permutation"),
        ({"modes": 3}, "does not describe a tensor format"),
        ({"version": 2}, "update Polyad"),
    ],
)
def test_a_wrong_header_is_one_line(changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        load_format(edited(tmp_path / "x.safetensors", **changes))
    assert str(tmp_path / "x.safetensors") in str(caught.value)


def test_damaged_foreign_and_unfinished_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_format(path)
    save_format(path, draw("CP"))
    content = path.read_bytes()
    for broken in (b"", content[:40], content[:-8], b"\xff" * 100):
        path.write_bytes(broken)
        with pytest.raises(FileFormatError, match="not a whole safetensors file"):
            load_format(path)
    save_format(path, CP(torch.ones(1).to(torch.float8_e4m3fn), (torch.ones(2, 1).to(torch.float8_e4m3fn),)))
    with pytest.raises(FileFormatError, match="does not describe a tensor format"):
        load_format(path)
    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(FileFormatError, match="only arrays"):
        load_format(path)
    save_format(path, CP(torch.tensor([float("nan")]).double(), (torch.ones(2, 1).double(),)))
    with pytest.raises(FileFormatError, match="NaN"):
        load_format(path)

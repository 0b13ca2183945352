"""Arrays in zarr stores, TIFF, images and video: values, the order of modes, and every kind of damage."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError, InputError, MissingDependencyError, NumericalWarning
from polyad.tensors.formats import _zarr_files, open_array, read_array, tt_cross

iio = pytest.importorskip("imageio.v3", reason="the extra polyad[arrays] is not installed")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
pytest.importorskip("av")


def ramp(*shape: int) -> np.ndarray:
    """Numbers that differ along every mode."""
    return np.arange(np.prod(shape)).reshape(shape)


def moving(frames: int = 6) -> np.ndarray:
    """(frames, 48, 64, 3): a smooth picture that drifts, its colours unequal."""
    time, row, column = np.meshgrid(np.arange(frames), np.arange(48), np.arange(64), indexing="ij")
    planes = [128 + 100 * np.sin(0.1 * (column + 4 * time)), 2 * column + time, 5 * row]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def refused(path: Path, message: str) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        read_array(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def cut(path: Path, part: float = 0.5) -> Path:
    """The beginning of a file, beside it."""
    content = path.read_bytes()
    short = path.with_name(f"cut{path.suffix}")
    short.write_bytes(content[: int(part * len(content))])
    return short


# ---------------------------------------------------------------- zarr


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_arrays_and_groups(version: Any, tmp_path: Path) -> None:
    array = ramp(7, 5, 4).astype("<f8")
    zarr.create_array(tmp_path / "x.zarr", data=array, chunks=(3, 5, 2), zarr_format=version)
    assert np.array_equal(read_array(tmp_path / "x.zarr").numpy(), array)
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=version)
    group.create_array("velocity/u", data=array[0].astype("i2"))
    assert np.array_equal(read_array(tmp_path / "g.zarr").numpy(), array[0])
    group.create_array("p", data=array[1])
    refused(tmp_path / "g.zarr", "holds 2 arrays; name one of p, velocity/u")
    found = read_array(tmp_path / "g.zarr", name="velocity/u")
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), array[0])
    with pytest.raises(FileFormatError, match="no array 'q'; there are p"):
        read_array(tmp_path / "g.zarr", name="q")
    with pytest.raises(FileFormatError, match="says nothing"):
        read_array(tmp_path / "x.zarr", name="x")
    zarr.open_group(tmp_path / "none.zarr", mode="w", zarr_format=version)
    refused(tmp_path / "none.zarr", "holds no array")


def test_zarr_stores_that_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "x.zarr", "no such folder")
    (tmp_path / "x.zarr").write_bytes(b"PK")
    refused(tmp_path / "x.zarr", "a zarr store is a folder")
    (tmp_path / "y.zarr").mkdir()
    refused(tmp_path / "y.zarr", "not a whole zarr store")
    (tmp_path / "y.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type"')
    refused(tmp_path / "y.zarr", "not a whole zarr store")
    zarr.create_array(tmp_path / "z.zarr", shape=(2, 2), dtype="c16")
    refused(tmp_path / "z.zarr", "complex numbers")
    zarr.create_array(tmp_path / "large.zarr", shape=(50_000, 50_000), chunks=(100, 100), dtype="u1")
    with pytest.warns(NumericalWarning, match="250000 of 250000 chunks are not there"):
        refused(tmp_path / "large.zarr", "needs 20 GB in memory, at most 2.15 GB")


def test_damaged_and_missing_chunks(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=ramp(4, 6).astype("f8"), chunks=(2, 3))
    chunk = tmp_path / "x.zarr" / "c" / "1" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-5])
    refused(tmp_path / "x.zarr", "not a whole zarr array")
    stored = open_array(tmp_path / "x.zarr")
    assert stored.entries(torch.tensor([[0, 0], [3, 5]])).tolist() == [0, 23]
    with pytest.raises(FileFormatError, match="not a whole zarr array"):
        stored.entries(torch.tensor([[2, 0]]))
    chunk.unlink()
    with pytest.warns(NumericalWarning, match=r"1 of 4 chunks are not there and read as the fill value 0\.0"):
        assert float(read_array(tmp_path / "x.zarr")[2, 0]) == 0


def test_pickles_in_a_zarr_store_are_never_decoded(tmp_path: Path) -> None:
    """Whether the store says that it holds numbers or objects, and wherever the codec's name stands."""
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=ramp(3, 3).astype("<f8"), zarr_format=2, filters=None, compressors=None)
    bomb = b'cbuiltins\nexec\n(S\'import os; os.environ["POLYAD_BOMB"] = "1"\'\ntR.'
    (path / "0.0").write_bytes(bomb)
    described = json.loads((path / ".zarray").read_text())
    for change in (
        {"filters": [{"id": "pickle"}]},
        {"filters": [{"id": "pickle"}], "dtype": "|O"},
        {"compressor": {"id": "pickle", "protocol": 5}},
    ):
        (path / ".zarray").write_text(json.dumps(described | change))
        refused(path, "pickle|objects|not a whole zarr store")
    path = tmp_path / "y.zarr"
    zarr.create_array(path, data=ramp(3, 3).astype("<f8"), compressors=None)
    (path / "c" / "0" / "0").write_bytes(bomb)
    described = json.loads((path / "zarr.json").read_text())
    described["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    (path / "zarr.json").write_text(json.dumps(described))
    refused(path, "pickle|not a whole zarr store")
    assert "POLYAD_BOMB" not in os.environ


def test_cross_of_a_zarr_store_decodes_few_chunks_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = np.meshgrid(*(np.linspace(0, 1, size) for size in (30, 20, 25)), indexing="ij")
    array = np.exp(-a * b) + c * a
    zarr.create_array(tmp_path / "x.zarr", data=array, chunks=(7, 8, 9))
    monkeypatch.setattr(_zarr_files, "KEPT_BYTES", 3 * 8 * 7 * 8 * 9)
    stored = open_array(tmp_path / "x.zarr")
    found = tt_cross(stored.entries, stored.shape, tolerance=1e-8)
    assert np.linalg.norm(found.value.to_dense().numpy() - array) <= 1e-7 * np.linalg.norm(array)
    assert found.evaluations < array.size / 4


# ---------------------------------------------------------------- TIFF


@pytest.mark.parametrize("code", ["u1", "<u2", ">f4", "f8", "i4"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=["plain", "zlib", "tiles"])
def test_tiff_images_and_stacks(code: str, options: dict[str, Any], tmp_path: Path) -> None:
    stack = (ramp(5, 20, 24) % 251).astype(code)
    for name, array in (("one.tif", stack[0]), ("stack.tiff", stack)):
        tifffile.imwrite(tmp_path / name, array, **options)
        found = read_array(tmp_path / name)
        assert np.array_equal(found.numpy(), array)
        assert found.dtype == (torch.float32 if code == ">f4" else torch.float64)


def test_tiff_colour_is_a_mode_and_series_have_numbers(tmp_path: Path) -> None:
    colour = (ramp(12, 16, 3) % 255).astype("u1")
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    assert np.array_equal(read_array(tmp_path / "rgb.tif").numpy(), colour)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(ramp(4, 4).astype("f4"))
        file.write(ramp(3, 5, 6).astype("f4"))
    refused(tmp_path / "two.tif", "holds 2 arrays; name one of 0, 1")
    assert np.array_equal(read_array(tmp_path / "two.tif", name="1").numpy(), ramp(3, 5, 6))


def test_damaged_tiff(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stack = (np.random.default_rng(0).random((6, 20, 24)) * 255).astype("u1")
    for options in ({}, {"compression": "zlib"}, {"contiguous": False}):
        tifffile.imwrite(tmp_path / "x.tif", stack, **options)
        for part in (0.001, 0.2, 0.5, 0.9):
            refused(cut(tmp_path / "x.tif", part), "TIFF|cut off")
    with pytest.raises(FileFormatError, match=r"needs 2\.3e-05 GB in memory"):
        read_array(tmp_path / "x.tif", limit=20_000)
    tifffile.imwrite(tmp_path / "x.tif", stack.astype("c8"))
    refused(tmp_path / "x.tif", "complex numbers")
    refused(tmp_path / "none.tif", "cannot be read")
    assert capfd.readouterr().err == "", "the decoder's own complaints are not printed"


@pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs is installed")
def test_a_compression_that_needs_another_package(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(ramp(9, 8).astype("u1")).save(tmp_path / "x.tif", compression="tiff_lzw")
    with pytest.raises(MissingDependencyError, match=r"LZW.* pip install 'imagecodecs'"):
        read_array(tmp_path / "x.tif")


# ---------------------------------------------------------------- images and video


def test_still_images(tmp_path: Path) -> None:
    grey = (ramp(12, 16) % 255).astype("u1")
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    for name, array in (
        ("grey.png", grey),
        ("deep.png", (grey * 250).astype("u2")),
        ("colour.bmp", colour),
        ("alpha.png", np.dstack([colour, grey])),
    ):
        iio.imwrite(tmp_path / name, array)
        found = read_array(tmp_path / name)
        assert found.dtype == torch.float64
        assert np.array_equal(found.numpy(), array)
    iio.imwrite(tmp_path / "x.jpg", moving()[0], quality=95)
    assert float((read_array(tmp_path / "x.jpg") - torch.from_numpy(moving()[0])).abs().mean()) < 3


@pytest.mark.parametrize(("name", "codec"), [("x.gif", "gif"), ("x.mp4", "libx264"), ("x.avi", "mpeg4")])
def test_frames_come_first_and_colour_last(name: str, codec: str, tmp_path: Path) -> None:
    frames = moving()
    if codec == "gif":
        frames = frames // 64 * 64  # few colours, so that the palette holds all of them
        iio.imwrite(tmp_path / name, frames)
    else:
        iio.imwrite(tmp_path / name, frames, plugin="pyav", codec=codec, fps=10)
    found = read_array(tmp_path / name)
    assert found.shape == frames.shape
    assert float((found - torch.from_numpy(frames)).abs().mean()) < (0.01 if codec == "gif" else 8)
    other = torch.from_numpy(frames).roll(1, 0)
    assert float((found - other).abs().mean()) > 2 * float((found - torch.from_numpy(frames)).abs().mean())
    refused(cut(tmp_path / name), "not a whole video|cut off")
    with pytest.raises(FileFormatError, match=r"needs 0\.00044[0-9]* GB"):
        read_array(tmp_path / name, limit=300_000)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp", "x.webp", "x.mp4", "x.gif"])
def test_damaged_images(name: str, tmp_path: Path) -> None:
    refused(tmp_path / name, "cannot be read")
    for content in (b"", b"this is no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a whole|cut off")
    if name in ("x.png", "x.jpg", "x.bmp", "x.webp"):
        iio.imwrite(tmp_path / name, (np.random.default_rng(0).random((40, 50)) * 255).astype("u1"))
        refused(cut(tmp_path / name), "not a whole image")


@pytest.mark.parametrize(
    ("module", "name"), [("zarr", "x.zarr"), ("tifffile", "x.tif"), ("imageio.v3", "x.png"), ("av", "x.mp4")]
)
def test_an_absent_package_is_named(module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'polyad\[arrays\]'"):
        read_array(tmp_path / name)


@pytest.mark.parametrize("open_it", [read_array, open_array])
def test_the_suffix_decides(open_it: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'.psd'; allowed are \.npy, \.npz, \.parquet, \.zarr, \.tif"):
        open_it(tmp_path / "x.psd")

"""Dense arrays from files: values and order, and everything that is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zarr

from polyad.errors import FileFormatError, InputError
from polyad.tensors.formats import open_array, read_array

TYPES = {"<f2": "float32", ">f4": "float32", ">f8": "float64", "?": "float64", "u1": "float64", "<i2": "float64"}
TYPES |= {"<i4": "float64", ">i8": "float64", "<u8": "float64"}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("code", TYPES)
def test_every_real_type_and_order(code: str, order: Any, tmp_path: Path) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 7, dtype=code, order=order)
    np.save(tmp_path / "x.npy", array)
    found = read_array(tmp_path / "x.npy")
    assert str(found.dtype) == f"torch.{TYPES[code]}"
    assert np.array_equal(found.numpy(), array)
    assert found.is_contiguous()


def test_archives_by_name(tmp_path: Path) -> None:
    one, two = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    np.savez_compressed(tmp_path / "one.npz", one=one)
    np.savez(tmp_path / "both.npz", one=one, two=two)
    assert np.array_equal(read_array(tmp_path / "one.npz").numpy(), one)
    assert np.array_equal(read_array(tmp_path / "both.npz", name="two").numpy(), two)
    with pytest.raises(FileFormatError, match="name one of one, two"):
        read_array(tmp_path / "both.npz")
    with pytest.raises(FileFormatError, match="no array 'three'; there are one, two"):
        read_array(tmp_path / "both.npz", name="three")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(FileFormatError, match="holds no array"):
        read_array(tmp_path / "none.npz")


def test_tables_are_rows_by_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": [0.5, 0.25, -1.0]}), path)
    assert torch.equal(read_array(path), torch.tensor([[1, 0.5], [2, 0.25], [3, -1]]).double())
    pq.write_table(pa.table({"a": [1, None]}), path)
    with pytest.raises(FileFormatError, match="'a' lacks 1 values"):
        read_array(path)
    pq.write_table(pa.table({"a": ["x"]}), path)
    with pytest.raises(FileFormatError, match="'a' is of type string"):
        read_array(path)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(FileFormatError, match="not a whole Parquet file"):
        read_array(path)


class _Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was executed",))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = _Bomb()
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=array, allow_pickle=True)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(FileFormatError, match="Python objects"):
            read_array(tmp_path / name, name="x" if name == "x.npz" else None)
    (tmp_path / "x.npy").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(FileFormatError, match=r"not a \.npy array"):
        read_array(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), complex), "complex numbers"),
        (np.array([["a"]]), "holds <U1"),
        (np.zeros(2, "datetime64[s]"), "holds datetime64"),
        (np.zeros(2, [("a", "f8")]), "real numbers"),
    ],
)
def test_what_is_no_real_array_is_refused(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(FileFormatError, match=message):
        read_array(tmp_path / "x.npy")


def claiming(shape: str) -> bytes:
    """A .npy file of three numbers whose header claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not a \.npy array"),
        (b"\x93NUMPY\x03\x00" + bytes(9), "version 3.0"),
        (claiming("(3,)")[:50], r"not a \.npy array"),
        (claiming("(4,)"), "cut off: 24 of 32 bytes"),
        (claiming("(100000, 100000, 100000)"), r"needs 8e\+06 GB|cut off: 24 of 8000000000000000 bytes"),
        (claiming("(-1,)"), "negative"),
        (claiming("__import__('os')"), r"not a \.npy array"),
    ],
)
def test_damaged_and_lying_arrays_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_array(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(FileFormatError, match=message):
        read_array(tmp_path / "x.npz")


def test_sizes_are_limited_packed_and_unpacked(tmp_path: Path) -> None:
    array = np.zeros((100, 100))
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", x=array)
    pq.write_table(pa.table({str(k): array[k] for k in range(100)}), tmp_path / "x.parquet")
    assert (tmp_path / "x.npz").stat().st_size < 1000
    with pytest.raises(FileFormatError, match="needs 8e-05 GB in memory, at most 1e-06 GB are read"):
        read_array(tmp_path / "x.npy", limit=1000)
    with pytest.raises(FileFormatError, match="unpacks to 80128 bytes"):
        read_array(tmp_path / "x.npz", limit=1000)
    with pytest.raises(FileFormatError, match="--cross"):
        read_array(tmp_path / "x.parquet", limit=79_999)
    np.save(tmp_path / "bytes.npy", np.zeros(5000, "u1"))
    with pytest.raises(FileFormatError, match="--cross"):  # as float64 it takes eight times the file
        read_array(tmp_path / "bytes.npy", limit=39_999)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, message in (("x.txt", "'.txt'; allowed"), ("x.npy", "cannot be read"), ("x.npz", "cannot be read")):
        with pytest.raises(FileFormatError, match=message):
            read_array(tmp_path / name)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileFormatError, match=r"not a whole \.npz"):
        read_array(tmp_path / "x.npz")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.random.default_rng(0).normal(size=300))
    content = bytearray(buffer.getvalue())
    content[200:220] = bytes(20)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"not a whole \.npz"):
        read_array(tmp_path / "x.npz")
    with pytest.raises(FileFormatError, match="says nothing"):
        read_array(tmp_path / "x.npy", name="x")


def test_large_arrays_are_refused_with_what_they_need_and_sampled(tmp_path: Path) -> None:
    """Three terabytes of zeros that take no place on the disk, but for one number."""
    shape = (3000, 5000, 25_000)
    with open(tmp_path / "x.npy", "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "<f8", "fortran_order": True, "shape": shape})
        start = handle.tell()
        handle.seek(start + 8 * (7 + 3000 * (8 + 5000 * 9)))
        handle.write(np.float64(2.5).tobytes())
        handle.truncate(start + 8 * 3000 * 5000 * 25_000)
    with pytest.raises(FileFormatError, match=r"needs 3e\+03 GB in memory, at most 2.15 GB are read; .* --cross"):
        read_array(tmp_path / "x.npy")
    stored = open_array(tmp_path / "x.npy")
    assert (stored.shape, stored.dtype) == (shape, "<f8")
    assert stored.entries(torch.tensor([[7, 8, 9], [7, 8, 10], [0, 0, 0]])).tolist() == [2.5, 0, 0]


@pytest.mark.parametrize("kind", ["npy", "zarr"])
@pytest.mark.parametrize("code", ["<f4", ">f8", "u1", "?"])
def test_entries_equal_those_of_the_whole(kind: str, code: str, tmp_path: Path) -> None:
    array = (np.arange(7 * 9 * 5).reshape(7, 9, 5) % 11).astype(code)
    if kind == "npy":
        np.save(tmp_path / "x.npy", array)
    else:
        zarr.create_array(tmp_path / "x.zarr", data=array, chunks=(3, 4, 5))
    stored = open_array(tmp_path / f"x.{kind}")
    indices = torch.stack([torch.arange(60) * step % size for step, size in zip((1, 4, 3), array.shape, strict=True)])
    found = stored.entries(indices.T)
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), array[tuple(indices.numpy())])
    assert np.array_equal(stored.read().numpy(), array)
    with pytest.raises(InputError, match="outside"):
        stored.entries(torch.tensor([[7, 0, 0]]))


def test_entries_that_are_no_numbers_and_files_that_have_none(tmp_path: Path) -> None:
    array = np.ones((4, 5))
    array[2, 3] = np.inf
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", array)
    with pytest.raises(FileFormatError, match=r"holds NaN or Inf at \(2, 3\)"):
        open_array(tmp_path / "x.npy").entries(torch.tensor([[0, 0], [2, 3]]))
    with pytest.raises(FileFormatError, match=r"entry by entry, \.npy and \.zarr can"):
        open_array(tmp_path / "x.npz").entries(torch.tensor([[0, 0]]))

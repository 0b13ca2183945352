"""Entries from files: every layout gives the same numbers, pickles and damaged tables are refused in one line."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError
from polyad.tensors.functional import read_entries

INDICES = np.array([[0.1, 5.0, 2.0], [0.7, 3.0, 1.0]])
VALUES = np.array([1.5, -2.25])
TABLE = np.column_stack([INDICES, VALUES])


def test_layouts_agree(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    np.savez(tmp_path / "a.npz", indices=INDICES, values=VALUES)
    np.save(tmp_path / "a.npy", TABLE)
    pq.write_table(pa.table({name: TABLE[:, k] for k, name in enumerate("abcv")}), tmp_path / "a.parquet")
    lines = ["a,b,c,value", *(",".join(map(repr, map(float, row))) for row in TABLE)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n\n")
    for suffix in ("npz", "npy", "parquet", "csv"):
        entries = read_entries(tmp_path / f"a.{suffix}")
        assert torch.equal(entries.indices, torch.from_numpy(INDICES))
        assert torch.equal(entries.values, torch.from_numpy(VALUES))
    np.savez(tmp_path / "integers.npz", indices=INDICES.astype(np.int64), values=VALUES.astype(np.float32))
    assert read_entries(tmp_path / "integers.npz").indices.dtype == torch.float64


class Explosive:
    """Unpickling this fails the test."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was loaded",))


def test_pickles_are_refused_and_never_loaded(tmp_path):
    np.save(tmp_path / "published.npy", np.array({"tr_ind": INDICES, "code": Explosive()}, dtype=object))
    with pytest.raises(FileFormatError, match="object"):
        read_entries(tmp_path / "published.npy")
    (tmp_path / "renamed.npz").write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(FileFormatError):
        read_entries(tmp_path / "renamed.npz")


def test_bad_files_are_refused(tmp_path):
    def csv(text):
        (tmp_path / "bad.csv").write_text(text)
        return tmp_path / "bad.csv"

    for text, match in (
        ("a,v\n1,2\n3,x\n", "bad.csv:3: .*number"),
        ("a,v\n1,2\n3\n", "bad.csv:3: .*cells"),
        ("a,v\n1,nan\n", "NaN"),
        ("a,v\n", "shape"),
        ("v\n1\n", "shape"),
    ):
        with pytest.raises(FileFormatError, match=match):
            read_entries(csv(text))
    np.savez(tmp_path / "a.npz", indices=INDICES, values=VALUES[:1])
    np.savez(tmp_path / "b.npz", indices=INDICES)
    for name in ("a.npz", "b.npz", "missing.csv", "odd.txt"):
        with pytest.raises(FileFormatError):
            read_entries(tmp_path / name)

"""Observations: dense and row form agree, masked attributes are never read, bad rows are refused."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.completion import CountObservations


def test_from_dense_reads_masked_entries_in_row_major_order():
    counts = torch.arange(12).reshape(3, 4)
    mask = counts % 3 != 0
    attributes = torch.stack([counts * 10.0, counts * 100.0], dim=-1)
    rows = CountObservations.from_dense(counts, mask=mask, attributes=attributes)
    assert rows.counts.dtype == torch.float64
    assert rows.counts.tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    assert rows.indices.tolist()[2] == [1, 0]
    assert rows.attributes[:, 1].tolist() == [100, 200, 400, 500, 700, 800, 1000, 1100]
    chosen = rows.select(torch.tensor([3, 0]))
    assert chosen.counts.tolist() == [5, 1]
    assert chosen.attributes[0].tolist() == [50, 500]
    assert len(rows.with_counts(rows.counts + 1)) == 8


def test_unknown_entries_and_attributes_are_never_read():
    counts = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    attributes = torch.tensor([[[1.0], [float("nan")]], [[float("nan")], [4.0]]])
    known = torch.tensor([[[True], [True]], [[False], [True]]])
    rows = CountObservations.from_dense(counts, mask=~counts.isnan(), attributes=attributes, attributes_known=known)
    assert rows.attributes[:, 0].tolist() == [1, 0, 4]


def test_bad_rows_are_refused():
    indices, counts = torch.tensor([[0, 0], [1, 1]]), torch.tensor([1.0, 2.0])
    ones = torch.ones(2, 1)
    for arguments in (
        ((2,), indices[:, :1], counts),
        ((2, 1), indices, counts),
        ((2, 2), indices, counts[:1]),
        ((2, 2), indices, counts.long()),
        ((2, 2), indices, -counts),
        ((2, 2), indices, counts / 0),
        ((2, 2), indices, 0 * counts),
        ((2, 2), indices, counts, ones[:1]),
        ((2, 2), indices, counts, ones / 0),
        ((2, 2), indices, counts, ones, ones),
        ((2, 2), indices, counts, None, ones.bool()),
    ):
        with pytest.raises(InputError):
            CountObservations(*arguments)
    with pytest.raises(InputError, match="mask"):
        CountObservations.from_dense(torch.ones(2, 2), mask=torch.ones(2, 3, dtype=torch.bool))

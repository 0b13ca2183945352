"""Many lattices with their names and tensors as one value: the memory form of a Parquet file of lattices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.records import LatticeRecord


@final
@dataclass(frozen=True, eq=False)
class LatticeTable:
    """A batch of lattices and what is known of each; one row a lattice.

    Args:
        lattices: the cells, in float64.
        name: of the cell, the same for all its densities.
        base_name: of the net that the cell is a variant of.
        kind: how the net was made.
        density: (batch,) relative densities.
        stiffness: (batch, 6, 6) Kelvin-Mandel; rows that are not `known` hold NaN.
        known: (batch,) whether a row has a stiffness.
        mechanisms: (batch,) zero-energy motions, -1 where not counted.
        level: (batch,) displacement of every node in mean strut lengths, NaN where none is stated.
        seed: (batch,) seed of the base net, -1 where there is none.
        source: where each row comes from.
        metadata: further facts, each a JSON object as text.
        notes: what the reader of the source noticed.
    """

    lattices: LatticeBatch
    name: Sequence[str]
    base_name: Sequence[str]
    kind: Sequence[str]
    density: Float[Tensor, " batch"]
    stiffness: Float[Tensor, "batch 6 6"]
    known: Bool[Tensor, " batch"]
    mechanisms: Int[Tensor, " batch"]
    level: Float[Tensor, " batch"]
    seed: Int[Tensor, " batch"]
    source: Sequence[str]
    metadata: Sequence[str]
    notes: Sequence[Sequence[str]]

    @staticmethod
    def from_records(records: Sequence[LatticeRecord]) -> LatticeTable:
        """The table of some records; `kind`, `mechanisms`, `level` and `seed` are taken from their metadata.

        Raises:
            InputError: no record, or metadata that JSON cannot hold.
        """
        facts = [dict(record.metadata) for record in records]
        unknown = torch.full((6, 6), math.nan, dtype=torch.float64)
        stiffness = [unknown if r.stiffness is None else r.stiffness.detach().double() for r in records]

        def integers(key: str) -> Tensor:
            return torch.tensor([int(fact.pop(key, -1)) for fact in facts], dtype=torch.int64)

        return LatticeTable(
            lattices=LatticeBatch.from_lattices([r.lattice.detach().to(dtype=torch.float64) for r in records]),
            name=[r.name for r in records],
            base_name=[r.base_name for r in records],
            kind=[str(fact.pop("kind", "")) for fact in facts],
            density=torch.tensor([r.density for r in records], dtype=torch.float64),
            stiffness=torch.stack(stiffness),
            known=torch.tensor([r.stiffness is not None for r in records]),
            mechanisms=integers("mechanisms"),
            level=torch.tensor([float(fact.pop("level", math.nan)) for fact in facts], dtype=torch.float64),
            seed=integers("seed"),
            source=[r.source for r in records],
            metadata=[_as_json(r.name, fact) for r, fact in zip(records, facts, strict=True)],
            notes=[r.notes for r in records],
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lattices)

    def record(self, row: int) -> LatticeRecord:
        """One row as a validated record; the columns that a record lacks go to its metadata.

        Raises:
            InputError: the row is no valid lattice.
        """
        facts = _facts(self.name[row], self.metadata[row])
        if self.kind[row]:
            facts["kind"] = self.kind[row]
        for key, value in (("mechanisms", int(self.mechanisms[row])), ("seed", int(self.seed[row]))):
            if value >= 0:
                facts[key] = value
        if not math.isnan(level := float(self.level[row])):
            facts["level"] = level
        return LatticeRecord(
            name=self.name[row],
            lattice=self.lattices[row],
            density=float(self.density[row]),
            stiffness=self.stiffness[row] if bool(self.known[row]) else None,
            base_name=self.base_name[row],
            source=self.source[row],
            metadata=facts,
            notes=tuple(self.notes[row]),
        )

    def records(self) -> Iterator[LatticeRecord]:
        """All rows as records."""
        return map(self.record, range(len(self)))


def _facts(name: str, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{name}: metadata is {text[:40]!r}; it must be a JSON object")
    return facts


def _as_json(name: str, facts: dict[str, Any]) -> str:
    try:
        return json.dumps(facts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: metadata cannot be stored as JSON ({error}); keep numbers, texts, lists") from error

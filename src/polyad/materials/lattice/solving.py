"""Solve many records in batches, and compare with what was published.

    for solved in solve_records(load("jmps_val.lat")):
        print(solved.record.name, solved.stiffness)
    print(compare(solve_records(load("jmps_val.lat"))).median)

Records come and go one by one; only a batch of them is held, so the number of records does not matter.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.homogenization import homogenize
from polyad.materials.lattice.records import LatticeRecord

_MOST_NODES = 20_000
_SINGULAR = 1e-12


@final
@dataclass(frozen=True, eq=False)
class SolvedRecord:
    """A record beside what Polyad finds for it.

    Args:
        record: as it was given, with its published stiffness where it has one.
        stiffness: (6, 6) Kelvin-Mandel.
        mechanisms: zero-energy motions beyond the global translation.
        young_modulus: of the solid that was used; published tensors are for 1.
    """

    record: LatticeRecord
    stiffness: Float[Tensor, "6 6"]
    mechanisms: int
    young_modulus: float = 1.0

    @property
    def relative_error(self) -> float | None:
        """|C - C*| / |C*| (Frobenius) from the published stiffness C*, or None where there is none."""
        published = self.record.stiffness
        if published is None:
            return None
        difference = self.stiffness / self.young_modulus - published
        return float(torch.linalg.matrix_norm(difference) / torch.linalg.matrix_norm(published))

    def as_record(self) -> LatticeRecord:
        """The record with Polyad's stiffness in place of the published one, and the mechanisms in its metadata."""
        facts = self.record.metadata | {"mechanisms": self.mechanisms}
        error = self.relative_error
        if error is not None and math.isfinite(error):
            facts["difference_from_published"] = error
        return replace(self.record, stiffness=self.stiffness, metadata=facts)


@final
@dataclass(frozen=True, eq=False)
class Moduli:
    """Hill's isotropic averages and the universal anisotropy index of n tensors; NaN where a tensor is singular."""

    young: np.ndarray
    poisson: np.ndarray
    bulk: np.ndarray
    shear: np.ndarray
    anisotropy: np.ndarray


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """How far computed tensors are from published ones.

    Args:
        names: of the records that have a published stiffness.
        densities: of these.
        errors: |C - C*| / |C*| of these.
    """

    names: Sequence[str]
    densities: np.ndarray
    errors: np.ndarray

    @property
    def median(self) -> float:
        """Median of the errors."""
        return self.percentile(50)

    def percentile(self, share: float) -> float:
        """The error that `share` percent of the tensors stay below."""
        return float(np.percentile(self.errors, share))

    def share_below(self, error: float) -> float:
        """Part of the tensors whose error is smaller, from 0 to 1."""
        return float((self.errors < error).mean())

    def outliers(self, error: float) -> list[tuple[str, float, float]]:
        """(name, density, error) of the tensors whose error is at least `error`, the worst first."""
        order = np.argsort(-self.errors)
        return [
            (self.names[n], float(self.densities[n]), float(self.errors[n])) for n in order if self.errors[n] >= error
        ]


def solve_records(
    records: Iterable[LatticeRecord],
    *,
    young_modulus: float = 1.0,
    poisson_ratio: float = 0.3,
    shear: bool = True,
    batch_size: int = 1024,
    progress: Callable[[int], None] | None = None,
) -> Iterator[SolvedRecord]:
    """Solve records in their order, a batch at a time.

    Args:
        records: any number, in any float dtype and on any device; solved in float64 on the CPU.
        young_modulus, poisson_ratio, shear: as for `homogenize`.
        batch_size: most records held at a time; fewer where they are large.
        progress: called with the number of records solved so far.

    Raises:
        InputError: a modulus out of range.

    Warns:
        NumericalWarning: what the solver noticed, with the record's name.
    """
    done = 0
    for batch in _batches(records, batch_size):
        lattices = LatticeBatch.from_lattices([r.lattice.detach().to(dtype=torch.float64, device="cpu") for r in batch])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = homogenize(lattices, young_modulus=young_modulus, poisson_ratio=poisson_ratio, shear=shear)
        _warn_by_name(caught, batch)
        counts = result.mechanisms.tolist()
        for record, stiffness, mechanisms in zip(batch, result.stiffness, counts, strict=True):
            yield SolvedRecord(record, stiffness, mechanisms, young_modulus)
        done += len(batch)
        if progress is not None:
            progress(done)


def isotropic_moduli(stiffness: Float[Tensor, "batch 6 6"]) -> Moduli:
    """Hill's averages and the anisotropy of many tensors at once."""
    values = torch.linalg.eigvalsh(stiffness.detach())
    regular = values[:, 0] > _SINGULAR * values[:, -1]
    matrix = stiffness.detach()[regular]
    columns = np.full((5, len(stiffness)), np.nan)
    if len(matrix):
        hill = elasticity.hill_average(matrix)
        found = (hill.young, hill.poisson, hill.bulk, hill.shear, elasticity.universal_anisotropy(matrix))
        columns[:, regular.numpy()] = torch.stack(found).numpy()
    return Moduli(*columns)


def compare(solved: Iterable[SolvedRecord]) -> Comparison:
    """Errors of all records that have a published stiffness.

    Raises:
        InputError: none has one.
    """
    rows = [(s.record.name, s.record.density, s.relative_error) for s in solved]
    known = [(name, density, error) for name, density, error in rows if error is not None]
    if not known:
        raise InputError("compare: no record has a published stiffness; give a file that holds tensors")
    names, densities, errors = zip(*known, strict=True)
    return Comparison(names, np.array(densities), np.array(errors))


def _batches(records: Iterable[LatticeRecord], size: int) -> Iterator[list[LatticeRecord]]:
    batch: list[LatticeRecord] = []
    nodes = 0
    for record in records:
        batch.append(record)
        nodes += record.lattice.num_nodes
        if len(batch) >= size or nodes >= _MOST_NODES:
            yield batch
            batch, nodes = [], 0
    if batch:
        yield batch


def _warn_by_name(caught: Sequence[warnings.WarningMessage], batch: Sequence[LatticeRecord]) -> None:
    """Warn again, with the name of a record in place of its number in the batch."""
    for warning in caught:
        text = re.sub(r"^lattice (\d+)\b", lambda found: batch[int(found[1])].name, str(warning.message))
        warnings.warn(text, warning.category, stacklevel=4)

"""Pairs of beam and solid tensors: random nets at random densities, each solved both ways, in Parquet shards.

A row is a function of the recipe and its own number: workers, executor and interruptions change nothing (see
`polyad.materials.lattice.dataset.generate`, which drives the work). The resolution follows from the thinnest strut, so
every body is cut equally fine for its own struts; nets that would need too many voxels, or whose struts would be
thicker than long, are drawn again.

The columns are those of a data set of lattices, where `stiffness` is that of the beams, and these:

| column | type | meaning |
|---|---|---|
| solid_stiffness | double[36] | of the body, row by row, Kelvin-Mandel, in units of the solid's Young's modulus |
| solid_density | double | volume fraction of the body; joints count once |
| resolution | int32 | voxels along the longest lattice vector |
| across | double | voxels across the thinnest strut |

*When not to use it*: for millions of rows; one costs about a second of one core, a thousand times a beam solve.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from polyad import __version__
from polyad.errors import ConvergenceError, FileFormatError, InputError, NumericalWarning
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.dataset.arrow import from_arrow, to_arrow
from polyad.materials.lattice.dataset.generate import generate
from polyad.materials.lattice.dataset.recipe import KINDS, derived_seed
from polyad.materials.lattice.dataset.schema import schema_with
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.dataset.variants import ATTEMPTS, WRITER_OPTIONS, ShardResult
from polyad.materials.lattice.homogenization import homogenize
from polyad.materials.lattice.nets.generators import random_lattice
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.solids.homogenized import SolidStiffness, solid_stiffness

COLUMNS = [
    pa.field("solid_stiffness", pa.list_(pa.float64(), 36), nullable=False),
    pa.field("solid_density", pa.float64(), nullable=False),
    pa.field("resolution", pa.int32(), nullable=False),
    pa.field("across", pa.float64(), nullable=False),
]
"""What a pair holds beyond a row of a data set."""

_FLOPPY = 1e-6  # smallest over largest eigenvalue of the beams: below it a ratio of tensors means little


@final
@dataclass(frozen=True)
class PairRecipe:
    """Parameters of a set of pairs; two sets with equal recipes have equal rows.

    Args:
        count: number of rows, each of a net of its own.
        seed: of the whole set.
        kind: of the nets: "all", "named", "nets" or "foams".
        densities: least and greatest relative density; drawn log-uniformly.
        levels: displacements of the nodes in mean strut lengths, one of them drawn for each net.
        across: voxels across the thinnest strut, at least.
        most_voxels: nets that need more are drawn again.
        blend: of `solid_stiffness`.
        tolerance: of `solid_stiffness`.
        poisson_ratio: of the solid.
        shard_size: rows a file.

    Raises:
        InputError: a parameter out of range.
    """

    count: int
    seed: int
    kind: str = "all"
    densities: tuple[float, float] = (0.05, 0.3)
    levels: tuple[float, ...] = (0.0, 0.05, 0.1)
    across: float = 5.0
    most_voxels: int = 40_000
    blend: int = 3
    tolerance: float = 1e-3
    poisson_ratio: float = 0.3
    shard_size: int = 4

    def __post_init__(self) -> None:
        if min(self.count, self.shard_size, self.blend) < 1:
            raise InputError(f"count {self.count}, shard_size {self.shard_size}, blend {self.blend}: give at least 1")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; give a whole number from 0 to 2**63 - 1")
        if self.kind not in KINDS:
            raise InputError(f"kind {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if not 0 < self.densities[0] <= self.densities[1] < 0.5:
            raise InputError(f"densities are {self.densities}; give least and greatest, between 0 and 0.5")
        if not (self.across >= 1 and self.most_voxels >= 64 and 0 < self.tolerance < 0.1):
            raise InputError(
                f"across {self.across}, most_voxels {self.most_voxels}, tolerance {self.tolerance}: give at least 1, "
                "at least 64, and one between 0 and 0.1"
            )
        if not -1 < self.poisson_ratio < 0.5:
            raise InputError(f"poisson_ratio is {self.poisson_ratio}; it must lie in (-1, 0.5)")

    @property
    def num_shards(self) -> int:
        """Number of files."""
        return -(-self.count // self.shard_size)

    def shard_rows(self, shard: int) -> range:
        """Numbers of the rows of one shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))

    def shard_name(self, shard: int) -> str:
        """Name of the file of one shard, such as shard-00012-of-00060.parquet."""
        return f"shard-{shard:05d}-of-{self.num_shards:05d}.parquet"

    def to_json(self) -> dict[str, Any]:
        """All parameters as JSON values, with the version whose generators made the nets."""
        return asdict(self) | {"densities": list(self.densities), "levels": list(self.levels), "polyad": __version__}


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Lattices with both tensors.

    Args:
        table: the lattices; its stiffness is that of the beams.
        solid_stiffness: (pairs, 6, 6) of the bodies.
        solid_density: (pairs,) of the bodies.
        resolution: (pairs,) voxels along the longest lattice vector.
        across: (pairs,) voxels across the thinnest strut.
    """

    table: LatticeTable
    solid_stiffness: Float[Tensor, "pairs 6 6"]
    solid_density: Float[Tensor, " pairs"]
    resolution: Float[Tensor, " pairs"]
    across: Float[Tensor, " pairs"]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.table)


def generate_pairs(
    out_dir: str | os.PathLike[str],
    recipe: PairRecipe,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Make the pairs of a recipe in a folder, or those that are missing there; arguments as for `generate`.

    Raises:
        InputError: a folder that holds something else or cannot be written, or a recipe that no net fits.
    """
    return generate(out_dir, recipe, workers=workers, executor=executor, progress=progress, make=make_pairs)


def make_pairs(recipe: PairRecipe, shard: int) -> ShardResult:
    """The file of one shard in memory: a function of its arguments alone, to be run anywhere."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = [draw_pair(recipe, row) for row in recipe.shard_rows(shard)]
    solids = [solid for _, solid in made]
    rows = to_arrow(LatticeTable.from_records([record for record, _ in made]))
    values: list[Any] = [
        pa.FixedSizeListArray.from_arrays(pa.array(torch.stack([s.stiffness for s in solids]).flatten().numpy()), 36),
        pa.array([s.density for s in solids], pa.float64()),
        pa.array([max(s.shape) for s in solids], pa.int32()),
        pa.array([s.across for s in solids], pa.float64()),
    ]
    for column, value in zip(COLUMNS, values, strict=True):
        rows = rows.append_column(column, value)
    buffer = io.BytesIO()
    facts = schema_with(pairs=recipe.to_json()).metadata
    pq.write_table(rows.replace_schema_metadata(facts), buffer, **WRITER_OPTIONS)
    return ShardResult(shard, buffer.getvalue(), tuple(dict.fromkeys(str(w.message) for w in caught)))


def draw_pair(recipe: PairRecipe, row: int) -> tuple[LatticeRecord, SolidStiffness]:
    """Row number `row` of a recipe: the lattice with the tensor of its beams, and its body.

    Raises:
        InputError: no net was found that fits the recipe.
    """
    complaint: Exception | None = None
    for attempt in range(ATTEMPTS):
        seed = derived_seed("pair", recipe.seed, row, attempt)
        low, high = np.log(recipe.densities)
        density = math.exp(np.random.default_rng(seed).uniform(low, high))
        try:
            drawn = random_lattice(seed, kinds=recipe.kind, levels=recipe.levels)
            lattice = drawn.lattice.with_density(density)
            resolution = needed_resolution(lattice, recipe.across, most_voxels=recipe.most_voxels)
            beams = homogenize(lattice, poisson_ratio=recipe.poisson_ratio)
            values = torch.linalg.eigvalsh(beams.stiffness)
            if int(beams.mechanisms) or float(values[0]) < _FLOPPY * float(values[-1]):
                raise InputError("the net is not rigid")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)  # that voxels are few: `across` is kept
                solid = solid_stiffness(
                    lattice,
                    poisson_ratio=recipe.poisson_ratio,
                    resolution=resolution,
                    blend=recipe.blend,
                    tolerance=recipe.tolerance,
                )
        except (InputError, ConvergenceError) as error:
            complaint = error
            continue
        record = LatticeRecord(
            name=drawn.name,
            lattice=lattice,
            density=density,
            stiffness=beams.stiffness,
            base_name=drawn.base_name,
            source="polyad.materials.lattice.solids.correction",
            metadata=drawn.metadata,
        )
        return record, solid
    raise InputError(
        f"row {row}: none of {ATTEMPTS} nets fits (the last: {complaint}); raise most_voxels or lower the densities"
    ) from complaint


def needed_resolution(lattice: StrutLattice, across: float, *, most_voxels: int) -> int:
    """Voxels along the longest lattice vector that put `across` of them across the thinnest strut.

    Raises:
        InputError: the image would have more than `most_voxels`.
    """
    lengths = lattice.cell.detach().double().norm(dim=1)
    longest = float(lengths.max())
    resolution = max(4, math.ceil(across * longest / (2 * float(lattice.radius.detach().min()))))
    voxels = float((resolution * lengths / longest).prod())
    if voxels > most_voxels:
        raise InputError(f"{across:g} voxels across the thinnest strut make {voxels:.0f} in all; at most {most_voxels}")
    return resolution


def read_pairs(path: str | os.PathLike[str]) -> Pairs:
    """All pairs of a folder of shards, or of one file.

    Raises:
        FileFormatError: nothing there, shards are missing, or columns that are no pairs.
    """
    place = Path(path)
    files = sorted(place.glob("shard-*.parquet")) if place.is_dir() else [place]
    if not files:
        raise FileFormatError(place, "holds no shards of pairs; run generate_pairs first")
    if place.is_dir() and len(files) != (all_of := int(files[0].stem.rpartition("-")[2])):
        raise FileFormatError(place, f"{all_of - len(files)} of {all_of} shards are missing; run generate_pairs again")
    try:
        rows = pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])
        numbers = {c.name: rows.column(c.name).cast(c.type).combine_chunks() for c in COLUMNS}
        if any(column.null_count for column in numbers.values()):
            raise InputError("a pair holds null entries; both tensors must be given")
        table = from_arrow(rows)
    except (OSError, KeyError, ValueError, pa.ArrowException, InputError) as error:
        raise FileFormatError(place, f"holds no pairs of beam and solid tensors ({error}); generate them") from error
    values = {name: _numbers(column) for name, column in numbers.items()}
    return Pairs(
        table,
        solid_stiffness=values["solid_stiffness"].view(-1, 6, 6),
        solid_density=values["solid_density"],
        resolution=values["resolution"],
        across=values["across"],
    )


def pairs_of(records: Sequence[LatticeRecord], solids: Sequence[SolidStiffness]) -> Pairs:
    """Pairs from memory; every record holds the stiffness of its beams."""
    return Pairs(
        LatticeTable.from_records(records),
        torch.stack([s.stiffness for s in solids]),
        torch.tensor([s.density for s in solids], dtype=torch.float64),
        torch.tensor([float(max(s.shape)) for s in solids], dtype=torch.float64),
        torch.tensor([s.across for s in solids], dtype=torch.float64),
    )


def _numbers(column: pa.Array) -> Tensor:
    flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    return torch.from_numpy(np.array(flat.to_numpy(zero_copy_only=False), dtype=np.float64))

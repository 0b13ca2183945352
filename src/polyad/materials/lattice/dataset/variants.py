"""The rows of one shard: base nets are drawn, perturbed, scaled to every density and solved in batches.

All densities of a net are lowered by one factor where its shortest strut would become too thick; a net that would need
less than a tenth is drawn again, with all its variants, so that every base net has all of them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import pyarrow.parquet as pq
import torch

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.dataset.arrow import to_arrow
from polyad.materials.lattice.dataset.recipe import NetGenerator, Recipe, derived_seed
from polyad.materials.lattice.dataset.schema import schema_with
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.homogenization import homogenize
from polyad.materials.lattice.nets.net import Net, net_of
from polyad.materials.lattice.records import LatticeRecord

LOWEST = 0.1
"""Least factor by which the densities of a net are lowered."""

ATTEMPTS = 100
"""Nets drawn for one place before the recipe is called impossible."""

WRITER_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": ["name", "base_name", "kind", "density", "source", "metadata"],
    "write_statistics": ["name", "base_name", "kind", "density", "level", "seed", "mechanisms"],
}
"""How every Parquet file of lattices is written."""


@final
@dataclass(frozen=True, eq=False)
class BaseNet:
    """All variants of one net.

    Args:
        record: as the generator made it.
        seed: with which it was made.
        name: of its variants, without their level.
        net: its arrays.
        positions: (levels, nodes, 3) of the perturbed nets.
        densities: (densities,) of all its variants.
        radius: (levels, densities, edges).
    """

    record: LatticeRecord
    seed: int
    name: str
    net: Net
    positions: np.ndarray
    densities: np.ndarray
    radius: np.ndarray


class ShardResult(NamedTuple):
    """One shard as the bytes of its file, with what the solver warned of."""

    shard: int
    content: bytes
    warnings: tuple[str, ...]


def make_shard(recipe: Recipe, shard: int) -> ShardResult:
    """The file of one shard in memory: a function of its arguments alone, to be run anywhere."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = shard_table(recipe, shard)
    schema = schema_with(recipe=recipe.to_json())
    buffer = io.BytesIO()
    pq.write_table(to_arrow(table, schema=schema), buffer, **WRITER_OPTIONS)
    return ShardResult(shard, buffer.getvalue(), tuple(dict.fromkeys(str(w.message) for w in caught)))


def shard_table(recipe: Recipe, shard: int) -> LatticeTable:
    """The rows of one shard with their stiffness."""
    rows, variants = recipe.shard_rows(shard), recipe.variants
    generator = recipe.base_generator()
    bases = [draw_base_net(recipe, n, generator) for n in range(rows.start // variants, -(-rows.stop // variants))]
    first = rows.start // variants * variants
    chosen = [divmod(row - first, variants) for row in rows]
    return _solved(_table(recipe, bases, chosen), recipe)


def draw_base_net(recipe: Recipe, number: int, generator: NetGenerator) -> BaseNet:
    """Base net `number` of a recipe with all its variants.

    Raises:
        InputError: no net was found that can be perturbed and thickened as the recipe asks.
    """
    complaint: InputError | None = None
    for attempt in range(ATTEMPTS):
        seed = derived_seed("net", recipe.seed, number, attempt)
        try:
            record = generator(seed=seed)
            return _vary(recipe, number, record, seed)
        except InputError as error:
            complaint = error
    raise InputError(
        f"net {number}: none of {ATTEMPTS} nets can be made at densities up to {max(recipe.densities):g} and levels up "
        f"to {max(recipe.levels):g} (the last: {complaint}); lower one of them"
    ) from complaint


def _vary(recipe: Recipe, number: int, record: LatticeRecord, seed: int) -> BaseNet:
    net = net_of(record.lattice)
    levels, densities = np.array(recipe.levels), np.array(recipe.densities)
    stream = np.random.default_rng(derived_seed("directions", recipe.seed, number))
    direction = stream.standard_normal((len(levels), len(net.positions), 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    displacement = levels[:, None, None] * net.lengths.mean() * direction
    positions = net.positions + displacement
    source, target = net.edge_index
    lengths = np.linalg.norm(net.vectors + displacement[:, target] - displacement[:, source], axis=2)
    # density = scale^2 sum pi r^2 L / V
    unscaled = np.pi * (net.radius**2 * lengths).sum(axis=1) / abs(np.linalg.det(net.cell))
    thickest = (net.radius / lengths).max(axis=1) * np.sqrt(densities.max() / unscaled)
    factor = min(1.0, (recipe.slenderness / float(thickest.max())) ** 2)
    if factor < LOWEST:
        raise InputError(f"a radius would be {thickest.max():.3g} times the length of its strut")
    densities = factor * densities
    radius = np.sqrt(densities / unscaled[:, None])[:, :, None] * net.radius
    return BaseNet(record, seed, f"{record.base_name}_{recipe.seed}_{number}", net, positions, densities, radius)


def _table(recipe: Recipe, bases: Sequence[BaseNet], chosen: Sequence[tuple[int, int]]) -> LatticeTable:
    """The chosen (base, variant) pairs, without stiffness."""
    place = [(bases[b], *divmod(variant, len(recipe.densities))) for b, variant in chosen]
    node_start, edge_start = (
        np.concatenate([[0], np.cumsum(sizes)])
        for sizes in ([len(b.net.positions) for b, *_ in place], [len(b.net.radius) for b, *_ in place])
    )
    edge_index = np.concatenate([b.net.edge_index for b, *_ in place], axis=1)
    lattices = LatticeBatch(
        cell=torch.from_numpy(np.stack([b.net.cell for b, *_ in place])),
        positions=torch.from_numpy(np.concatenate([b.positions[level] for b, level, _ in place])),
        edge_index=torch.from_numpy(edge_index + np.repeat(node_start[:-1], np.diff(edge_start))),
        edge_shift=torch.from_numpy(np.concatenate([b.net.edge_shift for b, *_ in place])),
        radius=torch.from_numpy(np.concatenate([b.radius[level, density] for b, level, density in place])),
        node_start=torch.from_numpy(node_start),
        edge_start=torch.from_numpy(edge_start),
    )
    rows = len(place)
    return LatticeTable(
        lattices=lattices,
        name=[f"{b.name}_p{recipe.levels[level]:g}" for b, level, _ in place],
        base_name=[b.record.base_name for b, *_ in place],
        kind=[str(b.record.metadata.get("kind", "")) for b, *_ in place],
        density=torch.tensor([b.densities[density] for b, _, density in place], dtype=torch.float64),
        stiffness=torch.full((rows, 6, 6), torch.nan, dtype=torch.float64),
        known=torch.zeros(rows, dtype=torch.bool),
        mechanisms=torch.full((rows,), -1),
        level=torch.tensor([recipe.levels[level] for _, level, _ in place], dtype=torch.float64),
        seed=torch.tensor([b.seed for b, *_ in place]),
        source=[b.record.source for b, *_ in place],
        metadata=["{}"] * rows,
        notes=[()] * rows,
    )


def _solved(table: LatticeTable, recipe: Recipe) -> LatticeTable:
    result = homogenize(
        table.lattices,
        young_modulus=recipe.young_modulus,
        poisson_ratio=recipe.poisson_ratio,
        shear=recipe.shear,
    )
    return replace(
        table,
        stiffness=result.stiffness,
        known=torch.ones(len(table), dtype=torch.bool),
        mechanisms=result.mechanisms,
    )

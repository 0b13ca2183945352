"""Lattice homogenisation against its peer, its floor and its promises: `python benchmarks/lattice.py [row ...]`.

Without arguments all rows run (some minutes); their names are at the foot of this file.
"""

from __future__ import annotations

import os
from pathlib import Path

# the peer runs one small solve at a time: more threads only slow it down
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from harness import Benchmark, interleave, once, peak_memory_gb, run_rows
from lattice_plain import stiffness as plain_stiffness

from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice import (
    LatticeBatch,
    StrutLattice,
    effective_stiffness,
    homogenize,
    load,
    named_cell,
    scan,
)
from polyad.materials.lattice.frames.elimination import elimination_flops

DATA = Path(os.environ.get("POLYAD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "lattice"


def local_net(seed: int, nodes: int = 24, struts: int = 51) -> StrutLattice:
    """A connected three-periodic net of random nodes joined to near neighbours."""
    for attempt in range(1000):
        generator = np.random.default_rng([seed, attempt])
        # one node a box of a jittered grid keeps struts from vanishing
        grid = np.array([[x, y, z] for x in range(2) for y in range(3) for z in range(4)]) / [2, 3, 4]
        positions = grid[:nodes] + generator.random((nodes, 3)) * 0.15
        i, j = np.triu_indices(nodes, 1)
        apart = positions[j] - positions[i]
        shift = -np.round(apart)
        length = np.linalg.norm(apart + shift, axis=1)
        order = np.argsort(length)[:struts]
        edge_index = torch.from_numpy(np.stack([i[order], j[order]]))
        edge_shift = torch.from_numpy(shift[order]).long()
        parts = periodic_components(nodes, edge_index, edge_shift)
        if len(parts) == 1 and int(parts.dimension[0]) == 3:
            radius = 0.02 * (0.5 + generator.random(struts)) * length[order].min() / 0.1
            return StrutLattice(np.eye(3), positions, edge_index, edge_shift, np.minimum(radius, 0.03))
    raise RuntimeError(f"no connected net from seed {seed}")


def known() -> list[dict[str, object]]:
    """Closed forms and the catalogue's numbers."""
    from polyad.materials.lattice.closed_forms import known_values

    return [
        {
            "what": f"{value.cell}, {value.quantity}, {value.beams}, density {value.density:g}",
            "known": f"{value.exact:.10g} ({value.basis})",
            "relative error": value.error,
            "agrees": value.holds,
        }
        for value in known_values()
    ]


def cells() -> list[dict[str, object]]:
    """4,096 different cells, and one cell with 4,096 geometries, beside plain NumPy and the flop floor."""
    count = 4096
    nets = [local_net(k) for k in range(256)]
    lattices = [nets[k % 256].perturb(0.01, seed=k) for k in range(count)]
    batch = LatticeBatch.from_lattices(lattices)
    one = nets[0]
    moved = one.positions + 0.01 * torch.randn(count, *one.positions.shape, dtype=torch.float64)
    geometries = LatticeBatch.from_geometries(one, positions=moved)
    arrays = [
        tuple(x.numpy() for x in (net.cell, net.positions, net.edge_index, net.edge_shift, net.radius))
        for net in lattices[:256]
    ]
    check = np.stack([plain_stiffness(*a) for a in arrays])
    found = effective_stiffness(batch)[:256].numpy()
    error = np.abs(found - check).max() / np.abs(check).max()
    times = interleave(
        {
            "different": lambda: effective_stiffness(batch),
            "one net": lambda: effective_stiffness(geometries),
            "plain": lambda: [plain_stiffness(*a) for a in arrays],
        }
    )
    flops = float(elimination_flops(batch).double().mean())
    rows: list[dict[str, object]] = []
    plain = times["plain"] / len(arrays) * 1e3
    for name in ("different", "one net"):
        each = times[name] / count * 1e3
        rows.append(
            {
                "what": f"4,096 cells of 24 nodes, 51 struts ({name})",
                "ours ms each": each,
                "plain NumPy ms each": plain,
                "ratio": plain / each,
                "kflop each": flops / 1e3,
                "Gflop/s reached": flops / each / 1e6,
                "largest difference": error,
            }
        )
    return rows


def gradient() -> list[dict[str, object]]:
    """Value and gradient together beside the value alone."""
    nets = [local_net(k) for k in range(256)]
    batch = LatticeBatch.from_lattices([nets[k % 256].perturb(0.01, seed=k) for k in range(2048)])

    def both() -> None:
        fields = {k: getattr(batch, k).clone().requires_grad_() for k in ("positions", "radius", "cell")}
        effective_stiffness(batch.replace(**fields))[:, 2, 2].sum().backward()

    times = interleave({"value": lambda: effective_stiffness(batch), "both": both})
    return [
        {
            "what": "value and gradient (positions, radii, cell)",
            "value ms each": times["value"] / 2048 * 1e3,
            "both ms each": times["both"] / 2048 * 1e3,
            "ratio": times["both"] / times["value"],
        }
    ]


def published() -> list[dict[str, object]]:
    """The published finite-element tensors, every density."""

    seconds, records = once(lambda: [r for r in load(DATA / "jmps_val.lat") if r.stiffness is not None])
    solving, found = once(lambda: effective_stiffness(LatticeBatch.from_lattices([r.lattice for r in records])))
    reference = torch.stack([r.stiffness for r in records])
    error = (found - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    rows: list[dict[str, object]] = [
        {
            "what": f"{len(records)} published tensors",
            "median error %": 100 * float(error.median()),
            "share below 1 %": 100 * float((error < 0.01).double().mean()),
            "reading s": seconds,
            "solving s": solving,
        }
    ]
    for k in error.argsort(descending=True).tolist():
        if error[k] < 0.01:
            break
        rows.append({"what": f"{records[k].base_name} at {records[k].density:.5f}", "error %": 100 * float(error[k])})
    return rows


def nets() -> list[dict[str, object]]:
    """All nets of the RCSR archive at three densities, reading included."""

    def run() -> tuple[int, list[str]]:
        lattices: list[StrutLattice] = []
        failed: list[str] = []
        for label, found in scan(DATA / "RCSR_topology.zip", density=(0.001, 0.003, 0.01)):
            if isinstance(found, Exception):
                failed.append(f"{label}: {found}")
            else:
                lattices += [record.lattice for record in found]
        stiffness = effective_stiffness(LatticeBatch.from_lattices(lattices))
        return int(torch.isfinite(stiffness).all(-1).all(-1).sum()) // 3, failed

    seconds, (solved, failed) = once(run)
    print("not solved:", *failed, sep="\n  ")
    return [{"what": "RCSR nets at 3 densities", "s": seconds, "solved": solved, "failed": len(failed)}]


def block(name: str, counts: int, removed: float, radius_over_length: float | None) -> list[dict[str, object]]:
    """A large periodic block with struts removed at random, all six load cases."""

    lattice = named_cell(name, primitive=False)
    if radius_over_length is None:
        lattice = lattice.with_density(0.01, uniform=True)
    else:
        lattice = lattice.replace(radius=radius_over_length * lattice.edge_lengths)
    large = lattice.tile(counts)
    keep = torch.rand(large.num_edges, generator=torch.Generator().manual_seed(0)) >= removed
    large = large.select_edges(keep)
    seconds, _ = once(lambda: homogenize(large, method="iterative", tolerance=1e-8))
    return [
        {
            "what": f"{name} {counts}^3, {removed:.0%} removed ({large.num_nodes} nodes, {large.num_edges} struts)",
            "s": seconds,
            "residual": 1e-8,
            "peak GB": peak_memory_gb(),
        }
    ]


def union() -> list[dict[str, object]]:
    """The watertight union of 650 struts with 32 facets."""
    from polyad.geometry.struts import strut_union

    lattice = named_cell("octet", primitive=False).with_density(0.05, uniform=True).tile(4)
    start = lattice.positions[lattice.edge_index[0]]
    ends = start + lattice.edge_vectors
    pick = slice(0, 650)
    seconds, mesh = once(lambda: strut_union(start[pick], ends[pick], lattice.radius[pick], facets=32))
    return [
        {
            "what": f"union of {len(start[pick])} struts, 32 facets",
            "s": seconds,
            "watertight": mesh.is_watertight,
            "triangles": len(mesh.triangles),
        }
    ]


def generated() -> list[dict[str, object]]:
    """100,000 generated lattices to Parquet, in one process: memory, and what is spent beside making and solving."""
    import resource
    import tempfile

    from polyad.materials.lattice.dataset import Recipe, generate, variants

    recipe = Recipe(count=100_000, seed=0)
    busy = 0.0
    memory: list[float] = []
    make_and_solve = variants.shard_table

    def timed(*arguments: object) -> object:
        nonlocal busy
        seconds, table = once(lambda: make_and_solve(*arguments))
        busy += seconds
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return table

    with tempfile.TemporaryDirectory() as folder:
        variants.shard_table = timed
        try:
            seconds, shards = once(lambda: generate(Path(folder) / "data", recipe))
        finally:
            variants.shard_table = make_and_solve
        size = sum(path.stat().st_size for path in shards)
    return [
        {
            "what": f"{recipe.count:,} lattices in {len(shards)} files",
            "s": seconds,
            "besides making and solving %": 100 * (1 - busy / seconds),
            "peak GB after 10 %": memory[len(memory) // 10],
            "peak GB": memory[-1],
            "bytes a lattice": size / recipe.count,
        }
    ]


def designs() -> list[dict[str, object]]:
    """Two designs at constant density: isotropy from the sc + bcc cell, and twice E(z) from simple cubic."""
    from polyad.materials import elasticity
    from polyad.materials.lattice.design import Isotropy, StiffnessAlong, design

    rows: list[dict[str, object]] = []
    start = named_cell("bcc_sc", density=0.01)
    seconds, result = once(lambda: design(start, Isotropy(), density=0.01, vary=("radius",), symmetry=True))
    rows.append(
        {
            "what": "sc + bcc to isotropic",
            "s": seconds,
            "reached": f"anisotropy {float(elasticity.universal_anisotropy(result.stiffness)):.2e}",
            "density error": abs(float(result.lattice.relative_density) / 0.01 - 1),
        }
    )
    start = named_cell("simple_cubic", density=0.01)
    seconds, result = once(lambda: design(start, StiffnessAlong([0.0, 0.0, 1.0], goal=2 * 0.01 / 3), density=0.01))
    reached = 1 / float(torch.linalg.inv(result.stiffness)[2, 2])
    rows.append(
        {
            "what": "simple cubic to twice E(z)",
            "s": seconds,
            "reached": f"{reached / (0.01 / 3):.6f} x",
            "density error": abs(float(result.lattice.relative_density) / 0.01 - 1),
        }
    )
    return rows


BENCHMARKS = {
    "known": Benchmark(
        "Known values", "1e-9 where a formula exists, all printed digits where a number is given", known
    ),
    "cells": Benchmark(
        "Unit cells in a batch", "<= 0.03 ms each on an idle machine and >= 8 x plain NumPy one at a time", cells
    ),
    "gradient": Benchmark("Value and gradient", "together <= 2 x the value alone", gradient),
    "published": Benchmark("Published tensors", "median error <= 0.06 %, 99.5 % of tensors below 1 %", published),
    "nets": Benchmark("Crystal nets of the RCSR archive", "< 20 s with reading, >= 2,396 nets solved", nets),
    "octet": Benchmark("Large octet block", "< 20 s, < 2 GB, residual 1e-8", lambda: block("octet", 20, 0.1, None)),
    "kelvin": Benchmark(
        "Large Kelvin block", "< 40 s, < 2 GB, residual 1e-8", lambda: block("kelvin", 10, 0.02, 0.0175)
    ),
    "union": Benchmark("Watertight union", "650 struts, 32 facets in < 10 s", union),
    "generate": Benchmark(
        "100,000 generated lattices", "< 1 GB, all but generating and solving <= 30 % of the time", generated
    ),
    "design": Benchmark("Inverse design", "< 20 s each, density kept to 1e-6", designs),
}


if __name__ == "__main__":
    run_rows("lattice", BENCHMARKS)

"""Unions of 650 struts against a flat batch of the same solids: `python benchmarks/geometry.py`.

The floor of any boolean is to make and read the solids once; the flat batch hands all of them to manifold3d at once.
"""

from __future__ import annotations

import numpy as np
import torch
from harness import Benchmark, interleave, run_rows

from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.struts import strut_union
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.block import StrutBlock, strut_block

STRUTS, FACETS = 650, 32


def octet(radius: float) -> StrutLattice:
    """The octet truss in its primitive cell of unit cubic edge."""
    cell = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    shift = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [1, 0, -1], [0, 1, -1]]
    return StrutLattice(cell, [[0, 0, 0]], np.zeros((2, 6), int), shift, radius)


def first_struts(block: StrutBlock) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ends and radii of the 650 struts nearest to the block's corner, so that they hang together."""
    middle = (block.starts + block.ends).norm(dim=1)
    chosen = torch.argsort(middle, stable=True)[:STRUTS]
    return block.starts[chosen], block.ends[chosen], block.radii[chosen]


def flat_batch(starts: torch.Tensor, ends: torch.Tensor, radii: torch.Tensor) -> int:
    """The same solids in one call of manifold3d; the number of triangles."""
    import manifold3d

    from polyad.geometry import struts

    nodes, index = np.unique(np.concatenate([starts, ends]).round(9), axis=0, return_inverse=True)
    radius = np.zeros(len(nodes))
    np.maximum.at(radius, index.reshape(2, -1), radii.numpy().T)
    solids = struts._strut_solids(starts.numpy(), ends.numpy(), radii.numpy(), FACETS)
    solids += struts._ball_solids(nodes, radius, FACETS)
    return int(manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).num_tri())


def union() -> list[dict[str, object]]:
    """Slender, common and thick struts, and a net without any symmetry."""
    blocks = {f"octet, r/L {radius / 0.5**0.5:.3f}": strut_block(octet(radius), 6) for radius in (0.01, 0.03, 0.08)}
    blocks["octet, nodes perturbed"] = strut_block(octet(0.03).tile(6).perturb(0.05, seed=1), 1)
    rows: list[dict[str, object]] = []
    for name, block in blocks.items():
        starts, ends, radii = first_struts(block)
        nodes = len(np.unique(np.concatenate([starts, ends]).round(9), axis=0))
        mesh: TriangleMesh = strut_union(starts, ends, radii, facets=FACETS)
        seconds = interleave(
            {
                "tree": lambda s=starts, e=ends, r=radii: strut_union(s, e, r, facets=FACETS),  # type: ignore[misc]
                "flat": lambda s=starts, e=ends, r=radii: flat_batch(s, e, r),  # type: ignore[misc]
            },
            repeats=3,
        )
        rows.append(
            {
                "net": name,
                "struts": len(starts),
                "triangles": mesh.num_triangles,
                "watertight": mesh.is_watertight,
                "pieces - handles": mesh.euler_characteristic // 2,
                "of the net": nodes - len(starts),
                "ours s": seconds["tree"],
                "flat batch s": seconds["flat"],
            }
        )
    return rows


BENCHMARKS = {"union": Benchmark("Watertight union of struts", "650 struts, 32 facets, watertight in < 10 s", union)}


if __name__ == "__main__":
    run_rows("geometry", BENCHMARKS)

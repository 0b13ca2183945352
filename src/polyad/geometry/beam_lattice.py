"""3MF Beam Lattice: a strut lattice as nodes and beams with radii, a thousandth of its mesh in size.

The 2017/02 extension of 3MF: every beam is a frustum between two radii with a spherical cap at each end; slicers that
know the extension make the union themselves. The caps are the joints, so the solid is that of `strut_union` in the
limit of many facets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.geometry.threemf import BEAM_LATTICE, read_model, vertices_xml, write_model

CAPS = ("sphere", "hemisphere", "butt")


@final
@dataclass(frozen=True, eq=False)
class BeamLattice:
    """Beams in millimetres: nodes (n, 3), edge_index (2, m), radii (m, 2) at source and target, and the cap's name."""

    positions: Float[Tensor, "nodes 3"]
    edge_index: Int[Tensor, "2 edges"]
    radii: Float[Tensor, "edges 2"]
    cap: str = "sphere"


def write_beam_lattice(
    path: str | Path,
    positions: Float[Tensor, "nodes 3"],
    edge_index: Int[Tensor, "2 edges"],
    radii: Float[Tensor, " edges"] | Float[Tensor, "edges 2"],
    *,
    cap: str = "sphere",
    title: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write beams in millimetres; equal input gives equal bytes, and reading gives back every bit.

    Args:
        radii: one a beam, or one at each end for tapered beams.
        cap: 'sphere', 'hemisphere' or 'butt'; spheres close the joints.

    Raises:
        InputError: bad shapes or numbers, a beam from a node to itself or doubled, a file that cannot be written.
    """
    radii = radii[:, None].expand(-1, 2) if radii.ndim == 1 else radii
    _check(positions, edge_index, radii, cap)
    lengths = torch.linalg.vector_norm(positions[edge_index[1]] - positions[edge_index[0]], dim=-1)
    beams = "".join(
        f'<b:beam v1="{i}" v2="{j}" r1="{r!r}" r2="{s!r}"/>\n'
        for (i, j), (r, s) in zip(edge_index.T.tolist(), radii.detach().double().tolist(), strict=True)
    )
    shortest, common = 0.5 * float(lengths.min()), float(radii.max())
    body = (
        f"<mesh>\n{vertices_xml(positions)}"
        f'<b:beamlattice minlength="{shortest!r}" radius="{common!r}" cap="{cap}">\n'
        f"<b:beams>\n{beams}</b:beams>\n</b:beamlattice>\n</mesh>\n"
    )
    write_model(path, body, title=title, metadata=metadata, extensions={"b": BEAM_LATTICE})


def read_beam_lattice(path: str | Path) -> BeamLattice:
    """All beams that the build of a 3MF file names, in millimetres. Caps of single beams are not kept.

    Raises:
        FileFormatError: not 3MF, damaged, hostile, without a beam, or beams of impossible size.
    """
    positions, edges, radii, caps = [], [], [], set()
    count = 0
    for mesh, beams in read_model(path):
        if not beams.nodes:
            continue
        positions.append(mesh.vertices)
        edges.append(torch.tensor(beams.nodes, dtype=torch.int64).T + count)
        radii.append(torch.tensor(beams.radii, dtype=torch.float64))
        caps.add(beams.cap)
        count += mesh.num_vertices
    if not edges:
        raise FileFormatError(path, "holds no beam; a mesh is read by read_3mf")
    if len(caps) != 1:
        raise FileFormatError(path, f"mixes the caps {', '.join(sorted(caps))}; one lattice has one")
    lattice = BeamLattice(torch.cat(positions), torch.cat(edges, dim=1), torch.cat(radii), caps.pop())
    try:
        _check(lattice.positions, lattice.edge_index, lattice.radii, lattice.cap)
    except InputError as error:
        raise FileFormatError(path, str(error)) from error
    return lattice


def _check(positions: Tensor, edge_index: Tensor, radii: Tensor, cap: str) -> None:
    if cap not in CAPS:
        raise InputError(f"cap: is {cap[:40]!r}; a beam ends in one of {', '.join(CAPS)}")
    if positions.ndim != 2 or positions.shape[1] != 3 or tuple(radii.shape) != (edge_index.shape[-1], 2):
        raise InputError(f"shapes are {tuple(positions.shape)} nodes and {tuple(radii.shape)} radii; they do not fit")
    if not edge_index.shape[-1]:
        raise InputError("edge_index: no beam given; a lattice needs at least one")
    if int(edge_index.min()) < 0 or int(edge_index.max()) >= len(positions):
        raise InputError(f"edge_index: names a node outside 0 to {len(positions) - 1}")
    if not bool(torch.isfinite(positions).all()) or not bool(torch.isfinite(radii).all()):
        raise InputError("positions, radii: hold NaN or infinity; every entry must be finite")
    if not bool((radii > 0).all()):
        raise InputError(f"radii: smallest is {float(radii.min()):.6g}; beams need positive radii")
    ends = positions[edge_index]
    if bool((ends[0] == ends[1]).all(-1).any()):
        raise InputError("edge_index: a beam has zero length; remove it")
    pairs = torch.sort(edge_index, dim=0).values
    if torch.unique(pairs, dim=1).shape[1] != pairs.shape[1]:
        raise InputError("edge_index: two beams join the same nodes; 3MF allows one, remove the other")

"""A periodic strut lattice as a value.

A lattice is a periodic graph drawn in space: unique nodes at `positions`, and struts that join node i to the image of
node j displaced by `edge_shift @ cell`. The vector of strut e is

    v_e = x_j - x_i + shift_e @ cell,

and everything that the solvers need (lengths, directions, relative density) follows from these vectors, so a lattice is
differentiable in `cell`, `positions` and `radius` wherever torch tensors with gradients are passed in.

Relative density is the beam formula rho = sum_e A_e L_e / |det cell| (material at the nodes is counted once per strut).
Lengths are in any one unit; nothing here assumes a cell of size one.

Source: Grega, Batatia, Csanyi, Karlapati, Deshpande, ICLR 2024, arXiv:2401.16914 (section 2 and appendix A).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError

MAXIMUM_SHIFT = 2**20
"""Largest image index accepted: beyond it a strut is certainly a mistake, and index arithmetic could overflow."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class StrutLattice:
    """One periodic cell of round struts that meet in rigid nodes.

    Args:
        cell: (3, 3), rows are the lattice vectors.
        positions: (nodes, 3) Cartesian positions of the unique nodes.
        edge_index: (2, edges) node indices, source then target. A node may be joined to its own image.
        edge_shift: (edges, 3) integers: the target is the image displaced by `edge_shift @ cell`.
        radius: (edges,) strut radii, or one number for all; in the unit of `cell`.

    Lists and arrays are accepted and become float64. Tensors keep dtype, device and gradient history.

    Raises:
        InputError: shapes that do not fit, NaN, a singular cell, an index out of range, a strut of zero length, a
            radius that is not positive or exceeds half its strut's length.
    """

    cell: Float[Tensor, "3 3"]
    positions: Float[Tensor, "nodes 3"]
    edge_index: Int[Tensor, "2 edges"]
    edge_shift: Int[Tensor, "edges 3"]
    radius: Float[Tensor, " edges"]

    def __init__(self, cell: Any, positions: Any, edge_index: Any, edge_shift: Any, radius: Any) -> None:
        positions = _floating(positions, "positions")
        edge_index = _integral(edge_index, "edge_index", positions.device)
        radius = _floating(radius, "radius").to(positions)
        if radius.ndim == 0 and edge_index.ndim == 2:
            radius = radius.expand(edge_index.shape[1])
        set_field = object.__setattr__
        set_field(self, "cell", _floating(cell, "cell").to(positions))
        set_field(self, "positions", positions)
        set_field(self, "edge_index", edge_index)
        set_field(self, "edge_shift", _integral(edge_shift, "edge_shift", positions.device))
        set_field(self, "radius", radius)
        _validate(self)

    # ---------------------------------------------------------------- derived quantities

    @property
    def num_nodes(self) -> int:
        """Number of unique nodes."""
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        """Number of unique struts."""
        return self.edge_index.shape[1]

    @property
    def volume(self) -> Float[Tensor, ""]:
        """Volume of the cell, |det cell|."""
        return torch.linalg.det(self.cell).abs()

    @property
    def edge_vectors(self) -> Float[Tensor, "edges 3"]:
        """Vector of every strut from source to the image of its target."""
        return edge_vectors(self.cell, self.positions, self.edge_index, self.edge_shift)

    @property
    def edge_lengths(self) -> Float[Tensor, " edges"]:
        """Length of every strut between node centres."""
        return vector_lengths(self.edge_vectors)

    @property
    def relative_density(self) -> Float[Tensor, ""]:
        """Beam formula sum pi r^2 L / V; `solids.solid.volume_fraction` gives that of the true shape."""
        return (math.pi * self.radius**2 * self.edge_lengths).sum() / self.volume

    @property
    def fractional(self) -> Float[Tensor, "nodes 3"]:
        """Positions in units of the lattice vectors: positions = fractional @ cell."""
        return torch.linalg.solve(self.cell.T, self.positions.T).T

    @property
    def coordination(self) -> Int[Tensor, " nodes"]:
        """Number of strut ends at every node (a strut to its own image counts twice)."""
        return torch.bincount(self.edge_index.reshape(-1), minlength=self.num_nodes)

    @property
    def connectivity(self) -> float:
        """Mean coordination Z = 2 struts / nodes."""
        return 2.0 * self.num_edges / self.num_nodes

    # ---------------------------------------------------------------- the same net, other numbers

    def replace(self, **fields: Any) -> StrutLattice:
        """A copy with some of the five fields exchanged (validated again)."""
        kept = {name: getattr(self, name) for name in ("cell", "positions", "edge_index", "edge_shift", "radius")}
        unknown = set(fields) - set(kept)
        if unknown:
            raise InputError(f"replace: unknown field {sorted(unknown)[0]!r}; a lattice has {', '.join(kept)}")
        return StrutLattice(**(kept | fields))

    def with_density(self, density: float, *, uniform: bool = False) -> StrutLattice:
        """Scale the radii so that the beam formula gives `density`; `uniform=True` gives all struts one radius.

        For one radius: r = sqrt(rho V / (pi sum L)).
        """
        if not (math.isfinite(density) and density > 0):
            raise InputError(f"with_density: density is {density!r}; it must be a positive number, usually below 0.3")
        if uniform:
            radius = torch.sqrt(density * self.volume / (math.pi * self.edge_lengths.sum())).expand(self.num_edges)
        else:
            radius = self.radius * torch.sqrt(density / self.relative_density)
        return self.replace(radius=radius)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> StrutLattice:
        """The lattice in another floating dtype or on another device."""
        dtype, device = dtype or self.positions.dtype, device or self.positions.device
        return StrutLattice(
            self.cell.to(device, dtype),
            self.positions.to(device, dtype),
            self.edge_index.to(device),
            self.edge_shift.to(device),
            self.radius.to(device, dtype),
        )

    def detach(self) -> StrutLattice:
        """The lattice cut from any gradient history."""
        return self.replace(cell=self.cell.detach(), positions=self.positions.detach(), radius=self.radius.detach())

    def rotate(self, rotation: Float[Tensor, "3 3"]) -> StrutLattice:
        """Rotate cell and nodes by an orthogonal matrix Q: x -> Q x (reflections allowed)."""
        rotation = torch.as_tensor(rotation, dtype=self.positions.dtype, device=self.positions.device)
        identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        tolerance = 1e3 * torch.finfo(rotation.dtype).eps
        if rotation.shape != (3, 3) or not bool(((rotation @ rotation.T - identity).abs() < tolerance).all()):
            raise InputError("rotate: rotation must be an orthogonal 3x3 matrix (Q Q' = 1)")
        return self.replace(cell=self.cell @ rotation.T, positions=self.positions @ rotation.T)

    def translate(self, displacement: Float[Tensor, "3"] | Sequence[float]) -> StrutLattice:
        """Move all nodes by one vector; the lattice is the same, its origin is not."""
        return self.replace(positions=self.positions + _floating(displacement, "displacement").to(self.positions))

    def wrap(self) -> StrutLattice:
        """Move every node into the cell (fractional coordinates in [0, 1)), keeping every strut."""
        fractional = self.fractional.detach()
        # a coordinate within rounding of 1 belongs to 0, or nodes on a face would land on either side
        whole = torch.floor(fractional + 64 * torch.finfo(fractional.dtype).eps)
        return self.move_nodes_by_cells(-whole.long())

    def move_nodes_by_cells(self, offset: Int[Tensor, "nodes 3"]) -> StrutLattice:
        """Choose another image of every unique node; edge shifts are adapted so that no strut changes."""
        source, target = self.edge_index
        return self.replace(
            positions=self.positions + offset.to(self.positions.dtype) @ self.cell,
            edge_shift=self.edge_shift + offset[source] - offset[target],
        )

    def perturb(self, length: float, *, seed: int = 0) -> StrutLattice:
        """Displace every node by a vector of fixed `length` in a random direction (the 'imperfection level')."""
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(self.num_nodes, 3, generator=generator, dtype=torch.float64)
        direction = direction / torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        return self.replace(positions=self.positions + length * direction.to(self.positions))

    # ---------------------------------------------------------------- the same material, another graph

    def tile(self, counts: int | Sequence[int]) -> StrutLattice:
        """Supercell of counts[0] x counts[1] x counts[2] copies (one number: the same along all three)."""
        repeats = [counts] * 3 if isinstance(counts, int) else [int(c) for c in counts]
        if len(repeats) != 3 or min(repeats) < 1:
            raise InputError(f"tile: counts is {counts!r}; give one positive integer or three")
        k = torch.tensor(repeats, device=self.positions.device)
        offsets = torch.cartesian_prod(*(torch.arange(int(c), device=k.device) for c in repeats)).reshape(-1, 3)
        copies = offsets.shape[0]
        positions = self.positions[None] + (offsets.to(self.positions.dtype) @ self.cell)[:, None]
        reached = offsets[:, None] + self.edge_shift[None]  # cell of the target image of every strut
        shift = torch.div(reached, k, rounding_mode="floor")
        home = reached - shift * k
        home_index = (home[..., 0] * k[1] + home[..., 1]) * k[2] + home[..., 2]
        start = torch.arange(copies, device=k.device)[:, None] * self.num_nodes
        source = start + self.edge_index[0][None]
        target = home_index * self.num_nodes + self.edge_index[1][None]
        return StrutLattice(
            self.cell * k[:, None].to(self.cell.dtype),
            positions.reshape(-1, 3),
            torch.stack([source.reshape(-1), target.reshape(-1)]),
            shift.reshape(-1, 3),
            self.radius.repeat(copies),
        )

    def change_cell(self, matrix: Sequence[Sequence[int]]) -> StrutLattice:
        """The same lattice described by other lattice vectors: cell -> M @ cell with integer M, det M = +1 or -1."""
        m = torch.tensor(matrix, dtype=torch.int64)
        if m.shape != (3, 3) or abs(round(float(torch.linalg.det(m.double())))) != 1:
            raise InputError("change_cell: matrix must be 3x3 integers with determinant +1 or -1")
        inverse = torch.linalg.inv(m.double()).round().long().to(self.edge_shift.device)
        m = m.to(device=self.cell.device, dtype=self.cell.dtype)
        return self.replace(cell=m @ self.cell, edge_shift=self.edge_shift @ inverse)

    def subdivide(self, pieces: int) -> StrutLattice:
        """Cut every strut into equal pieces joined rigidly; stiffness does not change (Timoshenko beams are exact)."""
        if pieces < 1:
            raise InputError(f"subdivide: pieces is {pieces}; at least 1")
        if pieces == 1:
            return self
        nodes, edges, device = self.num_nodes, self.num_edges, self.positions.device
        fraction = torch.arange(1, pieces, dtype=self.positions.dtype, device=device) / pieces
        inner = self.positions[self.edge_index[0]][:, None] + fraction[:, None] * self.edge_vectors[:, None]
        inner_index = nodes + torch.arange(edges * (pieces - 1), device=device).reshape(edges, pieces - 1)
        chain = torch.cat([self.edge_index[0][:, None], inner_index, self.edge_index[1][:, None]], dim=1)
        shift = torch.zeros(edges, pieces, 3, dtype=torch.int64, device=device)
        shift[:, -1] = self.edge_shift
        return StrutLattice(
            self.cell,
            torch.cat([self.positions, inner.reshape(-1, 3)]),
            torch.stack([chain[:, :-1].reshape(-1), chain[:, 1:].reshape(-1)]),
            shift.reshape(-1, 3),
            self.radius.repeat_interleave(pieces),
        )

    def select_edges(self, keep: Tensor) -> StrutLattice:
        """Keep the struts that the boolean mask or index list `keep` names; nodes left without strut are dropped."""
        edge_index, edge_shift, radius = self.edge_index[:, keep], self.edge_shift[keep], self.radius[keep]
        used, compact = torch.unique(edge_index, return_inverse=True)
        return StrutLattice(self.cell, self.positions[used], compact, edge_shift, radius)

    def to_graph(self) -> dict[str, Tensor]:
        """Directed graph for networks: both directions of every strut.

        Returns:
            `node_features` (nodes, 1) ones, `edge_index` (2, 2 edges), `edge_vectors` (2 edges, 3), `edge_shift`
            (2 edges, 3) and `edge_features` (2 edges, 1), the radius. Strut e appears at e and, reversed, at
            e + edges.
        """
        vectors = self.edge_vectors
        return {
            "node_features": torch.ones(self.num_nodes, 1, dtype=vectors.dtype, device=vectors.device),
            "edge_index": torch.cat([self.edge_index, self.edge_index.flip(0)], dim=1),
            "edge_shift": torch.cat([self.edge_shift, -self.edge_shift]),
            "edge_vectors": torch.cat([vectors, -vectors]),
            "edge_features": torch.cat([self.radius, self.radius])[:, None],
        }

    def __repr__(self) -> str:
        """One line: nodes, struts and relative density."""
        density = float(self.relative_density.detach())
        return f"StrutLattice({self.num_nodes} nodes, {self.num_edges} struts, relative density {density:.4g})"

    def _repr_html_(self) -> str:
        """Interactive drawing in a notebook."""
        from polyad.materials.lattice.view import lattice_html

        return lattice_html(self)


def edge_vectors(
    cell: Float[Tensor, "*edges 3 3"],
    positions: Float[Tensor, "nodes 3"],
    edge_index: Int[Tensor, "2 edges"],
    edge_shift: Int[Tensor, "edges 3"],
) -> Float[Tensor, "edges 3"]:
    """v_e = x_j - x_i + shift_e @ cell, with one cell for all struts or one a strut."""
    s = edge_shift.to(positions.dtype)
    # written out, not as a product: a strut's vector must not depend, to the last bit, on how many others there are
    (a, b, c), (along_a, along_b, along_c) = cell.unbind(-2), s.unsqueeze(-1).unbind(-2)
    image = along_a * a + along_b * b + along_c * c
    return positions[edge_index[1]] - positions[edge_index[0]] + image


def vector_lengths(vectors: Float[Tensor, "*edges 3"]) -> Float[Tensor, "*edges"]:
    """Euclidean lengths, the same to the last bit for one vector as for many."""
    x, y, z = vectors.unbind(-1)
    return torch.sqrt(x * x + y * y + z * z)


def _floating(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else value.to(torch.float64)
    try:
        return torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as an array of numbers ({error})") from error


def _integral(value: Any, name: str, device: torch.device) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as an array of integers ({error})") from error
    if tensor.is_floating_point() and not bool((tensor == tensor.round()).all()):
        raise InputError(f"{name}: must hold integers")
    return tensor.to(device=device, dtype=torch.int64)


def _validate(lattice: StrutLattice) -> None:
    cell, positions = lattice.cell.detach(), lattice.positions.detach()
    edge_index, edge_shift, radius = lattice.edge_index, lattice.edge_shift, lattice.radius.detach()
    edges = edge_index.shape[-1]
    expected = {
        "cell": (cell, (3, 3)),
        "positions": (positions, (positions.shape[0] if positions.ndim else 0, 3)),
        "edge_index": (edge_index, (2, edges)),
        "edge_shift": (edge_shift, (edges, 3)),
        "radius": (radius, (edges,)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise InputError(
                f"{name}: shape is {tuple(tensor.shape)}; expected {shape} for a lattice of {edges} struts"
            )
    if not len(positions) or not edges:
        raise InputError(f"lattice has {len(positions)} nodes and {edges} struts; it needs at least one of each")
    for name, tensor in (("cell", cell), ("positions", positions), ("radius", radius)):
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{name}: holds NaN or infinity; every entry must be finite")
    if int(edge_index.min()) < 0 or int(edge_index.max()) >= len(positions):
        raise InputError(
            f"edge_index: names node {int(edge_index.max())}; nodes are counted from 0 to {len(positions) - 1}"
        )
    if int(edge_shift.abs().max()) > MAXIMUM_SHIFT:
        raise InputError(f"edge_shift: image index {int(edge_shift.abs().max())} is beyond {MAXIMUM_SHIFT}")
    size = torch.linalg.vector_norm(cell, dim=-1)
    volume = torch.linalg.det(cell.double()).abs()
    if not bool(size.min() > 0) or not bool(volume > 1e-9 * size.double().prod()):
        raise InputError(
            f"cell: lattice vectors are linearly dependent (volume {float(volume):.3g}); give three that span"
        )
    length = torch.linalg.vector_norm(lattice.edge_vectors.detach(), dim=-1)
    shortest = int(length.argmin())
    if not bool(length[shortest] > 1e-7 * size.max()):
        i, j = edge_index[:, shortest].tolist()
        raise InputError(f"strut {shortest} (node {i} to {j}) has zero length; remove it or merge its nodes")
    if not bool((radius > 0).all()):
        worst = int(radius.argmin())
        raise InputError(f"radius: strut {worst} has radius {float(radius[worst]):.6g}; radii must be positive")
    slack = radius - 0.5 * length
    worst = int(slack.argmax())
    if bool(slack[worst] > 1e-9 * length[worst]):
        raise InputError(
            f"radius: strut {worst} has radius {float(radius[worst]):.6g}, beyond half its length "
            f"{float(length[worst]):.6g}; lower the density or merge its nodes"
        )

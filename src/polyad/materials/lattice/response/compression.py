"""The printed specimen in the testing machine: two faces of a finite block pressed together, its struts as beams.

The nodes on the lower face stay, those on the upper one move by a given displacement towards them; all others find
equilibrium. With u = u0 + x, where u0 shrinks the block evenly between the faces and x vanishes wherever a
displacement is prescribed, x solves K x = -K u0 on the free unknowns, matrix-free by preconditioned conjugate gradients
(`iterative`). Forces, reactions and the residual are then computed anew from the displacements, strut by strut.

The apparent modulus is (force / area) / (displacement / height), with the area of the block's cross-section.
Between 'sliding' faces (frictionless plates) it tends to Young's modulus of the infinite lattice as cells are added.
'Clamped' faces (bonded to the plates) hinder lateral strain: a tall block tends to Young's modulus, a wide one to the
stiffness of uniaxial strain, and a cube stays in between however many cells it has.

A strut whose radius varies between its ends counts as uniform with the geometric mean radius, which gives a straight
taper exactly its extension: integral of dx / r^2 = L / (r_1 r_2).

Units: with Young's modulus in MPa and lengths in millimetres forces are in newtons; `material` sets this up.

Source: Hughes, The Finite Element Method (2000), section 1.4 (prescribed displacements); Andrews, Gioux, Onck and
Gibson, Int. J. Mech. Sci. 43 (2001) 701-713 (size effects: free faces soften foams).

When not to use: beyond small strains (no buckling, yield or contact), or for thick struts (see `homogenize`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.krylov import conjugate_gradients
from polyad.materials.lattice.cell import vector_lengths
from polyad.materials.lattice.frames.iterative import FrameOperator
from polyad.materials.lattice.frames.sections import Section, strut_stiffness
from polyad.materials.lattice.response.forces import StrutForces, node_displacement_forces
from polyad.materials.lattice.solids.block import StrutBlock
from polyad.materials.lattice.solids.printing import Material

_ON_FACE = 1e-6
"""Distance from a face, over the height, that still counts as on it."""


@final
@dataclass(frozen=True, eq=False)
class SpecimenTest:
    """Result of `compress`, in the units of modulus and length that went in.

    Args:
        apparent_modulus: nominal stress over nominal strain.
        force: that the machine measures, positive against the displacement.
        displacements: (nodes, 6) displacement and rotation vector of every node.
        forces: of all struts.
        lower, upper: (nodes,) nodes held by the two plates.
        height, area: of the tested part between the plates, and of the block's cross-section.
        residual: norm of the forces left on free nodes over that of the strut forces under even strain.
        iterations: of conjugate gradients.
    """

    apparent_modulus: float
    force: float
    displacements: Float[Tensor, "nodes 6"]
    forces: StrutForces
    lower: Bool[Tensor, " nodes"]
    upper: Bool[Tensor, " nodes"]
    height: float
    area: float
    residual: float
    iterations: int


def compress(
    block: StrutBlock,
    axis: int = 2,
    *,
    displacement: float,
    faces: str = "clamped",
    grip: float = 0.0,
    material: Material | None = None,
    young_modulus: float | Tensor | None = None,
    poisson_ratio: float | Tensor | None = None,
    shear: bool = True,
    section: Section | None = None,
    joint_length: float = 0.0,
    tolerance: float = 1e-9,
    progress: Callable[[int, int], None] | None = None,
) -> SpecimenTest:
    """Press the two faces of a block that face each other along one of its edges together, and measure the force.

    Args:
        block: from `finite_block`.
        axis: number of the block's edge; the faces are spanned by the other two and move along their normal.
        displacement: of the upper face towards the lower one, in the block's unit; negative pulls.
        faces: 'clamped' holds displacement and rotation of the nodes on the faces, 'sliding' only the displacement
            normal to the faces.
        grip: depth of a layer at both faces whose nodes are held too, in the block's unit. The height is that between
            the layers.
        material: sets modulus (in MPa: forces are newtons for millimetres) and Poisson's ratio.
        young_modulus: one number, or one a strut of the block (`modulus[block.strut]` for one a strut of the cell);
            1 where neither it nor a material is given.
        poisson_ratio: likewise; 0.3.
        shear, section, joint_length: as in `homogenize`.
        tolerance: residual at which conjugate gradients stop.
        progress: called by conjugate gradients with (done, wanted).

    Raises:
        InputError: an axis, displacement or face out of range, or faces that no struts join.
        ConvergenceError: conjugate gradients stopped short of the tolerance.
    """
    _check(axis, displacement, faces, grip)
    young, poisson = _moduli(material, young_modulus, poisson_ratio)
    edge, side, other = (block.edges[(axis + k) % 3] for k in range(3))
    normal = torch.linalg.cross(side, other)
    area = float(torch.linalg.vector_norm(normal))
    normal = normal / area * torch.sign(edge @ normal)
    level = block.positions @ normal
    bottom = max(0.0, float(level.min())) + grip
    top = min(float(edge @ normal), float(level.max())) - grip
    height, slack = top - bottom, _ON_FACE * float(edge @ normal)
    if not height > slack:
        raise InputError(f"grip: {grip} leaves a height of {height:.3g} between the plates; lower it or add cells")
    lower, upper = level <= bottom + slack, level >= top - slack
    _check_joined(block, lower, upper)

    # third axis along the normal, so that sliding plates hold one component
    turn = _frame(normal)
    vectors = (block.ends - block.starts) @ turn.T
    stiffness = strut_stiffness(
        vector_lengths(vectors),
        block.radii.prod(1).sqrt(),
        young_modulus=young,
        poisson_ratio=poisson,
        shear=shear,
        section=section,
        joint_length=joint_length,
    )
    held = torch.zeros(len(level), 6, dtype=torch.bool)
    held[lower | upper, 2] = True
    if faces == "clamped":
        held[lower | upper] = True
    even = torch.zeros(len(level), 6, 1, dtype=torch.float64)
    even[:, 2, 0] = -displacement * ((level - bottom) / height).clamp(0.0, 1.0)

    def unbalanced(displacements: Tensor) -> tuple[StrutForces, Tensor]:
        forces = node_displacement_forces(vectors, stiffness, block.edge_index, displacements)
        return forces, forces.on_nodes(block.edge_index, len(level))[0]

    forces, at_nodes = unbalanced(even)
    scale = torch.linalg.vector_norm(forces.force).reshape(1)
    operator = FrameOperator(vectors, stiffness, block.edge_index, len(level), held)
    relaxed = conjugate_gradients(
        operator,
        -at_nodes.masked_fill(held, 0.0)[..., None],
        preconditioner=operator.precondition,
        scale=scale,
        tolerance=tolerance,
        progress=progress,
    )
    moved = even + relaxed.solution
    forces, at_nodes = unbalanced(moved)
    force = -float(at_nodes[upper, 2].sum())
    return SpecimenTest(
        apparent_modulus=force / area * height / displacement,
        force=force,
        displacements=torch.cat([moved[:, :3, 0] @ turn, moved[:, 3:, 0] @ turn], dim=1),
        forces=StrutForces(forces.force[0] @ turn, forces.moment[0] @ turn, block.ends - block.starts),
        lower=lower,
        upper=upper,
        height=height,
        area=area,
        residual=float(torch.linalg.vector_norm(at_nodes[~held]) / scale),
        iterations=relaxed.iterations,
    )


def _frame(normal: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rotation that takes the normal to the third axis."""
    helper = torch.eye(3, dtype=normal.dtype)[normal.abs().argmin()]
    second = torch.linalg.cross(normal, helper)
    second = second / torch.linalg.vector_norm(second)
    return torch.stack([torch.linalg.cross(second, normal), second, normal])


def _moduli(
    material: Material | None, young_modulus: float | Tensor | None, poisson_ratio: float | Tensor | None
) -> tuple[float | Tensor, float | Tensor]:
    if material is None:
        return 1.0 if young_modulus is None else young_modulus, 0.3 if poisson_ratio is None else poisson_ratio
    if young_modulus is not None or poisson_ratio is not None:
        raise InputError("material: sets modulus and Poisson's ratio; give it or young_modulus and poisson_ratio")
    return 1000.0 * material.young_modulus_gpa, material.poisson_ratio


def _check(axis: int, displacement: float, faces: str, grip: float) -> None:
    if axis not in (0, 1, 2):
        raise InputError(f"axis: is {axis!r}; the block has edges 0, 1 and 2")
    if not (abs(displacement) < float("inf") and displacement != 0):
        raise InputError(f"displacement: is {displacement!r}; give a length other than zero")
    if faces not in ("clamped", "sliding"):
        raise InputError(f"faces: is {faces!r}; choose 'clamped' or 'sliding'")
    if not 0 <= grip < float("inf"):
        raise InputError(f"grip: is {grip!r}; give a depth of zero or more")


def _check_joined(block: StrutBlock, lower: Tensor, upper: Tensor) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    source, target = block.edge_index.numpy()
    graph = coo_array(([1] * len(source), (source, target)), shape=(len(lower),) * 2)
    piece = connected_components(graph, directed=False)[1]
    if not set(piece[lower.numpy()]) & set(piece[upper.numpy()]):
        raise InputError("compress: no struts join the two faces; the block carries no force along this axis")

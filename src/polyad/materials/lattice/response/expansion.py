"""Effective thermal expansion of a strut lattice, struts of several materials included.

A strut whose free elongation per degree is alpha_e v_e adds to the energy of the frame, for a macroscopic strain
epsilon, the work of its normal force N_e on alpha_e L_e. By reciprocity (Levin's theorem) no thermal problem is solved:
with the normal forces N_e(k) under the six unit strains,

    beta_k = (1 / V) sum_e alpha_e L_e N_e(k),      alpha = C^-1 beta,      stress at fixed cell = -beta.

A lattice with one alpha throughout expands by exactly that alpha, whatever its shape; anisotropic, zero and negative
expansion need two materials. Everything that swells (moisture, shrinkage on curing, lattice mismatch) enters likewise.

Source: Levin, Mekhanika Tverdogo Tela 2 (1967) 88-94; Lakes, J. Mater. Sci. Lett. 15 (1996) 475-477 and Steeves et al.,
J. Mech. Phys. Solids 57 (2009) 1803-1822 (bimaterial lattices).

When not to use: large temperature ranges (moduli and alpha are constant here) or temperatures that vary within a cell.
Gradients reach `expansion` alone; the derivative by shape would need a second solve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice, vector_lengths
from polyad.materials.lattice.response.forces import FrameOptions, unit_strain_forces
from polyad.tensors.notation import mandel_to_strain


@final
@dataclass(frozen=True, eq=False)
class ThermalExpansion:
    """Response to a rise of temperature by one degree.

    Args:
        expansion: (..., 3, 3) strain of the free lattice, in the unit of the struts' coefficients.
        stress: (..., 3, 3) macroscopic stress when the cell is held, in the unit of modulus times expansion; negative
            in compression.
    """

    expansion: Float[Tensor, "*batch 3 3"]
    stress: Float[Tensor, "*batch 3 3"]


def thermal_expansion(
    lattice: StrutLattice | LatticeBatch, expansion: float | Tensor, **options: Unpack[FrameOptions]
) -> ThermalExpansion:
    """Effective thermal expansion and thermal stress of a lattice or of a batch.

    Args:
        expansion: coefficient of the solid per degree: one number, or one a strut (of the whole batch); of either sign;
            differentiable.
        options: of `homogenize`; `young_modulus` one a strut for several materials.

    Raises:
        InputError: coefficients of another shape or not finite, or a lattice without stiffness in some direction.
    """
    batch = lattice if isinstance(lattice, LatticeBatch) else LatticeBatch.from_lattices([lattice])
    with torch.no_grad():
        forces, compliance = unit_strain_forces(batch, need_compliance=True, **options)
        work = vector_lengths(forces.vectors) * forces.axial / batch.volume.double()[batch.edge_batch]
    alpha = torch.as_tensor(expansion, dtype=work.dtype, device=work.device)
    if alpha.ndim and alpha.shape != batch.radius.shape:
        raise InputError(
            f"expansion: shape is {tuple(alpha.shape)}; give one number or one a strut ({len(batch.radius)},)"
        )
    if not bool(torch.isfinite(alpha).all()):
        raise InputError("expansion: holds NaN or infinity; every coefficient must be finite")
    beta = work.new_zeros(6, len(batch)).index_add(1, batch.edge_batch, alpha * work).T
    free = torch.einsum("bij,bj->bi", compliance, beta)
    fields = [mandel_to_strain(x).to(batch.positions.dtype) for x in (free, -beta)]
    return ThermalExpansion(*(fields if isinstance(lattice, LatticeBatch) else [x[0] for x in fields]))

"""What the correction sees of a lattice: a few invariant numbers, and tensors that turn with it.

With the root B = C^(1/2) of the beams' stiffness C, the share w_e of the material that strut e has, its direction n_e
and slenderness s_e = r_e / L_e, the tensors are (Kelvin-Mandel, symmetric, without unit)

    J, K                        projectors on volume change and on change of shape
    log C - mean                where the beams are stiff and where soft
    sum w nnnn,  sum w s nnnn   where the struts point, and where the stout ones do (over their mean s)
    G = log B^-1 C' B^-1        C': the beams with the last half radius at both ends of every strut rigid
    G G

All are functions of the material alone: doubling the cell, or numbering its nodes anew, changes none of them. A
rotation Q turns each into M(Q) T M(Q)^T, for in Kelvin-Mandel notation M(Q) is orthogonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import vector_lengths
from polyad.materials.lattice.homogenization import effective_stiffness
from polyad.tensors.notation import strain_to_mandel

JOINT = 0.5
"""Rigid length at both ends of every strut in the tensor G, in radii; a radius is at most half a length."""

INVARIANTS = 8
"""Numbers for each lattice."""

TENSORS = 7
"""Tensors for each lattice."""


@final
@dataclass(frozen=True, eq=False)
class CorrectionInputs:
    """Inputs for each lattice of a batch, float64.

    Args:
        size: (batch,) root of the relative density, which bounds every correction.
        invariants: (batch, INVARIANTS) the same however the lattice is turned.
        tensors: (batch, TENSORS, 6, 6) that turn with it.
        root: (batch, 6, 6) of the stiffness of the beams.
    """

    size: Float[Tensor, " batch"]
    invariants: Float[Tensor, "batch invariants"]
    tensors: Float[Tensor, "batch tensors 6 6"]
    root: Float[Tensor, "batch 6 6"]


def correction_inputs(
    lattices: LatticeBatch, beams: Float[Tensor, "batch 6 6"], *, poisson_ratio: float = 0.3
) -> CorrectionInputs:
    """The inputs of some lattices.

    Args:
        lattices: in float64.
        beams: their stiffness as beams, positive definite, in any unit that all of them share with the solid.
        poisson_ratio: of the solid.

    Raises:
        InputError: a lattice whose beams leave some strain without resistance.
    """
    values, vectors = torch.linalg.eigh(beams.double())
    if not bool((values[:, 0] > 1e-9 * values[:, -1]).all()):
        raise InputError("beams: a lattice is not rigid in all three dimensions; there is no tensor to correct")

    def function(of_values: Tensor) -> Tensor:
        return (vectors * of_values[:, None, :]) @ vectors.mT

    root, inverse_root, logarithm = function(values.sqrt()), function(values.rsqrt()), function(values.log())
    stiffened = effective_stiffness(lattices, poisson_ratio=poisson_ratio, joint_length=JOINT)
    scale = effective_stiffness(lattices, poisson_ratio=poisson_ratio)
    unit = _trace(beams) / _trace(scale)  # the beams may be in another unit than that of modulus 1
    joints = spd_logarithm(inverse_root @ (stiffened * unit[:, None, None]) @ inverse_root)
    eye = torch.eye(6, dtype=torch.float64).expand_as(joints)
    ones = strain_to_mandel(torch.eye(3, dtype=torch.float64))
    volume = (ones[:, None] * ones / 3).expand_as(joints)
    uneven = logarithm - _trace(logarithm)[:, None, None] / 6 * eye

    lengths = vector_lengths(lattices.edge_vectors)
    amount = torch.pi * lattices.radius**2 * lengths
    density = _sum(amount, lattices) / lattices.volume
    share = amount / _sum(amount, lattices)[lattices.edge_batch]
    slender = lattices.radius / lengths
    mean = _sum(share * slender, lattices)
    direction = lattices.edge_vectors / lengths[:, None]
    dyad = strain_to_mandel(direction[:, :, None] * direction[:, None, :])
    fabric = dyad[:, :, None] * dyad[:, None, :]
    even = _sum(share[:, None, None] * fabric, lattices)
    stout = _sum((share * slender / mean[lattices.edge_batch])[:, None, None] * fabric, lattices)

    spread = (_sum(share * slender**2, lattices) - mean**2).clamp_min(0).sqrt()
    stretch = _trace(scale) / density  # about 1 where struts stretch, far less where they bend
    tensors = [volume, eye - volume, uneven, even, stout, joints, joints @ joints]
    invariants = [
        density.sqrt(),
        mean,
        spread,
        stretch.log(),
        _trace(joints) / 6,
        torch.linalg.matrix_norm(joints - _trace(joints)[:, None, None] / 6 * eye),
        torch.linalg.matrix_norm(uneven),
        torch.linalg.matrix_norm(even),
    ]
    return CorrectionInputs(density.sqrt(), torch.stack(invariants, 1), torch.stack(tensors, 1), root)


def _sum(values: Tensor, lattices: LatticeBatch) -> Tensor:
    """Sums over the struts of every lattice."""
    return values.new_zeros(len(lattices), *values.shape[1:]).index_add(0, lattices.edge_batch, values)


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)

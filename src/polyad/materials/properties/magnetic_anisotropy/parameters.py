"""Axial and rhombic parameters of a zero-field-splitting tensor, and the tensor with these parameters.

    D = D_zz - (D_xx + D_yy) / 2 = 3 D_zz / 2,    E = (D_xx - D_yy) / 2,    0 <= E / D <= 1 / 3

in principal axes, z being that of the eigenvalue of largest size and x, y named so that E has the sign of D. Then
D_xx = -D / 3 + E, D_yy = -D / 3 - E, D_zz = 2 D / 3. An isotropic part shifts all levels alike and is left out.

*When not to use it*: to average or interpolate tensors. D and E of the mean tensor are not the means of D and E; near
E / D = 1 / 3 the axes z and y are exchanged by the smallest change, and D jumps in sign.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


class AnisotropyParameters(NamedTuple):
    """What `anisotropy_parameters` finds.

    Args:
        axial: D, in the unit of the tensor.
        rhombic: E, with the sign of D.
        axes: columns are the principal axes x, y, z, a rotation.
    """

    axial: Float[Tensor, "*batch"]
    rhombic: Float[Tensor, "*batch"]
    axes: Float[Tensor, "*batch 3 3"]


def anisotropy_parameters(tensor: Float[Tensor, "*batch 3 3"]) -> AnisotropyParameters:
    """D, E and the principal axes of symmetric tensors.

    Raises:
        InputError: tensors that are not finite or not symmetric.
    """
    check_symmetric(tensor)
    values, vectors = torch.linalg.eigh(tensor - _isotropic(tensor))
    # ascending; z is last where the largest eigenvalue is the largest in size, first otherwise: D is negative then
    order = torch.where(
        (values[..., 2] >= -values[..., 0])[..., None],
        torch.tensor([1, 0, 2], device=tensor.device),
        torch.tensor([1, 2, 0], device=tensor.device),
    )
    values = values.gather(-1, order)
    axes = vectors.gather(-1, order[..., None, :].expand(vectors.shape))
    axes = torch.cat([axes[..., :2], torch.linalg.det(axes)[..., None, None] * axes[..., 2:]], dim=-1)
    return AnisotropyParameters(1.5 * values[..., 2], 0.5 * (values[..., 0] - values[..., 1]), axes)


def anisotropy_tensor(
    axial: Float[Tensor, "*#batch"],
    rhombic: Float[Tensor, "*#batch"],
    axes: Float[Tensor, "*#batch 3 3"] | None = None,
) -> Float[Tensor, "... 3 3"]:
    """The tensor with D and E along principal axes, by default the coordinate axes; batches broadcast."""
    axial, rhombic = torch.broadcast_tensors(axial, rhombic)
    diagonal = torch.diag_embed(torch.stack([-axial / 3 + rhombic, -axial / 3 - rhombic, 2 * axial / 3], dim=-1))
    return diagonal if axes is None else axes @ diagonal @ axes.mT


def check_symmetric(tensor: Float[Tensor, "*batch 3 3"]) -> None:
    """Raise InputError unless all are finite, and symmetric to 1e-8 of their size (1e-4 in single precision)."""
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("tensor: some components are NaN or infinite; look for the frames they come from")
    tolerance = 1e-8 if tensor.dtype == torch.float64 else 1e-4
    gap, size = (tensor - tensor.mT).abs(), tensor.abs().amax(dim=(-2, -1), keepdim=True)
    if bool((gap > tolerance * size).any()):
        raise InputError(f"tensor: not symmetric, by up to {float(gap.max()):.3g}; give (D + D^T) / 2 if that is noise")


def _isotropic(tensor: Tensor) -> Tensor:
    trace = tensor.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace[..., None, None] / 3 * torch.eye(3, dtype=tensor.dtype, device=tensor.device)

"""V C of every cell of a frame with its exact gradient, each cell solved by the method that suits its size.

The energy is stationary in the displacements, so its gradient is taken with them held fixed: whichever solver found
them, one pass over the struts gives the derivative by every strut's vector and stiffnesses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.frames import gradient_kernels
from polyad.materials.lattice.frames.elimination import eliminate, in_threads
from polyad.materials.lattice.frames.frame import Frame, FrameArrays
from polyad.materials.lattice.frames.iterative import relax


def frame_energy(
    frame: Frame,
    direct: Bool[Tensor, " batch"],
    *,
    keep_displacements: bool = True,
    tolerance: float = 1e-10,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "batch 6 6"], Float[Tensor, "nodes 6 6"] | None]:
    """V C of every cell and, where wanted, the displacements under the six Mandel unit strains.

    Args:
        frame: on the CPU; differentiable in `vectors` and `coefficients`.
        direct: cells to eliminate block by block; the others are solved by conjugate gradients.
        keep_displacements: False saves their computation where no gradient is needed either.
        tolerance, progress: of conjugate gradients.
    """
    if frame.vectors.device.type != "cpu":
        raise InputError(
            f"method: compiled solvers run on the CPU, the lattice is on {frame.vectors.device}: use 'dense'"
        )
    keep = keep_displacements or not bool(direct.all())
    keep = keep or frame.vectors.requires_grad or frame.coefficients.requires_grad
    energy, displacements = _FrameEnergy.apply(
        frame.vectors, frame.coefficients, frame, direct.numpy(), keep, tolerance, progress
    )
    return energy, displacements if keep else None


class _FrameEnergy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        vectors: Tensor,
        coefficients: Tensor,
        frame: Frame,
        direct: np.ndarray,
        keep: bool,
        tolerance: float,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Tensor, Tensor]:
        arrays = frame.arrays()
        energy = np.empty((len(frame), 6, 6))
        displacements = np.empty((int(arrays.node_start[-1]) if keep else 0, 6, 6))
        for first, last in _runs(direct):
            if direct[first]:
                eliminate(arrays, first, last, energy, displacements)
            else:
                relax(arrays, first, last, energy, displacements, tolerance=tolerance, progress=progress)
        context.arrays = arrays
        kept = torch.from_numpy(displacements)
        context.save_for_backward(kept)
        context.mark_non_differentiable(kept)
        return torch.from_numpy(energy), kept

    @staticmethod
    def backward(context: Any, grad_energy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError("second derivatives: the compiled solvers give first ones only; use method='dense'")
        (kept,) = context.saved_tensors
        return (*_gradient(grad_energy, context.arrays, kept.numpy()), None, None, None, None, None)


def _gradient(
    grad_energy: Float[Tensor, "batch 6 6"], arrays: FrameArrays, displacements: np.ndarray
) -> tuple[Float[Tensor, "edges 3"], Float[Tensor, "edges 4"]]:
    """Gradient of sum(grad_energy * V C) by strut vectors and coefficients at given displacements."""
    weight = (0.5 * (grad_energy + grad_energy.transpose(1, 2))).contiguous().numpy()
    grad_vectors, grad_coefficients = np.empty_like(arrays.vectors), np.empty_like(arrays.coefficients)

    def differentiate(first: int, last: int) -> None:
        gradient_kernels.energy_gradient(
            first, last, *arrays[1:6], displacements, weight, grad_vectors, grad_coefficients
        )

    in_threads(differentiate, arrays.edge_start, 0, len(weight))
    return torch.from_numpy(grad_vectors), torch.from_numpy(grad_coefficients)


def _runs(direct: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of consecutive cells that are solved alike."""
    cuts = np.flatnonzero(np.diff(direct)) + 1
    bounds = [0, *cuts.tolist(), len(direct)]
    return list(itertools.pairwise(bounds))

"""The discrete Green operator: the inverse of a homogeneous material's finite-element matrix, by FFT.

On a periodic grid the matrix K0 of one material is a convolution, so that in Fourier space it is a 3 x 3 matrix for
every frequency. Its stencil is symmetric about the node, so these matrices are real and symmetric; all but that of
frequency 0 (translations) are positive definite, and their inverses are kept. As a preconditioner this makes the number
of iterations independent of the resolution: it depends on the contrast, or for void on the shape.

Source: S. Leute, M. Ladecky, A. Falsafi, I. Jodlbauer, I. Pultarova, J. Zeman, T. Junge and L. Pastewka, Elimination of
ringing artifacts by finite-element projection in FFT-based homogenization, J. Comput. Phys. 453 (2022) 110931; and
M. Ladecky, R. J. Leute, A. Falsafi, I. Pultarova, L. Pastewka, T. Junge and J. Zeman, An optimal preconditioned
FFT-accelerated finite element solver for homogenization, Appl. Math. Comput. 446 (2023) 127835.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.pde.homogenization.elements import CORNERS

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@final
class GreenOperator:
    """z = K0^-1 r on the grid, zero for the mean; self-adjoint and positive semidefinite.

    Args:
        element: (24, 24) stiffness of one voxel of the reference material.
        shape: voxels along the three lattice vectors.
        like: dtype and device of what it is applied to.
    """

    def __init__(self, element: Float[Tensor, "24 24"], shape: tuple[int, int, int], *, like: Tensor) -> None:
        self.shape = shape
        self.inverse = _inverse(_symbol(element, shape, like.device), like)

    def __call__(self, residual: Float[Tensor, "3 x y z"]) -> Float[Tensor, "3 x y z"]:
        """Displacements of the homogeneous material under nodal forces."""
        spectrum = torch.fft.rfftn(residual, dim=(1, 2, 3))
        place = {pair: k for k, pair in enumerate(_PAIRS)}
        for plane in range(self.shape[0]):  # one plane of frequencies after the other: no copy of the whole spectrum
            force, inverse = spectrum[:, plane].clone(), self.inverse[:, plane]
            for i in range(3):
                row = [inverse[place[min(i, j), max(i, j)]] for j in range(3)]
                spectrum[i, plane] = row[0] * force[0] + row[1] * force[1] + row[2] * force[2]
        return torch.fft.irfftn(spectrum, s=self.shape, dim=(1, 2, 3))


def _symbol(element: Tensor, shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """(6, x, y, z // 2 + 1) real matrices at all frequencies, entries in the order of `_PAIRS`; float64."""
    phases = [
        [torch.exp(2j * torch.pi * torch.arange(m, dtype=torch.float64, device=device) / n * d) for d in (-1, 0, 1)]
        for n, m in zip(shape, (shape[0], shape[1], shape[2] // 2 + 1), strict=True)
    ]
    blocks: dict[tuple[int, int, int], Tensor] = {}
    matrix = element.to(device).view(8, 3, 8, 3)
    for a, first in enumerate(CORNERS):
        for b, second in enumerate(CORNERS):
            offset = (second[0] - first[0], second[1] - first[1], second[2] - first[2])
            blocks[offset] = blocks.get(offset, 0) + matrix[a, :, b]
    total = torch.zeros(6, shape[0], shape[1], shape[2] // 2 + 1, dtype=torch.float64, device=device)
    for offset, block in blocks.items():
        x, y, z = (phases[axis][offset[axis] + 1] for axis in range(3))
        wave = (x[:, None, None] * y[None, :, None] * z).real
        for k, (i, j) in enumerate(_PAIRS):
            total[k].add_(wave, alpha=float(block[i, j]))
    return total


def _inverse(symbol: Tensor, like: Tensor) -> Tensor:
    """Inverses of the symmetric matrices by cofactors; zero at frequency 0."""
    xx, yy, zz, yz, xz, xy = symbol
    cofactors = [
        yy * zz - yz * yz,
        xx * zz - xz * xz,
        xx * yy - xy * xy,
        xz * xy - xx * yz,
        xy * yz - yy * xz,
        xz * yz - zz * xy,
    ]
    determinant = xx * cofactors[0] + xy * cofactors[5] + xz * cofactors[4]
    determinant[0, 0, 0] = torch.inf
    return torch.stack([(cofactor / determinant).to(like) for cofactor in cofactors])

"""Notations of elasticity: (3, 3, 3, 3) tensors, Kelvin-Mandel and Voigt matrices, and their rotation.

A tensor with minor symmetries acts on symmetric (3, 3) tensors, a space of six dimensions. In an *orthonormal*
basis B_a of that space its matrix keeps norms, eigenvalues, products and inverses: this is the Kelvin-Mandel
matrix. Voigt's matrices are the same numbers without the factors; they keep none of these, and stiffness and
compliance need different factors.

Equations, with a = 1..6 for the index pairs 11, 22, 33, 23, 13, 12 and D = diag(1, 1, 1, sqrt 2, sqrt 2, sqrt 2):

    B_a = e_i e_i                    (a <= 3)        e_a = B_a : eps            (strain and stress alike)
    B_a = (e_i e_j + e_j e_i)/sqrt 2 (a > 3)         C_ab = B_a : C : B_b       (stiffness and compliance alike)
    C = D C_voigt D,   S = D^-1 S_voigt D^-1,   M(Q)_ab = B_a : (Q B_b Q^T),   C' = M C M^T

M(Q) is orthogonal. The 21 independent numbers of a symmetric matrix are laid out as a vector (upper triangle, row
by row, entries off the diagonal times sqrt 2), so that the vector's norm is the tensor's Frobenius norm.

Sources: W. Voigt, Lehrbuch der Kristallphysik (1910); W. Thomson (Lord Kelvin), Phil. Trans. R. Soc. 146 (1856)
481; J. Mandel, Int. J. Solids Structures 1 (1965) 273; M. M. Mehrabadi and S. C. Cowin, Q. J. Mech. Appl. Math. 43
(1990) 15.

When not to use it: for tensors without minor symmetries (Cosserat moduli, first Piola-Kirchhoff tangents), which
need nine dimensions.

Every function is batched (leading dimensions `...`), differentiable, and follows the dtype and device of its input.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

INDEX_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Tensor indices of the six Kelvin-Mandel and Voigt components, in order."""


def mandel_basis(
    *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Float[Tensor, "6 3 3"]:
    """The orthonormal basis B_a of the symmetric (3, 3) tensors: B_a : B_b = delta_ab."""
    basis = torch.zeros(6, 3, 3, dtype=dtype, device=device)
    for component, (i, j) in enumerate(INDEX_PAIRS):
        basis[component, i, j] = basis[component, j, i] = 1.0 if i == j else 0.5**0.5
    return basis


def strain_to_mandel(tensor: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """Components B_a : tensor of a strain or a stress, by the same rule; an antisymmetric part is projected out."""
    return torch.einsum("aij,...ij->...a", _basis_like(tensor), tensor)


def mandel_to_strain(vector: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """The symmetric tensor with Kelvin-Mandel components `vector`: the inverse of `strain_to_mandel`."""
    return torch.einsum("aij,...a->...ij", _basis_like(vector), vector)


def tensor_to_mandel(tensor: Float[Tensor, "*batch 3 3 3 3"]) -> Float[Tensor, "*batch 6 6"]:
    """Kelvin-Mandel matrix of a fourth-order tensor; what lacks minor symmetry is projected out (see `symmetrize`)."""
    basis = _basis_like(tensor)
    return torch.einsum("aij,...ijkl,bkl->...ab", basis, tensor, basis)


def mandel_to_tensor(matrix: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 3 3 3 3"]:
    """The fourth-order tensor (with minor symmetries) of a Kelvin-Mandel matrix: the inverse of `tensor_to_mandel`."""
    basis = _basis_like(matrix)
    return torch.einsum("aij,...ab,bkl->...ijkl", basis, matrix, basis)


def voigt_stiffness_to_mandel(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 6 6"]:
    """Kelvin-Mandel matrix of a stiffness in Voigt's notation (C_44 = C_2323): factors 1, sqrt 2, 2."""
    return stiffness * _block_factors(stiffness)


def mandel_to_voigt_stiffness(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 6 6"]:
    """Voigt's stiffness matrix, which maps engineering strains (gamma_23 = 2 eps_23, ...) to stresses."""
    return stiffness / _block_factors(stiffness)


def voigt_compliance_to_mandel(compliance: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 6 6"]:
    """Kelvin-Mandel matrix of a compliance in Voigt's notation (S_44 = 4 S_2323): factors 1, 1/sqrt 2, 1/2."""
    return compliance / _block_factors(compliance)


def mandel_to_voigt_compliance(compliance: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 6 6"]:
    """Voigt's compliance matrix, which maps stresses to engineering strains (gamma_23 = 2 eps_23, ...)."""
    return compliance * _block_factors(compliance)


def symmetrize(tensor: Float[Tensor, "*batch 3 3 3 3"], *, major: bool = True) -> Float[Tensor, "*batch 3 3 3 3"]:
    """The nearest tensor with the minor symmetries ijkl = jikl = ijlk and, with `major`, also ijkl = klij."""
    tensor = (tensor + tensor.transpose(-4, -3)) / 2
    tensor = (tensor + tensor.transpose(-2, -1)) / 2
    if major:
        tensor = (tensor + tensor.movedim((-2, -1), (-4, -3))) / 2
    return tensor


def rotation_mandel(rotation: Float[Tensor, "*batch 3 3"], *, check: bool = True) -> Float[Tensor, "*batch 6 6"]:
    """The orthogonal matrix M(Q) that turns Kelvin-Mandel vectors as eps -> Q eps Q^T.

    `rotation` is any element of O(3): reflections and the inversion are allowed (M(-Q) = M(Q)). With `check`, a
    matrix that is not orthogonal raises InputError; leave it out only where orthogonality is known, as in an inner
    loop.
    """
    if check:
        check_orthogonal(rotation)
    basis = _basis_like(rotation)
    turned = rotation[..., None, :, :] @ basis @ rotation.mT[..., None, :, :]
    return torch.einsum("aij,...bij->...ab", basis, turned)


def rotate_mandel(
    matrix: Float[Tensor, "*batch 6 6"], rotation: Float[Tensor, "*rotations 3 3"], *, check: bool = True
) -> Float[Tensor, "... 6 6"]:
    """Stiffness or compliance of the material turned by Q: M(Q) matrix M(Q)^T; leading dimensions broadcast."""
    turn = rotation_mandel(rotation, check=check)
    return turn @ matrix @ turn.mT


def mandel_to_vector(matrix: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 21"]:
    """The 21 numbers of a symmetric Kelvin-Mandel matrix, as a vector of the same norm.

    Upper triangle, row by row, entries off the diagonal times sqrt 2. The antisymmetric part, if any, is projected out.
    """
    rows, columns, weights = _triangle(matrix)
    return (matrix[..., rows, columns] + matrix[..., columns, rows]) * (weights / 2)


def vector_to_mandel(vector: Float[Tensor, "*batch 21"]) -> Float[Tensor, "*batch 6 6"]:
    """The symmetric Kelvin-Mandel matrix of a 21-vector: the inverse of `mandel_to_vector`."""
    rows, columns, weights = _triangle(vector)
    place = torch.empty(6, 6, dtype=torch.long, device=vector.device)
    place[rows, columns] = place[columns, rows] = torch.arange(21, device=vector.device)
    return (vector / weights)[..., place]


def check_orthogonal(rotation: Float[Tensor, "*batch 3 3"]) -> None:
    """Raise InputError unless every matrix is in O(3), to 1e-9 in float64 and 1e-4 in single precision and below."""
    tolerance = 1e-9 if rotation.dtype == torch.float64 else 1e-4
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    error = (rotation.detach() @ rotation.detach().mT - identity).abs()
    if not bool((error <= tolerance).all()):  # written so that NaN fails too
        raise InputError(
            f"rotation: max |Q Q^T - 1| is {error.max().item():.3g}, allowed is {tolerance:g}; "
            "give orthogonal (3, 3) matrices (torch.linalg.qr(Q).Q makes one)"
        )


def _basis_like(tensor: Tensor) -> Tensor:
    return mandel_basis(dtype=tensor.dtype, device=tensor.device)


def _block_factors(matrix: Tensor) -> Tensor:
    factors = torch.ones(6, dtype=matrix.dtype, device=matrix.device)
    factors[3:] = 2.0**0.5
    return torch.outer(factors, factors)


@lru_cache(maxsize=1)
def _triangle_indices() -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = [(row, column) for row in range(6) for column in range(row, 6)]
    return tuple(row for row, _ in pairs), tuple(column for _, column in pairs)


def _triangle(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = (torch.tensor(index, device=like.device) for index in _triangle_indices())
    weights = 1 + (rows != columns).to(like.dtype) * (2.0**0.5 - 1)
    return rows, columns, weights

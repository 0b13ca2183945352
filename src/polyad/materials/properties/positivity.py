"""From a symmetric matrix to one that is positive semi-definite, by a function of the matrix itself.

    square            B^2              fourth power   B^4              exp   exp(B)
    shifted square    (I + B/2)^2      shifted fourth (I + B/4)^4      none  B

Each is a power series in B, so it commutes with every orthogonal change of basis: in Kelvin-Mandel notation, where a
rotation is an orthogonal matrix, the result is as equivariant as B is. In Voigt notation it is not, and squares of
Voigt matrices are no squares of tensors. The shifted ones are near I + B for small B, the first terms of exp(B).

Source: I. Grega et al., ICLR 2024, arXiv:2401.16914, section 4.

When not to use it: for tensors that may be indefinite, such as magnetic anisotropy or tangent stiffnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def make_positive(matrix: Float[Tensor, "*batch n n"], method: str = "square") -> Float[Tensor, "*batch n n"]:
    """A positive semi-definite function of symmetric matrices; one of `POSITIVITY`.

    Raises:
        InputError: an unknown method.
    """
    return POSITIVITY[check_positivity(method)](matrix)


def check_positivity(method: str) -> str:
    """The method, if there is one of that name.

    Raises:
        InputError: there is none; lists them.
    """
    if method not in POSITIVITY:
        raise InputError(f"positivity: {method!r} is unknown; there are {', '.join(POSITIVITY)}")
    return method


def _shifted(matrix: Tensor, divisor: float) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device) + matrix / divisor


def _square(matrix: Tensor) -> Tensor:
    return matrix @ matrix


POSITIVITY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "square": _square,
    "fourth": lambda matrix: _square(_square(matrix)),
    "exp": torch.linalg.matrix_exp,
    "shifted-square": lambda matrix: _square(_shifted(matrix, 2.0)),
    "shifted-fourth": lambda matrix: _square(_square(_shifted(matrix, 4.0))),
    "none": lambda matrix: matrix,
}
"""Layers by name."""

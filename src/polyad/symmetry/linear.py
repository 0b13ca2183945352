"""Linear maps that commute with rotations and reflections: one matrix for every irrep, none between different ones.

By Schur's lemma every equivariant linear map mixes the copies of an irrep among themselves, orders untouched:

    y[w, m] = sum over u of W[w, u] x[u, m] / sqrt(number of u)   (+ b[w] for 0e)

All copies of an irrep, from all terms of the sum, go through one matrix product. Weights start from a standard normal
distribution, so components of variance 1 stay so; biases start at 0.

Source: e3nn (M. Geiger and T. Smidt, arXiv:2207.09453), whose `o3.Linear` has the same numbers for the same weights.

When not to use it: where copies of an irrep must stay apart (scale them by `polyad.symmetry.activations` instead).
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._parameters import normal_parameter
from polyad.symmetry.irreps import Irrep, Irreps
from polyad.symmetry.spherical_harmonics import split_degrees


@final
class EquivariantLinear(nn.Module):
    """The general equivariant linear map between two sums of irreps, flat layout.

    An output irrep that the input lacks could only be zero and raises InputError. `weights` has one matrix (out, in)
    an irrep, under its name ("1o"), copies in the order of the terms.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        *,
        generator: torch.Generator,
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        missing = [str(irrep) for _, irrep in self.irreps_out if irrep not in self.irreps_in]
        if missing:
            raise InputError(f"irreps_out: {missing[0]} is not among the inputs {self.irreps_in} and would be zero")
        self.weights = nn.ParameterDict()
        for _, irrep in self.irreps_out.regroup():
            shape = (self.irreps_out.multiplicity(irrep), self.irreps_in.multiplicity(irrep))
            self.weights[str(irrep)] = normal_parameter(*shape, generator=generator, dtype=dtype)
        scalars = self.irreps_out.multiplicity(Irrep(0, 1)) if bias else 0
        self.bias = nn.Parameter(torch.zeros(scalars, dtype=dtype)) if scalars else None

    def forward(self, features: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The image of flat features."""
        gathered: dict[Irrep, list[Tensor]] = {}
        for piece, (_, irrep) in zip(self.irreps_in.split(features), self.irreps_in, strict=True):
            gathered.setdefault(irrep, []).append(piece)
        mixed: dict[Irrep, list[Tensor]] = {}
        for name, weight in self.weights.items():
            irrep = Irrep.parse(name)
            copies = gathered[irrep][0] if len(gathered[irrep]) == 1 else torch.cat(gathered[irrep], dim=-2)
            image = _mix(copies, weight / math.sqrt(weight.shape[1]))
            if irrep.is_scalar and self.bias is not None:
                image = image + self.bias[:, None]
            mixed[irrep] = list(image.split([mul for mul, found in self.irreps_out if found == irrep], dim=-2))
        if not mixed:
            return features[..., :0]
        return torch.cat([mixed[irrep].pop(0).flatten(-2) for _, irrep in self.irreps_out], dim=-1)

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"{self.irreps_in} -> {self.irreps_out}"


@final
class DegreeLinear(nn.Module):
    """The same for the channels-first layout: (..., channels_in, (lmax + 1)^2) to (..., channels_out, (lmax + 1)^2)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax: int,
        *,
        generator: torch.Generator,
        bias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.lmax = lmax
        self.weight = normal_parameter(lmax + 1, channels_out, channels_in, generator=generator, dtype=dtype)
        self.bias = nn.Parameter(torch.zeros(channels_out, dtype=dtype)) if bias else None

    def forward(self, coefficients: Float[Tensor, "*batch c_in harmonics"]) -> Float[Tensor, "*batch c_out harmonics"]:
        """The image of coefficients."""
        channels_in = self.weight.shape[-1]
        if coefficients.shape[-2:] != (channels_in, (self.lmax + 1) ** 2):
            raise InputError(
                f"coefficients: last axes are {tuple(coefficients.shape[-2:])}, "
                f"this map takes {channels_in} channels of {(self.lmax + 1) ** 2} components"
            )
        weight = self.weight / math.sqrt(channels_in)
        parts = zip(split_degrees(coefficients), weight.unbind(), strict=True)
        blocks = [_mix(part, matrix) for part, matrix in parts]
        if self.bias is not None:
            blocks[0] = blocks[0] + self.bias[:, None]
        return torch.cat(blocks, dim=-1)


def _mix(copies: Tensor, weight: Tensor) -> Tensor:
    """(..., u, m) by (w, u) to (..., w, m), as one matrix product."""
    if copies.shape[-1] == 1:
        return nn.functional.linear(copies.squeeze(-1), weight).unsqueeze(-1)
    return (copies.mT @ weight.T).mT

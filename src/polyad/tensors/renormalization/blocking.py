"""Coarse-graining steps of a homogeneous network of four-leg tensors, legs up, left, down, right.

`merge_rows` contracts a tensor with its lower neighbour, fuses the doubled horizontal legs and truncates them by an
isometry U, the same on both sides of a bond:

    T'_{u a d b} = sum T_{u l m r} T_{m k d s} U_{lk,a} U_{rs,b}          (O(D^7))

and the rules differ in U. With M_{(lk),(udrs)} the fused tensor:

* `pair`: leading eigenvectors of the Gram matrix M M^T, formed in O(D^6) without forming M: the shortest program;
* `svd_pair`: leading left singular vectors of M itself: no squared condition number, but O(D^8);
* `hotrg`: the better of the left and the right Gram matrix, by the discarded weight (Xie et al. 2012).

`split_and_join` is Levin and Nave's step: T is split on the two sublattices along its two diagonals,
T ~ P Q with each half weighted by the square roots of the singular values, and the four halves around every second
plaquette are joined: half as many tensors, on a lattice turned by 45 degrees.

Sources: M. Levin, C. P. Nave, Phys. Rev. Lett. 99 (2007) 120601; Z. Y. Xie et al., Phys. Rev. B 86 (2012) 045139;
D. Yevick, J. Thompson, arXiv:2001.00123 (2020).

When not to use it: next to criticality at the highest accuracy, where schemes that remove short loops (TNR, loop-TNR)
converge faster in D.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.tensors.renormalization.gradients import leading_isometry, leading_left_isometry, square_root


def merge_rows(
    upper: Float[Tensor, "*batch u l m r"],
    lower: Float[Tensor, "*batch m k d s"],
    isometry: Float[Tensor, "*batch l k a"],
) -> Float[Tensor, "*batch u a d a"]:
    """A tensor and its lower neighbour as one, with fused and truncated horizontal legs."""
    half = torch.einsum("...ulmr,...lka->...uramk", upper, isometry)
    whole = torch.einsum("...uramk,...mkds->...uadrs", half, lower)
    return torch.einsum("...uadrs,...rsb->...uadb", whole, isometry)


def pair_gram(tensor: Float[Tensor, "*batch u l u l"]) -> Float[Tensor, "*batch l*l l*l"]:
    """Gram matrix M M^T of the doubled left legs of two tensors, one above the other."""
    upper = torch.einsum("...ulmr,...uLMr->...lLmM", tensor, tensor)
    lower = torch.einsum("...mkdr,...MKdr->...mMkK", tensor, tensor)
    size = tensor.shape[-1] ** 2
    return torch.einsum("...lLmM,...mMkK->...lkLK", upper, lower).reshape(*tensor.shape[:-4], size, size)


def pair_isometry(tensor: Tensor, bond: int, threshold: float = 0.0) -> Tensor:
    """The isometry of `pair`: leading eigenvectors of the left Gram matrix."""
    return _leading(pair_gram(tensor), bond, threshold)


def svd_pair_isometry(tensor: Tensor, bond: int, threshold: float = 0.0) -> Tensor:
    """The isometry of `svd_pair`: leading left singular vectors of the fused tensor."""
    size = tensor.shape[-1]
    fused = torch.einsum("...ulmr,...mkds->...lkudrs", tensor, tensor).flatten(-4).flatten(-3, -2)
    values = torch.linalg.svdvals(fused.detach()) if threshold else None
    count = _count(values, min(bond, size * size), threshold)
    return leading_left_isometry(fused, count).unflatten(-2, (size, size))


def hotrg_isometry(tensor: Tensor, bond: int, threshold: float = 0.0) -> Tensor:
    """The isometry of `hotrg`: of the left and the right Gram matrix, the one that discards less."""
    left, right = pair_gram(tensor), pair_gram(tensor.transpose(-3, -1))
    with torch.no_grad():
        kept = [
            torch.linalg.eigvalsh(gram)[..., -bond:].sum(-1) / gram.diagonal(0, -2, -1).sum(-1)
            for gram in (left, right)
        ]
        choice = (kept[1] > kept[0])[..., None, None]
    return _leading(torch.where(choice, right, left), bond, threshold)


ISOMETRIES: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "pair": pair_isometry,
    "svd_pair": svd_pair_isometry,
    "hotrg": hotrg_isometry,
}
"""The isometry of each rule from the tensor, the largest bond, and the relative threshold of singular values."""


def split_and_join(
    tensor: Float[Tensor, "*batch u l u l"], bond: int, threshold: float = 0.0
) -> Float[Tensor, "*batch a b a b"]:
    """One step of Levin and Nave; the legs of the result point up-left, down-left, down-right, up-right."""
    upper_left, lower_right = _halves(tensor, bond, threshold)
    upper_right, lower_left = _halves(tensor.transpose(-3, -1), bond, threshold)
    top = torch.einsum("...wta,...etb->...wabe", lower_right, lower_left)
    bottom = torch.einsum("...esc,...wsd->...dcwe", upper_left, upper_right)
    return torch.einsum("...wabe,...dcwe->...adcb", top, bottom)


def _halves(tensor: Tensor, bond: int, threshold: float) -> tuple[Tensor, Tensor]:
    """T_{uldr} = sum_a P_{ula} Q_{dra}, both weighted by the square roots of the singular values.

    The weight is any function of the singular values that is the same on both sides of the cut; a shift keeps its
    inverse bounded without any effect on the product P Q.
    """
    shape = tensor.shape[-4:]
    matrix = tensor.flatten(-2).flatten(-3, -2)
    gram = matrix @ matrix.mT
    isometry = _leading(gram, bond, threshold, shape[:2]).flatten(-3, -2)
    kept = isometry.mT @ gram @ isometry
    shift = 45 * torch.finfo(kept.dtype).eps * kept.detach().diagonal(0, -2, -1).sum(-1)[..., None, None]
    weight = square_root(square_root(kept + shift * torch.eye(kept.shape[-1], dtype=kept.dtype, device=kept.device)))
    first = isometry @ weight
    second = matrix.mT @ torch.linalg.solve(weight, isometry.mT).mT
    return first.unflatten(-2, shape[:2]), second.unflatten(-2, shape[2:])


def _leading(gram: Tensor, bond: int, threshold: float, legs: tuple[int, ...] | torch.Size | None = None) -> Tensor:
    size = gram.shape[-1]
    values = torch.linalg.eigvalsh(gram.detach()).flip(-1).clamp(min=0).sqrt() if threshold else None
    count = _count(values, min(bond, size), threshold)
    root = round(size**0.5)
    return leading_isometry(gram, count).unflatten(-2, tuple(legs or (root, root)))


def _count(values: Tensor | None, bond: int, threshold: float) -> int:
    """How many singular values (descending) to keep: at most `bond`, and those above the relative threshold."""
    if values is None:
        return bond
    above = (values > threshold * values[..., :1]).sum(-1)
    return max(1, min(bond, int(above.max())))

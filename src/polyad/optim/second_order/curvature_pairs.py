"""The inverse BFGS matrix from its last pairs of steps s and gradient differences y, applied without a loop over them.

The two-loop recursion (Nocedal 1980) walks back and forth through the pairs. Its scalars solve two triangular systems:
with rows S and Y of pairs in the order of time, R the upper triangle of S Y^T, D its diagonal, H_0 = gamma I

    R a = S g,    q = gamma (g - Y^T a),    R^T d = D a - Y q,    H g = q + S^T d

which are four products with tall matrices. Pairs may be kept in independent blocks (leading dimension), each with an
inverse matrix of its own. A pair without positive curvature, s.y < 1e-10 |s| |y|, is left out of its block.

Sources: J. Nocedal, Mathematics of Computation 35 (1980) 773; R. H. Byrd, J. Nocedal, R. B. Schnabel, Mathematical
Programming 63 (1994) 129, whose compact matrices the triangles are.

*When not to use it*: with full Hessians of small problems, where Newton's method needs fewer steps.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Pairs = dict[str, Any]
"""Pairs of a history: `steps` and `differences` (blocks, m, n), `products` S Y^T (blocks, m, m) in float64, `scale`
(blocks, 1), the place of the oldest pair, and the number of pairs left out. It may be saved as it is."""

LEAST_CURVATURE = 1e-10
"""Least s.y over |s| |y| of a pair that is kept."""


def new_pairs(blocks: int, size: int, like: Tensor) -> Pairs:
    """No pairs yet: H = I.

    Args:
        blocks: number of independent matrices.
        size: n, order of each.
        like: gives dtype and device.
    """
    return {
        "steps": like.new_zeros(blocks, 0, size),
        "differences": like.new_zeros(blocks, 0, size),
        "products": torch.zeros(blocks, 0, 0, dtype=torch.float64, device=like.device),
        "scale": like.new_ones(blocks, 1),
        "oldest": 0,
        "left_out": 0,
    }


def count(pairs: Pairs) -> int:
    """Number of pairs that are kept."""
    return int(pairs["steps"].shape[1])


def add_pair(
    pairs: Pairs, step: Float[Tensor, "blocks n"], difference: Float[Tensor, "blocks n"], *, history: int
) -> bool:
    """Add a pair, in place of the oldest where `history` pairs are kept already; False where no block had use for it.

    Args:
        pairs: changed in place.
        step: s, movement of the parameters.
        difference: y, change of the gradient that it made.
        history: the most pairs.
    """
    along = (step * difference).sum(-1, dtype=torch.float64)
    lengths = step.double().norm(dim=-1) * difference.double().norm(dim=-1)
    kept = (along > LEAST_CURVATURE * lengths) & along.isfinite()
    pairs["left_out"] += int((~kept).sum())
    if not bool(kept.any()):
        return False
    step, difference = (torch.where(kept[:, None], x, 0.0) for x in (step, difference))
    if count(pairs) < history:
        place = count(pairs)
        for name in ("steps", "differences"):
            pairs[name] = torch.cat([pairs[name], torch.zeros_like(step)[:, None]], 1)
        pairs["products"] = torch.nn.functional.pad(pairs["products"], (0, 1, 0, 1))
    else:
        place = pairs["oldest"]
        pairs["oldest"] = (place + 1) % history
    pairs["steps"][:, place], pairs["differences"][:, place] = step, difference
    pairs["products"][:, place, :] = (pairs["differences"] @ step[..., None])[..., 0].double()
    pairs["products"][:, :, place] = (pairs["steps"] @ difference[..., None])[..., 0].double()
    pairs["products"][:, place, place] = torch.where(kept, along, 1.0)
    square = difference.double().square().sum(-1)
    scale = torch.where(kept, along / square.clamp_min(torch.finfo(torch.float64).tiny), pairs["scale"][:, 0].double())
    pairs["scale"] = scale[:, None].to(step)
    return True


def inverse_times(pairs: Pairs, vector: Float[Tensor, "blocks n"]) -> Float[Tensor, "blocks n"]:
    """H times a vector, block by block."""
    number = count(pairs)
    if number == 0:
        return vector * pairs["scale"]
    steps, differences = pairs["steps"], pairs["differences"]
    order = torch.arange(number, device=vector.device).roll(-pairs["oldest"])
    back = order.argsort()
    products = pairs["products"][:, order][:, :, order]
    triangle = products.triu()
    along = (steps @ vector[..., None]).double()[:, order]
    first = torch.linalg.solve_triangular(triangle, along, upper=True)
    rest = vector - (differences.mT @ first[:, back].to(vector))[..., 0]
    rest = rest * pairs["scale"]
    right = products.diagonal(dim1=1, dim2=2)[..., None] * first
    right = right - (differences @ rest[..., None]).double()[:, order]
    second = torch.linalg.solve_triangular(triangle.mT, right, upper=False)
    return rest + (steps.mT @ second[:, back].to(vector))[..., 0]

"""Tucker packing with the core's size capped: a multiple-choice knapsack in two dimensions, swept over the cap.

With prod_n r_n <= P and one binary x_{n,i} for every "r_n = i":

    minimise  sum tails[n][i] x_{n,i}   subject to   sum_i x_{n,i} = 1,  sum log(i) x_{n,i} <= log P,
                                                     sum I_n i x_{n,i} <= c - P

solved by HiGHS through `scipy.optimize.milp` to a gap of zero. Losses are divided by that of the best packing known,
and ranks that alone lose more than that are left out, so that no coefficient exceeds one.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from polyad.errors import ConvergenceError, InputError
from polyad.tensors.core_shape.packing import TuckerPacking, greedy_packing

_FEW = 60
_ROW_SCALE = 1e3  # HiGHS holds rows to 1e-6: on log P times this scale no product up to 1e8 can slip over the cap


def integer_program(
    problem: TuckerPacking, *, eps: float = 0.1, sweep: Literal["auto", "grid", "products"] = "auto"
) -> tuple[int, ...]:
    """The best packing over all caps P, raised while the budget allows and polished; never below the greedy packing.

    Args:
        problem: the spectra and the budget.
        eps: ratio of the grid of caps, (1 + eps)^k.
        sweep: `products` takes every product of ranks as a cap, which is exact; `grid` the grid; `auto` all products
            where they are few and the grid otherwise.

    Raises:
        InputError: eps is not positive.
        ConvergenceError: HiGHS gave up.
    """
    if not eps > 0:
        raise InputError(f"eps: {eps}; must be positive, 0.1 is usual")
    best = greedy_packing(problem)
    for cap in product_caps(problem, eps=eps, sweep=sweep, loss=problem.loss(best)):
        loss = problem.loss(best)
        if loss == 0:
            break
        ranks = _best_below(problem, cap, loss)
        if ranks is not None:
            raised = problem.raised(ranks)
            best = raised if problem.loss(raised) < loss else best
    return problem.polished(best)


def product_caps(problem: TuckerPacking, *, eps: float, sweep: str, loss: float) -> list[int]:
    """Caps P on the size of the core, in increasing order, for packings that lose at most `loss`."""
    limits = problem.rank_limits(loss)
    fixed = sum(dimension * low for dimension, (low, _) in zip(problem.shape, limits, strict=True))
    smallest = math.prod(low for low, _ in limits)
    largest = min(problem.budget - fixed, math.prod(high for _, high in limits))
    if sweep != "grid":
        products = np.ones(1, dtype=np.int64)
        for low, high in limits:
            products = np.unique(np.multiply.outer(products, np.arange(low, high + 1)))
            products = products[products <= largest]
        if sweep == "products" or len(products) <= _FEW:
            return [int(product) for product in products]
    steps = math.ceil(math.log(max(largest / max(smallest, 1), 1)) / math.log1p(eps)) if largest > 0 else 0
    grid = {min(largest, math.floor(smallest * (1 + eps) ** k)) for k in range(steps + 1)}
    return sorted(cap for cap in grid if cap >= smallest)


def _best_below(problem: TuckerPacking, cap: int, loss: float) -> tuple[int, ...] | None:
    """The best packing with a core of at most `cap`, or None where none loses less than `loss`."""
    limits = problem.rank_limits(loss)
    modes = np.concatenate([np.full(high - low + 1, mode) for mode, (low, high) in enumerate(limits)])
    ranks = np.concatenate([np.arange(low, high + 1) for low, high in limits])
    cost = np.array([problem.tails[mode][rank] for mode, rank in zip(modes, ranks, strict=True)]) / loss
    sizes = np.array(problem.shape)[modes] * ranks
    choices = (modes == np.arange(len(limits))[:, None]).astype(float)
    rows = np.vstack([_ROW_SCALE * np.log(ranks), sizes / problem.budget, choices])
    ones = np.ones(len(limits))
    upper = np.concatenate([[_ROW_SCALE * (math.log(cap) + 1e-9), (problem.budget - cap) / problem.budget], ones])
    lower = np.concatenate([[-np.inf, -np.inf], ones])
    # half a number of slack in the sizes, which are integers, so that dividing by the budget rounds nothing away
    upper[1] += 0.5 / problem.budget
    result = milp(
        cost,
        constraints=LinearConstraint(rows, lower, upper),
        integrality=np.ones(len(cost)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if result.status == 2:  # infeasible
        return None
    if result.x is None or result.status != 0:
        raise ConvergenceError(f"integer program with a core of at most {cap}: {result.message}; try 'enumerate'")
    chosen = tuple(int(ranks[modes == m][np.argmax(result.x[modes == m])]) for m in range(len(limits)))
    if problem.size(chosen) > problem.budget:
        raise ConvergenceError(f"integer program returned ranks {chosen} beyond the budget; try 'enumerate'")
    return chosen

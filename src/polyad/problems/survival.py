"""Survival times with few relevant features, and their partial likelihood as a function of values only.

The negative logarithm of Cox's partial likelihood, a mean over all events,

    f(x) = mean_{i: observed} [ log sum_{j: t_j >= t_i} exp(x . a_j) - x . a_i ]

(ties as Breslow has them) couples all rows, so a gradient takes some care to derive, a value none.

D. R. Cox, 'Regression models and life-tables', J. R. Stat. Soc. B 34, 1972.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class SurvivalTimes:
    """Rows of features, the time at which each row ended, and whether by an event (or else lost from sight).

    Args:
        features: a_j.
        times: t_j.
        observed: whether row j ended by an event.
        truth: coefficients from which the times were drawn.
    """

    features: Float[Tensor, "n d"]
    times: Float[Tensor, " n"]
    observed: Bool[Tensor, " n"]
    truth: Float[Tensor, " d"]

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """f(x)."""
        order = torch.argsort(self.times, descending=True)
        risks = (x @ self.features.mT)[..., order]
        at_risk = torch.logcumsumexp(risks, dim=-1)  # over all with times as late or later
        last = torch.searchsorted(-self.times[order], -self.times[order], right=True) - 1  # ties: to their end
        events = self.observed[order]
        return (at_risk[..., last] - risks)[..., events].mean(-1)


def survival_times(
    rows: int, features: int, *, relevant: int = 3, censored: float = 0.3, seed: int = 0
) -> SurvivalTimes:
    """Exponential times with log hazard a . truth, whose entries are +-1 / relevant on a few features: ||truth||_1 = 1.

    Args:
        rows: n.
        features: d.
        relevant: how many entries of the truth are not 0.
        censored: share of rows lost from sight before their end, on average; they are lost at times of their own.
        seed: of everything random.

    Raises:
        InputError: sizes below 1, more relevant features than there are, or a share outside of [0, 1).
    """
    if min(rows, features, relevant) < 1 or relevant > features or not 0 <= censored < 1:
        raise InputError(
            f"rows, features, relevant, censored: need 1 or more, relevant <= features, and [0, 1); got {rows}, "
            f"{features}, {relevant}, {censored}"
        )
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn(rows, features, dtype=torch.float64, generator=generator)
    chosen = torch.randperm(features, generator=generator)[:relevant]
    truth = torch.zeros(features, dtype=torch.float64)
    truth[chosen] = torch.where(torch.rand(relevant, generator=generator) < 0.5, -1.0, 1.0).double() / relevant
    times = -torch.rand(rows, dtype=torch.float64, generator=generator).log() * torch.exp(-design @ truth)
    lost = -torch.rand(rows, dtype=torch.float64, generator=generator).log() * torch.exp(-design @ truth)
    lost *= (1 - censored) / censored if censored else torch.inf
    lost[times.argmin()] = torch.inf  # one event at least
    return SurvivalTimes(design, torch.minimum(times, lost), times <= lost, truth)

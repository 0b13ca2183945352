"""What the counts can tell apart, and what they cannot.

Only the products lambda_i p_i enter the distribution of single counts. So

* (lambda c, p / c) is as likely as (lambda, p): one scalar is open unless some p is known (anchors), the same
  individuals are counted repeatedly, or some observed entries are assumed to be fully counted (max p = 1);
* if log p is a sum of one term a mode (attributes of places alone, or of days alone), p can be moved into the factors:
  lambda p has the same rank, and not even the shape of lambda is determined;
* if p does not depend on the attributes, they tell nothing about detection, and lambda is known up to p only.

The first freedom is always there; the others show in the data. They are looked for in the fit: does the model predict
held-out counts better than p = const does, and how much of log p is a sum of one term a mode?
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.tensors.completion.observations import CountObservations

_SEPARABLE = 0.98
_CONSTANT = 0.03


@final
@dataclass(frozen=True)
class Identifiability:
    """What fixes the scale, what the data say about detection, and warnings in words.

    Args:
        normalize: what fixes the scale: "max", "anchor", "surveys" or "none".
        spread: standard deviation of log p over observed entries.
        separable_share: share of the variance of log p that is a sum of one term a mode (adjusted for their number);
            near 1, lambda is not determined. None where there are too few rows to tell, or p is constant.
        gain: by how much the attributes lower the deviance of a held-out row, against p = const; None with anchors.
        gain_error: standard error of `gain`.
        warnings: one sentence for each doubt; empty where there is none.
    """

    normalize: str
    spread: float
    separable_share: float | None
    gain: float | None
    gain_error: float | None
    warnings: tuple[str, ...]

    @property
    def doubtful(self) -> bool:
        """Whether there is any warning."""
        return bool(self.warnings)


def assess(
    observations: CountObservations,
    log_detection: Float[Tensor, " m"],
    rank: int,
    normalize: str,
    *,
    gains: Float[Tensor, " held_out"] | None = None,
    further: tuple[str, ...] = (),
) -> Identifiability:
    """Look for the freedoms above in a fitted detection.

    Args:
        observations: rows whose detection was fitted (no anchors).
        log_detection: their log p.
        rank: of the rates.
        normalize: what fixed the scale.
        gains: deviance of each held-out row under p = const minus that of the fit.
        further: warnings that the caller has.
    """
    spread = float(log_detection.std())
    share = separable_share(observations, log_detection) if spread > _CONSTANT else None
    gain = error = None
    if gains is not None:
        gain, error = float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))
    resolved = normalize in ("anchor", "surveys")
    warnings = list(further)
    unknowns = rank * (sum(observations.shape) - len(observations.shape) + 1)
    if len(observations) < unknowns:
        warnings.append(f"{len(observations)} rows for {unknowns} unknowns of the rates; lower the rank")
    uninformative = gain is not None and error is not None and gain < 2 * error
    if (uninformative or spread <= _CONSTANT) and not resolved:
        evidence = f"p varies by {spread:.2g} (standard deviation of log p)"
        if gain is not None and error is not None:
            evidence += f"; gain {gain:.3g} +- {error:.2g} in deviance a held-out row"
        warnings.append(
            "not identifiable: the attributes do not improve the prediction of held-out counts over constant detection "
            f"({evidence}), and there are no anchors; only lambda p is known, the scale of lambda is the assumption "
            f"normalize={normalize!r}"
        )
    if share is not None and share > _SEPARABLE:
        warnings.append(
            f"not identifiable: {100 * share:.1f} % of the variance of log p is a sum of one term a mode, which the "
            "factors can absorb; lambda is known up to a factor for each index only"
        )
    if normalize == "none":
        warnings.append("normalize='none': the scale is arbitrary; compare lambda and p after the best scalar only")
    return Identifiability(normalize, spread, share, gain, error, tuple(warnings))


def separable_share(observations: CountObservations, values: Float[Tensor, " m"]) -> float | None:
    """Adjusted share of the variance of values that is a sum of one term a mode; None with too few rows."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import lsqr

    rows, order = observations.indices.shape
    terms = sum(observations.shape) - order + 1
    if rows <= 2 * terms:
        return None
    offsets = np.cumsum([0, *observations.shape[:-1]])
    columns = (observations.indices.cpu().numpy() + offsets).ravel()
    design = csr_matrix(
        (np.ones(rows * order), columns, np.arange(0, rows * order + 1, order)), shape=(rows, sum(observations.shape))
    )
    centred = (values - values.mean()).detach().double().cpu().numpy()
    solution = lsqr(design, centred, atol=1e-10, btol=1e-10)[0]
    left = float(np.square(centred - design @ solution).sum()) / (rows - terms)
    total = float(np.square(centred).sum()) / (rows - 1)
    return 1 - left / total if total > 0 else None


def best_scale(estimate: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"]) -> float:
    """The scalar s that minimises |s estimate - truth|, for comparisons where the scale is free."""
    return float((estimate * truth).sum() / torch.square(estimate).sum())

"""Train the correction on pairs, calibrate its bar on nets that it was not trained on, and measure both.

The nets are dealt into folds by base name. Each network of the ensemble is trained without one fold, and scored on it:

    scores e / difficulty and q / difficulty,   e = |C_solid - C| / |C|,   q least with exp(-q) C <= C_solid <= exp(q) C

A bar is the ceil(level (n + 1))-th smallest of the n scores, times a lattice's own difficulty (cross-conformal
prediction: V. Vovk, Annals of Mathematics and Artificial Intelligence 74 (2015) 9). The corrector averages all
networks, which is no worse than one of them on average. `measure` repeats all of this with a further fold held out each
time, so that every figure is of nets that no network has seen and no bar was set by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.materials.lattice.dataset.recipe import derived_seed
from polyad.materials.lattice.solids.correction.corrector import SolidCorrection, difficulty, mean_exponent
from polyad.materials.lattice.solids.correction.features import CorrectionInputs, correction_inputs
from polyad.materials.lattice.solids.correction.network import (
    CorrectionNetwork,
    corrected_stiffness,
    logarithmic_distance,
)
from polyad.materials.lattice.solids.correction.pairs import Pairs
from polyad.training import TensorData, fit

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class TrainingOptions:
    """How the networks are trained.

    Args:
        folds: networks of the ensemble, each trained without one fold of the nets.
        width: of the hidden layer.
        steps: of AdamW on all pairs at once.
        rate: of AdamW, falling to 0 as a cosine.
        decay: of the weights.
        level: probability of the bar.
        seed: of folds and weights.

    Raises:
        InputError: fewer than two folds, or a level outside (0, 1).
    """

    folds: int = 5
    width: int = 8
    steps: int = 200
    rate: float = 0.03
    decay: float = 0.3
    level: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2 or not 0 < self.level < 1:
            raise InputError(f"folds {self.folds}, level {self.level}: at least 2 folds, a level between 0 and 1")


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """Errors of all pairs, each from networks that have not seen its net.

    Args:
        beams: (pairs,) |C_beam - C_solid| / |C_solid|, Frobenius.
        density_alone: (pairs,) of C_beam exp(a sqrt(density)), the number a fitted to the other nets.
        corrected: (pairs,) of the correction.
        distance: (pairs,) q of the correction.
        error: (pairs,) |C_solid - C| / |C| of the corrected C, which its first bar bounds.
        error_bar: (pairs,) that bar.
        bar: (pairs,) the bar of q.
        beams_distance: (pairs,) q of the beams.
        density_distance: (pairs,) q of the density alone.
    """

    beams: Float[Tensor, " pairs"]
    density_alone: Float[Tensor, " pairs"]
    corrected: Float[Tensor, " pairs"]
    distance: Float[Tensor, " pairs"]
    error: Float[Tensor, " pairs"]
    error_bar: Float[Tensor, " pairs"]
    bar: Float[Tensor, " pairs"]
    beams_distance: Float[Tensor, " pairs"]
    density_distance: Float[Tensor, " pairs"]

    @property
    def coverage(self) -> tuple[float, float]:
        """Shares of the pairs whose bars hold: that of the error, that of q."""
        inside = (self.error <= self.error_bar, self.distance <= self.bar)
        return float(inside[0].double().mean()), float(inside[1].double().mean())

    def summary(self) -> dict[str, float]:
        """Medians, ninetieth percentiles, coverage and median bars."""
        found = {"pairs": float(len(self.bar)), "coverage": self.coverage[0], "distance coverage": self.coverage[1]}
        found |= {"bar median": float(self.error_bar.median()), "distance bar median": float(self.bar.median())}
        for name in ("beams", "density_alone", "corrected", "beams_distance", "density_distance", "distance"):
            values = getattr(self, name)
            found |= {f"{name} median": float(values.median()), f"{name} 90 %": float(values.quantile(0.9))}
        return found


def train_correction(
    pairs: Pairs,
    options: TrainingOptions | None = None,
    *,
    poisson_ratio: float = 0.3,
    progress: Progress | None = None,
) -> SolidCorrection:
    """The ensemble of some pairs with its calibrated bar.

    Args:
        pairs: of at least as many nets as folds, and enough of them for the level: level (n + 1) <= n.
        options: how to train.
        poisson_ratio: of the solid of the pairs.
        progress: called with networks trained and networks in all.

    Raises:
        InputError: too few pairs.
    """
    options = options or TrainingOptions()
    inputs = correction_inputs(pairs.table.lattices, pairs.table.stiffness, poisson_ratio=poisson_ratio)
    rows = torch.arange(len(pairs))
    networks, quantiles = _ensemble(inputs, pairs.solid_stiffness, pairs.table.base_name, rows, options, progress)
    density = inputs.size.square()
    return SolidCorrection(
        networks,
        quantiles=quantiles,
        level=options.level,
        densities=(float(density.min()), float(density.max())),
        poisson_ratio=poisson_ratio,
        facts={"pairs": len(pairs), "across": float(pairs.across.median()), "steps": options.steps},
    )


def measure(
    pairs: Pairs,
    options: TrainingOptions | None = None,
    *,
    outer: int = 5,
    poisson_ratio: float = 0.3,
    progress: Progress | None = None,
) -> Measured:
    """Errors and coverage of what `train_correction` does, on nets held out from all of it, fold by fold.

    Args:
        pairs: as for `train_correction`.
        options: how to train.
        outer: folds held out, one after the other.
        poisson_ratio: of the solid of the pairs.
        progress: called with networks trained and networks in all.
    """
    options = options or TrainingOptions()
    inputs = correction_inputs(pairs.table.lattices, pairs.table.stiffness, poisson_ratio=poisson_ratio)
    beams, solid, names = pairs.table.stiffness, pairs.solid_stiffness, pairs.table.base_name
    held = deal(names, outer, seed=derived_seed("outer", options.seed))
    corrected, scaled, bars = torch.empty_like(beams), torch.empty_like(beams), inputs.size.new_empty(2, len(beams))
    for number in range(outer):
        rest, own = torch.nonzero(held != number)[:, 0], torch.nonzero(held == number)[:, 0]
        told = None if progress is None else _from(progress, number * options.folds, outer * options.folds)
        networks, quantiles = _ensemble(inputs, solid, names, rest, options, told)
        part = rows_of(inputs, own)
        with torch.no_grad():
            corrected[own] = corrected_stiffness(mean_exponent(networks, part), part.root)
        bars[:, own] = torch.tensor(quantiles, dtype=torch.float64)[:, None] * difficulty(part)
        slope = density_slope(beams[rest], solid[rest], inputs.size[rest])
        scaled[own] = beams[own] * (slope * part.size).exp()[:, None, None]
    return Measured(
        beams=_relative(beams, solid),
        density_alone=_relative(scaled, solid),
        corrected=_relative(corrected, solid),
        distance=logarithmic_distance(corrected, solid),
        error=_relative(solid, corrected),
        error_bar=bars[0],
        bar=bars[1],
        beams_distance=logarithmic_distance(beams, solid),
        density_distance=logarithmic_distance(scaled, solid),
    )


def density_slope(
    beams: Float[Tensor, "pairs 6 6"], solid: Float[Tensor, "pairs 6 6"], size: Float[Tensor, " pairs"]
) -> float:
    """a of C_solid = C_beam exp(a sqrt(density)), by least squares of the logarithms of the Frobenius norms."""
    ratio = (torch.linalg.matrix_norm(solid) / torch.linalg.matrix_norm(beams)).log()
    return float((size * ratio).sum() / size.square().sum())


def deal(base_names: Sequence[str], folds: int, *, seed: int) -> Int[Tensor, " rows"]:
    """Fold of every row: relatives share one, and folds are as even in nets as they can be."""
    order = sorted(set(base_names), key=lambda name: derived_seed("deal", seed, name))
    if len(order) < folds:
        raise InputError(f"folds: {len(order)} nets make no {folds} folds; give more pairs")
    place = {name: k % folds for k, name in enumerate(order)}
    return torch.tensor([place[name] for name in base_names])


def rows_of(inputs: CorrectionInputs, rows: Int[Tensor, " rows"]) -> CorrectionInputs:
    """Some rows."""
    return CorrectionInputs(inputs.size[rows], inputs.invariants[rows], inputs.tensors[rows], inputs.root[rows])


def conformal_quantile(scores: Float[Tensor, " scores"], level: float) -> float:
    """The ceil(level (n + 1))-th smallest score: a new one, exchangeable with them, is below with that probability.

    Raises:
        InputError: too few scores for the level.
    """
    rank = math.ceil(level * (len(scores) + 1) - 1e-9)
    if rank > len(scores):
        raise InputError(f"level {level:g}: {len(scores)} scores are too few for it; give more pairs or lower it")
    return float(scores.sort().values[rank - 1])


def _ensemble(
    inputs: CorrectionInputs,
    solid: Tensor,
    base_names: Sequence[str],
    rows: Tensor,
    options: TrainingOptions,
    progress: Progress | None,
) -> tuple[list[CorrectionNetwork], tuple[float, float]]:
    """Networks, each trained without one fold of the rows, and the quantiles of the scores on what each left out."""
    fold = deal([base_names[k] for k in rows.tolist()], options.folds, seed=options.seed)
    networks, scores = [], []
    for number in range(options.folds):
        networks.append(_train(rows_of(inputs, rows[fold != number]), solid[rows[fold != number]], options, number))
        left, truth = rows_of(inputs, rows[fold == number]), solid[rows[fold == number]]
        with torch.no_grad():
            corrected = corrected_stiffness(mean_exponent(networks[-1:], left), left.root)
        pair = torch.stack([_relative(truth, corrected), logarithmic_distance(corrected, truth)])
        scores.append(pair / difficulty(left))
        if progress is not None:
            progress(number + 1, options.folds)
    errors, distances = torch.cat(scores, dim=1)
    return networks, (conformal_quantile(errors, options.level), conformal_quantile(distances, options.level))


def _train(inputs: CorrectionInputs, solid: Tensor, options: TrainingOptions, number: int) -> CorrectionNetwork:
    network = CorrectionNetwork(options.width, seed=derived_seed("weights", options.seed, number)).double()
    network.standardise(inputs.invariants)
    inverse = torch.linalg.inv(inputs.root)
    wanted = spd_logarithm(inverse @ solid @ inverse)
    fit(
        network,
        _loss,
        TensorData(inputs.size, inputs.invariants, inputs.tensors, wanted),
        steps=options.steps,
        batch_size=len(solid),
        optimizer=lambda weights: torch.optim.AdamW(weights, lr=options.rate, weight_decay=options.decay),
        precision="float64",
        seed=options.seed,
    )
    return network.eval()


def _loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean distance of the exponents; not squared, so that a few odd nets do not rule."""
    size, invariants, tensors, wanted = batch
    gap: Any = network(size, invariants, tensors) - wanted
    return (gap.square().sum((-2, -1)) + 1e-4).sqrt().mean()


def _relative(stiffness: Tensor, truth: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(stiffness - truth) / torch.linalg.matrix_norm(truth)


def _from(progress: Progress, done: int, count: int) -> Progress:
    return lambda some, _: progress(done + some, count)

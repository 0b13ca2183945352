"""S046: alternating enumeration beside local sampling and a genetic algorithm, on planted tensor rings."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, final

import torch

from polyad.tensors.structure_search import (
    Evaluator,
    Instance,
    SearchResult,
    most_evaluations,
    planted_ring,
    ring,
    structure_from_adjacency,
    theory_counts,
    tn_ga,
    tnale,
    tnls,
)
from polyad.tensors.structure_search.plans import to_dense

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S046",
    "slug": "alternating_enumeration",
    "title": "Alternating Local Enumeration (TnALE): Solving Tensor Network Structure Search with Fewer Evaluations",
    "paper": "Li, Zeng, Li, Caiafa, Zhao, ICML 2023 (PMLR 202), arXiv:2304.12875",
    "bibtex": """@inproceedings{li2023alternating,
  title = {Alternating Local Enumeration ({TnALE}): Solving Tensor Network Structure Search with Fewer Evaluations},
  author = {Li, Chao and Zeng, Junhua and Li, Chunmei and Caiafa, Cesar F. and Zhao, Qibin},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2304.12875},
  archivePrefix = {arXiv}
}""",
    "package": "tensors",
    "module": "structure_search",
    "api": [
        "tnale", "Evaluator", "SearchResult", "Template", "ring", "tnls", "tn_ga", "random_search", "fit_network",
        "theory_counts", "search_structure", "plot_structure",
    ],
    "tags": ["tensors", "tensor networks", "structure search", "rank selection", "tensor ring"],
    "claim": "Ranks and the order of the modes are found with at most half the evaluations of local sampling and a "
    "quarter of those of a genetic search.",
    "minutes": 8,
    "extras": [],
    "published": {"evaluations, TnALE against TNLS, example of order 8": "231 against 781"},
}  # fmt: skip

_MOST = 1600
_R_MAX = 7
_RSE = 1e-4
_SLACK = 1e-5
_PUBLISHED = [
    [3, 0, 0, 3, 0, 2],
    [0, 3, 2, 0, 2, 0],
    [0, 2, 3, 4, 0, 0],
    [3, 0, 4, 3, 0, 0],
    [0, 2, 0, 0, 3, 3],
    [2, 0, 0, 0, 3, 3],
]
"""Adjacency of the public planted instance."""


@final
@dataclass(frozen=True, eq=False)
class _Trial:
    """One planted tensor: its compression, and the three searches."""

    name: str
    order: int
    planted: float
    ours: SearchResult
    sampling: SearchResult
    genetic: SearchResult

    @property
    def found(self) -> bool:
        """Whether ours found a structure that counts."""
        return self.evaluations_to_planted(self.ours) is not None

    def evaluations_to_planted(self, result: SearchResult) -> int | None:
        """How many it took to a structure with at most the planted parameters at RSE < 1e-4; None for never."""
        for place, evaluation in enumerate(result.history):
            if evaluation.structure.compression <= self.planted and evaluation.loss < _RSE:
                return place + 1
        return None

    def count(self, result: SearchResult) -> int:
        """The same; the limit where it was not reached."""
        return self.evaluations_to_planted(result) or _MOST


def run(report: Report) -> None:
    """Fill the report; minutes on one core, nearly all of it the rivals."""
    instances = _instances()
    trials = []
    for place, (name, instance) in enumerate(instances):
        trials.append(_trial(name, instance, place))
        report.progress(place + 1, len(instances))
    reached = sum(trial.found for trial in trials)
    report.row(
        quantity="planted rings found (parameters <= planted, RSE < 1e-4), of 5",
        paper=">= 4",
        ours=reached,
        holds=reached >= 4,
    )
    counts = {name: [trial.count(getattr(trial, name)) for trial in trials] for name in ("ours", "sampling", "genetic")}
    for name, label, share in (("sampling", "local sampling (TNLS)", 0.5), ("genetic", "genetic search (TN-GA)", 0.25)):
        baseline, ours = median(counts[name]), median(counts["ours"])
        report.row(
            quantity=f"median evaluations to such a structure (baseline: {label})",
            paper=f"<= {share:g} x baseline",
            baseline=baseline,
            ours=ours,
            holds=ours <= share * baseline,
        )
    worst = max(max(trial.ours.sweeps[2:], default=0) / most_evaluations(ring(trial.order), 1) for trial in trials)
    first = max(max(trial.ours.sweeps[:2]) / most_evaluations(ring(trial.order), 2) for trial in trials)
    report.row(
        quantity="most evaluations of a sweep / bound 2 (N (2q + 1) + N (N - 1) / 2 + 1)",
        paper="<= 1",
        ours=max(worst, first),
        holds=max(worst, first) <= 1,
    )
    for name, label in (("sampling", "TNLS"), ("genetic", "TN-GA")):
        missed = sum(trial.evaluations_to_planted(getattr(trial, name)) is None for trial in trials)
        report.row(quantity=f"planted rings that {label} missed within {_MOST} evaluations, of 5", ours=missed)
    for trial in trials:
        report.note(
            f"{trial.name}: {trial.count(trial.ours)} evaluations, TNLS "
            f"{_counted(trial, trial.sampling)}, TN-GA {_counted(trial, trial.genetic)}"
        )
    sampling, alternating = theory_counts(6, _R_MAX)
    report.note(
        f"for a sufficient decrease at order 6 the paper counts Omega(2^N) = {sampling:g} samples against "
        f"O(N^2 R) = {alternating:g} evaluations; the ratio turns in favour of alternation at larger orders"
    )
    report.note(
        f"all searches share ranks 1..{_R_MAX}, the evaluator (4 starts of at most 60 sweeps), its "
        f"cache and the stop at the planted objective; a rival that missed it counts as {_MOST}"
    )
    report.note(
        "rivals use the best of the settings tried on another ring (three seeds): TNLS with batches of 15, 30, "
        "60, TN-GA with 30 or 60 individuals and mutation 0.1 or 0.25"
    )
    report.note(
        "second run: the first counted evaluations to an objective within 1e-5 of the planted one, which fits of RSE "
        "1e-6 miss although they count as found, and stopped at 400, so that most rivals were cut off: medians 296 "
        "against 400 and 400"
    )
    report.note("cores are random, ranks 1 to 4; the last ring has the published structure with new random cores")
    report.figure(_figure(trials))


def _instances() -> list[tuple[str, Instance]]:
    """The first seeds whose rings are rings (no rank of one) and compress well: to a half, at order 4 to three quarters
    (48 of 81 is the least there)."""
    found = []
    for order, base in ((4, 0), (5, 10), (5, 20), (6, 30)):
        seed = base
        while True:
            instance = planted_ring(order, seed=seed)
            assert instance.structure is not None
            if (
                instance.structure.compression <= (0.75 if order == 4 else 0.5)
                and len(instance.structure.edges) == order
            ):
                break
            seed += 100
        found.append((f"order {order}, {instance.structure.parameters} parameters", instance))
    structure = structure_from_adjacency(_PUBLISHED)
    cores = structure.random_cores(torch.Generator().manual_seed(0))
    found.append(
        (f"published ring, {structure.parameters} parameters", Instance(to_dense(structure, cores)[0], structure))
    )
    return found


def _trial(name: str, instance: Instance, seed: int) -> _Trial:
    assert instance.structure is not None
    planted, order = instance.structure.compression, instance.tensor.ndim
    evaluator, template = Evaluator(instance.tensor, starts=4, sweeps=60), ring(order)
    stop_at = planted + _SLACK
    return _Trial(
        name,
        order,
        planted,
        tnale(evaluator, template, r_max=_R_MAX, seed=seed, restarts=20, evaluations=_MOST, stop_at=stop_at),
        tnls(
            evaluator, template, r_max=_R_MAX, seed=seed, batch=30, shrink=0.98, rounds=200,
            evaluations=_MOST, stop_at=stop_at,
        ),
        tn_ga(
            evaluator, template, r_max=_R_MAX, seed=seed, population=30, mutation=0.1, generations=200,
            evaluations=_MOST, stop_at=stop_at,
        ),
    )  # fmt: skip


def _counted(trial: _Trial, result: SearchResult) -> str:
    count = trial.evaluations_to_planted(result)
    return f"missed ({_MOST})" if count is None else str(count)


def _figure(trials: list[_Trial]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(trials), 3.6), layout="constrained")
    for axes, trial in zip(figure.subplots(1, len(trials), sharey=False), trials, strict=True):
        for result, label in ((trial.ours, "TnALE"), (trial.sampling, "TNLS"), (trial.genetic, "TN-GA")):
            best, values = float("inf"), []
            for evaluation in result.history:
                best = min(best, evaluation.objective)
                values.append(best)
            axes.loglog(range(1, len(values) + 1), values, label=label)
        axes.axhline(trial.planted, color="0.6", linestyle="--", linewidth=1)
        axes.set(title=trial.name.replace(", ", "\n"), xlabel="evaluations")
    figure.axes[0].set(ylabel="best objective: compression + 200 RSE")
    figure.axes[0].legend(fontsize=8)
    return figure

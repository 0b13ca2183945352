"""S013: inverse-free K-FAC beside tuned SGD, and its bfloat16 factors beside explicit inverses in bfloat16.

Digits with 64-128-128-10 units, and drawn letters with two convolutions and a linear layer, 30 epochs. Every method has
12 settings, tried on a seed that does not race; the fewest epochs win after which the loss stays at the target, then
the least last loss. K-FAC here is that of `_explicit_kfac`; where its factors are bfloat16, they are rounded before
they are inverted.

The last loss of a network that fits its data is noise as much as method. So it is a mean over the last third of the
epochs, averaged over seeds by its logarithm, and beside each ratio of two precisions stands that of two float32 runs
which differ in the order of their batches only.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from statistics import fmean, geometric_mean, median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polyad.claims.optim._explicit_kfac import KFAC, Problem, digits, letters, rounding_to_ridge
from polyad.claims.timing import one_thread
from polyad.errors import NumericalWarning
from polyad.optim.kronecker import InverseFreeKFAC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S013",
    "slug": "inverse_free_kfac",
    "title": "Simplifying Momentum-based Positive-definite Submanifold Optimization with Applications to Deep Learning",
    "paper": "Lin, Duruisseaux, Leok, Nielsen, Khan, Schmidt, ICML 2023, arXiv:2302.09738",
    "bibtex": """@inproceedings{lin2023simplifying,
  title = {Simplifying momentum-based positive-definite submanifold optimization with applications to deep learning},
  author = {Lin, Wu and Duruisseaux, Valentin and Leok, Melvin and Nielsen, Frank and Khan, Mohammad Emtiyaz and
            Schmidt, Mark},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2302.09738},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "kronecker",
    "api": ["InverseFreeKFAC", "SPDMomentum", "factor_gradients"],
    "tags": ["optimisers", "preconditioning", "natural gradient", "positive definite matrices", "low precision"],
    "claim": "Second-order training without a matrix inverse: Kronecker factors follow the data by products alone, so "
    "that they can be kept in bfloat16.",
    "minutes": 4,
    "extras": ["scikit-learn"],
    "published": {"T": 10, "lr_cov": 0.01, "beta2": 0.5, "damping": 0.001},
}  # fmt: skip

EPOCHS, BATCHES, TARGET = 30, 20, 0.05
TUNING_SEED, SEEDS = 100, (0, 1, 2)
FACTOR_LR = 0.1
"""Without warm-up, for 660 steps are not the thousands that 0.01 is meant for; the factors are renewed at each step."""

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "SGD": {"lr": (0.12, 0.06, 0.03, 0.09, 0.18, 0.25), "momentum": (0.9, 0.95)},
    "ours": {"lr": (0.0003, 0.001, 0.0001), "damping": (1e-4, 1e-5, 1e-3, 1e-6)},
    "KFAC": {"lr": (0.001, 0.003, 0.0003), "damping": (1e-4, 1e-5, 1e-3, 1e-6)},
}
"""Likely ones first: a run ends early once it cannot be better than the best before it."""

ROUNDED_DAMPING = 1e-4
"""Of the K-FAC whose factors are rounded, as the claim has it; its rate is the best of the grid there."""

LAST = 10
"""Epochs over which a last loss is the mean."""

FIRST_RUN = (
    "second run, with a mended protocol: wider grids, also for K-FAC's damping; a last loss of 10 epochs for 5, means "
    "of logarithms; 10 % to both sides; settings that stay at the target; half the letters in half the batch. The "
    "first gave, of bfloat16 to float32: digits 1.72 x (factors), 0.87 x (all), letters 2.19 x, 0.55 x; K-FAC "
    "rounded: digits diverged, letters 1.20 x; epochs of ours, SGD, K-FAC: digits 4, 7, 3, letters 9, never, 6; step "
    "1.56 x AdamW's"
)

Options = dict[str, Any]


RUNS: dict[str, tuple[str, Options]] = {
    "SGD": ("SGD", {}),
    "ours": ("ours", {}),
    "ours, other batches": ("ours", {"batches": 1}),
    "ours, factors in bfloat16": ("ours", {"factor_dtype": torch.bfloat16}),
    "ours, all in bfloat16": ("ours", {"factor_dtype": torch.bfloat16, "dtype": torch.bfloat16}),
    "KFAC": ("KFAC", {}),
    "KFAC to round": ("KFAC to round", {}),
    "KFAC, factors in bfloat16": ("KFAC to round", {"factor_dtype": torch.bfloat16}),
}
"""Name of the chosen setting, and what differs from it."""


def run(report: Report) -> None:
    """Fill the report."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # steps that are skipped are a result here
        _run(report)


def _run(report: Report) -> None:
    problems = {"digits": digits(), "letters": letters()}
    total, done = len(problems) * (sum(len(_settings(grid)) for grid in GRIDS.values()) + len(SEEDS) * 8), 0
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for name, problem in problems.items():
        chosen: dict[str, Options] = {}
        for method, grid in GRIDS.items():
            tried: list[tuple[tuple[int, float], Options]] = []
            for options in _settings(grid):
                apart = method == "KFAC" and options["damping"] == ROUNDED_DAMPING  # the best of these is wanted too
                rivals = [score for score, others in tried if not apart or others["damping"] == ROUNDED_DAMPING]
                patience = min(rivals, default=(EPOCHS, 0.0))[0]
                losses = train(problem, method, TUNING_SEED, patience=patience, **options)
                tried.append(((_epochs_to_stay(losses), _last(losses)), options))
                report.progress(done := done + 1, total)
            chosen[method] = min(tried, key=lambda one: one[0])[1]
            if method == "KFAC":
                rounded = [one for one in tried if one[1]["damping"] == ROUNDED_DAMPING]
                chosen["KFAC to round"] = min(rounded, key=lambda one: one[0])[1]
        report.note(f"{name}: chosen on the tuning seed {chosen}; edges of the grids: {_edges(chosen) or 'none'}")
        curves[name] = {run: [] for run in RUNS}
        for seed in SEEDS:
            for run, (method, changes) in RUNS.items():
                if run == "KFAC to round" and chosen[run] == chosen["KFAC"]:
                    losses = curves[name]["KFAC"][-1]
                else:
                    losses = train(problem, method.split()[0], seed, **changes, **chosen[method])
                curves[name][run].append(losses)
                report.progress(done := done + 1, total)
        _rows(
            report,
            name,
            curves[name],
            rounding_to_ridge(problem, seed=TUNING_SEED, batch=64, damping=ROUNDED_DAMPING),
        )
    report.row(
        quantity="torch.linalg.inv of a bfloat16 matrix",
        paper="refused",
        ours=(refusal := _refusal()),
        holds=refusal == "refused",
    )
    report.row(
        quantity="training step, 6-layer transformer of width 256, 1,024 tokens, one thread, factors every 10 steps "
        "[ms of process time] (baseline: AdamW)",
        paper="<= 2 x baseline",
        baseline=(times := _step_times())[0],
        ours=times[1],
        holds=times[1] <= 2 * times[0],
    )
    report.note(
        f"loss is the mean of an epoch's batches; 'last' its mean over the last {LAST} epochs (1e9 where not finite), "
        f"then the geometric mean over seeds; factor rate {FACTOR_LR} without warm-up, factors renewed at every step"
    )
    report.note(FIRST_RUN)
    report.figure(_figure(curves))


def _settings(grid: dict[str, tuple[float, ...]]) -> list[Options]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _edges(chosen: dict[str, Options]) -> list[str]:
    """Options that were chosen at an end of their grid, of three values or more."""
    return [
        f"{method}: {option}"
        for method, grid in GRIDS.items()
        for option, values in grid.items()
        if len(values) > 2 and chosen[method][option] in (min(values), max(values))
    ]


def _rows(report: Report, name: str, curves: dict[str, list[list[float]]], rounding: float) -> None:
    last = {run: geometric_mean(map(_last, seeds)) for run, seeds in curves.items()}
    same = last["ours, other batches"] / last["ours"]
    for run in ("ours, factors in bfloat16", "ours, all in bfloat16"):
        row = report.row(
            quantity=f"{name}: last training loss of {run} (baseline: in float32)",
            paper="within 10 % of baseline, either way",
            baseline=last["ours"],
            ours=last[run],
            holds=abs(last[run] / last["ours"] - 1) <= 0.1,
        )
        if not row.holds:
            noise = abs(math.log(same)) >= min(math.log(1.1), abs(math.log(last[run] / last["ours"])))
            cause = "so this is noise as much as precision" if noise else "so precision makes the difference"
            report.note(f"{name}, {run}: outside 10 %; float32 with other batches gives {same:.2f} x itself, {cause}")
    report.row(
        quantity=f"{name}: the same of float32 with other batches (baseline: in float32)",
        baseline=last["ours"],
        ours=last["ours, other batches"],
    )
    row = report.row(
        quantity=f"{name}: last training loss of K-FAC with inverses of bfloat16 factors (baseline: of float32)",
        paper=">= 2 x baseline",
        baseline=last["KFAC to round"],
        ours=last["KFAC, factors in bfloat16"],
        holds=last["KFAC, factors in bfloat16"] >= 2 * last["KFAC to round"],
    )
    report.note(
        f"{name}: bfloat16 moves eigenvalues of a first batch's factors by up to about {rounding:.2g} x K-FAC's ridge"
        + ("" if row.holds else "; where that is small, inverses survive")
    )
    epochs = {run: median(map(_epochs_to, seeds)) for run, seeds in curves.items()}
    for rival, run, aim in (("SGD with momentum", "SGD", 0.7), ("K-FAC in float32", "KFAC", None)):
        report.row(
            quantity=f"{name}: epochs to a training loss of {TARGET} (baseline: {rival})",
            paper=f"<= {aim} x baseline" if aim else None,
            baseline=epochs[run],
            ours=epochs["ours"],
            holds=epochs["ours"] <= aim * epochs[run] if aim else None,
        )
    report.row(
        quantity=f"{name}: last training loss of ours (baseline: K-FAC in float32)",
        baseline=last["KFAC"],
        ours=last["ours"],
    )
    report.note(f"{name}: median epochs to {TARGET}, {EPOCHS + 1} for never: {epochs}")
    by_seed = {run: [f"{_last(losses):.2g}" for losses in seeds] for run, seeds in curves.items()}
    report.note(f"{name}: last losses by seed: {by_seed}")


def train(
    problem: Problem,
    method: str,
    seed: int,
    *,
    lr: float,
    momentum: float = 0.9,
    damping: float = 0.0,
    factor_dtype: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
    batches: int = 0,
    epochs: int = EPOCHS,
    patience: int = EPOCHS,
) -> list[float]:
    """Mean loss of every epoch; it ends early where it is not finite, or over the target after `patience` epochs.

    Args:
        problem: what is trained.
        method: a key of `GRIDS`.
        seed: of weights and batches.
        lr: learning rate.
        momentum: of SGD.
        damping: of ours and K-FAC.
        factor_dtype: of ours and K-FAC.
        dtype: of weights and activations.
        batches: other numbers draw other batches.
        epochs: number of them.
        patience: epochs after which the loss must stay at the target.
    """
    make, inputs, labels = problem
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make().to(dtype)
    inputs = inputs.to(dtype)
    optimizer: torch.optim.Optimizer
    if method == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    elif method == "KFAC":
        optimizer = KFAC(model.parameters(), model=model, lr=lr, damping=damping, factor_dtype=factor_dtype)
    else:
        options = {"factor_lr": FACTOR_LR, "update_every": 1, "warm_up": (), "factor_dtype": factor_dtype}
        optimizer = InverseFreeKFAC(model.parameters(), model=model, lr=lr, damping=damping, **options)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed + 1000 * batches)
    losses: list[float] = []
    for _ in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(labels), generator=generator).chunk(BATCHES):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[chosen]).float(), labels[chosen])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(labels))
        if not math.isfinite(total) or (len(losses) >= patience and losses[-1] > TARGET):
            break
    return losses


def _last(losses: list[float]) -> float:
    value = fmean(losses[-LAST:])
    return min(max(value, 1e-12), 1e9) if math.isfinite(value) else 1e9


def _epochs_to(losses: list[float]) -> int:
    return next((number + 1 for number, loss in enumerate(losses) if loss <= TARGET), EPOCHS + 1)


def _epochs_to_stay(losses: list[float]) -> int:
    """After which the loss is never above the target again; one more than there are for never."""
    above = [epoch for epoch, loss in enumerate(losses, 1) if not loss <= TARGET]
    return max(above, default=0) + 1 if len(losses) == EPOCHS else EPOCHS + 1


def _refusal() -> str:
    try:
        torch.linalg.inv(torch.eye(3, dtype=torch.bfloat16))
    except RuntimeError:
        return "refused"
    return "computed"


def _step_times(steps: int = 10) -> tuple[float, float]:
    """Mean process time [ms] of AdamW's and our training steps, in turns, after one interval of factor updates."""

    def network() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True)
            layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
            return nn.Sequential(nn.Embedding(96, 256), layers, nn.Linear(256, 96))

    models = [network(), network()]
    optimizers = [torch.optim.AdamW(models[0].parameters()), InverseFreeKFAC(models[1].parameters(), model=models[1])]
    words = torch.randint(96, (2, 8, 128), generator=torch.Generator().manual_seed(0))
    spent = [0.0, 0.0]
    for number in range(steps + 1):
        for side, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            start = time.process_time()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(words[0]).mT, words[1]).backward()
            optimizer.step()
            if number:
                spent[side] += time.process_time() - start
    return 1e3 * spent[0] / steps, 1e3 * spent[1] / steps


def _figure(curves: dict[str, dict[str, list[list[float]]]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    styles = {
        "SGD": "C0-",
        "ours": "C1-",
        "ours, factors in bfloat16": "C1--",
        "ours, all in bfloat16": "C1:",
        "KFAC": "C2-",
        "KFAC, factors in bfloat16": "C2--",
    }
    for axes, (name, runs) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for run, style in styles.items():
            full = [losses + [math.nan] * (EPOCHS - len(losses)) for losses in runs[run]]
            logarithms = torch.tensor(full).nan_to_num(1e9, 1e9).clamp(1e-8, 30).log()
            axes.semilogy(range(1, EPOCHS + 1), logarithms.mean(0).exp(), style, label=run)
        axes.axhline(TARGET, color="grey", linewidth=0.8)
        axes.set(xlabel="epoch", ylabel="training loss (geometric mean of 3 seeds, cut at 30)", title=name)
    figure.axes[0].legend(fontsize=8)
    return figure

"""S024: the long-range potential of many charges, without a grid and by forming and decomposing a grid tensor.

Both sides sum the same Gaussians. The baseline forms the tensor of 129^3 values slice by slice in matrix products at
the speed of the machine and takes its sequentially truncated HOSVD by Gram matrices, the fastest ways known to us.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

import torch
from torch import Tensor

from polyad.claims.timing import one_thread
from polyad.tensors.chebyshev import (
    ChebyshevApproximation,
    ChebyshevTucker,
    GaussianSum,
    direct_potential,
    lattice_with_vacancies,
    long_range_potential,
    newton_kernel,
    random_cluster,
    sinc_gaussians,
)
from polyad.tensors.formats import Tucker, hooi, st_hosvd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S024",
    "slug": "chebyshev_tucker",
    "title": "A mesh-free hybrid Chebyshev-Tucker tensor format with applications to multi-particle modelling",
    "paper": "P. Benner, B. N. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696 (2025)",
    "bibtex": """@misc{benner2025meshfree,
  title = {A mesh-free hybrid {Chebyshev-Tucker} tensor format with applications to multi-particle modelling},
  author = {Benner, Peter and Khoromskij, Boris N. and Khoromskaia, Venera and Sun, Bonan},
  year = {2025},
  eprint = {2503.01696},
  archivePrefix = {arXiv}
}""",
    "package": "tensors",
    "module": "chebyshev",
    "api": [
        "ChebyshevTucker", "from_function", "from_canonical", "canonical_to_tucker", "long_range_potential",
        "direct_potential", "newton_kernel", "sinc_gaussians", "random_cluster", "lattice_with_vacancies",
    ],
    "tags": ["tensors", "Tucker", "Chebyshev series", "functions", "electrostatics", "particles", "compression"],
    "claim": "The potential of many charges comes in low Tucker rank from Chebyshev series of its Gaussians alone: "
    "nearly the ranks of a grid tensor that is never formed, and a tenth of the time.",
    "minutes": 2,
    "extras": [],
    "contracts": {"random_cluster": "generator", "lattice_with_vacancies": "generator"},
    "published": {"growth of ranks with the number of particles": "at most logarithmic"},
}  # fmt: skip

_BOX = ((-1.0, 1.0),) * 3
_CHARGES = (50, 200, 500, 2000)
_COUNTS = (33, 49, 65, 129)
_GRID = 129
_LARGE = 1025
_CUTOFF = 4.0
_TOLERANCE = 1e-6
_POINTS = 10_000
_LATTICES = (4, 8, 16)

T = TypeVar("T")


@final
@dataclass(frozen=True)
class _Trial:
    """One number of charges: ours by count of coefficients, and the grid tensor."""

    charges: int
    ranks: dict[int, tuple[int, ...]]
    errors: dict[int, float]
    seconds: dict[int, float]
    grid_ranks: tuple[int, ...]
    forming: float
    decomposing: float
    large_numbers: int
    large_error: float


def run(report: Report) -> None:
    """Fill the report; two minutes on one core, most of it the baseline."""
    long, _ = newton_kernel(0.05, 3.5, accuracy=1e-8).split(_CUTOFF)
    steps = len(_CHARGES) + 3
    trials = []
    for number in _CHARGES:
        trials.append(_trial(number, long))
        report.progress(len(trials), steps)
    _report_ranks(report, trials)
    _report_times(report, trials, long)
    report.progress(steps - 2, steps)
    _report_lattices(report, long)
    report.progress(steps - 1, steps)
    _report_kernel(report)
    report.note(
        f"{len(long.rates)} Gaussians of rate t <= {_CUTOFF:g} a charge (1/r to 1e-8 from 0.05 to 3.5), tolerance "
        f"{_TOLERANCE:g}, charges +-1 at random places in [-1, 1]^3; times are processor times of one thread, medians "
        "of runs that alternate with the baseline's"
    )
    report.figure(_figure(trials, long))
    report.progress(steps, steps)


def _trial(number: int, long: GaussianSum) -> _Trial:
    charges, positions = random_cluster(number, seed=number)
    axis = torch.linspace(-1, 1, _GRID, dtype=torch.float64)
    found: dict[int, ChebyshevApproximation] = {}
    times: dict[int, list[float]] = {count: [] for count in _COUNTS}
    forming, decomposing = [], []
    for _ in range(3 if number >= 500 else 9):
        for count in _COUNTS:
            found[count], seconds = _timed(_ours, charges, positions, long, count)
            times[count].append(seconds)
        grid, seconds = _timed(_form, charges, positions, long, axis)
        forming.append(seconds)
        _, seconds = _timed(_decompose, grid)
        decomposing.append(seconds)
    points = 2 * torch.rand(_POINTS, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1
    exact = direct_potential(charges, positions, points, kernel=long)
    scale = exact.abs().max()
    errors = {
        count: float((result.value.evaluate(points) - exact).abs().max() / scale) for count, result in found.items()
    }
    large = found[_COUNTS[0]].value.on_grid([_LARGE] * 3)
    index = torch.randint(0, _LARGE, (1000, 3), generator=torch.Generator().manual_seed(2))
    wanted = direct_potential(charges, positions, 2 * index.double() / (_LARGE - 1) - 1, kernel=long)
    return _Trial(
        number,
        {count: result.value.ranks for count, result in found.items()},
        errors,
        {count: statistics.median(seconds) for count, seconds in times.items()},
        _smallest_ranks(grid),
        statistics.median(forming),
        statistics.median(decomposing),
        large.storage.numbers,
        float((large.entries(index) - wanted).abs().max() / scale),
    )


def _ours(charges: Tensor, positions: Tensor, kernel: GaussianSum, count: int) -> ChebyshevApproximation:
    return long_range_potential(charges, positions, box=_BOX, kernel=kernel, counts=count, tolerance=_TOLERANCE)


def _form(charges: Tensor, positions: Tensor, kernel: GaussianSum, axis: Tensor) -> Tensor:
    """All grid values, one matrix product a slice and Gaussian, whose operands stay in the cache."""
    total = torch.zeros([len(axis)] * 3, dtype=torch.float64)
    for weight, rate in zip(kernel.weights, kernel.rates, strict=True):
        x, y, z = (torch.exp(-(rate * (axis[:, None] - positions[:, k])).square()) for k in range(3))
        y, z = y * (weight * charges), z.T.contiguous()
        for i in range(len(axis)):
            total[i].addmm_(y * x[i], z)
    return total


def _decompose(grid: Tensor) -> Tucker:
    return st_hosvd(grid, tolerance=_TOLERANCE).value


def _smallest_ranks(grid: Tensor) -> tuple[int, ...]:
    """Ranks of the grid tensor by alternating least squares: lowered one by one while HOOI keeps the tolerance."""
    ranks = list(_decompose(grid).ranks)
    small = st_hosvd(grid, tolerance=1e-10).value.core
    size = torch.linalg.vector_norm(small)
    for mode in range(3):
        while True:
            fewer = [rank - (k == mode) for k, rank in enumerate(ranks)]
            if not bool(hooi(small, fewer).error <= _TOLERANCE * size):
                break
            ranks = fewer
    return tuple(ranks)


def _report_ranks(report: Report, trials: list[_Trial]) -> None:
    ours = [ranks for trial in trials for ranks in trial.ranks.values()]
    theirs = [trial.grid_ranks for trial in trials]
    excess = max(
        mine - other
        for trial in trials
        for ranks in trial.ranks.values()
        for mine, other in zip(ranks, trial.grid_ranks, strict=True)
    )
    report.row(
        quantity=f"ranks at {_TOLERANCE:g}, {_CHARGES[0]} to {_CHARGES[-1]} charges, {_COUNTS[0]} to {_COUNTS[-1]} "
        f"coefficients (baseline: {_GRID}^3 grid tensor)",
        paper="nearly optimal",
        baseline=f"{min(map(min, theirs))} to {max(map(max, theirs))}",
        ours=f"{min(map(min, ours))} to {max(map(max, ours))}",
    )
    report.row(quantity="largest excess of a rank over the grid tensor's", paper="<= 2", ours=excess, holds=excess <= 2)
    error = max(error for trial in trials for error in trial.errors.values())
    report.row(
        quantity=f"largest error at {_POINTS:,} random points, relative to the largest potential",
        paper=f"<= {10 * _TOLERANCE:g}",
        ours=error,
        holds=error <= 10 * _TOLERANCE,
    )
    growth = max(
        max(many.ranks[count]) / max(few.ranks[count])
        for few in trials
        for many in trials
        if many.charges >= 10 * few.charges
        for count in _COUNTS
    )
    report.row(quantity="growth of the ranks for 10 x the charges", paper="<= 1.3", ours=growth, holds=growth <= 1.3)
    numbers, full = max(trial.large_numbers for trial in trials), _LARGE**3
    report.row(
        quantity=f"numbers for the {_LARGE}^3 grid (baseline: full tensor, not formed)",
        paper="<= 1/1000",
        baseline=full,
        ours=numbers,
        holds=1000 * numbers <= full,
    )
    report.row(
        quantity=f"largest relative error at 1,000 entries of the {_LARGE}^3 grid",
        ours=max(trial.large_error for trial in trials),
    )


def _report_times(report: Report, trials: list[_Trial], long: GaussianSum) -> None:
    for trial in trials:
        slowest = max(trial.seconds, key=lambda count: trial.seconds[count])
        baseline, ours = trial.forming + trial.decomposing, trial.seconds[slowest]
        report.row(
            quantity=f"time at {trial.charges} charges, {slowest} coefficients [s] (baseline: form and decompose)",
            paper="<= 1/10",
            baseline=baseline,
            ours=ours,
            holds=10 * ours <= baseline,
        )
    last = trials[-1]
    report.row(
        quantity=f"time at {last.charges} charges, {_COUNTS[0]} coefficients [s] (baseline: HOSVD alone)",
        baseline=last.decomposing,
        ours=last.seconds[_COUNTS[0]],
    )
    plain, _ = sinc_gaussians().split(_CUTOFF)
    charges, positions = random_cluster(500, seed=500)
    axis = torch.linspace(-1, 1, _GRID, dtype=torch.float64)
    _, first = _timed(_ours, charges, positions, plain, 49)
    grid, forming = _timed(_form, charges, positions, plain, axis)
    _, decomposing = _timed(_decompose, grid)
    _, second = _timed(_ours, charges, positions, plain, 49)
    report.row(
        quantity="time at 500 charges, 49 coefficients, plain rule of 160 terms [s] (baseline: form and decompose)",
        baseline=forming + decomposing,
        ours=(first + second) / 2,
    )
    rates = [f"{2e-9 * _GRID**3 * len(long.rates) * trial.charges / trial.forming:.0f}" for trial in trials]
    report.note(f"the baseline forms its tensor at {', '.join(rates)} GFlop/s for {_CHARGES} charges")


def _report_lattices(report: Report, long: GaussianSum) -> None:
    for cells in _LATTICES:
        charges, positions = lattice_with_vacancies(cells, vacancies=0.1, seed=cells)
        found = _ours(charges, positions, long, 49).value
        perfect = _ours(*lattice_with_vacancies(cells), long, 49).value
        points = 2 * torch.rand(1000, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 1
        exact = direct_potential(charges, positions, points, kernel=long)
        error = float((found.evaluate(points) - exact).abs().max() / exact.abs().max())
        report.row(
            quantity=f"ranks of a {cells}^3 lattice, 10 % vacancies ({len(charges)} charges; baseline: no vacancy)",
            baseline=max(perfect.ranks),
            ours=max(found.ranks),
        )
        report.row(
            quantity=f"its largest relative error, {cells}^3",
            paper=f"<= {10 * _TOLERANCE:g}",
            ours=error,
            holds=error <= 10 * _TOLERANCE,
        )


def _report_kernel(report: Report) -> None:
    distances = torch.logspace(-1.30103, 0.47712, 400, dtype=torch.float64)
    plain = sinc_gaussians()
    error = float((plain.evaluate(distances) * distances - 1).abs().max())
    report.row(
        quantity="relative error of 1/r on [0.05, 3], 160 Gaussians", paper="< 1e-4", ours=error, holds=error < 1e-4
    )
    charges, positions = random_cluster(200, separation=0.1, seed=7)
    long, short = plain.split(_CUTOFF)
    points = 2 * torch.rand(5000, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64) - 1
    points = points[torch.cdist(points, positions).amin(1) > 0.05]
    smooth = _ours(charges, positions, long, 49).value
    total = smooth.evaluate(points) + direct_potential(charges, positions, points, kernel=short, tolerance=1e-7)
    exact = direct_potential(charges, positions, points)
    gap = float((total - exact).abs().max() / exact.abs().max())
    report.row(
        quantity="long + short parts against sum z / |x - x_q|, 200 charges, largest relative error",
        paper="< 1e-4",
        ours=gap,
        holds=gap < 1e-4,
    )


def _timed(action: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """Result and processor time on one thread, which other work on the machine leaves alone."""
    with one_thread():
        start = time.process_time()
        result = action(*arguments)
        return result, time.process_time() - start


def _figure(trials: list[_Trial], long: GaussianSum) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    values = _slice(long)
    bound = float(values.abs().max())
    image = left.imshow(values.T, extent=(-1, 1, -1, 1), origin="lower", cmap="RdBu_r", vmin=-bound, vmax=bound)
    left.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    left.set(xlabel="x [length]", ylabel="y [length]", title="long-range potential of 500 charges, z = 0")
    figure.colorbar(image, ax=left, label="potential [charge / length]", shrink=0.85)
    numbers = [trial.charges for trial in trials]
    for count, marker in zip(_COUNTS, "osv^", strict=True):
        middle.semilogx(
            numbers, [max(trial.ranks[count]) for trial in trials], marker + "-", label=f"{count} coefficients"
        )
    middle.semilogx(numbers, [max(trial.grid_ranks) for trial in trials], "kx--", label=f"{_GRID}³ grid")
    middle.set(xlabel="charges", ylabel=f"largest Tucker rank at {_TOLERANCE:g}", ylim=(0, 25), title="ranks")
    middle.legend(fontsize=8)
    for count, marker in zip(_COUNTS, "osv^", strict=True):
        right.loglog(numbers, [trial.seconds[count] for trial in trials], marker + "-", label=f"{count} coefficients")
    both = [trial.forming + trial.decomposing for trial in trials]
    right.loglog(numbers, both, "kx--", label=f"{_GRID}³ grid, form and decompose")
    right.loglog(numbers, [trial.decomposing for trial in trials], "k:", label="decompose alone")
    right.set(xlabel="charges", ylabel="processor time [s]", title="time")
    right.set_ylim(top=100)
    right.legend(fontsize=8, loc="upper left")
    return figure


def _slice(long: GaussianSum) -> Tensor:
    found: ChebyshevTucker = _ours(*random_cluster(500, seed=500), long, 49).value
    axis = torch.linspace(-1, 1, 201, dtype=torch.float64)
    values = found.on_grid([axis, axis, axis.new_zeros(1)]).to_dense()
    return values.reshape(201, 201)

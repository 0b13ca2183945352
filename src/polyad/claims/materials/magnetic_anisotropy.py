"""S086: zero-field splitting of a shaken complex from 500 frames, hotter frames, and what the thermal average adds."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polyad.claims.timing import one_thread
from polyad.graphs.points import PointGraph
from polyad.materials.properties.magnetic_anisotropy import (
    ANISOTROPY,
    WAVENUMBERS,
    GaussianMomentTensors,
    align_frames,
    alignment,
    anisotropy_parameters,
    power_spectrum,
    thermal_average,
)
from polyad.materials.structures import Structures
from polyad.problems.complexes import MetalComplex, complex_frames, complex_trajectories
from polyad.symmetry.initialisation import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S086",
    "slug": "magnetic_anisotropy",
    "title": "Thermally Averaged Magnetic Anisotropy Tensors via Machine Learning Based on Gaussian Moments",
    "paper": "Zaverkin, Netz, Zills, Koehn, Kaestner, J. Chem. Theory Comput. 18 (2022) 1-12, arXiv:2312.01415",
    "bibtex": """@article{zaverkin2022thermally,
  title = {Thermally Averaged Magnetic Anisotropy Tensors via Machine Learning Based on {G}aussian Moments},
  author = {Zaverkin, Viktor and Netz, Julia and Zills, Fabian and K{\\"o}hn, Andreas and K{\\"a}stner, Johannes},
  journal = {Journal of Chemical Theory and Computation},
  volume = {18},
  number = {1},
  pages = {1--12},
  year = {2022},
  doi = {10.1021/acs.jctc.1c00853}
}""",
    "package": "materials",
    "module": "properties.magnetic_anisotropy",
    "api": [
        "GaussianMomentTensors", "anisotropy_parameters", "spin_hamiltonian", "spin_levels", "spin_response",
        "alignment", "thermal_average", "autocorrelation", "power_spectrum",
    ],
    "tags": ["molecules", "tensors", "rotations", "equivariant networks", "magnetism"],
    "claim": "Coefficients on Gaussian moments predict zero-field-splitting tensors of thermal frames and hotter ones "
    "far better than a network for components in an aligned frame.",
    "minutes": 4,
    "extras": [],
    "published": {
        "error on thermal frames of Co and Fe complexes, cm^-1": "0.3-0.4", "hidden layers": "2 x 512",
        "Gaussians": 9, "contracted radial functions": "5 to 7",
    },
}  # fmt: skip

_TARGET = "zero_field_splitting"
_CUTOFF, _NEIGHBORS, _GAUSSIANS, _WIDTH, _ITERATIONS = 5.0, 6.0, 24, 64, 480
_BASELINE_WIDTH, _BASELINE_PENALTY, _BASELINE_ITERATIONS = 256, 1e-2, 900
_ROUND = 20  # iterations between validations
_BLOCKS = 50


def run(report: Report) -> None:
    """Fill the report; four minutes on one core."""
    with one_thread():
        network, scale, truth, found = _learn(report)
        _average(report)
        spectra = _dynamics(report, network, scale)
    report.figure(_figure(truth, found, spectra))
    report.open("complexes of the paper (Co, Fe): data are private")
    report.note(
        "synthetic cobalt complex, six ligands N, O, Cl; Langevin frames that turn freely; spread: root mean square "
        "deviation from the mean tensor in the frame of the molecule; errors and spreads over the nine components"
    )
    report.note(
        f"both networks: L-BFGS on all frames in float64, weights of the smallest validation error; ours {_ITERATIONS} "
        f"iterations, the baseline {_BASELINE_ITERATIONS} (its best comes earlier); its inputs are "
        "standardised, its width and penalty tuned, too"
    )
    report.note(
        f"{_GAUSSIANS} Gaussians, not 9: a bond's length varies by 0.07 angstrom, over which wide ones are nearly "
        "alike, and errors fall slowly. Tuning, ours / spread: Adam 0.06 to 0.12 after 400 to 2000 steps, 0.018 (9 "
        "Gaussians) and 0.016 (24) after 5000 of 50 frames; L-BFGS 0.016 after as much time; the baseline came out "
        "alike with either"
    )
    report.note(
        "tuned on frames of seeds 1 to 4, among them test frames; the frames here are fresh, seeds 11 to 14; after a "
        "first tuning the problem was changed: reference distances belong to the element, not to the single ligand"
    )


# ---------------------------------------------------------------- learning


def _learn(report: Report) -> tuple[GaussianMomentTensors, float, Tensor, dict[str, Tensor]]:
    system = MetalComplex()
    train, validation, test = (complex_frames(n, seed=s) for n, s in ((500, 11), (200, 12), (1000, 13)))
    hot = complex_frames(1000, seed=14, temperature=450.0)
    spread, hot_spread = (_spread(frames, system) for frames in (test, hot))
    network, scale, seconds = _train_tensors(train, validation, report)
    components, baseline_seconds = _train_components(train, validation, system)
    truth = test.targets[_TARGET]
    ours, hot_ours = _predict(network, test) * scale, _predict(network, hot) * scale
    theirs, hot_theirs = (_predict_components(components, frames, system) for frames in (test, hot))
    errors = [_rms(ours - truth), _rms(theirs - truth)]
    hot_errors = [_rms(x - hot.targets[_TARGET]) / hot_spread for x in (hot_ours, hot_theirs)]
    report.row(quantity="spread of D at 300 K, cm^-1", ours=spread)
    report.row(
        quantity="error of D / spread, 500 training frames", paper="<= 0.05", baseline=errors[1] / spread,
        ours=errors[0] / spread, holds=errors[0] <= 0.05 * spread,
    )  # fmt: skip
    report.row(
        quantity="error of D, cm^-1 (baseline: components in the aligned frame)", paper="<= 0.5 x baseline",
        baseline=errors[1], ours=errors[0], holds=errors[0] <= 0.5 * errors[1],
    )  # fmt: skip
    growth = [hot / (error / spread) for hot, error in zip(hot_errors, errors, strict=True)]
    report.row(
        quantity="error / spread at 450 K over that at 300 K", paper="< 3", baseline=growth[1], ours=growth[0],
        holds=growth[0] < 3,
    )  # fmt: skip
    exact, learned = (anisotropy_parameters(x) for x in (truth, ours))
    for name in ("axial", "rhombic"):
        gap = (getattr(exact, name).abs() - getattr(learned, name).abs()).abs()
        report.row(quantity=f"median error of the {name} parameter's size, cm^-1", ours=float(gap.median()))
    turned = _predict(network, test.replace(positions=-test.positions @ _rotation().T)) * scale
    gap = float((turned - _rotation() @ ours @ _rotation().T).abs().max())
    report.row(
        quantity="change of D under rotation with reflection, cm^-1", paper="rounding", ours=gap,
        holds=gap < 1e-9 * spread,
    )  # fmt: skip
    report.row(quantity="processor seconds of training", baseline=baseline_seconds, ours=seconds)
    report.row(quantity="parameters", baseline=_count(components), ours=_count(network))
    return network, scale, truth, {"Gaussian moments": ours, "aligned components": theirs}


def _train_tensors(
    train: Structures, validation: Structures, report: Report
) -> tuple[GaussianMomentTensors, float, float]:
    """The network, the unit of its output, and the processor time it took."""
    scale = _rms(train.targets[_TARGET])
    graphs = [_graph(frames.with_neighbors(_CUTOFF)) for frames in (train, validation)]
    targets = [ANISOTROPY.to_irreps(frames.targets[_TARGET] / scale) for frames in (train, validation)]
    network = GaussianMomentTensors(
        kinds=len(_kinds()), cutoff=_CUTOFF, neighbors=_NEIGHBORS, gaussians=_GAUSSIANS, width=_WIDTH
    ).double()

    def loss(part: int) -> Tensor:
        return (network(graphs[part]) - targets[part]).square().mean()

    start = time.process_time()
    _minimise(network, lambda: loss(0), lambda: loss(1), iterations=_ITERATIONS, progress=report.progress)
    return network, scale, time.process_time() - start


def _minimise(
    network: nn.Module,
    loss: Callable[[], Tensor],
    validation: Callable[[], Tensor],
    *,
    iterations: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """L-BFGS on all frames at once; the network ends with the weights of the smallest validation loss."""
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=_ROUND, max_eval=2 * _ROUND, history_size=100, tolerance_grad=0,
        tolerance_change=0, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    best, weights = float("inf"), copy.deepcopy(network.state_dict())
    for done in range(0, iterations, _ROUND):
        optimizer.step(closure)
        with torch.no_grad():
            value = float(validation())
        if value < best:
            best, weights = value, copy.deepcopy(network.state_dict())
        if progress:
            progress(done + _ROUND, iterations)
    network.load_state_dict(weights)


def _kinds() -> Tensor:
    return MetalComplex().species.unique()


def _graph(frames: Structures) -> PointGraph:
    return PointGraph(
        frames.edge_index, frames.edge_vectors(), torch.searchsorted(_kinds(), frames.species), frames.structure,
        len(frames), frames.positions, frames.positions.new_zeros(frames.num_edges, 0),
    )  # fmt: skip


@torch.no_grad()
def _predict(network: GaussianMomentTensors, frames: Structures) -> Tensor:
    """Matrices of all frames, without unit."""
    parts = [frames[low : low + 500].with_neighbors(_CUTOFF) for low in range(0, len(frames), 500)]
    return torch.cat([ANISOTROPY.to_tensor(network(_graph(part))) for part in parts])


# ---------------------------------------------------------------- the baseline


class _Components(nn.Module):
    """A perceptron from standardised coordinates in the aligned frame to the standardised five components there."""

    def __init__(self, positions: Tensor, mass: Tensor, coordinates: Tensor, features: Tensor) -> None:
        super().__init__()
        self.reference, self.mass = positions, mass
        self.centre, self.width = coordinates.mean(0), coordinates.std(0)
        self.mean, self.scale = features.mean(0), features.std(0)
        sizes = [coordinates.shape[1], _BASELINE_WIDTH, _BASELINE_WIDTH, features.shape[1]]
        with seeded(0):
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])

    def forward(self, coordinates: Tensor) -> Tensor:
        """Standardised features."""
        return self.layers(coordinates)


def _aligned(frames: Structures, reference: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates and features in the frame of the molecule, and the rotations into it."""
    positions = frames.positions.view(len(frames), len(mass), 3)
    turn = alignment(positions, reference, weights=mass)
    centred = positions - (mass[:, None] * positions).sum(1, keepdim=True) / mass.sum()
    return (centred @ turn.mT).flatten(1), ANISOTROPY.to_irreps(turn @ frames.targets[_TARGET] @ turn.mT), turn


def _train_components(train: Structures, validation: Structures, system: MetalComplex) -> tuple[_Components, float]:
    mass = system.mass
    reference = align_frames(train.positions.view(len(train), len(mass), 3), weights=mass)[0].mean(0)
    coordinates, features, _ = _aligned(train, reference, mass)
    network = _Components(reference, mass, coordinates, features).double()
    # in the unit of the components, so that all errors weigh alike, as in the score
    weight = network.scale / network.scale.max()
    parts = [_aligned(frames, reference, mass) for frames in (train, validation)]

    def loss(part: int) -> Tensor:
        x, y, _ = parts[part]
        gap = network((x - network.centre) / network.width) - (y - network.mean) / network.scale
        return (gap * weight).square().mean()

    def regularised() -> Tensor:
        return loss(0) + _BASELINE_PENALTY / len(train) * sum(p.square().sum() for p in network.parameters())

    start = time.process_time()
    _minimise(network, regularised, lambda: loss(1), iterations=_BASELINE_ITERATIONS)
    return network, time.process_time() - start


@torch.no_grad()
def _predict_components(network: _Components, frames: Structures, system: MetalComplex) -> Tensor:
    """Matrices in the laboratory, in cm^-1."""
    x, _, turn = _aligned(frames, network.reference, system.mass)
    features = network((x - network.centre) / network.width) * network.scale + network.mean
    return turn.mT @ ANISOTROPY.to_tensor(features) @ turn


# ---------------------------------------------------------------- averages and dynamics


def _average(report: Report) -> None:
    """Mean of the tensor against the tensor of the mean geometry, with the jackknife's standard error over replicas."""
    system = MetalComplex()
    runs = complex_trajectories(100, seed=15, replicas=8 * _BLOCKS, spacing=100.0)
    positions = runs.flatten(0, 1)
    average = thermal_average(system.zero_field_splitting(positions), positions, weights=system.mass)
    tensors, geometry = (x.unflatten(0, (_BLOCKS, -1)).mean(1) for x in (average.tensors, average.positions))

    def shift(tensor: Tensor, mean: Tensor) -> Tensor:
        return tensor - system.zero_field_splitting(mean)

    whole = shift(tensors.mean(0), geometry.mean(0))
    without = [(x.sum(0) - x) / (_BLOCKS - 1) for x in (tensors, geometry)]
    left = shift(*without)
    error = ((_BLOCKS - 1) / _BLOCKS * (left - left.mean(0)).square().sum(0)).sum().sqrt()
    report.row(
        quantity="|mean D - D(mean geometry)|, standard errors", paper="> 4", ours=float(whole.norm() / error),
        holds=bool(whole.norm() > 4 * error),
    )  # fmt: skip
    report.row(quantity="|mean D - D(mean geometry)|, cm^-1", ours=float(whole.norm()))
    report.note(f"thermal average: {len(positions):,} frames of {8 * _BLOCKS} independent replicas")
    for name, tensor in (
        ("mean tensor", tensors.mean(0)),
        ("mean geometry", system.zero_field_splitting(geometry.mean(0))),
    ):
        found = anisotropy_parameters(tensor)
        report.row(
            quantity=f"D and E of the {name}, cm^-1", ours=f"{float(found.axial):.2f}, {float(found.rhombic):.2f}"
        )


def _dynamics(report: Report, network: GaussianMomentTensors, scale: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Spectra of the exact and the learned tensor along the same trajectories."""
    system, replicas, times = MetalComplex(), 8, 1024
    runs = complex_trajectories(times, seed=16, replicas=replicas, spacing=8.0, friction=1e-3, equilibration=4000.0)
    frames = Structures.from_arrays(
        runs.reshape(-1, 3), system.species.repeat(replicas * times), sizes=[len(system.mass)] * (replicas * times)
    )
    found = {}
    for name, tensors in (
        ("exact", system.zero_field_splitting(runs.flatten(0, 1))),
        ("learned", _predict(network, frames) * scale),
    ):
        average = thermal_average(tensors, runs.flatten(0, 1), weights=system.mass)
        series = ANISOTROPY.to_irreps(average.tensors).unflatten(0, (replicas, times))
        found[name] = power_spectrum(series, spacing=8.0, segment=512)
    exact, learned = (found[name][1] for name in ("exact", "learned"))
    report.row(
        quantity="learned spectrum of D(t): integrated difference / integral",
        ours=float((learned - exact).abs().sum() / exact.sum()),
    )
    peak = float(found["exact"][0][exact.argmax()]) * WAVENUMBERS
    report.row(
        quantity="strongest line of D(t), cm^-1 (baseline: exact)", baseline=peak,
        ours=float(found["learned"][0][learned.argmax()]) * WAVENUMBERS,
    )  # fmt: skip
    return found


# ---------------------------------------------------------------- measures


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())


def _spread(frames: Structures, system: MetalComplex) -> float:
    positions = frames.positions.view(len(frames), -1, 3)
    average = thermal_average(frames.targets[_TARGET], positions, weights=system.mass)
    return _rms(average.tensors - average.mean)


def _rotation() -> Tensor:
    return torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _figure(truth: Tensor, found: dict[str, Tensor], spectra: dict[str, tuple[Tensor, Tensor]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    exact = ANISOTROPY.to_irreps(truth).flatten()
    for name, tensors in reversed(found.items()):
        left.plot(exact, ANISOTROPY.to_irreps(tensors).flatten() - exact, ".", markersize=1.5, label=name)
    left.set(xlabel="component of D, exact / cm$^{-1}$", ylabel="error / cm$^{-1}$", title="unseen frames at 300 K")
    for (name, (frequency, density)), style in zip(spectra.items(), ("-", "--"), strict=True):
        right.plot(frequency * WAVENUMBERS, density / WAVENUMBERS, style, label=name, linewidth=1.2)
    right.set(
        xlim=(0, 600), xlabel="wavenumber / cm$^{-1}$", ylabel="spectral density of D(t) / cm$^{-1}$",
        title="fluctuations in the molecule's frame",
    )  # fmt: skip
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, markerscale=6)
    return figure

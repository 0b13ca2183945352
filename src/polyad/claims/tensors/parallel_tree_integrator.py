"""S081: the parallel BUG integrator beside the sequential one: errors, counted flops, critical paths, two processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, final

import torch
from scipy.sparse.linalg import expm_multiply
from torch import Tensor

from polyad.claims.tensors._tree_problems import LinearProblem, kinetic, radiative_transfer, spin_chain
from polyad.claims.timing import one_thread
from polyad.executors import local_executor
from polyad.tensors.formats import TreeTensorNetwork, balanced_tree
from polyad.tensors.tree_integrators import (
    ParallelBUG,
    SequentialBUG,
    TreeOperator,
    Work,
    integrate,
    product_operator,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S081",
    "slug": "parallel_tree_integrator",
    "title": "A parallel Basis Update and Galerkin Integrator for Tree Tensor Networks",
    "paper": "Ceruti, Kusch, Lubich, Sulz, arXiv:2412.00858, 2024",
    "bibtex": """@article{ceruti2024parallel,
  title = {A parallel Basis Update and Galerkin Integrator for Tree Tensor Networks},
  author = {Ceruti, Gianluca and Kusch, Jonas and Lubich, Christian and Sulz, Dominik},
  journal = {arXiv preprint arXiv:2412.00858},
  year = {2024}
}""",
    "package": "tensors",
    "module": "tree_integrators",
    "api": [
        "ParallelBUG", "SequentialBUG", "ProjectorSplitting", "matrix_parallel_bug", "MatrixFactors", "integrate",
        "TreeOperator", "pair_operator", "product_operator", "OperatorField", "FunctionField", "Work", "FlopCount",
    ],
    "tags": ["tensors", "tree tensor networks", "time integration", "quantum dynamics", "uncertainty", "parallel"],
    "claim": "All sub-flows of a step run at once, with cores of the old ranks, at a first-order error that does not "
    "depend on small singular values.",
    "minutes": 1.5,
    "extras": [],
    "published": {"nu": 2.0, "Delta": 1.0, "Omega": 1.0, "alpha": 1.0, "tol": 1e-8, "r_max": 30},
}  # fmt: skip

_TOL = 1e-8
_TREES = {"balanced": balanced_tree(8), "two leaves": ((0, 1, 2, 3), (4, 5, 6, 7))}


@final
@dataclass(frozen=True)
class _Curve:
    """Errors of one integrator over step sizes."""

    label: str
    steps: list[float]
    errors: list[float]

    @property
    def order(self) -> float:
        """Between the two smallest steps."""
        return float(torch.log2(torch.tensor(self.errors[-2] / self.errors[-1])))


def run(report: Report) -> None:
    """Fill the report; a minute and a half on two idle cores."""
    with one_thread():  # processes are what is compared
        curves = _eight_spins(report)
        report.progress(1, 5)
        curves.append(_sixteen_spins(report))
        report.progress(2, 5)
        works = _counted_work(report)
        report.progress(3, 5)
        _transport(report)
        report.progress(4, 5)
        _two_processes(report)
        report.progress(5, 5)
    report.figure(_figure(curves, works))


def _eight_spins(report: Report) -> list[_Curve]:
    curves = []
    powers = range(3, 8)
    for name, tree in _TREES.items():
        problem = spin_chain(tree, 8)
        reference = _exact(problem)
        sequential = _curve(f"sequential, {name}", problem, reference, powers, _sequential)
        for augment in ("F0", "K"):
            found = _curve(f"parallel {augment}, {name}", problem, reference, powers, _parallel(augment))
            ratio = max(error / step for error, step in zip(found.errors, found.steps, strict=True))
            report.row(
                quantity=f"8 spins, {name}, {augment}: largest error / h, h = 2^-3..2^-7",
                paper="<= 6",
                ours=ratio,
                holds=ratio <= 6,
            )
            falls = all(fine < coarse for coarse, fine in zip(found.errors, found.errors[1:], strict=False))
            slowest = min(
                float(torch.log2(torch.tensor(coarse / fine)))
                for coarse, fine in zip(found.errors, found.errors[1:], strict=False)
            )
            report.row(
                quantity=f"8 spins, {name}, {augment}: smallest order between neighbouring steps",
                paper="1; >= 0.9 asked",
                ours=slowest,
                holds=falls and slowest >= 0.9,
            )
            report.row(
                quantity=f"8 spins, {name}, {augment}: error at h = 2^-7 (baseline: sequential BUG)",
                baseline=sequential.errors[-1],
                ours=found.errors[-1],
            )
            curves.append(found)
        curves.append(sequential)
    report.note(
        "the sequential BUG is of order four once ranks fill its subspaces; the parallel one leaves out O(h^2) a step"
    )
    return curves


def _sixteen_spins(report: Report) -> _Curve:
    problem = spin_chain(balanced_tree(16), 16)
    reference = _exact(problem)
    steps, errors, value = [], [], problem.start
    for power in (3, 4, 5, 6, 7):
        integrator = ParallelBUG(problem.operator, tol=_TOL, r_max=30, augment="K")
        value = integrate(integrator, problem.start, steps=2**power).value
        steps.append(2.0**-power)
        errors.append(float((value.to_dense().flatten() - reference).norm()))
    found = _Curve("parallel K, 16 spins, ranks <= 30", steps, errors)
    other = SequentialBUG(problem.operator, tol=_TOL, r_max=30)
    last = integrate(other, problem.start, steps=32).value
    report.row(
        quantity="16 spins, ranks <= 30, K: error at h = 2^-5 (baseline: sequential BUG)",
        baseline=float((last.to_dense().flatten() - reference).norm()),
        ours=errors[2],
    )
    report.row(quantity="16 spins, ranks <= 30, K: error at h = 2^-7", ours=errors[-1])
    report.row(
        quantity="16 spins: order between the two smallest steps (>= 0.9)",
        paper="1",
        ours=found.order,
        holds=found.order >= 0.9,
    )
    report.row(
        quantity="16 spins: numbers stored (baseline: the full tensor)",
        paper="17 500",
        baseline=2**16,
        ours=value.storage.numbers,
        holds=value.storage.numbers <= 17_600,
    )
    wide = TreeTensorNetwork.random((2,) * 32, 30, tree=balanced_tree(32)).storage.numbers
    report.row(
        quantity="32 spins, ranks <= 30: numbers stored (baseline: the full tensor)",
        paper="88 000",
        baseline=2**32,
        ours=wide,
        holds=wide <= 88_500,
    )
    return found


def _counted_work(report: Report) -> dict[str, tuple[Work, Work]]:
    """One counted step of both integrators from random networks."""
    generator = torch.Generator().manual_seed(0)
    kinds = {
        "16 spins, ranks 8": (spin_chain(balanced_tree(16), 16), 8),
        "transport, ranks 12": (radiative_transfer(cells=64, moments=48, points=32), 12),
        "16 spins, ranks 30": (spin_chain(balanced_tree(16), 16), 30),
    }
    works = {}
    for name, (problem, rank) in kinds.items():
        operator, tree = problem.operator, problem.operator.tree
        start = TreeTensorNetwork.random(operator.shape, rank, tree=tree, dtype=operator.dtype, generator=generator)
        start = start.scale(1 / start.norm())
        options = {"tol": _TOL, "r_max": rank, "substeps": 4, "count": True}
        ours = ParallelBUG(operator, **options).step(start, 0.0, 2.0**-7).work  # type: ignore[arg-type]
        other = SequentialBUG(operator, **options).step(start, 0.0, 2.0**-7).work  # type: ignore[arg-type]
        works[name] = (ours, other)
        for quantity, mine, baseline, limit in (
            ("critical path", ours.critical, other.critical, 0.6),
            ("core equations", ours.kinds["core"], other.kinds["core"], 0.3),
        ):
            report.row(
                quantity=f"{name}: Mflop of a step, {quantity} (baseline: sequential BUG)",
                paper=f"<= {limit} x asked",
                baseline=baseline / 1e6,
                ours=mine / 1e6,
                holds=mine <= limit * baseline,
            )
    report.note(
        "at ranks <= 30 the subspaces of one, two and four spins are full (2, 4, 16), so that the sequential "
        "integrator's bases cannot double there and most of its cores are as small as the parallel one's"
    )
    return works


def _transport(report: Report) -> None:
    for name, problem in (("radiative transfer", radiative_transfer()), ("kinetic equation", kinetic())):
        reference = _exact(problem)
        sequential = _curve(name, problem, reference, (3, 4, 5), _sequential)
        found = _curve(name, problem, reference, (3, 4, 5), _parallel("F0"))
        report.row(
            quantity=f"{name}, uncertain data: order of the parallel BUG (F0) (>= 0.9)",
            paper="1",
            ours=found.order,
            holds=found.order >= 0.9,
        )
        richer = _curve(name, problem, reference, (5,), _parallel("F0", rejections=10))
        report.row(
            quantity=f"{name}: error at h = 2^-5 (baseline: sequential BUG)",
            baseline=sequential.errors[-1],
            ours=found.errors[-1],
        )
        report.row(
            quantity=f"{name}: the same with step rejection",
            baseline=sequential.errors[-1],
            ours=richer.errors[-1],
        )


def _two_processes(report: Report) -> None:
    """Two problems with two large sub-flows of equal size: two leaves of (256, 30), two cores of (16, 16, 30)."""
    generator = torch.Generator().manual_seed(0)
    problems = {"two leaves of 8 spins each": _two_halves(), "16 spins": spin_chain(balanced_tree(16), 16).operator}
    with local_executor(1) as executor:  # and this process
        for name, operator in problems.items():
            start = TreeTensorNetwork.random(
                operator.shape, 30, tree=operator.tree, dtype=torch.complex128, generator=generator
            )
            start = start.scale(1 / start.norm())
            alone = ParallelBUG(operator, tol=_TOL, r_max=30, augment="K")
            together = ParallelBUG(operator, tol=_TOL, r_max=30, augment="K", executor=executor)
            together.step(start, 0.0, 2.0**-5)  # starts the process
            seconds: dict[str, list[float]] = {"alone": [], "together": []}
            for _ in range(9):
                for kind, integrator in (("alone", alone), ("together", together)):
                    begin = time.perf_counter()
                    integrator.step(start, 0.0, 2.0**-5)
                    seconds[kind].append(time.perf_counter() - begin)
            serial, parallel = median(seconds["alone"]), median(seconds["together"])
            report.row(
                quantity=f"{name}, ranks 30, h = 2^-5: seconds a step on 2 processes (baseline: one process)",
                paper=">= 1.3 x faster asked",
                baseline=serial,
                ours=parallel,
                holds=serial >= 1.3 * parallel,
            )
            saved = 1000 * (serial - parallel)
            report.note(
                f"{name}: {serial / parallel:.2f} x faster; a sub-flow of more than {saved:.0f} ms was sent away"
            )
    report.note("the operator of a leaf of 8 spins, 10 MB, travels with its sub-flow in every step")


def _two_halves() -> TreeOperator:
    """The chain of 16 spins as two modes of 256 states: each half by itself, and the pairs across."""
    half = torch.from_numpy(spin_chain(balanced_tree(8), 8).matrix.toarray())
    eye = torch.eye(256, dtype=half.dtype)
    up = 1 - (torch.arange(256) >> torch.arange(7, -1, -1)[:, None]) % 2
    sites = torch.arange(8, dtype=torch.float64)
    left, values, right = torch.linalg.svd(2 / (8 + sites - sites[:, None]))
    across = [
        (-1j * value * torch.diag(a @ up.double()).to(half.dtype), torch.diag(b @ up.double()).to(half.dtype))
        for a, value, b in zip(left.mT, values, right, strict=True)
    ]
    return product_operator((0, 1), [(half, eye), (eye, half), *across])


def _parallel(augment: str, rejections: int = 0) -> Callable[[LinearProblem], ParallelBUG]:
    def make(problem: LinearProblem) -> ParallelBUG:
        return ParallelBUG(problem.operator, tol=_TOL, augment=augment, substeps=4, rejections=rejections)  # type: ignore[arg-type]

    return make


def _sequential(problem: LinearProblem) -> SequentialBUG:
    return SequentialBUG(problem.operator, tol=_TOL, substeps=4)


def _exact(problem: LinearProblem) -> Tensor:
    start = problem.start.to_dense().flatten().to(problem.operator.dtype)
    return torch.from_numpy(expm_multiply(problem.matrix, start.numpy()))


def _curve(
    label: str,
    problem: LinearProblem,
    reference: Tensor,
    powers: range | tuple[int, ...],
    make: Callable[[LinearProblem], ParallelBUG | SequentialBUG],
) -> _Curve:
    errors = []
    for power in powers:
        value = integrate(make(problem), problem.start, steps=2**power).value
        errors.append(float((value.to_dense().flatten() - reference).norm()))
    return _Curve(label, [2.0**-power for power in powers], errors)


def _figure(curves: list[_Curve], works: dict[str, tuple[Work, Work]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    for curve in curves:
        if "two leaves" not in curve.label:
            left.loglog(curve.steps, curve.errors, "o-", label=curve.label, base=2)
    steps = curves[0].steps
    left.set_yscale("log", base=10)
    left.plot(steps, [6 * step for step in steps], "--", color="0.6", linewidth=1, label="6 h")
    left.set(xlabel="step h", ylabel="error at time 1", title="spin chain (8 spins unless named)")
    left.legend(fontsize=8)
    for shift, number, name in ((-0.2, 0, "parallel"), (0.2, 1, "sequential")):
        places = [place + shift for place in range(len(works))]
        total = [pair[number].flops / 1e6 for pair in works.values()]
        critical = [pair[number].critical / 1e6 for pair in works.values()]
        bars = right.bar(places, total, 0.36, alpha=0.35, label=f"{name}, all")
        right.bar(places, critical, 0.36, color=bars[0].get_facecolor()[:3], label=f"{name}, critical path")
    right.set_xticks(range(len(works)), [name.replace(", ", "\n") for name in works])
    right.set(yscale="log", ylabel="flops of a step [Mflop]", title="counted work")
    right.legend(fontsize=8)
    return figure

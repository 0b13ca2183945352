"""S093: chains, stars and environments: which networks tell the two structures of a pair apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from polyad.claims.symmetry._separation import (
    CHAIN_NETWORKS,
    ENVIRONMENT_NETWORKS,
    EPOCHS,
    LEARNING_RATE,
    SEEDS,
    STAR_NETWORKS,
    Build,
    Pair,
    differences,
    listed,
    trained_accuracy,
)
from polyad.claims.timing import one_thread
from polyad.symmetry.geometric_wl import counterexamples, distinguishable, k_chains, k_hop_distinct, rotsym

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S093",
    "slug": "geometric_wl",
    "title": "On the Expressive Power of Geometric Graph Neural Networks",
    "paper": "Joshi, Bodnar, Mathis, Cohen, Lio, ICML 2023, arXiv:2301.09308",
    "bibtex": """@inproceedings{joshi2023expressive,
  title = {On the Expressive Power of Geometric Graph Neural Networks},
  author = {Joshi, Chaitanya K. and Bodnar, Cristian and Mathis, Simon V. and Cohen, Taco and Lio, Pietro},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2301.09308},
  archivePrefix = {arXiv}
}""",
    "package": "symmetry",
    "module": "geometric_wl",
    "api": [
        "geometric_graph", "gwl", "igwl", "distinguishable", "k_hop_distinct", "k_chains", "rotsym", "counterexamples",
        "OrbitTable",
    ],
    "tags": ["point clouds", "graphs", "rotations", "equivariant networks"],
    "claim": "Depth, tensor order and body order decide which structures a geometric graph network can tell apart.",
    "minutes": 2,
    "extras": [],
    "published": {"iterations of GWL for k-chains": "floor(k / 2) + 1", "accuracy at chance, %": 50},
}  # fmt: skip

_IMPOSSIBLE, _POSSIBLE = 1e-13, 1e-12
_CHAINS = range(2, 7)
_FOLDS = (2, 3, 5, 10)
_CASES: tuple[Literal[2, 3, 4, "chiral"], ...] = (2, 3, 4, "chiral")
_TRAINED = ("EGNN", "GVP-like", "TFN, l_max 1", "TFN, l_max 2", "TFN, l_max 3", "TFN, l_max 5")
_NAMES = {2: "2-body", 3: "3-body", 4: "4-body", "chiral": "chiral"}


@final
@dataclass(frozen=True)
class _Cell:
    """A network on a pair: what theory says, differences by seed, and accuracy where it was trained."""

    possible: bool
    largest: float
    median: float
    accuracy: float | None

    @property
    def agrees(self) -> bool:
        """Whether random weights do what theory says."""
        return self.median >= _POSSIBLE if self.possible else self.largest <= _IMPOSSIBLE


def run(report: Report) -> None:
    """Fill the report; a minute and a half on one core, most of it training."""
    with one_thread():
        _test_rows(report)
        chains, stars, environments = _chains(report), _stars(report), _environments(report)
    report.figure(_figure(chains, stars, environments))
    report.note(
        f"random weights: float64, {SEEDS} seeds; impossible means differences <= {_IMPOSSIBLE:g} for all seeds, "
        f"possible >= {_POSSIBLE:g} for most; the second structure comes renumbered and (chains, environments) rotated"
    )
    report.note(
        f"training: {EPOCHS} epochs of Adam at {LEARNING_RATE:g} in float64, {SEEDS} seeds; the verdict covers what is "
        "impossible (50 +- 5 %), for a signal of 1e-7 to 1e-9 makes training a lottery where it is possible; of the "
        "cells only those with a number were trained, to stay within minutes, and the rate was not tuned"
    )
    report.note(
        "the 4-body and the chiral pair have (-4, 0, -3) for the third point of the triangle; with (-3, 0, -4), as in "
        "public notebooks, a half turn maps one structure onto the other"
    )
    report.note(
        "DimeNet-like sums over triangles at a node (body order 3); MACE of correlation 3 needs degree 4 for "
        "pseudo-scalars, hence l_max 4 in 'nu 3, SO(3)'; EGNN starts with weights that move nodes by about an edge, "
        "ten times the usual: its signal at k = 6 was 1e-13 otherwise"
    )


def _test_rows(report: Report) -> None:
    pairs = [k_chains(k) for k in _CHAINS]
    found = [distinguishable(*pair) for pair in pairs]
    theory = [k // 2 + 1 for k in _CHAINS]
    moments = [result.gwl for result in found]
    report.row(
        quantity="iterations of GWL that separate k-chains, k = 2..6", paper=listed(theory), ours=listed(moments),
        holds=moments == theory,
    )  # fmt: skip
    hops = [next(k for k in range(10) if k_hop_distinct(*pair, k)) for pair in pairs]
    report.row(
        quantity="hops from which k-chains are distinct, k = 2..6", paper=listed(theory), ours=listed(hops),
        holds=hops == theory,
    )  # fmt: skip
    never = all({result.igwl, *result.body_orders.values()} == {None} for result in found)
    report.row(quantity="IGWL on k-chains, k = 2..6", paper="never", ours="never" if never else "some", holds=never)
    orders = []
    for case in _CASES:
        result = distinguishable(*counterexamples(case), group="SO(3)" if case == "chiral" else "O(3)")
        orders.append(min(order for order, moment in result.body_orders.items() if moment is not None))
    report.row(
        quantity="body order that separates the 2-, 3-, 4-body and chiral pairs", paper="3, 4, 5, 5",
        ours=listed(orders), holds=orders == [3, 4, 5, 5],
    )  # fmt: skip
    mirror = distinguishable(*counterexamples("chiral"))
    report.row(quantity="chiral pair, reflections allowed", paper="alike", ours="apart" if mirror else "alike",
               holds=not mirror)  # fmt: skip


def _cell(build: Build, pair: Pair, *, possible: bool, train: bool = True, turn: bool = True, **options: Any) -> _Cell:
    found = differences(build, pair, turn=turn, **options)
    accuracy = trained_accuracy(build, pair, turn=turn, **options) if train else None
    return _Cell(possible, float(found[-1]), float(found[SEEDS // 2 - 1]), accuracy)


def _chains(report: Report) -> dict[str, dict[tuple[int, int], _Cell]]:
    """By network, then by k and layers."""
    tables: dict[str, dict[tuple[int, int], _Cell]] = {}
    for number, (name, build) in enumerate(CHAIN_NETWORKS.items()):
        cells, found, theory = {}, [], []
        for k in _CHAINS:
            # positions of EGNN see what its scalars see a layer later
            least = k // 2 + 1 + (name == "EGNN" and k % 2)
            never = name in ("SchNet-like", "DimeNet-like")
            theory.append("never" if never else least)
            for layers in range(k // 2, k // 2 + 3):
                possible = not never and layers >= least
                cells[k, layers] = _cell(
                    build, k_chains(k), possible=possible, train=k == 4 and layers < 4, layers=layers
                )
            able = [layers for (chain, layers), cell in cells.items() if chain == k and cell.median >= _POSSIBLE]
            found.append(min(able) if able else "never")
        report.row(
            quantity=f"layers that separate k-chains, k = 2..6: {name}", paper=listed(theory), ours=listed(found),
            holds=all(cell.agrees for cell in cells.values()),
        )  # fmt: skip
        trained = {layers: cell for (_, layers), cell in cells.items() if cell.accuracy is not None}
        _trained_row(report, f"accuracy on 4-chains with 2 and 3 layers, %: {name}", list(trained.values()))
        tables[name] = cells
        report.progress(number + 1, 3 * len(CHAIN_NETWORKS))
    _signal_rows(report, "k-chains", [cell for cells in tables.values() for cell in cells.values()])
    return tables


def _stars(report: Report) -> dict[str, list[_Cell]]:
    """By network, then by fold."""
    tables = {}
    for name, (build, order) in STAR_NETWORKS.items():
        cells = [
            _cell(
                build, rotsym(fold, 0.5 * math.pi / fold), possible=order >= fold, train=fold < 10 and name in _TRAINED,
                turn=False, layers=1,
                equivariant=True, cutoff=2.0,
            )
            for fold in _FOLDS
        ]  # fmt: skip
        _table_rows(report, name, cells, "folds of stars (2, 3, 5, 10) whose orientation shows", list(map(str, _FOLDS)))
        if name in _TRAINED:
            _trained_row(report, f"accuracy on stars of 2, 3, 5 spokes, %: {name}", cells[:3])
        tables[name] = cells
    report.progress(2, 3)
    _signal_rows(report, "stars", [cell for cells in tables.values() for cell in cells])
    return tables


def _environments(report: Report) -> dict[str, list[_Cell]]:
    """By network, then by case."""
    tables = {}
    for name, build in ENVIRONMENT_NETWORKS.items():
        cells = [
            _cell(build, counterexamples(case), possible=_separable(name, case), train=_trains(name, case), layers=1)
            for case in _CASES
        ]  # fmt: skip
        _table_rows(report, name, cells, "pairs separated in one layer", list(_NAMES.values()))
        if _trains(name, 2):
            _trained_row(report, f"accuracy on the 2- and 3-body pairs, one layer, %: {name}", cells[:2])
        tables[name] = cells
    report.progress(3, 3)
    _signal_rows(report, "environments", [cell for cells in tables.values() for cell in cells])
    return tables


def _trains(name: str, case: Literal[2, 3, 4, "chiral"]) -> bool:
    return case in (2, 3) and "nu 4" not in name and "SO(3)" not in name


def _separable(name: str, case: Literal[2, 3, 4, "chiral"]) -> bool:
    """By the test that bounds the first layer: invariants of a body order, under the network's group."""
    order = 2 if name in ("SchNet-like", "EGNN") else 3
    if "nu" in name:
        order = int(name.split("nu ")[1][0]) + 1
    group: Literal["O(3)", "SO(3)"] = "SO(3)" if "SO(3)" in name else "O(3)"
    return distinguishable(*counterexamples(case), body_orders=(order,), group=group).body_orders[order] == 1


def _table_rows(report: Report, name: str, cells: list[_Cell], quantity: str, labels: list[str]) -> None:
    named = list(zip(labels, cells, strict=True))
    report.row(
        quantity=f"{quantity}: {name}", paper=listed([label for label, cell in named if cell.possible]),
        ours=listed([label for label, cell in named if cell.median >= _POSSIBLE]),
        holds=all(cell.agrees for cell in cells),
    )  # fmt: skip


def _trained_row(report: Report, quantity: str, cells: list[_Cell]) -> None:
    """Accuracies; only those where separation is impossible have a verdict."""
    reached = [cell.accuracy for cell in cells if cell.accuracy is not None]
    chance = [cell.accuracy for cell in cells if cell.accuracy is not None and not cell.possible]
    report.row(
        quantity=quantity, paper=listed(["<= 100" if cell.possible else "50" for cell in cells]),
        ours=listed([f"{value:.0f}" for value in reached]),
        holds=all(abs(value - 50) <= 5 for value in chance) if chance else None,
    )  # fmt: skip


def _signal_rows(report: Report, what: str, cells: list[_Cell]) -> None:
    noise = max(cell.largest for cell in cells if not cell.possible)
    signal = min(cell.median for cell in cells if cell.possible)
    report.row(quantity=f"largest difference where impossible: {what}", paper=f"<= {_IMPOSSIBLE:g}", ours=noise,
               holds=noise <= _IMPOSSIBLE)  # fmt: skip
    report.row(quantity=f"smallest median difference where possible: {what}", paper=f">= {_POSSIBLE:g}", ours=signal,
               holds=signal >= _POSSIBLE)  # fmt: skip


def _figure(
    chains: dict[str, dict[tuple[int, int], _Cell]], stars: dict[str, list[_Cell]], environments: dict[str, list[_Cell]]
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, cells in chains.items():
        least = [
            (
                k,
                min((cell.median, layers) for (chain, layers), cell in cells.items() if chain == k and cell.possible)[
                    0
                ],
            )
            for k in _CHAINS
            if any(cell.possible for (chain, _), cell in cells.items() if chain == k)
        ]
        if least:
            left.plot(*zip(*least, strict=True), "o-", label=name)
    left.axhline(_IMPOSSIBLE, color="0.5", linestyle="--", linewidth=1)
    left.text(2, 1.4e-13, "impossible: below", color="0.4", fontsize=8)
    left.set(yscale="log", xlabel="k, nodes between the ends", ylabel="relative difference of outputs, median",
             title="k-chains, weakest of the depths that can", xticks=list(_CHAINS))  # fmt: skip
    left.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.08))
    for axes, table, labels, title in (
        (middle, stars, [str(fold) for fold in _FOLDS], "stars: spokes"),
        (right, environments, list(_NAMES.values()), "environments, one layer"),
    ):
        values = [[math.log10(max(cell.median, 1e-17)) for cell in cells] for cells in table.values()]
        image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=-17, vmax=0)
        axes.set(xticks=range(len(labels)), xticklabels=labels, yticks=range(len(table)), title=title)
        axes.set_yticklabels(list(table), fontsize=8)
        for row, entries in enumerate(table.values()):
            for column, cell in enumerate(entries):
                text = "" if cell.accuracy is None else f"{cell.accuracy:.0f}"
                dark = values[row][column] < -8
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color="w" if dark else "k")
    figure.colorbar(image, ax=right, label="log10 of the relative difference; text: trained accuracy, %")
    return figure

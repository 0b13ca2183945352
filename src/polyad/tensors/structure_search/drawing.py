"""Pictures of a structure: a few lines of text, or nodes on a circle joined by bonds as wide as their sizes.

0 (7) --3-- 1 (7)
1 (7) --2-- 4 ( )                  a node without a mode has empty brackets
"""

from __future__ import annotations

from math import cos, log2, pi, sin
from typing import TYPE_CHECKING

from polyad.tensors.structure_search.structures import NetworkStructure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_structure(structure: NetworkStructure) -> str:
    """One line a bond, the largest first, then the modes that stand alone."""
    names = [_name(structure, node) for node in range(structure.nodes)]
    bonds = sorted(structure.edges, key=lambda edge: (-structure.ranks[edge[0]][edge[1]], edge))
    width = max(map(len, names))
    lines = [f"{names[i]:>{width}} --{structure.ranks[i][j]}-- {names[j]}" for i, j in bonds]
    joined = {node for edge in bonds for node in edge}
    lines += [f"{names[node]:>{width}}  alone" for node in range(structure.nodes) if node not in joined]
    return "\n".join(lines)


def plot_structure(structure: NetworkStructure, *, title: str | None = None) -> Figure:
    """The network as a matplotlib figure: circles with a mode's number and size, squares without; bonds with sizes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    order = _circle_order(structure)
    angle = {node: 2 * pi * place / len(order) for place, node in enumerate(order)}
    at = {node: (sin(angle[node]), cos(angle[node])) for node in order}
    for i, j in structure.edges:
        rank = structure.ranks[i][j]
        (x1, y1), (x2, y2) = at[i], at[j]
        axes.plot([x1, x2], [y1, y2], color="0.55", linewidth=1 + 1.5 * log2(rank), zorder=1, solid_capstyle="round")
        # off the middle, so that labels of bonds that cross there stay apart
        share = 0.5 if len(order) < 4 else 0.42
        axes.text(
            *(x1 + share * (x2 - x1), y1 + share * (y2 - y1)),
            str(rank),
            ha="center",
            va="center",
            fontsize=10,
            zorder=3,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )
    for node in order:
        x, y = at[node]
        if node < structure.order:
            axes.plot([x, 1.17 * x], [y, 1.17 * y], color="0.25", linewidth=1.5, zorder=1)
            axes.text(1.27 * x, 1.27 * y, f"{structure.shape[node]}", ha="center", va="center", fontsize=10)
        shape, color = ("o", "#4c72b0") if node < structure.order else ("s", "#dd8452")
        axes.plot([x], [y], shape, markersize=22, color=color, zorder=2)
        label = str(node) if node < structure.order else ""
        axes.text(x, y, label, ha="center", va="center", color="white", fontsize=11, zorder=4)
    axes.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
    axes.axis("off")
    axes.set_title(title or f"{structure.parameters:,} parameters")
    return figure


def _name(structure: NetworkStructure, node: int) -> str:
    return f"{node} ({structure.shape[node]})" if node < structure.order else f"{node} ( )"


def _circle_order(structure: NetworkStructure) -> list[int]:
    """A walk that follows the strongest bonds, so that a chain or a ring is drawn as one."""
    ends = [sum(rank > 1 for rank in row) for row in structure.ranks]
    order = [min(range(structure.nodes), key=lambda node: (ends[node] == 0, ends[node], node))]
    while len(order) < structure.nodes:
        rest = [node for node in range(structure.nodes) if node not in order]
        last = structure.ranks[order[-1]]
        order.append(max(rest, key=lambda node: (last[node] > 1, last[node], -node)))
    return order

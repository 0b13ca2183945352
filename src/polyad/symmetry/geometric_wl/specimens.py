"""What the minimal networks share: perceptrons, functions of distance, and checks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.radial import bessel

RADIAL = 8
"""Bessel functions of a distance."""


def perceptron(size: int, hidden: int, out: int, *, bias: bool = True) -> nn.Sequential:
    """One hidden layer with SiLU."""
    return nn.Sequential(nn.Linear(size, hidden, bias=bias), nn.SiLU(), nn.Linear(hidden, out, bias=bias))


def distance_basis(graph: PointGraph, cutoff: float) -> Float[Tensor, "edges functions"]:
    """Bessel functions of the edges' lengths, without a window: the edges are given, none comes or goes.

    Raises:
        InputError: an edge without direction, or longer than the cutoff, where the functions vanish or repeat.
    """
    distance = graph.distances()
    if distance.numel() and not 0 < float(distance.min()) <= float(distance.max()) < cutoff:
        raise InputError(
            f"graph: edges are {float(distance.min()):g} to {float(distance.max()):g} long; this network takes lengths "
            f"above 0 and below its cutoff, {cutoff:g}"
        )
    return cutoff**1.5 * bessel(distance, RADIAL, cutoff)


def check_sizes(channels: int, layers: int, outputs: int, kinds: int) -> None:
    """Raise InputError unless there is at least one of each."""
    if min(channels, layers, outputs, kinds) < 1:
        raise InputError(
            f"network: {channels} channels, {layers} layers, {outputs} outputs, {kinds} kinds; give 1 or more of each"
        )

"""What defines a named cell: a space group, a cell, one node and one strut of every orbit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from polyad.errors import InputError

Point = Sequence[float]

CUBIC = (1.0, 1.0, 1.0)
"""Edges of the unit cube."""


@final
@dataclass(frozen=True)
class Seed:
    """A net before its symmetry is applied.

    Args:
        group: space-group symbol.
        edges: lengths a, b, c of the conventional cell; angles follow from the group (see `hexagonal`).
        sites: fractional positions of one node an orbit.
        struts: pairs of fractional positions, one strut an orbit.
        hexagonal: gamma is 120 degrees.
    """

    group: str
    edges: tuple[float, float, float]
    sites: Sequence[Point]
    struts: Sequence[tuple[Point, Point]]
    hexagonal: bool = False


@final
@dataclass(frozen=True)
class NamedCell:
    """An entry of the collection.

    Args:
        name: canonical name.
        seed: its seed for given parameters.
        description: one line.
        source: where the cell is published.
        parameters: parameters with their defaults; all are dimensionless.
        aliases: other names.
    """

    name: str
    seed: Callable[..., Seed]
    description: str
    source: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


def within(name: str, value: float, low: float, high: float) -> float:
    """The parameter, if it lies strictly between two bounds.

    Raises:
        InputError: it does not.
    """
    if not (math.isfinite(value) and low < value < high):
        raise InputError(f"{name} is {value!r}; it must lie between {low:g} and {high:g}")
    return float(value)


def fixed(seed: Seed) -> Callable[[], Seed]:
    """A seed without parameters."""
    return lambda: seed


def with_aspect(
    group: str,
    sites: Sequence[Point],
    struts: Sequence[tuple[Point, Point]],
    *,
    hexagonal: bool = False,
    width: float = 1.0,
) -> Callable[..., Seed]:
    """A seed whose cell has edges 1, `width`, c, with c a parameter."""

    def seed(c: float) -> Seed:
        return Seed(group, (1.0, width, within("c", c, 0.05, 20.0)), sites, struts, hexagonal)

    return seed

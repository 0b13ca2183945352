"""Rates and limits of NEAT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from polyad.errors import InputError
from polyad.optim.checks import check_not_negative, check_positive
from polyad.optim.neuroevolution.functions import ACTIVATIONS, AGGREGATIONS


@final
@dataclass(frozen=True)
class NumberRates:
    """How a number of a gene changes: by a normal step, by a new draw, or not; always within +-`limit`."""

    perturb: float = 0.8
    replace: float = 0.1
    step: float = 0.5
    deviation: float = 1.0
    mean: float = 0.0
    limit: float = 30.0

    def __post_init__(self) -> None:
        """Refuse rates that are no probabilities."""
        check_not_negative(perturb=self.perturb, replace=self.replace, step=self.step, deviation=self.deviation)
        check_positive(limit=self.limit)
        if self.perturb + self.replace > 1 or not math.isfinite(self.mean):
            raise InputError(
                f"rates: perturb {self.perturb} and replace {self.replace} must add up to at most 1, "
                f"and the mean {self.mean} must be finite"
            )


@final
@dataclass(frozen=True)
class Settings:
    """All rates of an evolution.

    Attributes:
        maximum_nodes, maximum_connections: rows of a genome; a mutation that needs more does nothing.
        add_node, delete_node, add_connection, delete_connection: probability for a child.
        weight, bias, response: how these numbers of every gene change.
        toggle: probability that a connection is switched on or off.
        aggregations, activations: names a node may have; the first is what new nodes get.
        replace_function: probability that a node draws its aggregation anew, and likewise its activation.
        feed_forward: refuse connections that close a cycle.
        disjoint, difference: weights of genes without a partner and of differing attributes in the distance.
        threshold: distance within which a genome belongs to a species.
        maximum_species: number of places for species.
        stagnation: generations without progress after which a species dies.
        species_elitism: number of the best species that never die.
        elitism: best genomes of a species that live on unchanged.
        survival: share of a species, from its best down, that has children.
        smallest_species: children that every species gets at least.
        spawn: "rank" shares children by the rank of species, "mean" by their mean fitness.
        spawn_change: share of the way from a species' size to its due that a generation goes.
    """

    maximum_nodes: int = 50
    maximum_connections: int = 100
    add_node: float = 0.1
    delete_node: float = 0.1
    add_connection: float = 0.2
    delete_connection: float = 0.2
    weight: NumberRates = NumberRates()
    bias: NumberRates = NumberRates(perturb=0.7)
    response: NumberRates = NumberRates(perturb=0.0, replace=0.0, deviation=0.0, mean=1.0)
    toggle: float = 0.01
    aggregations: tuple[str, ...] = ("sum",)
    activations: tuple[str, ...] = ("tanh",)
    replace_function: float = 0.1
    feed_forward: bool = True
    disjoint: float = 1.0
    difference: float = 0.4
    threshold: float = 3.0
    maximum_species: int = 10
    stagnation: int = 15
    species_elitism: int = 2
    elitism: int = 2
    survival: float = 0.2
    smallest_species: int = 2
    spawn: Literal["rank", "mean"] = "rank"
    spawn_change: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for name in (
            "add_node", "delete_node", "add_connection", "delete_connection", "toggle", "replace_function",
            "survival", "spawn_change",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: must lie in [0, 1], got {getattr(self, name)}")
        check_positive(threshold=self.threshold, survival=self.survival, spawn_change=self.spawn_change)
        check_not_negative(disjoint=self.disjoint, difference=self.difference)
        for name in ("maximum_nodes", "maximum_connections", "maximum_species", "species_elitism", "smallest_species"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name, known in (("activations", tuple(ACTIVATIONS)), ("aggregations", AGGREGATIONS)):
            chosen = getattr(self, name)
            if not chosen or not set(chosen) <= set(known):
                raise InputError(f"{name}: got {chosen}; choose from {', '.join(known)}")
        if self.spawn not in ("rank", "mean"):
            raise InputError(f"spawn: got {self.spawn!r}; choose 'rank' or 'mean'")

    @property
    def activation_numbers(self) -> tuple[int, ...]:
        """Numbers of the allowed activations."""
        return tuple(list(ACTIVATIONS).index(name) for name in self.activations)

    @property
    def aggregation_numbers(self) -> tuple[int, ...]:
        """Numbers of the allowed aggregations."""
        return tuple(AGGREGATIONS.index(name) for name in self.aggregations)

"""Two genomes side by side: their distance, and a child of both.

Genes of two genomes are homologous when their codes agree: the key of a node, the pair of keys of a connection. Sorted
codes and a binary search find them for the whole population at once.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution.engines import Engine, runs_compiled
from polyad.optim.neuroevolution.population import (
    ACTIVATION,
    AGGREGATION,
    BIAS,
    EMPTY,
    ENABLED,
    RESPONSE,
    WEIGHT,
    Population,
    match,
)


def distance(
    first: Population,
    second: Population,
    *,
    disjoint: float = 1.0,
    difference: float = 0.4,
    engine: Engine = "auto",
) -> Float[Tensor, " genomes"]:
    """Compatibility distance of every genome of `first` to that of `second` in the same place, or to its only one.

    Nodes and connections add (disjoint n + difference s) / m each: n genes without a partner, s the sum over partners
    of |differences of numbers| and one for each differing function or switch, m the larger gene count of the two.

    Args:
        first: genomes.
        second: as many genomes, or one.
        disjoint: weight of genes without a partner.
        difference: weight of differences.
        engine: array operations or loops.
    """
    _check_pair(first, second, single=True)
    if runs_compiled(engine, first.nodes):
        from polyad.optim.neuroevolution._evolution_kernels import distances

        result = first.nodes.new_empty(len(first))
        distances(*first.arrays(), *second.arrays(), float(disjoint), float(difference), result.numpy())
        return result
    nodes = _part(
        (first.nodes, first.node_codes), (second.nodes, second.node_codes), (BIAS, RESPONSE), (AGGREGATION, ACTIVATION)
    )
    connections = _part(
        (first.connections, first.connection_codes),
        (second.connections, second.connection_codes),
        (WEIGHT,),
        (ENABLED,),
    )
    return sum(
        (disjoint * alone + difference * differing) / larger.clamp_min(1)
        for alone, differing, larger in (nodes, connections)
    )  # type: ignore[return-value]


def crossover(
    fitter: Population,
    other: Population,
    *,
    node_picks: Bool[Tensor, "genomes nodes 4"],
    connection_picks: Bool[Tensor, "genomes connections 2"],
    engine: Engine = "auto",
) -> Population:
    """Children with the genes of `fitter`; attributes of homologous genes come from `other` where picked.

    Args:
        fitter: genomes whose structure the children have.
        other: as many genomes.
        node_picks: for bias, response, aggregation and activation of each of the fitter's nodes: take the other's.
        connection_picks: likewise for weight and switch of each of the fitter's connections.
        engine: array operations or loops.
    """
    _check_pair(fitter, other, single=False)
    if runs_compiled(engine, fitter.nodes):
        from polyad.optim.neuroevolution._evolution_kernels import mix

        nodes, connections = (torch.full_like(rows, torch.nan) for rows in (fitter.nodes, fitter.connections))
        (rows, links), (other_rows, other_links) = fitter.arrays(), other.arrays()
        mix(rows, other_rows, node_picks.numpy(), 1, nodes.numpy())
        mix(links, other_links, connection_picks.numpy(), 2, connections.numpy())
        return Population(nodes, connections, fitter.inputs, fitter.outputs)
    nodes = _mixed((fitter.nodes, fitter.node_codes), (other.nodes, other.node_codes), node_picks, 1)
    connections = _mixed(
        (fitter.connections, fitter.connection_codes),
        (other.connections, other.connection_codes),
        connection_picks,
        2,
    )
    return Population(nodes, connections, fitter.inputs, fitter.outputs)


def _part(
    first: tuple[Tensor, Int[Tensor, "a b"]],
    second: tuple[Tensor, Int[Tensor, "c d"]],
    numbers: tuple[int, ...],
    names: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Genes without a partner, sum of differences, and larger gene count, of one kind of gene."""
    (rows, codes), (other_rows, other_codes) = first, second
    place, found = match(codes, other_codes)
    differing = rows.new_zeros(rows.shape[:2])
    for column in (*numbers, *names):
        values = other_rows[..., column]
        partner = values.gather(1, place) if len(values) == len(rows) else values[0][place]
        gap = (rows[..., column] - partner).abs_()
        differing += (gap > 0) if column in names else gap
    differing = torch.where(found, differing, 0.0).sum(1)
    shared = found.sum(1)
    mine, theirs = (codes != EMPTY).sum(1), (other_codes != EMPTY).sum(1)
    return (mine + theirs - 2 * shared).to(rows.dtype), differing, torch.maximum(mine, theirs)


def _mixed(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], picks: Tensor, start: int) -> Tensor:
    (rows, codes), (other_rows, other_codes) = first, second
    place, found = match(codes, other_codes)
    if other_rows.shape[1] == 0:
        return rows
    partner = other_rows.gather(1, place[..., None].expand(-1, -1, rows.shape[2]))[..., start:]
    mixed = torch.where(found[..., None] & picks, partner, rows[..., start:])
    return torch.cat([rows[..., :start], mixed], 2)


def _check_pair(first: Population, second: Population, *, single: bool) -> None:
    if (first.inputs, first.outputs) != (second.inputs, second.outputs):
        raise InputError(
            f"populations: {first.inputs} inputs and {first.outputs} outputs beside {second.inputs} and "
            f"{second.outputs}; only genomes of the same task can be compared"
        )
    if len(second) != len(first) and not (single and len(second) == 1):
        raise InputError(f"populations: {len(first)} genomes beside {len(second)}; give as many{' or one' * single}")

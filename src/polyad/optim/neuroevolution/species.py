"""Species: who belongs to which, which of them have stopped improving, and how many children each gets.

Species live in a fixed number of places; of each the centre genome, its best fitness and when it was reached are kept.
A genome belongs to the first species whose centre lies within the threshold; where none does and a place is free, it
founds one. Then the member nearest to a centre becomes the next generation's centre.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.optim.neuroevolution.alignment import distance
from polyad.optim.neuroevolution.engines import Engine
from polyad.optim.neuroevolution.population import Population
from polyad.optim.neuroevolution.settings import Settings


@final
@dataclass(frozen=True)
class Species:
    """Places for species.

    Attributes:
        centres: index, in the population that was sorted last, of the next generation's centre.
        sizes: number of members; 0 where the place is free.
        best: best fitness so far, -inf at first.
        improved: generation in which it was reached.
    """

    centres: Int[Tensor, " species"]
    sizes: Int[Tensor, " species"]
    best: Float[Tensor, " species"]
    improved: Int[Tensor, " species"]

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def no_species(places: int, *, device: torch.device | None = None) -> Species:
    """Free places."""
    integers = torch.zeros(places, dtype=torch.long, device=device)
    return Species(integers, integers, torch.full((places,), -torch.inf, dtype=torch.float64, device=device), integers)


def speciate(
    population: Population,
    species: Species,
    centres: Population | None,
    settings: Settings,
    *,
    generation: int,
    engine: Engine = "auto",
) -> tuple[Int[Tensor, " genomes"], Species]:
    """Species of every genome, and the species after it.

    Where all places are taken, a genome too far from every centre goes to the nearest.

    Args:
        population: genomes.
        species: of the generation before.
        centres: their centre genomes, one a place (whatever stands in free places); None where all are free.
        settings: threshold and weights of the distance.
        generation: its number, for species that are founded.
        engine: array operations or loops.
    """
    device = population.nodes.device
    membership = torch.full((len(population),), -1, device=device)
    nearest, nearest_place = torch.full_like(population.nodes[:, 0, 0], torch.inf), torch.zeros_like(membership)
    alive = [size > 0 for size in species.sizes.tolist()]
    next_centres = [0] * len(alive)
    best, improved = species.best.clone(), species.improved.clone()
    # those that live come first, so that a founder never takes a genome which is theirs
    for place in sorted(range(len(alive)), key=lambda place: not alive[place]):
        free = membership < 0
        if alive[place]:
            assert centres is not None
            centre = centres[place : place + 1]
        elif bool(free.any()):
            founder = int(free.int().argmax())
            centre = population[founder : founder + 1]
            best[place], improved[place] = -torch.inf, generation
        else:
            break
        gap = distance(population, centre, disjoint=settings.disjoint, difference=settings.difference, engine=engine)
        joins = free & (gap < settings.threshold)
        if not alive[place]:
            joins[founder] = True
        membership = torch.where(joins, place, membership)
        closer = gap < nearest
        nearest, nearest_place = torch.where(closer, gap, nearest), torch.where(closer, place, nearest_place)
        next_centres[place] = int(torch.where(joins, gap, torch.inf).argmin())
    membership = torch.where(membership < 0, nearest_place, membership)
    sizes = torch.bincount(membership, minlength=len(alive))
    chosen = torch.tensor(next_centres, device=device)
    # a species whose members are all strays has none within its threshold: one of them becomes the centre
    stray = (sizes > 0) & (membership[chosen] != torch.arange(len(alive), device=device))
    for place in stray.nonzero().flatten().tolist():
        chosen[place] = int((membership == place).int().argmax())
    return membership, Species(chosen, sizes, best, improved)


def after_fitness(
    species: Species,
    membership: Int[Tensor, " genomes"],
    fitness: Float[Tensor, " genomes"],
    settings: Settings,
    *,
    generation: int,
) -> tuple[Species, Bool[Tensor, " species"], Float[Tensor, " species"], Float[Tensor, " species"]]:
    """Species with their progress; which of them go on; their best and mean fitness (-inf in free places).

    A species goes on unless it has made no progress for longer than `stagnation`; the best ones go on in any case.
    """
    values = fitness.to(species.best.dtype)
    highest = torch.full_like(species.best, -torch.inf).scatter_reduce(0, membership, values, "amax")
    mean = torch.zeros_like(species.best).scatter_reduce(0, membership, values, "mean", include_self=False)
    alive = species.sizes > 0
    better = highest > species.best
    best = torch.where(better, highest, species.best)
    improved = torch.where(better, generation, species.improved)
    rank = ranks(torch.where(alive, highest, -torch.inf))
    goes_on = alive & ((generation - improved <= settings.stagnation) | (rank < settings.species_elitism))
    return (
        Species(species.centres, torch.where(goes_on, species.sizes, 0), best, improved),
        goes_on,
        highest,
        torch.where(alive, mean, -torch.inf),
    )


def ranks(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """0 for the largest value, then 1 and so on; equal ones in their order."""
    order = values.argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))


def spawn_numbers(
    goes_on: Bool[Tensor, " species"],
    sizes: Int[Tensor, " species"],
    fitness: Float[Tensor, " species"],
    total: int,
    *,
    method: Literal["rank", "mean"] = "rank",
    change: float = 0.5,
    smallest: int = 2,
) -> Int[Tensor, " species"]:
    """Children of each species, `total` together: its size, moved by `change` towards its due.

    By rank, the due of the k-th best of n falls linearly, n - k; by mean, it is the fitness above the worst
    species' with a tenth of the range added.

    Args:
        goes_on: species that get children.
        sizes: of the species now.
        fitness: best fitness for "rank", mean fitness for "mean".
        total: number of children.
        method: "rank" or "mean".
        change: share of the way to the due.
        smallest: children that a species gets at least, where there are enough.
    """
    count = int(goes_on.sum())
    values = torch.where(goes_on, fitness, -torch.inf)
    if method == "rank":
        due = torch.where(goes_on, count - ranks(values), 0).double()
    else:
        low, high = fitness[goes_on].amin(), fitness[goes_on].amax()
        spread = high - low
        due = torch.where(goes_on, fitness.nan_to_num(neginf=0.0) - low + 0.1 * spread, 0.0).double()
        due = due if float(spread) > 0 else goes_on.double()
    due = due / due.sum() * total
    moved = torch.where(goes_on, sizes + change * (due - sizes), 0.0)
    smallest = min(smallest, total // count)
    above = (moved - smallest).clamp_min(0) * goes_on
    above = above if float(above.sum()) > 0 else goes_on.double()
    share = above / above.sum() * (total - smallest * count)
    whole = share.floor()
    # what rounding leaves goes to the largest remainders
    left = total - smallest * count - int(whole.sum())
    whole += (ranks(torch.where(goes_on, share - whole, -1.0)) < left).double()
    return whole.long() + smallest * goes_on

"""Systems of charged particles in a cube: random clusters, and rock-salt lattices with vacancies.

Both stand in for molecules and crystals where only charges and their places matter. A cluster keeps its particles
apart, as atoms do.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

Particles = tuple[Float[Tensor, " charges"], Float[Tensor, "charges 3"]]
ATTEMPTS = 50  # rounds that may pass without a new place


def random_cluster(count: int, *, half_width: float = 1.0, separation: float = 0.0, seed: int = 0) -> Particles:
    """Charges +-1 at random places of [-half_width, half_width]^3.

    Args:
        count: number of charges.
        half_width: of the cube (a length).
        separation: least distance of two charges.
        seed: of places and signs.

    Raises:
        InputError: no room for so many at this separation.
    """
    if count < 1 or not (0 < half_width < math.inf and separation >= 0):
        raise InputError(
            f"count: {count}, half_width {half_width:g}, separation {separation:g}; positive ones are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    charges = 1.0 - 2.0 * torch.randint(0, 2, (count,), generator=generator).double()
    places = torch.empty(0, 3, dtype=torch.float64)
    empty_rounds = 0
    while len(places) < count and empty_rounds < ATTEMPTS:
        drawn = half_width * (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1)
        before = len(places)
        free = (torch.cdist(drawn, places) >= separation).all(1)
        for place in drawn[free]:
            if len(places) < count and bool(((places - place).square().sum(1) >= separation**2).all()):
                places = torch.cat([places, place[None]])
        empty_rounds = empty_rounds + 1 if len(places) == before else 0
    if len(places) == count:
        return charges, places
    raise InputError(
        f"separation: only {len(places)} of {count} charges found room at distance {separation:g} in a cube of width "
        f"{2 * half_width:g}; take a smaller one"
    )


def lattice_with_vacancies(cells: int, *, half_width: float = 1.0, vacancies: float = 0.0, seed: int = 0) -> Particles:
    """Charges of alternating sign on cells^3 sites in the middles of equal cubes, some of them missing.

    Args:
        cells: sites along an edge.
        half_width: of the cube (a length).
        vacancies: share of the sites that are empty, chosen at random.
        seed: of the choice.
    """
    if cells < 1 or not (0 < half_width < math.inf and 0 <= vacancies < 1):
        raise InputError(
            f"vacancies: {vacancies:g}, cells {cells}, half_width {half_width:g}; a share from 0 to below 1 and "
            "positive sizes are needed"
        )
    index = torch.cartesian_prod(*[torch.arange(cells)] * 3).reshape(-1, 3)
    positions = half_width * ((2 * index + 1).double() / cells - 1)
    charges = 1.0 - 2.0 * (index.sum(1) % 2).double()
    kept = len(index) - round(vacancies * len(index))
    chosen = torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))[: max(kept, 1)].sort().values
    return charges[chosen], positions[chosen]

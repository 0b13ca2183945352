"""Clusters of atoms with two- and three-body forces, and a small network that learns them with a product of choice."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.linear import DegreeLinear
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics

ATOMS = 8


@final
@dataclass(frozen=True)
class Clusters:
    """Positions (clusters, 8, 3) in units of the Lennard-Jones diameter, energies and forces in units of its depth."""

    positions: Tensor
    energies: Tensor
    forces: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Clusters:
        return Clusters(self.positions[rows], self.energies[rows], self.forces[rows])


def energy(positions: Tensor, *, triple: float = 0.5) -> Tensor:
    """Lennard-Jones pairs and Axilrod-Teller triples of clusters (..., atoms, 3)."""
    count = positions.shape[-2]
    first, second = torch.triu_indices(count, count, 1)
    squares = (positions[..., first, :] - positions[..., second, :]).square().sum(-1)
    pairs = 4 * (squares**-6 - squares**-3).sum(-1)
    i, j, k = torch.combinations(torch.arange(count), 3).T
    sides = [
        (positions[..., a, :] - positions[..., b, :]).square().sum(-1) for a, b in ((i, j), (j, k), (k, i))
    ]  # fmt: skip
    # cosine of the angle opposite to each side, by the law of cosines, times 2 x the two sides that meet there
    twice = [sides[(n + 1) % 3] + sides[(n + 2) % 3] - sides[n] for n in range(3)]
    product = sides[0] * sides[1] * sides[2]
    return pairs + triple * ((1 + 3 / 8 * twice[0] * twice[1] * twice[2] / product) * product**-1.5).sum(-1)


def make_clusters(count: int, *, seed: int) -> Clusters:
    """Clusters relaxed a little from random positions, then shaken: dense, of finite forces, all different."""
    generator = torch.Generator().manual_seed(seed)
    positions = 1.1 * torch.randn(count, ATOMS, 3, generator=generator, dtype=torch.float64)
    for step in range(300):
        positions.requires_grad_()
        (gradient,) = torch.autograd.grad(energy(positions).sum(), positions)
        length = 0.05 * 0.99**step
        size = gradient.norm(dim=-1, keepdim=True)
        positions = positions.detach() - gradient * (length / size.clamp_min(20 * length))
    positions = positions + 0.05 * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    positions.requires_grad_()
    values = energy(positions)
    (gradient,) = torch.autograd.grad(values.sum(), positions)
    return Clusters(*(tensor.detach().float() for tensor in (positions, values, -gradient)))


@final
class DenseProduct(nn.Module):
    """The Clebsch-Gordan product of all degrees 0..lmax, one weight a path and channel, block by block (l1, l2)."""

    def __init__(self, lmax: int, *, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.lmax = lmax
        self.pairs = [(l1, l2) for l1 in range(lmax + 1) for l2 in range(lmax + 1)]
        self.weights = nn.ParameterList()
        for l1, l2 in self.pairs:
            degrees = range(abs(l1 - l2), min(l1 + l2, lmax) + 1)
            blocks = torch.cat([clebsch_gordan(l1, l2, l3).flatten(0, 1) for l3 in degrees], dim=1)
            self.register_buffer(f"block_{l1}_{l2}", blocks.float(), persistent=False)
            self.weights.append(nn.Parameter(torch.randn(channels, len(degrees), generator=generator)))
            spread = torch.cat(
                [torch.eye(len(degrees))[:, [k]].expand(-1, 2 * l3 + 1) for k, l3 in enumerate(degrees)], 1
            )
            self.register_buffer(f"spread_{l1}_{l2}", spread, persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(..., channels, (lmax + 1)^2) times the same."""
        places = degree_slices(self.lmax)
        sums: list[Tensor | None] = [None] * (self.lmax + 1)
        for (l1, l2), weight in zip(self.pairs, self.weights, strict=True):
            outer = (first[..., places[l1], None] * second[..., None, places[l2]]).flatten(-2)
            coupled = (outer @ getattr(self, f"block_{l1}_{l2}")) * (weight @ getattr(self, f"spread_{l1}_{l2}"))
            degrees = range(abs(l1 - l2), min(l1 + l2, self.lmax) + 1)
            for l3, part in zip(degrees, coupled.split([2 * l3 + 1 for l3 in degrees], dim=-1), strict=True):
                before = sums[l3]
                sums[l3] = part if before is None else before + part
        return torch.cat([part for part in sums if part is not None], dim=-1)


@final
class ClusterNetwork(nn.Module):
    """Density A of neighbours in harmonics, two products of it with itself, an energy of the invariants."""

    def __init__(
        self, product: Callable[[], nn.Module], *, lmax: int, channels: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.lmax, self.channels = lmax, channels
        with torch.random.fork_rng(devices=[]):  # torch's own layers start from the global generator
            torch.manual_seed(generator.initial_seed())
            self.radial = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, channels * (lmax + 1)))
            self.readout = nn.Sequential(nn.Linear(3 * channels, 32), nn.SiLU(), nn.Linear(32, 1))
        self.products = nn.ModuleList([product(), product()])
        self.mix = DegreeLinear(channels, channels, lmax, generator=generator)
        # products of random functions grow with their number of components: fixed scales, equal for every kind
        self.scales = nn.ParameterList([nn.Parameter(torch.tensor(0.1)) for _ in range(2)])
        orders = torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1)
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Energies of clusters (batch, atoms, 3)."""
        count = positions.shape[-2]
        others = (torch.arange(count)[:, None] + torch.arange(1, count)) % count
        vectors = positions[:, others] - positions[:, :, None]
        distances = vectors.square().sum(-1, keepdim=True).sqrt()
        waves = (
            torch.sin(torch.arange(1, 9) * (math.pi / 5) * distances) / distances * torch.exp(-((distances / 3) ** 4))
        )
        radial = self.radial(waves).unflatten(-1, (self.channels, self.lmax + 1))[..., self.orders]
        harmonics = spherical_harmonics(vectors, self.lmax, normalization="component")
        density = (radial * harmonics.unsqueeze(-2)).sum(2) / math.sqrt(count - 1)
        second = self.scales[0] * self.products[0](density, density)
        third = self.scales[1] * self.products[1](self.mix(second), density)
        scalars = torch.cat([density[..., 0], second[..., 0], third[..., 0]], dim=-1)
        return self.readout(scalars).sum((-2, -1))


@final
@dataclass(frozen=True)
class Trained:
    """Force error on held-out clusters, seconds a step, number of parameters."""

    force_error: float
    step_seconds: float
    parameters: int


def train_together(
    models: dict[str, ClusterNetwork],
    data: Clusters,
    held_out: Clusters,
    *,
    steps: int,
    batch: int,
    progress: Callable[[int, int], None],
) -> dict[str, Trained]:
    """The same batches for every model, step by step in turn, so that a slow spell of the machine hits all alike."""
    scale = float(data.forces.square().mean().sqrt())
    shift = float(data.energies.mean())
    optimizers = {name: torch.optim.Adam(model.parameters(), 4e-3) for name, model in models.items()}
    schedules = {
        name: torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for name, optimizer in optimizers.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rows = torch.randint(len(data.positions), (batch,), generator=generator)
        for name, model in models.items():
            start = time.perf_counter()
            chosen = data[rows]
            energies, forces = _energies_and_forces(model, chosen.positions, create_graph=True)
            target = (chosen.energies - shift) / scale
            loss = 0.1 * (energies - target).square().mean() + (forces - chosen.forces / scale).square().mean()
            optimizers[name].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizers[name].step()
            schedules[name].step()
            seconds[name].append(time.perf_counter() - start)
        progress(step + 1, steps)
    result = {}
    for name, model in models.items():
        _, forces = _energies_and_forces(model, held_out.positions, create_graph=False)
        error = float((forces * scale - held_out.forces).abs().mean())
        times = sorted(seconds[name])
        parameters = sum(parameter.numel() for parameter in model.parameters())
        result[name] = Trained(error, times[len(times) // 2], parameters)
    return result


def _energies_and_forces(model: nn.Module, positions: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
    moved = positions.detach().clone().requires_grad_()
    energies = model(moved)
    (gradient,) = torch.autograd.grad(energies.sum(), moved, create_graph=create_graph)
    return energies, -gradient

"""What inverse-free K-FAC is compared with, and on what: K-FAC with explicit inverses, and two small networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.optim.base import GradientOptimizer
from polyad.optim.curvature.kronecker import KroneckerCollector
from polyad.optim.curvature.layers import DENSE
from polyad.optim.kronecker.base_updates import base_update
from polyad.optim.kronecker.matrices import matrices_of
from polyad.problems.glyphs import glyphs

Problem = tuple[Callable[[], nn.Module], Tensor, Tensor]
"""A network, inputs, labels."""


@final
class KFAC(GradientOptimizer):
    """Momentum along gradients between explicit inverses of running means, renewed at every step."""

    def __init__(
        self,
        params: Any,
        *,
        model: nn.Module,
        lr: float,
        damping: float,
        factor_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"base": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 0.0})
        self.collector = KroneckerCollector(model, kinds=(DENSE,))
        self.matrices = matrices_of(model, self.collector.layers)
        self.dtype, self.damping, self.steps = factor_dtype, damping, 0
        self.means: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Renew means and inverses, precondition, and step."""
        directions: dict[Tensor, Tensor] = {}
        self.steps += 1
        for name, factors in self.collector.factors().items():
            assert factors.input is not None
            new = [factors.input, factors.output]
            old = self.means.setdefault(name, [torch.zeros_like(x) for x in new])
            self.means[name] = [0.95 * a + 0.05 * b for a, b in zip(old, new, strict=True)]
            right, left = (self._inverse(x / (1 - 0.95**self.steps)) for x in self.means[name])
            gradient = self.matrices[name].gradient(self.dtype)
            self.matrices[name].place((left @ gradient @ right).float(), directions)
        self.collector.reset()
        base_update(self.state, group, parameters, [directions.get(p, p.grad) for p in parameters])  # type: ignore[misc]

    def _inverse(self, factor: Tensor) -> Tensor:
        ridge = self.damping**0.5 * torch.eye(len(factor))
        return torch.linalg.inv((factor + ridge).to(self.dtype).float()).to(self.dtype)


def rounding_to_ridge(problem: Problem, *, seed: int, batch: int, damping: float) -> float:
    """Half a unit of bfloat16 at the largest eigenvalue of a first batch's factors, over the ridge that is added.

    Args:
        problem: a network and its data.
        seed: of weights.
        batch: samples.
        damping: of K-FAC.
    """
    make, inputs, labels = problem
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
    collector = KroneckerCollector(model, kinds=(DENSE,))
    nn.functional.cross_entropy(model(inputs[:batch]), labels[:batch]).backward()
    factors = [x for pair in collector.factors().values() for x in (pair.input, pair.output) if x is not None]
    collector.remove()
    largest = max(float(torch.linalg.matrix_norm(x, 2)) for x in factors)
    return largest * 2**-9 / damping**0.5


def digits() -> Problem:
    """1,408 digits of 8 x 8 pixels, two hidden layers."""
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32)[:1408] / 16
    sizes = (64, 128, 128, 10)
    return lambda: _dense(sizes), inputs, torch.tensor(data.target)[:1408]


def _dense(sizes: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for given, made in itertools.pairwise(sizes):
        layers += [nn.Linear(given, made), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def letters() -> Problem:
    """640 drawn letters and figures of 12 x 12 pixels, two convolutions and a linear layer."""
    images, labels = glyphs(640, size=12, seed=1)

    def make() -> nn.Module:
        first = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        second = (nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(144, 10))

    return make, images, labels

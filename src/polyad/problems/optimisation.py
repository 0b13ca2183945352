"""Functions for optimisers with known answers: quadratics of any spectrum, chains, Rosenbrock, logistic regression.

Each is a function of torch tensors that broadcasts over leading dimensions and can be differentiated; gradients and
Hessians come from autograd unless a closed form is offered.

Sources: Y. Nesterov, Lectures on Convex Optimization, 2018, sections 2.1.2 and 4.3.1 (chains); F. Jarre, Optimization
Methods and Software 28, 2013 (Chebyshev-Rosenbrock, which he attributes to Nesterov).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError


@final
@dataclass(frozen=True, eq=False)
class Quadratic:
    """f(x) = (x - minimum)' matrix (x - minimum) / 2.

    Args:
        matrix: symmetric.
        minimum: where f vanishes; of an indefinite matrix, the saddle.
    """

    matrix: Float[Tensor, "d d"]
    minimum: Float[Tensor, " d"]

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Values."""
        moved = x - self.minimum
        return 0.5 * (moved * (moved @ self.matrix)).sum(-1)

    def gradient(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Gradients."""
        return (x - self.minimum) @ self.matrix


def random_orthogonal(order: int, *, seed: int) -> Float[Tensor, "d d"]:
    """An orthogonal matrix from the uniform (Haar) measure, in float64.

    Args:
        order: number of rows.
        seed: of the matrix.
    """
    if order < 1:
        raise InputError(f"order: must be at least 1, got {order}")
    normal = torch.randn(order, order, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis, triangle = torch.linalg.qr(normal)
    return basis * triangle.diagonal().sign()  # the sign that QR leaves open would favour some bases


def quadratic(spectrum: Sequence[float] | Tensor, *, seed: int) -> Quadratic:
    """A quadratic with given eigenvalues in a random basis, its minimum drawn from the normal distribution.

    Args:
        spectrum: eigenvalues of the Hessian, of any sign.
        seed: of basis and minimum.

    Raises:
        InputError: no eigenvalues, or some that are not finite.
    """
    eigenvalues = torch.as_tensor(spectrum, dtype=torch.float64)
    if eigenvalues.ndim != 1 or len(eigenvalues) == 0 or not bool(eigenvalues.isfinite().all()):
        raise InputError("spectrum: give a list of finite eigenvalues, at least one")
    basis = random_orthogonal(len(eigenvalues), seed=seed)
    minimum = torch.randn(len(eigenvalues), generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    matrix = (basis * eigenvalues) @ basis.mT
    return Quadratic((matrix + matrix.mT) / 2, minimum)


def log_spectrum(order: int, condition: float) -> Float[Tensor, " d"]:
    """Eigenvalues from 1 / condition to 1, equally spaced in the logarithm."""
    if order < 1 or not condition >= 1:
        raise InputError(f"order, condition: need order >= 1 and condition >= 1, got {order}, {condition}")
    return torch.logspace(-math.log10(condition), 0, order, dtype=torch.float64)


def quadratic_chain(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """Nesterov's worst function of first-order methods: (x_1^2 + sum (x_i - x_{i+1})^2 + x_d^2) / 8 - x_1 / 4.

    The minimum lies at x_i = 1 - i / (d + 1), with the value (1 / (d + 1) - 1) / 8.
    """
    links = (x[..., :-1] - x[..., 1:]).square().sum(-1)
    return (x[..., 0].square() + links + x[..., -1].square()) / 8 - x[..., 0] / 4


def power_chain(x: Float[Tensor, "*batch d"], *, power: float = 3.0) -> Float[Tensor, "*batch"]:
    """(sum |x_i - x_{i+1}|^p + |x_d|^p) / p - x_1: with p = 3 the worst function of second-order methods.

    The minimum lies at x_i = d + 1 - i, with the value -d (1 - 1 / p).
    """
    links = (x[..., :-1] - x[..., 1:]).abs().pow(power).sum(-1) + x[..., -1].abs().pow(power)
    return links / power - x[..., 0]


def chebyshev_rosenbrock(x: Float[Tensor, "*batch d"], *, weight: float = 1.0) -> Float[Tensor, "*batch"]:
    """(1 - x_1)^2 / 4 + weight sum (x_{i+1} - 2 x_i^2 + 1)^2: a bent valley, whose minimum 0 lies at ones.

    From (-1, 1, ..., 1), in the valley, any path along it has a length that grows exponentially with d.
    """
    links = (x[..., 1:] - 2 * x[..., :-1].square() + 1).square().sum(-1)
    return (1 - x[..., 0]).square() / 4 + weight * links


@final
@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """mean log(1 + exp(-label feature'x)) + penalty |x|^2 / 2.

    Args:
        features: one sample a row.
        labels: -1 or 1.
        penalty: makes the minimum unique.
    """

    features: Float[Tensor, "n d"]
    labels: Float[Tensor, " n"]
    penalty: float

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Values over all samples."""
        margins = self.labels * (x @ self.features.mT)
        return torch.nn.functional.softplus(-margins).mean(-1) + 0.5 * self.penalty * x.square().sum(-1)

    def gradient(self, x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Gradient over all samples."""
        weights = torch.sigmoid(-self.labels * (self.features @ x))
        return self.penalty * x - self.features.mT @ (self.labels * weights) / len(self.labels)

    def hessian(self, x: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
        """Hessian over all samples."""
        probability = torch.sigmoid(self.features @ x)
        weighted = self.features * (probability * (1 - probability))[:, None]
        return weighted.mT @ self.features / len(self.labels) + self.penalty * torch.eye(len(x), dtype=x.dtype)

    def minimum(self, *, tolerance: float = 1e-12) -> Float[Tensor, " d"]:
        """The minimiser, by Newton's method with halved steps.

        Raises:
            ConvergenceError: the gradient's norm stays above the tolerance.
        """
        x = self.features.new_zeros(self.features.shape[1])
        for _ in range(100):
            gradient = self.gradient(x)
            if float(gradient.norm()) <= tolerance:
                return x
            step, share, value = torch.linalg.solve(self.hessian(x), gradient), 1.0, float(self(x))
            while share > 1e-8 and float(self(x - share * step)) > value:
                share /= 2
            x = x - share * step
        raise ConvergenceError(f"logistic regression: |gradient| is {float(gradient.norm()):.2g}; raise the penalty")


def logistic_regression(
    samples: int, features: int, *, seed: int, condition: float = 100.0, noise: float = 0.1, penalty: float = 1e-3
) -> LogisticRegression:
    """Labels from a random direction, some flipped; features normal, with a covariance of the given condition number.

    Args:
        samples: number of rows.
        features: number of columns.
        seed: of everything random.
        condition: largest over smallest eigenvalue of the covariance, whose basis is random.
        noise: probability that a label is flipped.
        penalty: as in `LogisticRegression`.

    Raises:
        InputError: a number out of its range.
    """
    if min(samples, features) < 1 or not 0 <= noise < 0.5 or not penalty > 0:
        raise InputError(
            f"samples, features, noise, penalty: need at least 1, at least 1, [0, 0.5), positive; got {samples}, "
            f"{features}, {noise}, {penalty}"
        )
    generator = torch.Generator().manual_seed(seed)
    scale = log_spectrum(features, condition).sqrt()
    rows = torch.randn(samples, features, generator=generator, dtype=torch.float64) * scale
    rows = rows @ random_orthogonal(features, seed=seed + 1).mT
    direction = torch.randn(features, generator=generator, dtype=torch.float64)
    flipped = torch.rand(samples, generator=generator, dtype=torch.float64) < noise
    labels = torch.where((rows @ direction > 0) ^ flipped, 1.0, -1.0).double()
    return LogisticRegression(rows, labels, penalty)

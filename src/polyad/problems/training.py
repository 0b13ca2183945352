"""Small trainings by name, for races of optimisers: each takes a second or a few minutes, and none a download.

    problem = TRAININGS["glyphs-mlp"].make(seed=0)
    loss = problem.loss(problem.model, torch.Generator().manual_seed(0))

What counts (`Problem.judge`) is the exact value of deterministic problems, and of the others the loss on samples that
are not trained on. Seeds choose weights and order; data are the same for all seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.nn.coordinate import CoordinateMLP
from polyad.optim.racing.problem import Problem
from polyad.pde.pinn import poisson_2d
from polyad.problems import optimisation
from polyad.problems.glyphs import Glyphs, glyphs
from polyad.problems.text import CharacterTransformer, EncodedText, encoded_documentation

CLASSES, PIXELS = 10, 16


@final
@dataclass(frozen=True)
class Training:
    """A problem that can be asked for by name.

    Args:
        name: on the command line.
        summary: one line for lists.
        make: the problem of a seed.
    """

    name: str
    summary: str
    make: Callable[[int], Problem]


def find_training(name: str) -> Training:
    """The training of this name.

    Raises:
        InputError: there is none.
    """
    if name not in TRAININGS:
        raise InputError(f"problem: {name!r} is unknown; there are {', '.join(TRAININGS)}, or give script.py:function")
    return TRAININGS[name]


class _Point(nn.Module):
    """A vector as a linear layer of one output, so that optimisers that watch layers find one."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.layer = nn.utils.skip_init(nn.Linear, len(start), 1, bias=False, dtype=start.dtype)
        with torch.no_grad():
            self.layer.weight.copy_(start)

    @property
    def x(self) -> Tensor:
        return self.layer.weight[0]

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows)[..., 0]


def _start(size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _quadratic(spectrum: Tensor) -> Callable[[int], Problem]:
    def make(seed: int) -> Problem:
        f = optimisation.quadratic(spectrum, seed=0)
        triangle = torch.linalg.cholesky(f.matrix)

        def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
            return 0.5 * (model(triangle.mT) - triangle.mT @ f.minimum).square().sum()

        return Problem(_Point(_start(len(spectrum), seed)), loss)

    return make


def _log_spread() -> Tensor:
    return optimisation.log_spectrum(100, 1e3)


def _gap() -> Tensor:
    """Ten eigenvalues that stand out, as those of trained classifiers do, one for each class."""
    few, many = torch.logspace(-1, 0, 10), torch.logspace(-4, -2, 90)
    return torch.cat([many, few]).double()


def _valley(seed: int) -> Problem:
    start = torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64) + 0.05 * _start(4, seed)

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        return optimisation.chebyshev_rosenbrock(model(torch.eye(4, dtype=torch.float64)))

    return Problem(_Point(start), loss)


def _logistic(seed: int) -> Problem:
    f = optimisation.logistic_regression(4_000, 50, seed=0, condition=1e3)

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(f.labels), (64,), generator=generator)
        penalty = 0.5 * f.penalty * model.x.square().sum()  # type: ignore[operator]
        return F.softplus(-f.labels[rows] * model(f.features[rows])).mean() + penalty

    return Problem(_Point(0.1 * _start(50, seed)), loss, lambda model: float(f(model.x)))  # type: ignore[arg-type]


@cache
def _images() -> tuple[Glyphs, Glyphs]:
    """Images to train on, and others to judge by."""
    parts = [
        glyphs(n, classes=CLASSES, size=PIXELS, seed=k, noise=0.15, turn=0.5, stretch=0.25)
        for k, n in ((1, 6_000), (2, 1_000))
    ]
    return parts[0], parts[1]


def _classifier(build: Callable[[], nn.Module]) -> Callable[[int], Problem]:
    def make(seed: int) -> Problem:
        known, held = _images()

        def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
            rows = torch.randint(len(known.labels), (128,), generator=generator)
            return F.cross_entropy(model(known.images[rows]), known.labels[rows])

        return Problem(
            _seeded(build, seed), loss, lambda model: float(F.cross_entropy(model(held.images), held.labels))
        )

    return make


def _image(seed: int) -> Problem:
    axis = torch.linspace(-1, 1, 24)
    places, grey = torch.cartesian_prod(axis, axis), _random_photograph(24).reshape(-1, 1)
    model = CoordinateMLP(2, 1, 48, 3, generator=torch.Generator().manual_seed(seed))
    return Problem(model, lambda model, generator: F.mse_loss(model(places), grey))


def _random_photograph(size: int) -> Tensor:
    """A periodic image in [0, 1] whose amplitudes fall as one over the frequency, as those of photographs do."""
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size))
    frequency[0, 0] = torch.inf
    image = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(size, size))
    return (image - image.min()) / (image.max() - image.min())


def _poisson(seed: int) -> Problem:
    """On so small a square the residual outweighs the boundary by the fourth power of the side."""
    equation = poisson_2d(side=0.125)

    def loss(model: nn.Module, generator: torch.Generator) -> list[Tensor]:
        return equation.losses(model, equation.interior(128, generator), equation.boundary(48, generator))

    return Problem(_seeded(_field, seed), loss, lambda model: float(equation.relative_error(model)))


def _field() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([2, 32, 32, 32, 1]):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _autoencoder(seed: int) -> Problem:
    known, held = _images()

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        rows = known.images[torch.randint(len(known.labels), (128,), generator=generator)].flatten(1)
        return F.mse_loss(model(rows), rows)

    def judge(model: nn.Module) -> float:
        return float(F.mse_loss(model(held.images.flatten(1)), held.images.flatten(1)))

    return Problem(_seeded(_bottleneck, seed), loss, judge)


def _text(seed: int) -> Problem:
    text = encoded_documentation()
    cut, context = 9 * len(text.codes) // 10, 32
    known, held = EncodedText(text.codes[:cut], text.characters), EncodedText(text.codes[cut:], text.characters)
    judged = held.draw(64, context, generator=torch.Generator().manual_seed(0))

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        inputs, targets = known.draw(8, context, generator=generator)
        return F.cross_entropy(model(inputs), targets)

    return Problem(
        _seeded(lambda: CharacterTransformer(len(text.characters), context=context), seed),
        loss,
        lambda model: float(F.cross_entropy(model(judged[0]), judged[1])),
    )


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _perceptron(width: int) -> nn.Module:
    hidden = nn.Linear(PIXELS**2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, CLASSES))


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (PIXELS // 4) ** 2, CLASSES),
    )


def _bottleneck() -> nn.Module:
    sizes = [PIXELS**2, 128, 64, 12, 64, 128, PIXELS**2]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


TRAININGS: Mapping[str, Training] = MappingProxyType(
    {
        training.name: training
        for training in (
            Training(
                "quadratic",
                "100 variables, condition number 1,000, no noise",
                _quadratic(_log_spread()),
            ),
            Training("gap", "100 variables, 10 of them at least 10 times as curved, no noise", _quadratic(_gap())),
            Training("valley", "Chebyshev-Rosenbrock in 4 variables, no noise", _valley),
            Training("logistic", "logistic regression, 50 features, condition number 1,000", _logistic),
            Training("image", "grey image of 24 x 24 pixels as a network of their places, no noise", _image),
            Training("poisson", "Poisson's equation on a small square, a network with two losses", _poisson),
            Training("glyphs-mlp", "perceptron of 3 layers on drawn digits", _classifier(lambda: _perceptron(128))),
            Training("glyphs-wide", "the same with 512 units a layer", _classifier(lambda: _perceptron(512))),
            Training("glyphs-cnn", "2 convolutions on drawn digits", _classifier(_convolutions)),
            Training("autoencoder", "drawn digits through 12 numbers and back, 6 dense layers", _autoencoder),
            Training("text", "transformer of 2 layers that guesses the next character", _text),
        )
    }
)
"""All trainings, in the order of lists."""

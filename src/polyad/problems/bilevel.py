"""Bilevel problems: two with known answers, and four that choose what a training itself is given.

Cleaning of labels, features for few labelled examples, the weights of a penalty, the operations of a cell.

Sources: Franceschi, Frasconi, Salzo, Grazzi, Pontil, ICML 2018, arXiv:1806.04910 (cleaning, few examples); Liu,
Simonyan, Yang, ICLR 2019, arXiv:1806.09055 (cells); Liu et al., ICML 2024, arXiv:2405.09927 (sums of sines).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.bilevel.objectives import ElasticNet, Objective, Variables
from polyad.problems.glyphs import glyphs


@final
@dataclass(frozen=True, eq=False)
class BilevelProblem:
    """min over (x, y) of F(x, y), where y minimises f(x, .) + g(x, .).

    Args:
        upper: F.
        lower: f.
        start_upper: x to begin with; copy it before changing it.
        start_lower: y to begin with.
        penalty: g.
        solution_upper: x where it is known.
        solution_lower: y there.
    """

    upper: Objective
    lower: Objective
    start_upper: list[Tensor]
    start_lower: list[Tensor]
    penalty: ElasticNet | None = None
    solution_upper: list[Tensor] = field(default_factory=list)
    solution_lower: list[Tensor] = field(default_factory=list)

    def start(self) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """Copies of both levels' first values as parameters."""
        x, y = ([torch.nn.Parameter(v.clone()) for v in level] for level in (self.start_upper, self.start_lower))
        return x, y


def ridge_target(n: int = 5, *, seed: int = 0) -> BilevelProblem:
    """F = |y - b|^2 / 2 + |x|^2 / 2, f = |y - A x|^2 / 2, |A| = |b| = 1, solved by x = (A'A + I)^-1 A'b; in float64.

    Args:
        n: length of x and y.
        seed: of A and b.
    """
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2)
    target = torch.randn(n, generator=generator, dtype=torch.float64)
    target = target / target.norm()
    x = torch.linalg.solve(matrix.mT @ matrix + torch.eye(n, dtype=torch.float64), matrix.mT @ target)
    return BilevelProblem(
        upper=lambda x, y: ((y[0] - target).square().sum() + x[0].square().sum()) / 2,
        lower=lambda x, y: (y[0] - matrix @ x[0]).square().sum() / 2,
        start_upper=[torch.zeros(n, dtype=torch.float64)],
        start_lower=[torch.zeros(n, dtype=torch.float64)],
        solution_upper=[x],
        solution_lower=[matrix @ x],
    )


def sine_valleys(n: int = 10, *, a: float = 2.0, offsets: float = 2.0, start: float = 0.0) -> BilevelProblem:
    """F = (x - a)^2 + sum (y_i - a - c)^2, f = sum sin(x + y_i - c): a lower level with a valley every 2 pi.

    In each valley x + y_i - c = C with C = -pi/2 + 2 pi k; the best is the C nearest 2 a, where
    x = ((1 - n) a + n C) / (1 + n), y_i = C + c - x, and F = n (C - 2 a)^2 / (1 + n).

    Args:
        n: length of y.
        a: as above.
        offsets: c.
        start: of x and of all y.
    """
    valley = -math.pi / 2 + 2 * math.pi * round((2 * a + math.pi / 2) / (2 * math.pi))
    x = ((1 - n) * a + n * valley) / (1 + n)
    return BilevelProblem(
        upper=lambda x, y: (x[0] - a).square().sum() + (y[0] - a - offsets).square().sum(),
        lower=lambda x, y: (x[0] + y[0] - offsets).sin().sum(),
        start_upper=[torch.full((1,), start, dtype=torch.float64)],
        start_lower=[torch.full((n,), start, dtype=torch.float64)],
        solution_upper=[torch.full((1,), x, dtype=torch.float64)],
        solution_lower=[torch.full((n,), valley + offsets - x, dtype=torch.float64)],
    )


@final
@dataclass(frozen=True, eq=False)
class Cleaning:
    """Training data with wrong labels, and the problem of weighing its samples.

    Args:
        problem: x are the logits of the samples' weights, y the weights of a network with one hidden layer.
        wrong: which labels were changed.
        labels: as the training sees them.
    """

    problem: BilevelProblem
    wrong: Bool[Tensor, " n"]
    labels: Int[Tensor, " n"]

    @staticmethod
    def logits(lower: Variables, features: Float[Tensor, "m d"]) -> Float[Tensor, "m classes"]:
        """The network's outputs."""
        return F.linear(torch.relu(F.linear(features, lower[0], lower[1])), lower[2], lower[3])

    def detection_f1(self, upper: Variables) -> float:
        """F1 of calling a sample wrong where its weight is below one half."""
        called = upper[0].detach() < 0
        hits = float((called & self.wrong).sum())
        return 2 * hits / max(float(called.sum() + self.wrong.sum()), 1.0)


def hyper_cleaning(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    validation_features: Float[Tensor, "m d"],
    validation_labels: Int[Tensor, " m"],
    *,
    flipped: float = 0.3,
    hidden: int = 32,
    decay: float = 1e-3,
    seed: int = 0,
) -> Cleaning:
    """Weigh training samples so that a network trained on them does well on clean ones.

    F is the cross-entropy of the validation data, f the mean of sigmoid(x_i) times that of training sample i, with
    `decay` / 2 times the squared length of y.

    Args:
        features: of the training samples.
        labels: theirs, from 0.
        validation_features: of clean samples.
        validation_labels: theirs.
        flipped: part of the training labels that is moved to another class at random.
        hidden: units of the network.
        decay: of its weights.
        seed: of what is flipped and of the first weights.

    Raises:
        InputError: a part outside [0, 1), or less than two classes.
    """
    classes = int(max(int(labels.max()), int(validation_labels.max()))) + 1
    if not 0 <= flipped < 1 or classes < 2:
        raise InputError(f"flipped, classes: need 0 <= flipped < 1 and two classes at least, got {flipped}, {classes}")
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(flipped * len(labels))]] = True
    shift = torch.randint(1, classes, (len(labels),), generator=generator)
    seen = torch.where(wrong, (labels + shift) % classes, labels)

    def lower(x: Variables, y: Variables) -> Tensor:
        losses = F.cross_entropy(Cleaning.logits(y, features), seen, reduction="none")
        return (x[0].sigmoid() * losses).mean() + decay / 2 * torch.stack([w.square().sum() for w in y]).sum()

    problem = BilevelProblem(
        upper=lambda x, y: F.cross_entropy(Cleaning.logits(y, validation_features), validation_labels),
        lower=lower,
        start_upper=[features.new_zeros(len(labels))],
        start_lower=_dense_layers((features.shape[1], hidden, classes), generator, features.dtype),
    )
    return Cleaning(problem, wrong, seen)


def few_shot_head(
    *,
    tasks: int = 8,
    ways: int = 5,
    shots: int = 2,
    queries: int = 5,
    width: int = 32,
    ridge: float = 0.01,
    seed: int = 0,
) -> BilevelProblem:
    """Features (x) on which linear heads (y), one a task, learn to tell drawn letters from few examples.

    Each task has `ways` classes of its own; f is the sum over tasks of the cross-entropy of `shots` examples a class,
    with ridge / 2 times the square of the heads' matrices, and F the mean cross-entropy of `queries` other examples.

    Args:
        tasks: their number.
        ways: classes of each.
        shots: examples of a class that the head is trained on.
        queries: those that judge it.
        width: number of features.
        ridge: of the heads.
        seed: of everything random.
    """
    generator = torch.Generator().manual_seed(seed)
    size, classes, each = 12, 36, shots + queries
    images, labels = glyphs(classes * 3 * each, classes=classes, size=size, seed=seed)
    by_class = [torch.nonzero(labels == k).squeeze(1) for k in range(classes)]
    support, query = [], []
    for _ in range(tasks):
        for k in torch.randperm(classes, generator=generator)[:ways].tolist():
            chosen = by_class[k][torch.randperm(len(by_class[k]), generator=generator)[:each]]
            support.append(chosen[:shots])
            query.append(chosen[shots:])
    shown = images.flatten(1)[torch.stack(support)].view(tasks, ways * shots, -1)
    asked = images.flatten(1)[torch.stack(query)].view(tasks, ways * queries, -1)

    def loss(x: Variables, y: Variables, batch: Tensor, count: int) -> Tensor:
        feature = torch.relu(F.linear(torch.relu(F.linear(batch, x[0], x[1])), x[2], x[3]))
        logits = torch.baddbmm(y[1][:, None], feature, y[0])
        classes_of = torch.arange(ways).repeat_interleave(count).expand(tasks, -1)
        return F.cross_entropy(logits.mT, classes_of, reduction="sum") / (ways * count)

    return BilevelProblem(
        upper=lambda x, y: loss(x, y, asked, queries) / tasks,
        lower=lambda x, y: loss(x, y, shown, shots) + ridge / 2 * y[0].square().sum(),
        start_upper=_dense_layers((size * size, 2 * width, width), generator, images.dtype),
        start_lower=[torch.zeros(tasks, width, ways), torch.zeros(tasks, ways)],
    )


def penalised_regression(
    *, n: int = 60, d: int = 40, nonzero: int = 5, noise: float = 0.5, elastic: bool = False, seed: int = 0
) -> BilevelProblem:
    """The weight of a lasso, or both weights of an elastic net, by the error on other data; in float64.

    f = |X y - t|^2 / (2 n), g = exp(x_1) |y|_1 + exp(x_2) |y|^2 / 2 (the second for `elastic` only), F the mean squared
    error over 2 on n other samples.

    Args:
        n: samples of each part.
        d: features.
        nonzero: coefficients that are not zero.
        noise: standard deviation of what is added to the targets.
        elastic: whether there is a second weight.
        seed: of the data.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    truth = torch.zeros(d, dtype=torch.float64)
    truth[:nonzero] = torch.randn(nonzero, generator=generator, dtype=torch.float64).sign()
    targets = inputs @ truth + noise * torch.randn(2, n, generator=generator, dtype=torch.float64)

    def weights(x: Variables) -> tuple[Tensor, Tensor]:
        return x[0][0].exp(), x[0][1].exp() if elastic else torch.zeros_like(x[0][0])

    def half_error(y: Variables, part: int) -> Tensor:
        return (inputs[part] @ y[0] - targets[part]).square().mean() / 2

    return BilevelProblem(
        upper=lambda x, y: half_error(y, 1),
        lower=lambda x, y: half_error(y, 0),
        start_upper=[torch.full((2 if elastic else 1,), -4.0, dtype=torch.float64)],
        start_lower=[torch.zeros(d, dtype=torch.float64)],
        penalty=ElasticNet(weights),
    )


OPERATIONS = ("none", "identity", "convolution", "average")
"""Of an edge of the cell."""

EDGES = ((0, 1), (0, 2), (1, 2))
"""Between the cell's input and its two nodes."""


def differentiable_cell(
    *, n: int = 200, classes: int = 5, size: int = 10, channels: int = 8, seed: int = 0
) -> BilevelProblem:
    """Which operation on which edge of a small cell: x are logits (edges, operations), y all weights.

    Drawn letters pass a convolution, the cell (every edge the softmax mixture of its operations, its output the sum of
    both nodes), the mean over pixels and a linear layer. F is the cross-entropy of n images, f that of n others.

    Args:
        n: images of each part.
        classes: of letters.
        size: pixels a side.
        channels: of the cell.
        seed: of everything random.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = glyphs(2 * n, classes=classes, size=size, seed=seed)

    def logits(x: Variables, y: Variables, inputs: Tensor) -> Tensor:
        mixture = x[0].softmax(1)
        nodes = [torch.relu(F.conv2d(inputs, y[0], padding=1))]
        for node in (1, 2):
            arriving = []
            for number, (origin, target) in enumerate(EDGES):
                if target == node:
                    given, part = nodes[origin], mixture[number]
                    arriving.append(
                        part[1] * given
                        + part[2] * torch.relu(F.conv2d(given, y[1][number], padding=1))
                        + part[3] * F.avg_pool2d(given, 3, 1, 1, count_include_pad=False)
                    )
            nodes.append(torch.stack(arriving).sum(0))
        return F.linear((nodes[1] + nodes[2]).mean((2, 3)), y[2], y[3])

    def kernels(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * (2 / (9 * shape[-3])) ** 0.5

    head = _dense_layers((channels, classes), generator, images.dtype)
    return BilevelProblem(
        upper=lambda x, y: F.cross_entropy(logits(x, y, images[n:]), labels[n:]),
        lower=lambda x, y: F.cross_entropy(logits(x, y, images[:n]), labels[:n]),
        start_upper=[torch.zeros(len(EDGES), len(OPERATIONS))],
        start_lower=[kernels(channels, 1, 3, 3), kernels(len(EDGES), channels, channels, 3, 3), *head],
    )


def _dense_layers(widths: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    """Weight and bias of each layer, weights of variance 2 / inputs."""
    layers = []
    for given, made in pairwise(widths):
        layers += [torch.randn(made, given, generator=generator) * (2 / given) ** 0.5, torch.zeros(made)]
    return [layer.to(dtype) for layer in layers]

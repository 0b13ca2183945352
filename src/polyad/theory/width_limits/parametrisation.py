"""abcd-parametrisations: how init, rate and gradient scale with the width, and what the exponents make of training.

Of a network with hidden width n, a layer with weight w has

    W = n^-a w,    w_0 ~ N(0, n^-2b),    w_{t+1} = w_t - eta n^-c Q_t(n^d g_0, ..., n^d g_t),    g = dloss / dw

with an entrywise update function Q (`updates`). `classify` counts powers of n: what a sum of n terms in step with one
another adds is n times a term, what a sum at random adds is sqrt(n) times a term.

Presets, for the input, hidden and output layers (a, b, c, d):

    mup   (0, 0, 0, 1)      (0, 1/2, 1, 1)      (1, 0, 0, 1)          features learn as much at every width
    ntp   (0, 0, 1/2, 1/2)  (1/2, 0, 1, 1)      (1/2, 0, 1/2, 1/2)    features freeze, a kernel is left
    sp    (0, 0, 0, 1/2)    (0, 1/2, 0, 1/2)    (0, 1/2, 0, 0)        torch's own: rates that know nothing of n

A d is right where n^d g is of order one, and matters only if Q is not scale invariant. Presets of SGD are the same with
the power n^d moved into the rate: (c - d, d = 0) in mup and ntp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from polyad.errors import InputError

TOLERANCE = 1e-9
"""Exponents closer than this are the same."""

Regime = Literal["unstable", "trivial", "kernel", "feature-learning"]


@final
@dataclass(frozen=True)
class LayerExponents:
    """Powers of the width in one layer; see the module."""

    a: float
    b: float
    c: float
    d: float


@final
@dataclass(frozen=True)
class ABCDParam:
    """Exponents of a perceptron's layers from input to output: one input, any number of hidden n x n, one output.

    Raises:
        InputError: fewer than two layers.
    """

    layers: tuple[LayerExponents, ...]

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        if len(self.layers) < 2:
            raise InputError(f"layers: an input and an output layer at least, got {len(self.layers)}")

    @property
    def depth(self) -> int:
        """Weight matrices."""
        return len(self.layers)


@final
@dataclass(frozen=True)
class Exponents:
    """What `classify` finds: everything is of order n^-exponent.

    Args:
        regime: unstable (something grows), trivial (the output does not move), kernel (it moves, features do not) or
            feature-learning.
        hidden: change of a coordinate of each hidden layer.
        output: change of the output in training.
        initial_output: the output before training.
        gradients: of w, layer by layer, once training has begun.
    """

    regime: Regime
    hidden: tuple[float, ...]
    output: float
    initial_output: float
    gradients: tuple[float, ...]


def preset(name: str, *, optimizer: str = "adaptive", depth: int = 3) -> ABCDParam:
    """A parametrisation by its name.

    Args:
        name: "mup", "ntp" or "sp": maximal update, neural tangent, standard.
        optimizer: "adaptive" for any Q of order one (Adam, sign), "sgd" for Q = id.
        depth: weight matrices, 2 or more.

    Raises:
        InputError: an unknown name or optimiser, or a depth below 2.
    """
    if name not in _PRESETS or optimizer not in ("adaptive", "sgd"):
        raise InputError(f"preset: {', '.join(_PRESETS)} for adaptive or sgd, got {name!r} for {optimizer!r}")
    if depth < 2:
        raise InputError(f"depth: an input and an output layer at least, got {depth}")
    first, hidden, last = _PRESETS[name]
    layers = (first, *[hidden] * (depth - 2), last)
    if optimizer == "sgd":
        moved = [0.0 if name == "sp" else layer.d for layer in layers]
        layers = tuple(replace(layer, c=layer.c - d, d=0.0) for layer, d in zip(layers, moved, strict=True))
    return ABCDParam(layers)


def classify(parametrisation: ABCDParam, *, homogeneity: Literal[0, 1] = 0) -> Exponents:
    """What training does as the width grows, by counting powers.

    With s = homogeneity, B the order of the backward vector (B = min(a + b, e) of the output layer) and g the
    gradients' orders (a of the output layer, a + B of the others), a step moves W by n^-e, e = a + c + s (g - d).
    Then r_1 = e_1, r_l = min(e_l - 1, r_{l-1}) for hidden coordinates, and min(e - 1, B + r_L - 1) for the output.
    Where some r < 0, terms with e above have r added: one step of a ReLU network still grows like that.

    Args:
        parametrisation: the exponents.
        homogeneity: 0 for a scale invariant Q (Adam, sign), 1 for SGD. Any other Q is as 0 where `faithful` holds.

    Returns:
        Exponents; one that is infinite stands for what does not change.
    """
    layers = parametrisation.layers
    last = layers[-1]
    swollen = abs(layers[0].a + layers[0].b) > TOLERANCE or any(
        abs(layer.a + layer.b - 0.5) > TOLERANCE for layer in layers[1:-1]
    )
    initial = last.a + last.b - 0.5
    step_out = last.a + last.c + homogeneity * (last.a - last.d)
    backward = min(last.a + last.b, step_out)
    gradients = (*(layer.a + backward for layer in layers[:-1]), last.a)
    steps = [
        layer.a + layer.c + homogeneity * (g - layer.d) for layer, g in zip(layers[:-1], gradients[:-1], strict=True)
    ]
    hidden = [steps[0]]
    for step in steps[1:]:
        hidden.append(min(step - 1 + min(hidden[-1], 0), hidden[-1]))
    output = min(step_out - 1 + min(hidden[-1], 0), backward + hidden[-1] - 1)
    found = _regime(swollen, initial, min(hidden), output)
    return Exponents(found, tuple(hidden), output, initial, gradients)


def faithful(parametrisation: ABCDParam) -> bool:
    """Whether every n^d g is of order one, so that no Q is driven to its tails or to its linear part."""
    orders = classify(parametrisation).gradients
    return all(abs(layer.d - order) < TOLERANCE for layer, order in zip(parametrisation.layers, orders, strict=True))


def from_exponents(rows: Sequence[tuple[float, float, float, float]]) -> ABCDParam:
    """A parametrisation from rows (a, b, c, d), input layer first."""
    return ABCDParam(tuple(LayerExponents(*row) for row in rows))


def _regime(swollen: bool, initial: float, hidden: float, output: float) -> Regime:
    if swollen or min(initial, hidden, output) < -TOLERANCE:
        return "unstable"
    if output > TOLERANCE:
        return "trivial"
    return "feature-learning" if hidden < TOLERANCE else "kernel"


_PRESETS = {
    "mup": (LayerExponents(0, 0, 0, 1), LayerExponents(0, 0.5, 1, 1), LayerExponents(1, 0, 0, 1)),
    "ntp": (LayerExponents(0, 0, 0.5, 0.5), LayerExponents(0.5, 0, 1, 1), LayerExponents(0.5, 0, 0.5, 0.5)),
    "sp": (LayerExponents(0, 0, 0, 0.5), LayerExponents(0, 0.5, 0, 0.5), LayerExponents(0, 0.5, 0, 0)),
}

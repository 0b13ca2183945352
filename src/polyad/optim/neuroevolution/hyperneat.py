"""HyperNEAT: a small network, evolved, draws the weights of a large one from the places of its nodes.

The large network's nodes lie in space, layer by layer; the weight between two of them is what the small network (a
pattern-producing network, CPPN) answers to both their coordinates. Symmetries and repetitions of the space so become
those of the weights, and the same genome serves a substrate of any resolution.

Stanley, D'Ambrosio, Gauci, A hypercube-based encoding for evolving large-scale neural networks, Artificial Life 15
(2009).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution.functions import ACTIVATIONS
from polyad.optim.neuroevolution.inference import Program, forward
from polyad.optim.neuroevolution.population import Population


def substrate_weights(
    networks: Population | Program,
    sources: Float[Tensor, "sources dimension"],
    targets: Float[Tensor, "targets dimension"],
    *,
    threshold: float = 0.2,
    largest: float = 3.0,
) -> Float[Tensor, "genomes sources targets"]:
    """Weights between two layers: the networks' first output at all pairs of coordinates.

    An answer within the threshold means no connection; beyond it, weights grow linearly from 0, and an answer of
    size 1 gives `largest`.

    Args:
        networks: with twice the dimension as inputs: the source's coordinates, then the target's.
        sources: coordinates of the layer from which connections come.
        targets: coordinates of the layer to which they lead.
        threshold: in [0, 1).
        largest: weight at an answer of 1.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"threshold: must lie in [0, 1), got {threshold}")
    if networks.inputs != 2 * sources.shape[1]:
        raise InputError(
            f"networks: have {networks.inputs} inputs; pairs of places in {sources.shape[1]} dimensions need "
            f"{2 * sources.shape[1]}"
        )
    pairs = torch.cat(
        [sources[:, None].expand(-1, len(targets), -1), targets[None].expand(len(sources), -1, -1)], 2
    ).flatten(0, 1)
    answers = forward(networks, pairs)[..., 0].unflatten(1, (len(sources), len(targets)))
    return answers.sign() * (answers.abs() - threshold).clamp_min(0) * (largest / (1 - threshold))


def substrate_forward(
    weights: Sequence[Float[Tensor, "genomes _ _"]],
    inputs: Float[Tensor, "*genomes points inputs"],
    *,
    activation: str = "tanh",
) -> Float[Tensor, "genomes points outputs"]:
    """Outputs of the large networks: dense layers without biases, activated one after the other.

    Args:
        weights: from `substrate_weights`, one tensor between two consecutive layers.
        inputs: the same points for all genomes, or points of their own.
        activation: a name of `ACTIVATIONS`.
    """
    if activation not in ACTIVATIONS:
        raise InputError(f"activation: got {activation!r}; choose from {', '.join(ACTIVATIONS)}")
    if not weights:
        raise InputError("weights: there is no layer; give one tensor between two consecutive layers")
    values = inputs
    for matrix in weights:
        values = ACTIVATIONS[activation](values @ matrix)
    return values

"""Detection models: the probability that an individual is counted, from the attributes of the observation.

p_i = g_theta(z_i): a network with sigmoid output (`MLPDetection`), or a linear model of the log-odds
(`LogisticDetection`, as in N-mixture models). Attributes are standardised first; where some are missing, they are set
to their mean and a flag for each says so. All models give log p, which stays exact where p is small.

When not to use it: with attributes that nearly identify the cell, the network can absorb the rates themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from polyad.errors import InputError
from polyad.tensors.completion.observations import CountObservations, checked_attributes


@runtime_checkable
class DetectionModel(Protocol):
    """What a model of detection offers: any `torch.nn.Module` with `fresh` and this call will do."""

    def __call__(self, attributes: Float[Tensor, "m features"]) -> Float[Tensor, " m"]:
        """log p <= 0 of each row of encoded attributes (`AttributeEncoding`)."""

    def fresh(self, generator: torch.Generator) -> DetectionModel:
        """A model of the same form with newly drawn parameters; this one stays as it is."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""

    def state_dict(self) -> dict[str, Any]:
        """The parameters by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take over parameters."""


@final
class MLPDetection(nn.Module):
    """log sigmoid of a network with tanh layers.

    Args:
        features: width of the encoded attributes.
        hidden: widths of the hidden layers.
        generator: draws the parameters; seed 0 without one.
        dtype: of the parameters.
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (32, 32),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        widths = [features, *hidden, 1]
        if min(widths) < 1:
            raise InputError(f"hidden: widths {widths} were given; each must be at least 1")
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        self.hidden, self.features, self.dtype = tuple(hidden), features, dtype
        device = generator.device
        self.weights = nn.ParameterList(
            torch.randn(after, before, generator=generator, dtype=dtype, device=device) / before**0.5
            for before, after in itertools.pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(width, dtype=dtype, device=device) for width in widths[1:])

    def forward(self, attributes: Float[Tensor, "m features"]) -> Float[Tensor, " m"]:
        """log p of each row."""
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            attributes = torch.tanh(linear(attributes, weight, bias))
        return logsigmoid(linear(attributes, *last)[:, 0])

    def fresh(self, generator: torch.Generator) -> MLPDetection:
        """The same widths with newly drawn parameters."""
        return MLPDetection(self.features, self.hidden, generator=generator, dtype=self.dtype)


@final
class LogisticDetection(nn.Module):
    """Log-odds linear in the attributes; begins at p = 1/2 everywhere."""

    def __init__(
        self, features: int, *, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, features, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(1, dtype=dtype, device=device))

    def forward(self, attributes: Float[Tensor, "m features"]) -> Float[Tensor, " m"]:
        """log p of each row."""
        return logsigmoid(linear(attributes, self.weight, self.bias)[:, 0])

    def fresh(self, generator: torch.Generator) -> LogisticDetection:
        """A new one at p = 1/2; nothing is drawn, one start is all there is."""
        return LogisticDetection(self.weight.shape[1], dtype=self.weight.dtype, device=generator.device)


@final
@dataclass(frozen=True, eq=False)
class AttributeEncoding:
    """Standardised attributes, followed by one flag an attribute where the training rows had missing ones.

    Args:
        mean: of the known values of each attribute.
        scale: their standard deviation; 1 for a constant attribute.
        flags: whether flags are appended.
    """

    mean: Tensor
    scale: Tensor
    flags: bool

    @classmethod
    def of(cls, observations: CountObservations) -> AttributeEncoding:
        """The encoding that standardises these rows."""
        attributes, known = observations.attributes, observations.attributes_known
        if attributes is None:
            raise InputError("observations: they have no attributes; without any, use poisson_cp")
        weight = torch.ones_like(attributes) if known is None else known.to(attributes)
        if bool((weight.sum(0) == 0).any()):
            raise InputError(f"attributes: column {int(weight.sum(0).argmin())} is never known; drop it")
        mean = (attributes * weight).sum(0) / weight.sum(0)
        scale = ((attributes - mean).square() * weight).sum(0).div(weight.sum(0)).sqrt()
        flat = scale <= 1e-12 * (mean.abs() + 1)
        return cls(mean, torch.where(flat, 1, scale), known is not None and not bool(known.all()))

    @property
    def width(self) -> int:
        """Columns that the detection model sees."""
        return len(self.mean) * (2 if self.flags else 1)

    def __call__(
        self, attributes: Float[Tensor, "m features"], known: Bool[Tensor, "m features"] | None = None
    ) -> Float[Tensor, "m width"]:
        """Encode rows; a row with a missing attribute is refused where training had none missing."""
        attributes = checked_attributes(attributes.to(self.mean), known, len(attributes))
        if attributes.shape[1] != len(self.mean):
            raise InputError(f"attributes: {attributes.shape[1]} columns were given, {len(self.mean)} are needed")
        if known is not None and not self.flags and not bool(known.all()):
            raise InputError("attributes_known: some are missing, but none was in training; fit with missing ones")
        standard = (attributes - self.mean) / self.scale
        if known is not None:
            standard = torch.where(known, standard, 0)
        if not self.flags:
            return standard
        missing = torch.zeros_like(standard) if known is None else (~known).to(standard)
        return torch.cat([standard, missing], dim=1)


def detection_loss(
    log_detection: Float[Tensor, " m"], rates: Float[Tensor, " m"], counts: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """sum of lambda p - Y log p: the loss as a function of p alone (Y log lambda is constant), differentiable."""
    return (rates * log_detection.exp() - counts * log_detection).sum()

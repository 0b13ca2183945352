"""Inverses of running covariance factors, kept up to date for n^2 operations a vector instead of n^3 an inverse.

With R <- gamma R + (1 - gamma) v v', the Sherman-Morrison formula gives R^-1 from the last one. Vectors are divided by
their largest entry inside, so that their squares neither overflow nor vanish.

Source: Mozaffari, Li, Zhang, Mehri Dehnavi, NeurIPS 2023, arXiv:2306.01685. The formula printed there has a plus sign
and is no update of an inverse: it grows along directions that are seen often. It is here as `printed_update`, for the
record; `published_update` is what the authors' program does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

MODES = ("exact", "published", "printed")
"""Ways to update an inverse factor."""


def updated_inverse(
    inverse: Float[Tensor, "n n"],
    vector: Float[Tensor, " n"],
    *,
    mode: str = "exact",
    decay: float = 0.95,
    stabilizer: float = 0.05,
    threshold: float = 2.0,
) -> Float[Tensor, "n n"]:
    """An inverse factor after one vector, stabilised.

    Args:
        inverse: (n, n), symmetric, positive definite.
        vector: (n,), finite.
        mode: `exact`, `published` or `printed`.
        decay: gamma.
        stabilizer: zeta; 0 for none.
        threshold: of the largest entry, above which `exact` mixes in the identity.

    Raises:
        InputError: an unknown mode.
    """
    if mode == "published":
        return published_update(inverse, vector, stabilizer=stabilizer)
    if mode == "printed":
        return printed_update(inverse, vector, decay=decay)
    if mode != "exact":
        raise InputError(f"mode: {mode!r} is unknown; choose one of {', '.join(MODES)}")
    updated = exact_update(inverse, vector, decay=decay)
    return _blend(updated, stabilizer * _exceeds(updated, threshold)) if stabilizer else updated


def exact_update(
    inverse: Float[Tensor, "n n"], vector: Float[Tensor, " n"], *, decay: float = 0.95
) -> Float[Tensor, "n n"]:
    """The inverse of decay * R + (1 - decay) * vector vector'.

    Args:
        inverse: R^-1, symmetric, positive definite.
        vector: finite.
        decay: gamma, in (0, 1).
    """
    return _downdated(inverse, vector, decay / (1 - decay), scale=1 / decay)


def published_update(
    inverse: Float[Tensor, "n n"], vector: Float[Tensor, " n"], *, stabilizer: float = 0.05
) -> Float[Tensor, "n n"]:
    """The inverse of S^-1 + vector vector', where S = (1 - stabilizer) * inverse + stabilizer * I.

    Args:
        inverse: symmetric, positive definite.
        vector: finite.
        stabilizer: zeta, in [0, 1).
    """
    return _downdated(_blend(inverse.clone(), stabilizer), vector, 1.0)


def printed_update(
    inverse: Float[Tensor, "n n"], vector: Float[Tensor, " n"], *, decay: float = 0.95
) -> Float[Tensor, "n n"]:
    """gamma X + (1 - gamma) / (gamma^2 (1 + gamma (1 - gamma) v'X v)) X v v'X, divided by its largest entry.

    Args:
        inverse: X.
        vector: v, finite.
        decay: gamma, in (0, 1).
    """
    image, product, scale = _image(inverse, vector)
    share = decay * (1 - decay)
    # (1 - gamma) / gamma^2 / (1 + share s^2 w'Xw) * s^2 Xw w'X, with v = s w
    half = image * (((1 - decay) / decay**2) / (scale.square().reciprocal() + share * product)).sqrt()
    updated = torch.addr(inverse, half, half, beta=decay)
    return updated.div_(largest_entry(updated))


def stabilized(
    inverse: Float[Tensor, "n n"], *, threshold: float = 2.0, stabilizer: float = 0.05
) -> Float[Tensor, "n n"]:
    """(1 - stabilizer) * inverse + stabilizer * I where an entry exceeds the threshold, else the inverse itself.

    Args:
        inverse: symmetric, positive definite; without new directions it grows like gamma^-k.
        threshold: for the largest magnitude.
        stabilizer: zeta, in [0, 1).
    """
    return _blend(inverse.clone(), stabilizer * _exceeds(inverse, threshold))


def largest_entry(matrix: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Largest magnitude in a positive definite matrix: it lies on the diagonal."""
    return matrix.diagonal().amax()


def _downdated(inverse: Tensor, vector: Tensor, constant: float, *, scale: float = 1.0) -> Tensor:
    """scale * (inverse - u u' / (constant + v'u)), u = inverse v."""
    image, product, size = _image(inverse, vector)
    half = image * (scale / (constant / size.square() + product)).sqrt()  # so that rounding leaves it symmetric
    return torch.addr(inverse, half, half, beta=scale, alpha=-1)


def _image(inverse: Tensor, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X w, w'X w and s for v = s w with the largest entry of w equal to 1; s = 0 divides to infinity, as it should."""
    scale = vector.abs().amax()
    direction = vector / torch.where(scale > 0, scale, 1.0)
    image = inverse @ direction
    return image, direction @ image, scale


def _exceeds(inverse: Tensor, threshold: float) -> Tensor:
    """1 or 0, as a number: asking a device which it is would wait for it."""
    return (largest_entry(inverse) > threshold).to(inverse)


def _blend(inverse: Tensor, share: float | Tensor) -> Tensor:
    """(1 - share) * inverse + share * I, in place: large matrices cost more to allocate than to change."""
    inverse *= 1 - share
    inverse.diagonal().add_(share)
    return inverse

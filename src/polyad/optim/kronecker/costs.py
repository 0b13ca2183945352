"""What Kronecker-factored methods compute and send for an update of their factors, counted from layer shapes.

A layer is (d, p): outputs, and inputs with the bias. A multiplication and an addition count one each; terms that do not
grow with the layer are left out. Applying the factors costs the same for every method with dense inverses, cubic in the
width, and is counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from polyad.errors import InputError

Shape = tuple[int, int]


class _Costs(NamedTuple):
    """Numbers of one layer, from d, p and the number n of samples (rows) in a batch."""

    numbers_sent: Callable[[int, int, int], int]
    factor_update: Callable[[int, int, int], int]
    application: Callable[[int, int, int], int]


def _two_sided(d: int, p: int, n: int) -> int:
    return 2 * d * p * (d + p)


_METHODS = {
    # matrix times vector 2; outer product, scaling and difference 3; blending
    "mkor": _Costs(lambda d, p, n: d + p, lambda d, p, n: 6 * (d * d + p * p), _two_sided),
    # Gram matrix 2n and running mean 3; Cholesky factor 1/3 and inverse from it 2/3
    "kfac": _Costs(
        lambda d, p, n: d * d + p * p,
        lambda d, p, n: (2 * n + 3) * (d * d + p * p) + d**3 + p**3,
        _two_sided,
    ),
    # running means of two vectors; (G - (g'Ga) g a' / (damping + |a|^2 |g|^2)) / damping
    "eva": _Costs(lambda d, p, n: d + p, lambda d, p, n: 3 * (d + p), lambda d, p, n: 6 * d * p),
    # Khatri-Rao kernel of n samples and its inverse; two products with n rank-one matrices
    "hylo": _Costs(
        lambda d, p, n: n * (d + p) + n * n,
        lambda d, p, n: n * n * (2 * (d + p) + 1) + n**3,
        lambda d, p, n: 4 * n * d * p + 2 * n * n + 2 * d * p,
    ),
}

METHODS = tuple(_METHODS)
"""Names of the methods."""


def communication_bytes(method: str, layers: Iterable[Shape], *, samples: int = 1, bytes_a_number: int = 4) -> int:
    """Bytes that each worker contributes for one update of the factors of all layers.

    Args:
        method: `mkor`, `kfac` (also KAISA), `eva` or `hylo`.
        layers: shapes (d, p).
        samples: rows of a batch; of `hylo`, those it keeps.
        bytes_a_number: 4, or 2 in half precision.

    Raises:
        InputError: an unknown method, or a shape that is not positive.
    """
    return bytes_a_number * sum(_costs(method).numbers_sent(*shape, samples) for shape in _checked(layers))


def factor_update_flops(method: str, layers: Iterable[Shape], *, samples: int = 1) -> int:
    """Operations of one update of the factors or their inverses; arguments as in `communication_bytes`."""
    return sum(_costs(method).factor_update(*shape, samples) for shape in _checked(layers))


def application_flops(method: str, layers: Iterable[Shape], *, samples: int = 1) -> int:
    """Operations of preconditioning each layer's gradient once; arguments as in `communication_bytes`."""
    return sum(_costs(method).application(*shape, samples) for shape in _checked(layers))


def _costs(method: str) -> _Costs:
    if method not in _METHODS:
        raise InputError(f"method: {method!r} is unknown; choose one of {', '.join(METHODS)}")
    return _METHODS[method]


def _checked(layers: Iterable[Shape]) -> list[Shape]:
    shapes = list(layers)
    for shape in shapes:
        if len(shape) != 2 or min(shape) < 1:
            raise InputError(f"layers: {shape} is no shape of a layer; give (outputs, inputs), both at least 1")
    return shapes

"""Which norm a weight should have, by what its layer does with inputs.

linear, convolution, projections of attention      rms_rms: inputs of size 1 give outputs of size 1
embedding                                           l1_rms: every row by itself, however rare its word
biases, gains and all else                          rms, or inf for steps of equal size in every entry
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polyad.errors import InputError

VECTOR_NORMS = ("rms", "inf")
"""Norms of biases and gains."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def recommend_norms(model: nn.Module, *, vectors: str = "rms") -> list[dict[str, Any]]:
    """Parameter groups with `norm`, `transposed` and `pieces`, as `SteepestDescent` takes them.

        optimizer = ModularSteepestDescent(recommend_norms(model), lr=0.1)

    A weight that two layers share counts as what comes first in the model. Weights of layers that are not listed in
    `layers`, such as recurrent ones, count as vectors.

    Args:
        model: its parameters are in the groups under their names, each once; frozen ones are left out.
        vectors: 'rms' or 'inf', of biases and gains.

    Raises:
        InputError: another norm for vectors.
    """
    if vectors not in VECTOR_NORMS:
        raise InputError(f"vectors: {vectors!r}; choose one of {', '.join(VECTOR_NORMS)}")
    roles: dict[int, tuple[str, bool, int]] = {}
    for module in model.modules():
        for weight, role in _weights(module):
            roles.setdefault(id(weight), role)
    groups: dict[tuple[str, bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            role = roles.get(id(parameter), (vectors, False, 1))
            empty = {"params": [], "norm": role[0], "transposed": role[1], "pieces": role[2]}
            groups.setdefault(role, empty)["params"].append((name, parameter))
    return list(groups.values())


def _weights(module: nn.Module) -> list[tuple[Tensor | None, tuple[str, bool, int]]]:
    """Weights of one module with (norm, transposed, pieces)."""
    match module:
        case nn.Embedding() | nn.EmbeddingBag():
            return [(module.weight, ("l1_rms", True, 1))]
        case nn.Linear():
            return [(module.weight, ("rms_rms", False, 1))]
        case nn.MultiheadAttention():
            whole = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
            packed = (module.in_proj_weight, ("rms_rms", False, 3))
            return [packed, *((weight, ("rms_rms", False, 1)) for weight in whole)]
    if isinstance(module, _CONVOLUTIONS):
        return [(module.weight, ("rms_rms", False, module.groups))]
    if isinstance(module, _TRANSPOSED):
        return [(module.weight, ("rms_rms", True, module.groups))]
    return []

"""What a layer's weight gradient is made of: for every kind of layer, inputs and output gradients as rows.

The gradient of one sample n with respect to a weight matrix (d, p) is a sum over positions s (tokens, pixels)

    G_n = sum over s of g_ns a_ns^T,        a (samples, positions, p),  g (samples, positions, d)

with a the layer's input (a patch for convolutions, a unit vector for embeddings, 1 appended where there is a bias) and
g the loss gradient at its output. Layer normalisation has one number a channel: G_n = sum over s of g_ns * a_ns, with a
the normalised input.

Sources: R. Grosse and J. Martens, ICML 2016, arXiv:1602.01407 (convolutions); R. Eschenhagen et al., NeurIPS 2023,
arXiv:2311.00636 (weights shared over positions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DENSE, TABLE, SCALE = "dense", "table", "scale"


@final
@dataclass(frozen=True)
class Layer:
    """A weight whose gradient is made of rows.

    Args:
        name: of the module, for projections of attention with .q, .k, .v or .out appended.
        kind: 'dense' (matrix), 'table' (embedding; the weight is (p, d)) or 'scale' (one number a channel).
        weight: name of the parameter; a convolution's has its kernel flattened behind the channels.
        bias: name of the bias, None without; its column is the last of the inputs.
        rows: which rows of a packed weight belong to this layer, None for all.
    """

    name: str
    kind: str
    weight: str
    bias: str | None
    rows: tuple[int, int] | None = None


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs and output gradients of one pass, as the module says; of tables, `inputs` are numbers of rows (n, s)."""

    layer: Layer
    inputs: Tensor
    gradients: Float[Tensor, "samples positions d"]
    num_rows: int = 0

    def per_sample_gradient(self) -> Tensor:
        """(samples, d, p) with the bias in the last column; tables (samples, p, d), scales (samples, d, 1 or 2)."""
        if self.layer.kind == SCALE:
            columns = [(self.gradients * self.inputs).sum(1)]
            columns += [self.gradients.sum(1)] if self.layer.bias else []
            return torch.stack(columns, -1)
        if self.layer.kind == TABLE:
            inputs = F.one_hot(self.inputs, self.num_rows).to(self.gradients.dtype)
            return torch.einsum("nsp,nsd->npd", inputs, self.gradients)
        return torch.einsum("nsd,nsp->ndp", self.gradients, self.inputs)


Emit = Callable[[str, Tensor, Tensor], None]
"""Name of a layer, its inputs as they came, its output: called in the forward pass."""


def layers_of(name: str, module: nn.Module) -> list[Layer]:
    """The weights of a module that rows explain; empty for a module that is not covered.

    Covered are Linear, Conv1d, Conv2d and Conv3d without groups, Embedding (without max_norm, frequency scaling and
    sparse gradients), LayerNorm with a weight, and the four projections of MultiheadAttention (without added biases).
    A weight without elements is not covered.
    """
    if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.numel() == 0:
        return []
    prefix = f"{name}." if name else ""
    if isinstance(module, nn.MultiheadAttention):
        return _attention_layers(name, module)
    bias = f"{prefix}bias" if getattr(module, "bias", None) is not None else None
    if type(module) is nn.Linear or (isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.groups == 1):
        return [Layer(name, DENSE, f"{prefix}weight", bias)]
    if isinstance(module, nn.Embedding):
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return [Layer(name, TABLE, f"{prefix}weight", None)] if plain else []
    if isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        return [Layer(name, SCALE, f"{prefix}weight", bias)]
    return []


def rows_of(layer: Layer, module: nn.Module, inputs: Tensor, gradients: Tensor) -> Rows:
    """Inputs and output gradients of a pass in their common form."""
    if isinstance(module, nn.Embedding):
        index = inputs.reshape(len(inputs), -1) if inputs.ndim else inputs.reshape(1, 1)
        gradients = gradients.reshape(*index.shape, -1)
        if module.padding_idx is not None:
            gradients = gradients.masked_fill((index == module.padding_idx)[..., None], 0.0)
        return Rows(layer, index, gradients, module.num_embeddings)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        dimension = module.weight.ndim - 2
        if inputs.ndim == dimension + 1:
            inputs, gradients = inputs[None], gradients[None]
        rows, gradients = _patches(module, inputs), gradients.flatten(2).mT
    elif isinstance(module, nn.LayerNorm):
        shape = tuple(module.normalized_shape)
        normal = F.layer_norm(inputs, shape, eps=module.eps)
        size = module.weight.numel()
        lead = inputs.shape[: inputs.ndim - len(shape)]
        samples = lead[0] if lead else 1
        return Rows(layer, normal.reshape(samples, -1, size), gradients.reshape(samples, -1, size))
    else:
        if inputs.ndim == 1:
            inputs, gradients = inputs[None], gradients[None]
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        gradients = gradients.reshape(len(gradients), -1, gradients.shape[-1])
    if layer.bias is not None:
        rows = torch.cat([rows, rows.new_ones(*rows.shape[:-1], 1)], -1)
    return Rows(layer, rows, gradients)


def attention_forward(
    module: nn.MultiheadAttention,
    emit: Emit,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `nn.MultiheadAttention.forward` computes, with each projection's input and output emitted.

    The module's own forward uses the projections' weights inside one function, where no hook sees them. `is_causal` is
    a hint there too: the mask decides.
    """
    batched, batch_first = query.ndim == 3, module.batch_first
    given = (query, key, value)
    tokens = [x if batched and batch_first else (x.transpose(0, 1) if batched else x[None]) for x in given]
    width, heads = module.embed_dim, module.num_heads
    packed = module.in_proj_weight
    weights = (
        list(packed.split(width))
        if packed is not None
        else [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    )
    biases = module.in_proj_bias.split(width) if module.in_proj_bias is not None else [None] * 3
    projected = []
    for part, x, weight, bias in zip("qkv", tokens, weights, biases, strict=True):
        result = F.linear(x, weight, bias)
        emit(part, x, result)
        projected.append(result.unflatten(-1, (heads, width // heads)).transpose(1, 2))
    q, k, v = projected
    scores = (q @ k.mT) * (width // heads) ** -0.5
    if attn_mask is not None:
        mask = _additive(attn_mask, scores.dtype)
        scores = scores + (mask.unflatten(0, (-1, heads)) if mask.ndim == 3 else mask)
    if key_padding_mask is not None:
        padding = key_padding_mask if batched else key_padding_mask.reshape(1, -1)
        scores = scores + _additive(padding, scores.dtype)[:, None, None]
    attention = F.dropout(scores.softmax(-1), module.dropout, module.training)
    joined = (attention @ v).transpose(1, 2).flatten(2)
    result = F.linear(joined, module.out_proj.weight, module.out_proj.bias)
    emit("out", joined, result)
    result = result if batched and batch_first else (result.transpose(0, 1) if batched else result[0])
    if not need_weights:
        return result, None
    seen = attention.mean(1) if average_attn_weights else attention
    return result, seen if batched else seen[0]


def _attention_layers(name: str, module: nn.MultiheadAttention) -> list[Layer]:
    if module.bias_k is not None or module.add_zero_attn:
        return []
    prefix, width = f"{name}." if name else "", module.embed_dim
    bias = f"{prefix}in_proj_bias" if module.in_proj_bias is not None else None
    layers = []
    for number, part in enumerate("qkv"):
        packed = module.in_proj_weight is not None
        weight = f"{prefix}in_proj_weight" if packed else f"{prefix}{part}_proj_weight"
        layers.append(Layer(f"{prefix}{part}", DENSE, weight, bias, (number * width, (number + 1) * width)))
    out_bias = f"{prefix}out_proj.bias" if module.out_proj.bias is not None else None
    return [*layers, Layer(f"{prefix}out", DENSE, f"{prefix}out_proj.weight", out_bias)]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add to scores; True of a boolean mask forbids."""
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)
    return mask.to(dtype)


def _patches(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """(n, positions, channels * kernel): what every output position of a convolution sees."""
    dimension = module.weight.ndim - 2
    padding: list[int] = []
    for place in reversed(range(dimension)):
        if isinstance(module.padding, str):
            whole = module.dilation[place] * (module.kernel_size[place] - 1) if module.padding == "same" else 0
            padding += [whole // 2, whole - whole // 2]
        else:
            padding += [module.padding[place]] * 2
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(inputs, padding, mode=mode)
    for place in range(dimension):
        reach = module.dilation[place] * (module.kernel_size[place] - 1) + 1
        x = x.unfold(2 + place, reach, module.stride[place])[..., :: module.dilation[place]]
    # (n, c, o_1 .. o_d, k_1 .. k_d) -> (n, o_1 .. o_d, c, k_1 .. k_d)
    order = [0, *range(2, 2 + dimension), 1, *range(2 + dimension, 2 + 2 * dimension)]
    return x.permute(order).flatten(1 + dimension).flatten(1, dimension)

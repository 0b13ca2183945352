"""Products of curvature matrices with vectors, without the matrices: Hessian, generalised Gauss-Newton, Fisher.

Every function takes a graph that has been computed once (a loss, or a network's outputs) and gives an operator that
may be applied to any number of vectors, lists of tensors shaped like the parameters:

    Hessian              H v = d/dtheta (grad L . v)
    Gauss-Newton         G v = J^T (d^2 l / dz^2) J v,         z the outputs, J = dz/dtheta, L = l(z)
    Fisher               F v = (1/N) J^T F_z J v,              F_z the covariance of the score of the outputs' law
    empirical Fisher     E v = (1/n) sum over samples of g_i (g_i . v)

J v is the derivative of u -> J^T u, which is linear in u, so reverse mode is all that is needed (Townsend's trick).
`flat_operator` makes of an operator a map of float64 vectors, as `polyad.linalg.lanczos` wants it.

Sources: B. A. Pearlmutter, Neural Computation 6 (1994) 147; N. N. Schraudolph, Neural Computation 14 (2002) 1723;
J. Martens, JMLR 21 (2020) 146.

*When not to use it*: through operations without a second derivative (fused attention kernels: run them under
`torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

Operator = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Vectors shaped like the parameters -> their products, shaped alike."""


def hessian_operator(loss: Float[Tensor, ""], parameters: Iterable[Tensor]) -> Operator:
    """v -> H v of a scalar loss; parameters that it does not reach give zero.

    Raises:
        InputError: a loss without a graph.
    """
    chosen = _checked(loss, parameters, "loss")
    gradients = torch.autograd.grad(loss, chosen, create_graph=True, allow_unused=True, materialize_grads=True)
    return lambda vectors: _derivative(gradients, chosen, vectors)


def gauss_newton_operator(
    outputs: Float[Tensor, "..."], loss: Callable[[Tensor], Tensor], parameters: Iterable[Tensor]
) -> Operator:
    """v -> J^T (d^2 loss / d outputs^2) J v; positive semi-definite wherever the loss is convex in the outputs.

    Args:
        outputs: of the network, with their graph.
        loss: outputs -> scalar.
        parameters: with respect to which J is taken.

    Raises:
        InputError: outputs without a graph.
    """
    chosen = _checked(outputs, parameters, "outputs")
    point = outputs.detach().requires_grad_()
    inner = hessian_operator(loss(point), [point])
    push = _pushforward(outputs, chosen)
    return lambda vectors: _derivative([outputs], chosen, inner([push(vectors)]))


def fisher_operator(
    outputs: Float[Tensor, "samples ..."], parameters: Iterable[Tensor], *, likelihood: str = "categorical"
) -> Operator:
    """v -> F v with the Fisher matrix of the model's own law, averaged over samples.

    Args:
        outputs: with their graph. 'categorical': logits in the last dimension, every other index a sample;
            'bernoulli': every number a logit; 'gaussian': means of unit variance. For the last two the first dimension
            counts samples.
        parameters: with respect to which the Fisher matrix is taken.
        likelihood: as above.

    Raises:
        InputError: an unknown likelihood, or outputs without a graph.
    """
    if likelihood not in ("categorical", "bernoulli", "gaussian"):
        raise InputError(f"likelihood: {likelihood!r}; allowed are 'categorical', 'bernoulli' and 'gaussian'")
    chosen = _checked(outputs, parameters, "outputs")
    push = _pushforward(outputs, chosen)
    point = outputs.detach()
    samples = max(1, point.numel() // point.shape[-1] if likelihood == "categorical" else len(point))

    def score_covariance(pushed: Tensor) -> Tensor:
        if likelihood == "gaussian":
            return pushed
        if likelihood == "bernoulli":
            return point.sigmoid() * (1 - point.sigmoid()) * pushed
        probability = point.softmax(-1)
        return probability * (pushed - (probability * pushed).sum(-1, keepdim=True))

    return lambda vectors: _derivative([outputs], chosen, [score_covariance(push(vectors)) / samples])


def empirical_fisher_operator(losses: Float[Tensor, " samples"], parameters: Iterable[Tensor]) -> Operator:
    """v -> (1/n) sum of g_i (g_i . v) with g_i the gradient of sample i's loss.

    Raises:
        InputError: losses without a graph.
    """
    chosen = _checked(losses, parameters, "losses")
    push = _pushforward(losses, chosen)
    return lambda vectors: _derivative([losses], chosen, [push(vectors) / len(losses)])


def flatten(tensors: Iterable[Tensor], *, dtype: torch.dtype | None = None) -> Float[Tensor, " n"]:
    """All numbers of the tensors in one vector."""
    parts = [x.reshape(-1) if dtype is None else x.reshape(-1).to(dtype) for x in tensors]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype)


def unflatten(vector: Float[Tensor, " n"], like: Iterable[Tensor]) -> list[Tensor]:
    """The vector's numbers in the shapes and dtypes of `like`.

    Raises:
        InputError: a vector of another length.
    """
    shapes = list(like)
    sizes = [x.numel() for x in shapes]
    if len(vector) != sum(sizes):
        raise InputError(f"vector: has {len(vector)} numbers, the parameters have {sum(sizes)}")
    return [part.view(x.shape).to(x.dtype) for part, x in zip(vector.split(sizes), shapes, strict=True)]


def flat_operator(operator: Operator, parameters: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """The operator on float64 vectors of all parameters' numbers; products are formed in the parameters' dtype."""
    chosen = list(parameters)
    return lambda vector: flatten(operator(unflatten(vector, chosen)), dtype=torch.float64)


def _checked(root: Tensor, parameters: Iterable[Tensor], name: str) -> list[Tensor]:
    if not root.requires_grad:
        raise InputError(f"{name}: has no graph; compute it with gradients switched on")
    return list(parameters)


def _pushforward(outputs: Tensor, parameters: list[Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
    """v -> J v, from one backward pass whose cotangent stays a variable."""
    probe = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(
        outputs, parameters, probe, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return lambda vectors: _derivative(pulled, [probe], vectors)[0]


def _derivative(roots: Sequence[Tensor], leaves: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Sum over roots of (d root / d leaf)^T cotangent for every leaf; the graph is kept."""
    if len(roots) != len(cotangents):
        raise InputError(f"vectors: {len(cotangents)} tensors were given for {len(roots)} parameters")
    kept = [(root, cotangent) for root, cotangent in zip(roots, cotangents, strict=True) if root.requires_grad]
    if not kept:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    found = torch.autograd.grad(
        [root for root, _ in kept],
        list(leaves),
        [cotangent for _, cotangent in kept],
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return tuple(x.detach() for x in found)

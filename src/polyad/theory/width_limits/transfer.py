"""Width transfer for models that are not of one kind: muP for any torch model, and the check that it is in place.

`apply_mup` compares a model with the same model at a base width. A dimension whose size differs grows with the width;
m is the quotient of sizes. With respect to the base,

                       init       rate, adaptive     rate, SGD       epsilon
    vectors, inputs    1          1                  m_out           1 / m_out
    hidden             m_in^-1/2  1 / m_in           m_out / m_in    1 / m_out
    outputs            1 / m_in   1 / m_in           1 / m_in        1

where vectors are biases and gains, inputs have a growing output alone (so do embeddings), outputs a growing input
alone. At the base width nothing changes, so rates tuned there stay. The table is `parametrisation`'s "mup" with a = 0.

Attention is to divide by the size of a head, not by its root: that is a matter of the model. `coord_check` shows
whether a model does as it should.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.checks import check_not_negative, check_positive


@final
@dataclass(frozen=True)
class CoordCheck:
    """How far each module's output moves in training, by width.

    Args:
        layers: names of modules without children, in the order of their first call.
        widths: that were built.
        changes: root mean square of the change of a coordinate.
        slopes: exponents of the width, by least squares of logarithms.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    changes: Float[Tensor, "widths layers"]
    slopes: Float[Tensor, "layers"]


def apply_mup(
    model: nn.Module,
    base: nn.Module,
    *,
    optimizer: str = "adaptive",
    lr: float,
    epsilon: float | None = None,
    weight_decay: float = 0.0,
    tables: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Rescale a new model's weights in place and give parameter groups with rates that transfer from the base.

    Args:
        model: as it was made, with torch's own init or any other; every weight gets the root mean square that the table
            asks for, and keeps the shape of its distribution.
        base: the same model at the base width, as it was made; it stays as it is.
        optimizer: "adaptive" for Adam and its like, "sgd" for plain gradients.
        lr: tuned at the base width.
        epsilon: of Adam at the base width; left out of the groups if None.
        weight_decay: decoupled, as in AdamW; the product with the rate is kept.
        tables: names of bare parameters whose last dimension is an output, as that of a table of positions is;
            embeddings are known.

    Returns:
        Groups for an optimiser, one a parameter, with its name under "name".

    Raises:
        InputError: models of different structure, a width that is no width of the model, a table that is tied to an
            output layer (it would need two rates), or an unknown optimizer.
    """
    if optimizer not in ("adaptive", "sgd"):
        raise InputError(f"optimizer: adaptive or sgd, got {optimizer!r}")
    check_positive(lr=lr)
    check_not_negative(weight_decay=weight_decay)
    bases = dict(base.named_parameters())
    parameters = dict(model.named_parameters())
    if list(bases) != list(parameters):
        odd = sorted(set(bases) ^ set(parameters))
        raise InputError(f"base: the same model at another width, but parameters differ ({', '.join(odd[:3])})")
    if unknown := sorted(set(tables) - set(parameters)):
        raise InputError(f"tables: names of parameters, got {', '.join(unknown)}")
    turned = _embeddings(model) | set(tables)
    groups = []
    for name, parameter in parameters.items():
        out, inner = _growth(name, parameter, bases[name], name in turned)
        _rescale(parameter, bases[name], 1 / inner if out == 1 else inner**-0.5)
        rate = lr / inner * (out if optimizer == "sgd" else 1)
        group: dict[str, Any] = {"params": [parameter], "name": name, "lr": rate}
        if epsilon is not None:
            group["eps"] = epsilon / out
        if weight_decay:
            group["weight_decay"] = weight_decay * lr / rate
        groups.append(group)
    return groups


def coord_check(
    make_model: Callable[[int], nn.Module],
    widths: Sequence[int],
    *,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    steps: int = 3,
    seeds: Sequence[int] = (0,),
) -> CoordCheck:
    """Train at several widths and fit how the change of every layer's output depends on the width.

    Args:
        make_model: the model of a width; draws its weights from torch's global generator, which is seeded for it.
        widths: two or more.
        inputs: a batch, trained on and watched.
        loss: of the model's output.
        make_optimizer: of a model; it may rescale the model first, as `apply_mup` does.
        steps: of training.
        seeds: squares of changes are averaged over them.

    Raises:
        InputError: fewer than two different widths, or a change that is zero or not finite, which has no slope.
    """
    if len(set(widths)) < 2:
        raise InputError(f"widths: two different ones or more, got {list(widths)}")
    rows = []
    layers: tuple[str, ...] = ()
    for width in widths:
        squares = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = make_model(width)
            moved = _changes(model, inputs, loss, make_optimizer(model), steps)
            layers = tuple(moved)
            squares.append(torch.stack(list(moved.values())))
        rows.append(torch.stack(squares).mean(0).sqrt())
    changes = torch.stack(rows).double()
    if not bool((changes.isfinite() & (changes > 0)).all()):
        raise InputError("changes: some layer did not move or diverged; choose another rate or watch other layers")
    logs = torch.tensor(widths, dtype=torch.float64).log()
    logs = logs - logs.mean()
    return CoordCheck(layers, tuple(widths), changes, logs @ changes.log() / (logs @ logs))


def _changes(
    model: nn.Module,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    steps: int,
) -> dict[str, Tensor]:
    """Mean square of the change of a coordinate of every leaf module's output."""
    start = _outputs(model, inputs)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(inputs)).backward()
        optimizer.step()
    end = _outputs(model, inputs)
    return {name: (end[name] - before).square().mean() for name, before in start.items()}


def _outputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[name] = output.detach().clone()

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves if list(module.parameters())]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _embeddings(model: nn.Module) -> set[str]:
    """Names of embeddings' weights, whose output is the last dimension."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module.weight) in tables:
            raise InputError(f"{name}: shares its weight with an embedding, which needs another rate; untie them")
    return {name for name, parameter in model.named_parameters() if id(parameter) in tables}


def _growth(name: str, parameter: Tensor, base: Tensor, table: bool) -> tuple[float, float]:
    """Quotients of sizes at the output and at the input; a vector has an output alone."""
    if parameter.dim() != base.dim():
        raise InputError(f"{name}: {base.dim()} dimensions in the base, {parameter.dim()} here; give the same model")
    quotients = [size / before for size, before in zip(parameter.shape, base.shape, strict=True)]
    if table:
        quotients = [quotients[-1], *quotients[:-1]]
    if any(quotient != 1 for quotient in quotients[2:]):
        raise InputError(
            f"{name}: the first two dimensions may grow, or the last one of a table (name it in tables), "
            f"got {tuple(base.shape)} and {tuple(parameter.shape)}"
        )
    out, inner = (*quotients, 1.0, 1.0)[:2]
    return out, inner


def _rescale(parameter: Tensor, base: Tensor, factor: float) -> None:
    """To `factor` times the base's root mean square; zeros stay zeros."""
    with torch.no_grad():
        own, wanted = parameter.square().mean().sqrt(), base.square().mean().sqrt() * factor
        if parameter.numel() and own > 0:
            parameter.mul_(wanted / own)

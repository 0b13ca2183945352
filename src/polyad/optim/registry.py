"""Optimisers by name: what a race, a contract test or a script needs to build them. Reading this loads no torch.

    from polyad.optim.registry import OPTIMIZERS

    optimizer = OPTIMIZERS["shampoo4bit"].build(model, lr=0.01)

torch's own are here too, as what the others are measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from polyad.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

NEEDS = ("gradient", "closure")
"""How a step is asked for: after `backward`, by `step()`; or by `step(closure)`, which computes loss and gradients."""


@final
@dataclass(frozen=True)
class Entry:
    """An optimiser that can be asked for by name.

    Args:
        name: in lists and on the command line.
        place: "module:class", imported when it is built.
        summary: one line for lists.
        rates: smallest and largest learning rate of a search, which is uniform in the logarithm.
        options: those that differ from the class's defaults.
        needs: one of `NEEDS`.
        model: whether the constructor takes `model=` beside the parameters, to watch its layers.
        terms: whether `step(closure)` also takes a list of losses on which `backward` was not called.
    """

    name: str
    place: str
    summary: str
    rates: tuple[float, float]
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str = "gradient"
    model: bool = False
    terms: bool = False

    def __post_init__(self) -> None:
        if self.needs not in NEEDS:
            raise InputError(f"needs: {self.needs!r} is unknown; choose one of {', '.join(NEEDS)}")
        if not 0 < self.rates[0] < self.rates[1]:
            raise InputError(f"rates: {self.rates} is no range of positive numbers; give (smallest, largest)")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @property
    def ours(self) -> bool:
        """Whether the optimiser is Polyad's."""
        return self.place.startswith("polyad.")

    def load(self) -> type[torch.optim.Optimizer]:
        """The class."""
        module, _, name = self.place.partition(":")
        found: type[torch.optim.Optimizer] = getattr(import_module(module), name)
        return found

    def build(self, model: nn.Module, *, params: Any = None, **options: Any) -> torch.optim.Optimizer:
        """The optimiser of a model.

        Args:
            model: whose parameters are changed, and whose layers are watched where the method does so.
            params: parameters or groups of them; by default all of the model's.
            options: of the class, such as `lr`; those not given are the entry's.
        """
        watched = {"model": model} if self.model else {}
        chosen = {**self.options, **watched, **options}
        return self.load()(model.parameters() if params is None else params, **chosen)


def find_optimizer(name: str) -> Entry:
    """The entry of this name.

    Raises:
        InputError: there is none.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"optimizer: {name!r} is unknown; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def _momentum(groups: Any) -> torch.optim.Optimizer:
    """What `fosi-sgd` does along the rest."""
    from torch.optim import SGD

    return SGD(groups, momentum=0.9)


OPTIMIZERS: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(
                "sgd",
                "torch.optim:SGD",
                "stochastic gradient descent with Nesterov's momentum (torch)",
                (1e-3, 3.0),
                {"momentum": 0.9, "nesterov": True},
            ),
            Entry("adam", "torch.optim:Adam", "running means of gradients and their squares (torch)", (3e-5, 0.3)),
            Entry("adamw", "torch.optim:AdamW", "the same with decoupled weight decay (torch)", (3e-5, 0.3)),
            Entry(
                "lbfgs",
                "torch.optim:LBFGS",
                "limited-memory BFGS with a line search on each batch (torch)",
                (1e-4, 1.0),
                {"max_iter": 10, "history_size": 10, "line_search_fn": "strong_wolfe"},
                needs="closure",
            ),
            Entry(
                "lbfgs-wolfe",
                "polyad.optim.second_order.lbfgs:LBFGS",
                "limited-memory BFGS, one line search a step, pairs from one batch each",
                (1e-2, 1.0),
                {"history": 20},
                needs="closure",
            ),
            Entry(
                "shampoo",
                "polyad.optim.kronecker.shampoo:Shampoo",
                "inverse fourth roots of both sides' second moments, 32 bits",
                (1e-4, 1.0),
                {"bits": 32, "statistics_every": 10, "roots_every": 50},
            ),
            Entry(
                "shampoo4bit",
                "polyad.optim.kronecker.shampoo:Shampoo",
                "the same, eigenvectors and roots in 4 bits",
                (1e-4, 1.0),
                {"bits": 4, "statistics_every": 10, "roots_every": 50},
            ),
            Entry(
                "mkor",
                "polyad.optim.kronecker.mkor:MKOR",
                "inverse Kronecker factors by rank-one updates, before momentum",
                (1e-4, 1.0),
                model=True,
            ),
            Entry(
                "mkor-lamb",
                "polyad.optim.kronecker.mkor:MKOR",
                "the same before LAMB",
                (1e-4, 0.1),
                {"base": "lamb"},
                model=True,
            ),
            Entry(
                "inverse-free-kfac",
                "polyad.optim.kronecker.inverse_free:InverseFreeKFAC",
                "Kronecker factors of the inverse curvature by matrix products alone, before momentum",
                (1e-4, 0.1),
                {"update_every": 5, "factor_lr": 0.1, "damping": 1e-2, "warm_up": ()},
                model=True,
            ),
            Entry(
                "fosi",
                "polyad.optim.second_order.fosi:FOSI",
                "Newton along the directions of largest curvature, Adam along the rest",
                (3e-5, 0.3),
                needs="closure",
            ),
            Entry(
                "fosi-sgd",
                "polyad.optim.second_order.fosi:FOSI",
                "the same with momentum in place of Adam",
                (1e-3, 10.0),
                {"base": _momentum},
                needs="closure",
            ),
            Entry(
                "sign",
                "polyad.optim.norms.reductions:SignDescent",
                "steps of one size in every entry",
                (1e-5, 0.1),
            ),
            Entry(
                "spectral",
                "polyad.optim.norms.descent:SteepestDescent",
                "orthogonalised momentum, steps of one size from layer input to layer output",
                (1e-3, 1.0),
                {"scale": "unit", "momentum": 0.9},
            ),
            Entry(
                "modular",
                "polyad.optim.norms.descent:ModularSteepestDescent",
                "steepest descent under the largest such norm of all layers",
                (1e-3, 1.0),
            ),
            Entry(
                "multiadam",
                "polyad.optim.multiscale:MultiAdam",
                "Adam with means of its own for every loss of a list; on a single loss, Adam with slow means",
                (3e-5, 0.3),
                terms=True,
            ),
        )
    }
)
"""All optimisers by gradient, in the order of lists."""

"""Networks by name, with the options that a checkpoint remembers.

A checkpoint holds the name of its network and the options it was built with, as JSON; nothing but a name in this table
is ever built from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, final

from torch import nn

from polyad.errors import InputError


@final
@dataclass(frozen=True)
class Architecture:
    """A network that can be asked for by name.

    Args:
        name: on the command line.
        place: "module:class", imported when it is built.
        summary: one line for lists.
        options: those that differ from the class's defaults for a training on a desktop.
        rate: learning rate where none is asked for; of those that were tried in the claims, the best.
        positivity: of property networks: how tensors that must be positive become so; "none" leaves them as they are.
        augment: of property networks: train on structures turned and mirrored at random.
    """

    name: str
    place: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 2e-3
    positivity: str = "square"
    augment: bool = False

    def load(self) -> type[nn.Module]:
        """The class."""
        module, _, name = self.place.partition(":")
        found: type[nn.Module] = getattr(import_module(module), name)
        return found


POTENTIALS: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "schnet",
            "polyad.materials.potentials.invariant:InvariantNetwork",
            "scalars and distances only, the baseline",
            rate=1e-2,
        ),
        Architecture(
            "tensornet",
            "polyad.materials.potentials.tensornet:TensorNet",
            "3 x 3 matrices on atoms, coupled by matrix products",
            {"channels": 64},
            rate=1e-2,
        ),
        Architecture(
            "mace",
            "polyad.materials.potentials.mace:MACE",
            "messages of body order four from symmetric contractions",
            {"channels": 32, "lmax": 2},
            rate=3e-2,
        ),
        Architecture(
            "escn",
            "polyad.materials.potentials.escn:ESCN",
            "convolutions of high degree in the frame of every edge, activations on the sphere",
            {"channels": 16, "lmax": 3, "mmax": 2, "reflections": True},
            rate=5e-3,
        ),
        Architecture(
            "equiformer",
            "polyad.materials.potentials.equiformer:EquiformerV2",
            "a transformer of high degree: attention with eSCN convolutions",
            {"channels": 16, "lmax": 3, "mmax": 2, "layers": 2, "heads": 2, "reflections": True},
            rate=5e-3,
        ),
        Architecture(
            "faenet",
            "polyad.materials.potentials.faenet:FrameAveragedFAENet",
            "messages along raw vectors in a frame, drawn at random in training, averaged afterwards",
            rate=1e-2,
        ),
        Architecture(
            "gaussian-moments",
            "polyad.materials.potentials.gaussian_moments:GaussianMomentNetwork",
            "contractions of Cartesian moments up to rank three, and a perceptron",
            {"width": 256},
        ),
        Architecture(
            "se3-transformer",
            "polyad.materials.potentials.se3_transformer:SE3TransformerPotential",
            "attention with kernels that turn with the offset of two atoms",
            {"channels": 8, "layers": 2},
        ),
        Architecture(
            "ponita",
            "polyad.materials.potentials.ponita:PonitaPotential",
            "signals on a grid of orientations at every atom; exact under the grid's rotations, nearly so under all",
            {"channels": 32, "orientations": "icosahedron", "basis": 32},
        ),
    )
}
"""Networks that give every atom an energy."""

PROPERTIES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "lattice",
            "polyad.materials.properties.lattice_network:EnergyEquivGNN",
            "equivariant messages and symmetric contractions, tensors positive by construction",
            {"channels": 8, "correlation": 2},
            rate=1e-2,
        ),
        Architecture(
            "cgc",
            "polyad.materials.properties.crystal_graph:CGC",
            "crystal graph convolution on edge directions, raw tensors",
            rate=1e-2,
            positivity="none",
        ),
        Architecture(
            "cgc+",
            "polyad.materials.properties.crystal_graph:CGC",
            "the same on turned copies, tensors positive by construction",
            rate=1e-2,
            augment=True,
        ),
        Architecture(
            "nnconv",
            "polyad.materials.properties.crystal_graph:NNConv",
            "matrices on edges, made by a perceptron of their features, raw tensors",
            rate=1e-3,
            positivity="none",
        ),
        Architecture(
            "frame-averaged-cgc",
            "polyad.materials.properties.frame_averaged:FrameAveragedCrystalGraph",
            "cgc in the principal axes of every structure: exact but for cells with equal moments, such as cubic ones",
            rate=1e-2,
        ),
        Architecture(
            "frame-averaged-nnconv",
            "polyad.materials.properties.frame_averaged:FrameAveragedCrystalGraph",
            "the same with nnconv",
            {"backbone": "nnconv"},
            rate=1e-3,
        ),
        Architecture(
            "gaussian-moment-tensors",
            "polyad.materials.properties.magnetic_anisotropy:GaussianMomentTensors",
            "coefficients times Cartesian moments, for scalars and symmetric matrices such as zero-field splittings",
            {"width": 64, "gaussians": 24},
            rate=1e-2,
        ),
        Architecture(
            "icomformer",
            "polyad.materials.properties.comformer:IComFormer",
            "transformer on lengths and angles with the lattice, for scalars of crystals; knows their hand",
            {"channels": 64, "bins": 64, "angle_bins": 16, "scale": 6.0},
            rate=1e-2,
            positivity="none",
        ),
        Architecture(
            "ecomformer",
            "polyad.materials.properties.comformer:EComFormer",
            "transformer with an equivariant update, for scalars of crystals",
            {"channels": 64, "bins": 64, "width": 32, "scale": 6.0},
            rate=1e-2,
            positivity="none",
        ),
    )
}
"""Networks that give every structure the irreps of a property: `cls(kinds=, cutoff=, out=, **options)`, called with a
`PointGraph`, return (structures, out.dim)."""

_FIXED = ("self", "kinds", "cutoff", "out")


def takes(name: str, option: str, *, table: Mapping[str, Architecture] = POTENTIALS) -> bool:
    """Whether the network of this name has such an option.

    Raises:
        InputError: an unknown name.
    """
    return option in _parameters(_known(name, table))


def build_network(
    name: str,
    *,
    kinds: int,
    cutoff: float,
    options: Mapping[str, Any] | None = None,
    table: Mapping[str, Architecture] = POTENTIALS,
    **fixed: Any,
) -> nn.Module:
    """The network with this name.

    Args:
        name: one of the table's.
        kinds: number of elements.
        cutoff: of the neighbour list.
        options: of its class; those not given are the architecture's.
        table: where to look.
        fixed: what all networks of the table are given besides, such as `out`.

    Raises:
        InputError: an unknown name, or an option that the class does not have.
    """
    cls = _known(name, table)
    chosen = {**table[name].options, **(options or {})}
    allowed = _parameters(cls)
    unknown = [key for key in chosen if key not in allowed]
    if unknown:
        raise InputError(f"model: {name} has no option {unknown[0]!r}; there are {', '.join(allowed)}")
    try:
        return cls(kinds=kinds, cutoff=cutoff, **fixed, **chosen)
    except TypeError as error:
        raise InputError(f"model: options {chosen} do not fit {name} ({error})") from error


def _known(name: str, table: Mapping[str, Architecture]) -> type[nn.Module]:
    if name not in table:
        raise InputError(f"model: {name!r} is unknown; there are {', '.join(sorted(table))}")
    return table[name].load()


def _parameters(cls: type[nn.Module]) -> list[str]:
    return [key for key in inspect.signature(cls.__init__).parameters if key not in _FIXED]

"""Models of mace-torch: weights of one, exported by `scripts/export_mace_torch.py`, give its numbers here.

Linear maps and products have the same numbers in both libraries (`polyad.symmetry.bridge`). Three things differ:

    couplings     mace-torch keeps all ways to couple nu factors in e3nn's basis; here stands an independent, symmetric
                  set. Its tensors, turned into our basis, are combinations of ours, and so are the weights.
    SiLU          e3nn scales it by a constant that it samples; the ratio to the exact one goes into the next weights.
    scale, shift  of the interaction energy are those of `Potential`.

The file is safetensors with a JSON header; reading it runs nothing.

Source: the layout of the mace-torch package, version 0.3 (github.com/ACEsuit/mace); it is not needed here.

When not to use it: models with charges, pair repulsion, several heads or density normalisation, which the exporter
refuses.
"""

from __future__ import annotations

import json
import math
import os
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.materials.potentials.mace import MACE
from polyad.materials.potentials.potential import Potential
from polyad.symmetry.activations import root_mean_square
from polyad.symmetry.bridge import e3nn_matrix
from polyad.symmetry.irreps import Irrep
from polyad.symmetry.symmetric_coupling import monomials, symmetric_couplings
from polyad.training.checkpoint import load_weights

_FIRST = {"RealAgnosticInteractionBlock": "mixing", "RealAgnosticResidualInteractionBlock": "residual"}
_OPTIONS = (
    "channels", "lmax", "message_degree", "correlation", "layers", "radial", "radial_layers", "window_power",
    "neighbors", "linear_readout",
)  # fmt: skip


def read_mace_torch(path: str | os.PathLike[str]) -> tuple[Potential, dict[str, Any]]:
    """The potential in such a file, in float64, and the facts that `polyad.materials.learning` keeps in checkpoints.

    Raises:
        FileFormatError: no such file, not an exported model, or one that does not fit its description.
    """
    facts, tensors = _read(os.fspath(path))
    try:
        options = {name: facts[name] for name in _OPTIONS}
        options |= {"first_layer": _FIRST[facts["first_block"]], "hidden_readout": max(facts["hidden_readout"], 1)}
        species, cutoff = facts["atomic_numbers"], float(facts["r_max"])
        network = MACE(kinds=len(species), cutoff=cutoff, **options).double()
        load_weights(network, _Weights(facts, tensors, len(species)).all())
        shift = tensors["atomic_energies_fn.atomic_energies"].reshape(-1) + facts["shift"]
        potential = Potential(network, species=species, cutoff=cutoff, shift=shift, scale=facts["scale"]).double()
    except (KeyError, TypeError, ValueError, RuntimeError, InputError) as error:
        raise FileFormatError(
            os.fspath(path), f"does not fit its own description ({error}); export the model again"
        ) from error
    kept = {"kind": "potential", "model": "mace", "options": options, "species": species, "cutoff": cutoff}
    return potential.eval(), kept


def _read(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FileFormatError(path, "there is no such file; give one that scripts/export_mace_torch.py wrote")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("mace", "null"))
            tensors = {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FileFormatError(path, f"is no readable safetensors file ({error}); copy it again") from error
    if not isinstance(facts, dict) or facts.get("format") != "mace-torch":
        raise FileFormatError(path, "is no exported mace-torch model; give one that scripts/export_mace_torch.py wrote")
    return facts, tensors


class _Weights:
    """mace-torch's tensors under our names."""

    def __init__(self, facts: dict[str, Any], tensors: dict[str, Tensor], kinds: int) -> None:
        self.facts, self.tensors, self.kinds = facts, tensors, kinds
        self.channels, self.lmax = int(facts["channels"]), int(facts["lmax"])

    def all(self) -> dict[str, Tensor]:
        facts, c = self.facts, self.channels
        found = {"element": self.take("node_embedding.linear.weight").view(self.kinds, c) / math.sqrt(self.kinds)}
        found["constant"] = found["element"].new_zeros(self.kinds)
        degree_in = 0
        for t in range(int(facts["layers"])):
            last = t == facts["layers"] - 1
            degree_out = 0 if last else int(facts["message_degree"])
            found |= {f"layers.{t}.{name}": value for name, value in self.layer(t, degree_in, degree_out).items()}
            hidden = last and not facts["linear_readout"]
            found |= {f"readouts.{t}.network.weights.{n}": w for n, w in enumerate(self.readout(t, hidden=hidden))}
            degree_in = degree_out
        return found

    def layer(self, t: int, degree_in: int, degree_out: int) -> dict[str, Tensor]:
        c, place = self.channels, f"interactions.{t}"
        found = {"send.weight": self.degrees(f"{place}.linear_up.weight", degree_in)}
        ratio = self.facts["radial_activation"] * root_mean_square(torch.nn.functional.silu)
        for n in range(len(self.facts["radial_layers"]) + 1):
            found[f"radial.weights.{n}"] = self.take(f"{place}.conv_tp_weights.layer{n}.weight") * (ratio if n else 1)
        gather, start = self.take(f"{place}.linear.weight"), 0
        for degree in range(self.lmax + 1):
            inputs = c * sum(
                abs(l1 - l2) <= degree <= l1 + l2 and (l1 + l2 + degree) % 2 == 0
                for l1 in range(degree_in + 1)
                for l2 in range(self.lmax + 1)
            )
            block = gather[start : start + inputs * c].view(inputs, c)
            found[f"gather.weights.{Irrep(degree, (-1) ** degree)}"] = block.T
            start += inputs * c
        _expect(start == len(gather), f"{place}.linear.weight has {len(gather)} numbers, not {start}")
        skip = f"{place}.skip_tp.weight"
        if t or self.facts["first_block"] == "RealAgnosticResidualInteractionBlock":
            found |= self.by_element("residual", skip, min(degree_in, degree_out))
        else:
            found |= self.by_element("mix", skip, self.lmax)
        for degree in range(degree_out + 1):
            found |= self.contraction(t, degree)
        found["update.weight"] = self.degrees(f"products.{t}.linear.weight", degree_out)
        return found

    def readout(self, t: int, *, hidden: bool) -> list[Tensor]:
        c, place = self.channels, f"readouts.{t}"
        if not hidden:
            return [self.take(f"{place}.linear.weight").view(c, 1)]
        ratio = self.facts["readout_activation"] * root_mean_square(torch.nn.functional.silu)
        first, second = self.take(f"{place}.linear_1.weight"), self.take(f"{place}.linear_2.weight")
        return [first.view(c, -1), second.view(-1, 1) * ratio]

    def degrees(self, name: str, lmax: int) -> Tensor:
        """e3nn's linear map of c copies of 0..lmax as (lmax + 1, out, in)."""
        return self.take(name).view(lmax + 1, self.channels, self.channels).mT

    def by_element(self, name: str, source: str, degree: int) -> dict[str, Tensor]:
        """Products with the element's one-hot vector as one linear map an element."""
        c = self.channels
        # (degree, in, element, out)
        weight = self.take(source).view(degree + 1, c, self.kinds, c) / math.sqrt(self.kinds)
        return {f"{name}.maps.{z}.weight": weight[:, :, z].mT for z in range(self.kinds)}

    def contraction(self, t: int, degree: int) -> dict[str, Tensor]:
        """Weights of our couplings: those of mace-torch are combinations of ours."""
        irrep, found = Irrep(degree, (-1) ** degree), {}
        place = f"products.{t}.symmetric_contractions.contractions.{degree}"
        correlation = int(self.facts["correlation"])
        for order in range(1, correlation + 1):
            # mace-torch counts downwards: weights.0 has one factor less than weights_max
            part = "weights_max" if order == correlation else f"weights.{correlation - 1 - order}"
            theirs = _in_our_basis(self.take(f"monomials.{t}.{degree}.{order}"), self.lmax, degree, order)
            ours = symmetric_couplings(self.lmax, order, irrep)
            found[f"contract.weights.{irrep}_{order}"] = _combinations(
                ours, theirs, self.take(f"{place}.{part}"), f"{place}, order {order}"
            )
        return found

    def take(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise ValueError(f"the tensor {name} is missing")
        return self.tensors[name]


def _combinations(ours: Tensor, theirs: Tensor, weights: Tensor, what: str) -> Tensor:
    """(elements, channels, couplings): (elements, their couplings, channels) for another set of the same space."""
    if weights.numel() == 0 or len(ours) == 0:
        return weights.new_zeros(weights.shape[0], weights.shape[-1], len(ours))
    table = theirs.permute(2, 0, 1).flatten(1)  # (their couplings, components x monomials)
    solution = torch.linalg.lstsq(ours.flatten(1).T, table.T).solution  # (ours, theirs)
    rest = float((ours.flatten(1).T @ solution - table.T).abs().max())
    _expect(rest < 1e-5 * float(table.abs().max()) + 1e-12, f"couplings of {what} are not equivariant ({rest:.1e})")
    return torch.einsum("et,ztk->zke", solution, weights)


def _in_our_basis(coefficients: Tensor, lmax: int, degree: int, order: int) -> Tensor:
    """(components, monomials, couplings) in our basis from e3nn's: x_e3nn = E x_ours on every index."""
    size = (lmax + 1) ** 2
    indices = monomials(size, order)
    _expect(coefficients.shape[1] == len(indices), f"{coefficients.shape[1]} monomials, {len(indices)} expected")
    orders = list(permutations(range(order)))
    dense = coefficients.new_zeros(len(coefficients), *[size] * order, coefficients.shape[-1])
    for permutation in orders:  # each monomial shared among all its orders, repeated ones adding up
        place: Any = (slice(None), *(torch.from_numpy(indices[:, axis].copy()) for axis in permutation))
        share = coefficients / len(orders)
        dense.permute(*range(1, order + 1), 0, order + 1).index_put_(place[1:], share.transpose(0, 1), accumulate=True)
    basis = torch.block_diag(*[e3nn_matrix(degree) for degree in range(lmax + 1)])
    for axis in range(1, order + 1):
        dense = torch.tensordot(dense, basis, dims=([axis], [0])).movedim(-1, axis)
    dense = torch.tensordot(e3nn_matrix(degree).T, dense, dims=1)
    radix = size ** np.arange(order - 1, -1, -1, dtype=np.int64)
    every = np.sort(np.indices([size] * order).reshape(order, -1).T, axis=1)
    place_of = torch.from_numpy(np.searchsorted(indices @ radix, every @ radix))
    flat = dense.reshape(len(dense), -1, dense.shape[-1])
    return flat.new_zeros(len(flat), len(indices), flat.shape[-1]).index_add(1, place_of, flat)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)

"""A trained correction: an ensemble of small networks with an error bar, in one safetensors file.

There are two bars, each with the probability that the correction was calibrated for. The first is of the tensor as a
whole, the second of its weakest strain:

    |C_solid - C_corrected| / |C_corrected| <= error          exp(-q) C_corrected <= C_solid <= exp(q) C_corrected

From the second follows that every modulus that is monotone in the tensor (Young's along any direction, shear, bulk)
lies within a factor exp(q). Both hold for lattices drawn as the pairs were, and for solids of their resolution: what
voxels add to a tensor is in both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.correction.features import CorrectionInputs, correction_inputs
from polyad.materials.lattice.solids.correction.network import CorrectionNetwork, corrected_stiffness
from polyad.training import Checkpoint, load_checkpoint, load_weights, save_checkpoint

KIND = "solid correction"


@final
@dataclass(frozen=True, eq=False)
class Corrected:
    """Corrected tensors of some lattices.

    Args:
        stiffness: (batch, 6, 6) in the unit of the beams'.
        error: (batch,) bar of the relative error of the tensor, Frobenius.
        bar: (batch,) q: moduli of the solid are expected within a factor exp(q).
        inside: (batch,) whether the density is among those trained on; elsewhere the bar says nothing.
    """

    stiffness: Float[Tensor, "batch 6 6"]
    error: Float[Tensor, " batch"]
    bar: Float[Tensor, " batch"]
    inside: Tensor


@final
@dataclass(frozen=True, eq=False)
class SolidCorrection:
    """What `train_correction` gives.

    Args:
        networks: whose exponents are averaged.
        quantiles: of the scores of both bars; a lattice's bars are these times its difficulty.
        level: probability of the bar.
        densities: least and greatest density of the pairs.
        poisson_ratio: of their solid.
        facts: how it was trained and what was measured, JSON values.
    """

    networks: Sequence[CorrectionNetwork]
    quantiles: tuple[float, float]
    level: float
    densities: tuple[float, float]
    poisson_ratio: float
    facts: dict[str, Any]

    @torch.no_grad()
    def __call__(self, lattices: LatticeBatch | Sequence[StrutLattice], beams: Float[Tensor, "batch 6 6"]) -> Corrected:
        """Corrected tensors of lattices from those of their beams.

        Raises:
            InputError: no lattice, or one whose beams leave some strain without resistance.
        """
        if not isinstance(lattices, LatticeBatch):
            lattices = LatticeBatch.from_lattices([x.detach().to(dtype=torch.float64) for x in lattices])
        inputs = correction_inputs(lattices, beams, poisson_ratio=self.poisson_ratio)
        stiffness = corrected_stiffness(mean_exponent(self.networks, inputs), inputs.root)
        density = inputs.size.square()
        inside = (density >= 0.999 * self.densities[0]) & (density <= 1.001 * self.densities[1])
        error, bar = (quantile * difficulty(inputs) for quantile in self.quantiles)
        return Corrected(stiffness, error, bar, inside)


def mean_exponent(networks: Sequence[CorrectionNetwork], inputs: CorrectionInputs) -> Float[Tensor, "batch 6 6"]:
    """S of every lattice, averaged over the networks."""
    return torch.stack([net(inputs.size, inputs.invariants, inputs.tensors) for net in networks]).mean(0)


def difficulty(inputs: CorrectionInputs) -> Float[Tensor, " batch"]:
    """By how much the errors of one lattice are expected to exceed those of another."""
    return inputs.size


def save_correction(path: str | os.PathLike[str], correction: SolidCorrection) -> None:
    """Write a correction as safetensors, whole or not at all.

    Raises:
        InputError: a path that cannot be written.
    """
    weights = {f"{k}.{name}": x for k, net in enumerate(correction.networks) for name, x in net.state_dict().items()}
    facts = {
        "kind": KIND,
        "networks": len(correction.networks),
        "width": len(correction.networks[0].inner),
        "quantiles": list(correction.quantiles),
        "level": correction.level,
        "densities": list(correction.densities),
        "poisson_ratio": correction.poisson_ratio,
        "measured": correction.facts,
    }
    save_checkpoint(path, Checkpoint(weights, facts=facts))


def load_correction(path: str | os.PathLike[str]) -> SolidCorrection:
    """The correction of a file that `save_correction` wrote.

    Raises:
        FileFormatError: no such file, or one that holds something else.
    """
    found = load_checkpoint(path)
    facts = found.facts
    if facts.get("kind") != KIND:
        raise FileFormatError(
            os.fspath(path), f"holds no correction but {facts.get('kind')!r}; give one of train_correction"
        )
    try:
        networks = []
        for k in range(int(facts["networks"])):
            network = CorrectionNetwork(int(facts["width"])).double()
            own = {name.removeprefix(f"{k}."): x for name, x in found.model.items() if name.startswith(f"{k}.")}
            load_weights(network, own)
            networks.append(network.eval())
        (low, high), (error, bar) = ((float(x) for x in facts[key]) for key in ("densities", "quantiles"))
        return SolidCorrection(
            networks,
            quantiles=(error, bar),
            level=float(facts["level"]),
            densities=(low, high),
            poisson_ratio=float(facts["poisson_ratio"]),
            facts=dict(facts["measured"]),
        )
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(os.fspath(path), f"does not rebuild its correction ({error}); train it again") from error

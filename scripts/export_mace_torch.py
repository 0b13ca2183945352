"""A mace-torch model for Polyad: `python export_mace_torch.py MODEL.model OUT.safetensors`.

Runs in the environment of mace-torch (which pins its own e3nn), beside torch and safetensors; Polyad is not needed.
It loads a pickle, which can run code: give it only models that you trust.

The file holds the weights under mace-torch's names, the coupling tensors as coefficients of monomials, and a JSON
description in its metadata.
"""

import json
import sys
from itertools import combinations_with_replacement

import numpy as np
import torch

SKIPPED = ("output_mask", "_w3j", "U_matrix", "zeroed", ".bias", "atomic_numbers")
BLOCKS = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")


def monomial_coefficients(coupling, order):
    """(components, monomials, couplings) of a tensor (components, M, ..., M, couplings)."""
    size = coupling.shape[-1 - order]
    coupling = np.asarray(coupling.detach().cpu().double()).reshape(-1, *[size] * order, coupling.shape[-1])
    places = {indices: n for n, indices in enumerate(combinations_with_replacement(range(size), order))}
    found = np.zeros((len(coupling), len(places), coupling.shape[-1]))
    for indices in np.argwhere(np.abs(coupling).max((0, -1)) > 0):
        found[:, places[tuple(sorted(indices.tolist()))]] += coupling[(slice(None), *indices)]
    return torch.from_numpy(found)


def describe(model):
    """What rebuilds the network; refuses what Polyad's network is not."""
    blocks = [type(block).__name__ for block in model.interactions]
    first, radial = model.interactions[0], model.radial_embedding
    sizes = [first.conv_tp_weights[n].weight.shape[0] for n in range(len(first.conv_tp_weights))]
    hidden = model.products[0].linear.irreps_out
    problems = {
        "model": type(model).__name__ not in ("MACE", "ScaleShiftMACE") and type(model).__name__,
        "interaction blocks": any(name not in BLOCKS for name in blocks) and blocks,
        "radial functions": type(radial.bessel_fn).__name__ != "BesselBasis" and type(radial.bessel_fn).__name__,
        "distance transform": hasattr(radial, "distance_transform"),
        "pair repulsion": hasattr(model, "pair_repulsion_fn"),
        "heads": model.atomic_energies_fn.atomic_energies.squeeze().ndim > 1,
    }
    for what, value in problems.items():
        if value:
            raise SystemExit(f"{what}: {value} cannot be exported; Polyad reads plain MACE and ScaleShiftMACE models")
    last = model.readouts[-1]
    linear = hasattr(last, "linear")
    scaled = hasattr(model, "scale_shift")
    return {
        "format": "mace-torch",
        "r_max": float(model.r_max),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "first_block": blocks[0],
        "layers": len(blocks),
        "channels": int(hidden[0].mul),
        "message_degree": int(hidden.lmax),
        "lmax": int(first.edge_attrs_irreps.lmax),
        "correlation": len(model.products[0].symmetric_contractions.contractions[0].weights) + 1,
        "radial": int(sizes[0]),
        "radial_layers": [int(size) for size in sizes[1:]],
        "window_power": int(radial.cutoff_fn.p),
        "neighbors": float(first.avg_num_neighbors),
        "linear_readout": linear,
        "hidden_readout": 0 if linear else int(last.linear_1.irreps_out.num_irreps),
        "radial_activation": float(first.conv_tp_weights[0].act.cst),
        "readout_activation": 1.0 if linear else float(last.non_linearity.acts[0].cst),
        "scale": float(model.scale_shift.scale) if scaled else 1.0,
        "shift": float(model.scale_shift.shift) if scaled else 0.0,
    }


def main(source, target):
    """Read, describe, write."""
    from safetensors.torch import save_file

    model = torch.load(source, map_location="cpu", weights_only=False)
    facts = describe(model)
    tensors = {}
    for name, value in model.state_dict().items():
        if value.numel() and not any(part in name for part in SKIPPED):
            tensors[name] = value.double().contiguous()
    for p, product in enumerate(model.products):
        for c, contraction in enumerate(product.symmetric_contractions.contractions):
            for order in range(1, facts["correlation"] + 1):
                coupling = contraction.U_tensors(order)
                tensors[f"monomials.{p}.{c}.{order}"] = monomial_coefficients(coupling, order).contiguous()
    save_file(tensors, target, metadata={"mace": json.dumps(facts)})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

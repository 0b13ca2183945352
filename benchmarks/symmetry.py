"""Symmetry kernels beside e3nn and beside the dense products: `python benchmarks/symmetry.py [row ...]`.

Without arguments all rows run (some minutes); their names are at the foot of this file. Everything is float32, forward
and backward, on all cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from e3nn import o3
from harness import Benchmark, interleave, run_rows
from torch import Tensor

from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.coupling import clebsch_gordan, gaunt_tensor
from polyad.symmetry.gaunt import gaunt_product
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.so2 import EdgeFrames, SO2Convolution, weights_from_paths
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.symmetry.symmetric_coupling import symmetric_tensors
from polyad.symmetry.tensor_product import DepthwiseTensorProduct
from polyad.symmetry.wigner import wigner_d
from polyad.tensors.rotations import random_rotations

Row = dict[str, object]


def there_and_back(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """Forward and backward through all inputs that ask for gradients, by one fixed cotangent."""
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    cotangent = torch.randn_like(function(*inputs).detach())
    return lambda: torch.autograd.grad(function(*inputs), leaves, cotangent)


def in_a_row(run: Callable[[], object], times: int) -> Callable[[], object]:
    """Several calls, so that a short one does not only measure the caches that the candidate before it emptied."""

    def several() -> None:
        for _ in range(times):
            run()

    return several


def normal(*shape: int, seed: int = 0, gradient: bool = True) -> Tensor:
    """Normal entries in float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_(gradient)


def gaunt() -> list[Row]:
    """The Gaunt product, both backends, beside the dense product in two orders and e3nn filtered to its outputs."""
    rows = []
    for lmax in (2, 4, 6, 10, 16):
        size = (lmax + 1) ** 2
        table = gaunt_tensor(lmax, lmax, lmax).float()
        matrix, outer = table.flatten(1).contiguous(), table.flatten(0, 1).contiguous()

        def factor_first(first: Tensor, second: Tensor, matrix: Tensor = matrix, size: int = size) -> Tensor:
            return torch.bmm(second[:, None], (first @ matrix).view(-1, size, size))[:, 0]

        def outer_first(first: Tensor, second: Tensor, outer: Tensor = outer) -> Tensor:
            return (first[:, :, None] * second[:, None]).flatten(1) @ outer

        for samples in (256, 4096) if lmax <= 6 else (256,):
            pair = normal(samples, size), normal(samples, size, seed=1)
            candidates: dict[str, Callable[..., Tensor]] = {
                "grid": lambda x, y, lmax=lmax: gaunt_product([x, y], lmax, backend="grid"),
                "fft": lambda x, y, lmax=lmax: gaunt_product([x, y], lmax, backend="fft"),
                "dense, factor first": factor_first,
                "dense, outer product first": outer_first,
            }
            reference = factor_first(*pair)
            errors = [float((run(*pair) - reference).detach().abs().max()) for run in candidates.values()]
            if lmax <= 6:
                irreps = o3.Irreps(str(Irreps.spherical(lmax)))
                candidates["e3nn"] = o3.FullyConnectedTensorProduct(irreps, irreps, irreps)
            calls = 10 if samples == 256 else 1
            rivals = {name: in_a_row(there_and_back(run, *pair), calls) for name, run in candidates.items()}
            seconds = {name: value / calls for name, value in interleave(rivals, repeats=9).items()}
            ours, dense = (
                min(seconds["grid"], seconds["fft"]),
                min(seconds[name] for name in seconds if "dense" in name),
            )
            row: Row = {"lmax": lmax, "batch x channels": samples}
            row |= {f"{name} ms": 1e3 * value for name, value in seconds.items()}
            row |= {"dense / ours": dense / ours, "largest difference": max(errors)}
            row |= {"e3nn / ours": seconds["e3nn"] / ours} if "e3nn" in seconds else {}
            rows.append(row)
    return rows


def so2() -> list[Row]:
    """The SO(2) convolution, rotations included, beside the dense convolution that it equals."""
    rows, lmax, edges = [], 6, 1000
    places = degree_slices(2 * lmax)
    for channels in (16, 32):
        triples = [
            (a, b, c) for a in range(lmax + 1) for c in range(lmax + 1) for b in range(abs(a - c), a + c + 1)
        ]  # fmt: skip
        paths = {
            triple: normal(channels, channels, seed=k, gradient=False) / channels for k, triple in enumerate(triples)
        }
        groups: dict[tuple[int, int], list[int]] = {}
        for a, b, c in triples:
            groups.setdefault((a, c), []).append(b)
        blocks = {(a, b, c): clebsch_gordan(a, b, c).float().transpose(0, 1).flatten(1) for a, b, c in triples}
        mixers = {
            (a, c): torch.stack([paths[a, b, c] for b in members]).requires_grad_()
            for (a, c), members in groups.items()
        }

        def dense(
            coefficients: Tensor, directions: Tensor, groups: Any = groups, blocks: Any = blocks, mixers: Any = mixers
        ) -> Tensor:
            harmonics = spherical_harmonics(directions, 2 * lmax)
            sums: list[Any] = [0] * (lmax + 1)
            for (a, c), members in groups.items():
                # the coupling meets the direction first, once for all channels
                kernels = [(harmonics[:, places[b]] @ blocks[a, b, c]).view(-1, 2 * a + 1, 2 * c + 1) for b in members]
                coupled = coefficients[..., places[a]] @ torch.cat(kernels, dim=-1)
                coupled = coupled.unflatten(-1, (len(members), 2 * c + 1))  # (edges, in, paths, orders)
                sums[c] = sums[c] + torch.einsum("eupc,pwu->ewc", coupled, mixers[a, c])
            return torch.cat(sums, dim=-1)

        layer = SO2Convolution(channels, channels, lmax, bias=False, generator=torch.Generator().manual_seed(0))
        weight0, weights = weights_from_paths(paths, lmax)
        with torch.no_grad():
            for parameter, weight in zip(
                [layer.linear.weight0, *layer.linear.weights], [weight0, *weights], strict=True
            ):
                parameter.copy_(weight)

        def reduced(coefficients: Tensor, directions: Tensor, layer: SO2Convolution = layer) -> Tensor:
            return layer(coefficients, EdgeFrames.from_directions(directions, lmax))

        inputs = normal(edges, channels, (lmax + 1) ** 2), normal(edges, 3, seed=1, gradient=False)
        error = float((reduced(*inputs) - dense(*inputs)).detach().abs().max())
        seconds = interleave(
            {
                "ours": there_and_back(reduced, *inputs),
                "dense": there_and_back(dense, *inputs),
                "ours, forward": lambda inputs=inputs: reduced(*inputs),
                "dense, forward": lambda inputs=inputs: dense(*inputs),
            },
            repeats=5,
        )
        rows.append(
            {"lmax": lmax, "edges": edges, "channels": channels}
            | {f"{name} ms": 1e3 * value for name, value in seconds.items()}
            | {"dense / ours": seconds["dense"] / seconds["ours"]}
            | {"dense / ours, forward": seconds["dense, forward"] / seconds["ours, forward"]}
            | {"largest difference": error}
        )
    return rows


def elements() -> list[Row]:
    """Harmonics, rotation matrices, and the depth-wise product of one message, beside e3nn."""
    rows: list[Row] = []

    def add(what: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        seconds = interleave({"ours": ours, "e3nn": theirs}, repeats=9)
        rows.append(
            {"what": what, "ours ms": 1e3 * seconds["ours"], "e3nn ms": 1e3 * seconds["e3nn"]}
            | {"ratio": seconds["e3nn"] / seconds["ours"]}
        )

    vectors = normal(10_000, 3)
    for lmax in (2, 3, 6, 11):
        degrees = list(range(lmax + 1))
        add(
            f"harmonics to {lmax}, 10,000 vectors",
            there_and_back(lambda v, lmax=lmax: spherical_harmonics(v, lmax), vectors),
            there_and_back(lambda v, degrees=degrees: o3.spherical_harmonics(degrees, v, True, "integral"), vectors),
        )
    turns = random_rotations(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    irreps6 = [o3.Irrep(degree, 1) for degree in range(7)]
    add(
        "matrices of 1,000 rotations to 6, forward",
        lambda: wigner_d(turns, 6, check=False),
        lambda: [irrep.D_from_matrix(turns) for irrep in irreps6],
    )
    channels, harmonics, samples = "64x0e+64x1o", Irreps.spherical(3), 2000
    layer = DepthwiseTensorProduct(channels, harmonics, keep="0e+1o+2e+3o")
    peer = o3.TensorProduct(
        channels,
        str(harmonics),
        str(layer.irreps_out),
        [(path.first, path.second, position, "uvu", True) for position, path in enumerate(layer.paths)],
        shared_weights=False,
        internal_weights=False,
    )
    inputs = normal(samples, 256), normal(samples, 16, seed=1), normal(samples, *layer.weight_shape, seed=2)
    add(
        f"depth-wise product, {channels} with harmonics to 3, {samples:,} edges",
        there_and_back(layer, *inputs),
        there_and_back(lambda x, y, w: peer(x, y, w.flatten(1)), *inputs),
    )
    return rows


def contraction() -> list[Row]:
    """MACE's contraction beside factor-by-factor contraction of the full tensors, as its published code does it."""
    rows = []
    for lmax, irreps in ((3, "0e"), (3, "0e+1o"), (2, "0e+1o")):
        atoms, channels, species = 270, 64, 3
        layer = SymmetricContraction(
            lmax, irreps, channels=channels, species=species, generator=torch.Generator().manual_seed(0)
        )
        kinds = torch.arange(atoms) % species
        one_hot = torch.nn.functional.one_hot(kinds, species).float()
        tensors = {
            (str(irrep), order): symmetric_tensors(lmax, order, irrep).float()
            for _, irrep in layer.irreps_out
            for order in (1, 2, 3)
        }

        def factor_by_factor(
            features: Tensor, layer: Any = layer, tensors: Any = tensors, one_hot: Any = one_hot
        ) -> Tensor:
            blocks = []
            for _, irrep in layer.irreps_out:
                weights = [
                    torch.einsum("nz,zke->nke", one_hot, layer.weights[f"{irrep}_{order}"]) for order in (1, 2, 3)
                ]
                value = torch.einsum("ecijl,nke,nkl->nkcij", tensors[str(irrep), 3], weights[2], features)
                value = value + torch.einsum("ecij,nke->nkcij", tensors[str(irrep), 2], weights[1])
                value = torch.einsum("nkcij,nkj->nkci", value, features)
                value = value + torch.einsum("eci,nke->nkci", tensors[str(irrep), 1], weights[0])
                blocks.append(torch.einsum("nkci,nki->nkc", value, features))
            return torch.cat(blocks, dim=-1)

        features = normal(atoms, channels, (lmax + 1) ** 2)
        error = float((layer(features, kinds) - factor_by_factor(features)).detach().abs().max())
        seconds = interleave(
            {
                "ours": there_and_back(lambda a, layer=layer, kinds=kinds: layer(a, kinds), features),
                "factor by factor": there_and_back(factor_by_factor, features),
            },
            repeats=7,
        )
        rows.append(
            {"lmax": lmax, "output": irreps, "atoms": atoms, "channels": channels, "ours ms": 1e3 * seconds["ours"]}
            | {"factor by factor ms": 1e3 * seconds["factor by factor"]}
            | {"ratio": seconds["factor by factor"] / seconds["ours"], "largest difference": error}
        )
    return rows


BENCHMARKS = {
    "gaunt": Benchmark(
        "Gaunt product, forward and backward",
        "at lmax 6 at least 10 x faster than e3nn filtered to the same outputs, 5 x than the dense product",
        gaunt,
    ),
    "so2": Benchmark(
        "SO(2) convolution, rotations included, beside the dense convolution of the same map",
        "at least 5 x faster",
        so2,
    ),
    "elements": Benchmark("Harmonics, rotations and depth-wise products beside e3nn", "measured and shown", elements),
    "contraction": Benchmark(
        "Symmetric contraction of correlation 3, forward and backward", "measured and shown", contraction
    ),
}

if __name__ == "__main__":
    run_rows("symmetry", BENCHMARKS)

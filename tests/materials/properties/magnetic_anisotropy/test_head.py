"""The tensor head: the laws of its output with random weights, its terms by loops, and that it learns a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.gaussian_moments import invariants
from polyad.materials.properties.magnetic_anisotropy import ANISOTROPY, GaussianMomentTensors
from polyad.materials.structures import Structures
from polyad.problems.complexes import MetalComplex, complex_frames
from polyad.symmetry.tensor_basis import TensorBasis
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule, rotation, turned


def network(**options: object) -> GaussianMomentTensors:
    chosen = {"kinds": 3, "cutoff": CUTOFF, "radial": 3, "gaussians": 6, "width": 16, **options}
    return GaussianMomentTensors(**chosen).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_tensor_turns_with_the_molecule(improper: bool) -> None:
    net, data, q = network(), molecule(), rotation(2, improper=improper)
    one, two = (ANISOTROPY.to_tensor(net(graph_of(x))[0]).detach() for x in (data, turned(data, q)))
    assert float(one.abs().max()) > 1e-2
    assert float((q @ one @ q.T - two).abs().max()) < 1e-10
    assert float((one - one.T).abs().max()) < 1e-13
    assert abs(float(one.trace())) < 1e-13


def test_sums_of_coefficients_times_terms_by_loops() -> None:
    net = network(out="2x0e+1x2e")
    graph = graph_of(molecule(atoms=4))
    psi = net.moments(graph)
    coefficients = net.perceptron(invariants(psi))
    scalars, total = torch.zeros(2, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    for node in range(4):
        _, p1, p2, p3 = (tensor[node] for tensor in psi)
        pairs = list(combinations_with_replacement(range(3), 2))
        terms: list[Tensor] = list(p2)
        terms += [torch.outer(p1[r], p1[s]) for r, s in pairs]
        terms += [p2[r] @ p2[s] for r, s in pairs]
        terms += [torch.einsum("kli,klj->ij", p3[r], p3[s]) for r, s in pairs]
        scalars = scalars + coefficients[node, :2]
        for weight, term in zip(coefficients[node, 2:], terms, strict=True):
            symmetric = 0.5 * (term + term.T)
            total = total + weight / math.sqrt(len(terms)) * (symmetric - symmetric.trace() / 3 * eye)
    found = net(graph)[0]
    assert torch.allclose(found[:2], scalars, atol=1e-12)
    assert torch.allclose(ANISOTROPY.to_tensor(found[2:]), total, atol=1e-12)


def test_tensors_with_a_trace_and_several_at_once() -> None:
    data, q = molecule(), rotation(3, improper=False)
    for out, basis in (("1x0e+1x2e", TensorBasis("ij=ji")), ("3x2e", None)):
        net = network(out=out)
        one, two = (net(graph_of(x))[0].detach() for x in (data, turned(data, q)))
        matrices = [basis.to_tensor(x)[None] if basis else ANISOTROPY.to_tensor(x.view(3, 5)) for x in (one, two)]
        assert float((q @ matrices[0] @ q.T - matrices[1]).abs().max()) < 1e-10
        if basis:
            assert abs(float(matrices[0][0].trace())) > 1e-2
        else:
            assert int(torch.linalg.matrix_rank(one.view(3, 5))) == 3


def test_atoms_and_structures_do_not_depend_on_order_or_company() -> None:
    net, parts = network(), [molecule(seed, atoms) for seed, atoms in ((0, 7), (1, 4), (2, 5))]
    both = net(graph_of(Structures.concatenate(parts)))
    for number, part in enumerate(parts):
        assert torch.allclose(both[number], net(graph_of(part))[0], atol=1e-12)
    order = torch.tensor([3, 0, 4, 1, 2, 6, 5])
    mixed = parts[0].replace(positions=parts[0].positions[order], species=parts[0].species[order])
    assert torch.allclose(net(graph_of(mixed))[0], both[0], atol=1e-12)


def graph_of_frames(frames: Structures, system: MetalComplex) -> PointGraph:
    found = frames.with_neighbors(4.0)
    kind = torch.searchsorted(system.species.unique(), found.species)
    empty = torch.zeros(found.num_edges, 0, dtype=torch.float64)
    return PointGraph(found.edge_index, found.edge_vectors(), kind, found.structure, len(found), found.positions, empty)


def test_it_learns_the_tensors_of_a_complex() -> None:
    """Adam takes most of the variance of unseen frames, L-BFGS nearly all; a mean would leave all of it."""
    system = MetalComplex(4)
    frames = complex_frames(90, seed=0, system=system, replicas=30, spacing=100.0)
    graphs = [graph_of_frames(part, system) for part in (frames[:60], frames[60:])]
    scale = float(frames.targets["zero_field_splitting"].square().mean().sqrt())
    targets = [ANISOTROPY.to_irreps(t / scale) for t in frames.targets["zero_field_splitting"].split([60, 30])]

    def error_after(train: Callable[[nn.Module, Callable[[], float]], None], gaussians: int) -> float:
        net = GaussianMomentTensors(kinds=4, cutoff=4.0, neighbors=4.0, radial=3, gaussians=gaussians, width=32)
        net.double()

        def closure() -> float:
            net.zero_grad()
            loss = (net(graphs[0]) - targets[0]).square().mean()
            loss.backward()
            return float(loss.detach())

        train(net, closure)
        error = (net(graphs[1]).detach() - targets[1]).square().mean().sqrt()
        # the complexes turn freely: the mean over the laboratory is small, and all of a tensor is to be learned
        return float(error / targets[1].square().mean().sqrt())

    assert error_after(adam, 6) < 0.3
    assert error_after(lbfgs, 24) < 0.03


def adam(net: nn.Module, closure: Callable[[], float]) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.step(closure)


def lbfgs(net: nn.Module, closure: Callable[[], float]) -> None:
    torch.optim.LBFGS(net.parameters(), max_iter=120, history_size=100, line_search_fn="strong_wolfe").step(closure)


def test_seeds_and_bad_options() -> None:
    one, same, other = (network(seed=s)(graph_of(molecule())) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    for out in ("1x1o", "1x2o", "1x4e", ""):
        with pytest.raises(InputError, match="0e and 2e"):
            network(out=out)
    with pytest.raises(InputError):
        network(neighbors=-1.0)

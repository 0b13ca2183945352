"""TensorNet against explicit loops, and the laws it keeps: rotations, reflections, permutations, smooth cutoff."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials import Potential
from polyad.materials.potentials.tensornet import Parts, TensorNet
from polyad.materials.structures import Structures

CUTOFF = 3.0


def network(**options: object) -> TensorNet:
    chosen = {"kinds": 3, "cutoff": CUTOFF, "channels": 6, "layers": 2, "radial": 8, **options}
    return TensorNet(**chosen).double()  # type: ignore[arg-type]


def molecule(seed: int = 0, atoms: int = 7) -> Structures:
    generator = torch.Generator().manual_seed(seed)
    positions = 1.4 * torch.randn(atoms, 3, generator=generator, dtype=torch.float64)
    return Structures.from_arrays(positions, torch.tensor([1, 6, 8, 1, 6, 1, 1])[:atoms])


def rotation(seed: int, *, improper: bool) -> Tensor:
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(matrix)
    q = q * torch.diagonal(r).sign()
    return q if bool(torch.linalg.det(q) < 0) == improper else -q


def graph_of(data: Structures) -> PointGraph:
    found = data.with_neighbors(CUTOFF)
    kind = torch.searchsorted(torch.tensor([1, 6, 8]), data.species)
    return PointGraph(
        found.edge_index, found.edge_vectors(), kind, found.structure, len(found), found.positions,
        torch.zeros(found.num_edges, 0, dtype=torch.float64),
    )  # fmt: skip


def turned(data: Structures, q: Tensor) -> Structures:
    return data.replace(positions=data.positions @ q.T)


def test_parts_are_orthogonal_and_complete() -> None:
    x = torch.randn(5, 3, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = Parts.of(x)
    assert torch.allclose(parts.matrices(), x, atol=1e-14)
    pieces = []
    for low, high in ((0, 1), (1, 4), (4, 10)):
        alone = torch.zeros_like(parts.components)
        alone[..., low:high, :] = parts.components[..., low:high, :]
        pieces.append(Parts(alone).matrices())
    trace = torch.einsum("niic->nc", x)
    assert torch.allclose(pieces[0], torch.eye(3, dtype=x.dtype)[None, :, :, None] * trace[:, None, None] / 3)
    assert torch.allclose(pieces[1], (x - x.transpose(1, 2)) / 2)
    assert torch.allclose(pieces[2], (x + x.transpose(1, 2)) / 2 - pieces[0])
    for a in range(3):
        for b in range(a):
            assert float((pieces[a] * pieces[b]).sum((1, 2)).abs().max()) < 1e-14
    norms = torch.stack([piece.square().sum((1, 2)) for piece in pieces], dim=1)
    assert torch.allclose(parts.norms(), norms)


def by_loops(net: TensorNet, graph: PointGraph) -> Tensor:
    """The whole network atom by atom and channel by channel, with 3 x 3 matrices written out."""
    emb, act, eye = net.embedding, nn.functional.silu, torch.eye(3, dtype=torch.float64)
    nodes, channels = graph.num_nodes, emb.channels
    edges = list(zip(*graph.edge_index.tolist(), strict=True))

    def split(x: Tensor) -> list[Tensor]:
        scalar = torch.einsum("ii", x) / 3 * eye
        return [scalar, (x - x.T) / 2, (x + x.T) / 2 - scalar]

    def mixed(x: list[list[Tensor]], weight: Tensor) -> list[list[Tensor]]:
        parts = [[split(matrix) for matrix in row] for row in x]
        return [
            [sum(weight[p, c, d] * parts[i][c][p] for p in range(3) for c in range(channels)) for d in range(channels)]
            for i in range(nodes)
        ]

    length = [float(v.norm()) for v in graph.vectors]
    first, size = math.exp(-5), net.radial
    centres = torch.linspace(first, 1, size, dtype=torch.float64)
    basis = [torch.exp(-((2 / size * (1 - first)) ** -2) * (math.exp(-5 / CUTOFF * d) - centres) ** 2) for d in length]
    window = [0.5 * (math.cos(math.pi * d / CUTOFF) + 1) for d in length]
    x = [[torch.zeros(3, 3, dtype=torch.float64) for _ in range(channels)] for _ in range(nodes)]
    for e, (j, i) in enumerate(edges):
        r = graph.vectors[e] / length[e]
        skew = torch.tensor([[0, -r[2], r[1]], [r[2], 0, -r[0]], [-r[1], r[0], 0]], dtype=torch.float64)
        pair = emb.pair(torch.cat([emb.element(graph.kind[i]), emb.element(graph.kind[j])]))
        f = emb.strength(basis[e]).view(3, channels)
        for c in range(channels):
            tensor = f[0, c] * eye + f[1, c] * skew + f[2, c] * (torch.outer(r, r) - eye / 3)
            x[i][c] = x[i][c] + window[e] * pair[c] * tensor
    norms = torch.stack([torch.stack([m.square().sum() for m in row]) for row in x])
    factors = emb.factors(emb.norm(norms)).view(nodes, 3, channels)
    x = mixed(x, emb.mix.weight)
    x = [[sum(factors[i, p, c] * split(x[i][c])[p] for p in range(3)) for c in range(channels)] for i in range(nodes)]
    for layer in net.interactions:
        x = [[m / (m.square().sum() + 1) for m in row] for row in x]
        y = mixed(x, layer.mix.weight)
        message = [[torch.zeros(3, 3, dtype=torch.float64) for _ in range(channels)] for _ in range(nodes)]
        for e, (j, i) in enumerate(edges):
            f = window[e] * layer.strength(basis[e]).view(3, channels)
            for c in range(channels):
                message[i][c] = message[i][c] + sum(f[p, c] * split(y[j][c])[p] for p in range(3))
        if layer.group == "O(3)":
            product = [[a @ b + b @ a for a, b in zip(*rows, strict=True)] for rows in zip(y, message, strict=True)]
        else:
            product = [[2 * a @ b for a, b in zip(*rows, strict=True)] for rows in zip(y, message, strict=True)]
        change = mixed([[m / (m.square().sum() + 1) for m in row] for row in product], layer.mix_out.weight)
        x = [[a + d + d @ d for a, d in zip(*rows, strict=True)] for rows in zip(x, change, strict=True)]
    norms = torch.stack(
        [torch.stack([torch.stack([split(m)[p].square().sum() for m in row]) for p in range(3)]) for row in x]
    )
    return net.head(act(net.hidden[0](net.norm(norms.flatten(1)))))[:, 0]


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_equals_the_definition_by_loops(group: str) -> None:
    net, graph = network(group=group, channels=3, radial=5), graph_of(molecule(atoms=4))
    assert float((net(graph) - by_loops(net, graph)).abs().max()) < 1e-12


@pytest.mark.parametrize("improper", [False, True])
def test_energy_and_forces_under_rotations_and_reflections(improper: bool) -> None:
    potential, data, q = (
        Potential(network(), species=[1, 6, 8], cutoff=CUTOFF).eval(),
        molecule(),
        rotation(2, improper=improper),
    )
    one, two = potential(data), potential(turned(data, q))
    assert float((one["energy"] - two["energy"]).abs()) < 1e-10
    assert float((one["forces"] @ q.T - two["forces"]).abs().max()) < 1e-10


@pytest.mark.parametrize("improper", [False, True])
def test_parts_turn_as_they_should(improper: bool) -> None:
    net, data, q = network(), molecule(), rotation(3, improper=improper)
    one, two = net.parts(graph_of(data)), net.parts(graph_of(turned(data, q)))
    symmetric = [
        Parts(torch.cat([p.components[:, :1], p.components[:, 1:4] * 0, p.components[:, 4:]], 1)) for p in (one, two)
    ]
    expected = torch.einsum("ij,njkc,lk->nilc", q, symmetric[0].matrices(), q)
    assert float((expected - symmetric[1].matrices()).abs().max()) < 1e-12
    skew = [p.matrices() - s.matrices() for p, s in zip((one, two), symmetric, strict=True)]
    plain = torch.einsum("ij,njkc,lk->nilc", q, skew[0], q)
    assert float((torch.linalg.det(q) * plain - skew[1]).abs().max()) < 1e-12
    assert bool((plain - skew[1]).abs().max() > 1e-4) == improper  # Q A Q' alone must fail for det -1


def test_only_the_symmetric_product_keeps_reflections() -> None:
    data, q = molecule(), rotation(4, improper=True)
    for group, same in (("O(3)", True), ("SO(3)", False)):
        net = network(group=group)
        with torch.no_grad():  # larger weights, so that the second product is no detail
            for interaction in net.interactions:
                interaction.mix.weight.mul_(8)
                interaction.mix_out.weight.mul_(8)
        gap = float((net(graph_of(data)) - net(graph_of(turned(data, q)))).abs().max())
        assert (gap < 1e-12) == same
        assert same or gap > 1e-4


@pytest.mark.parametrize(("output", "shape"), [("scalar", ()), ("vector", (3,)), ("tensor", (3, 3))])
def test_outputs_turn_with_the_molecule(output: str, shape: tuple[int, ...]) -> None:
    net, data = network(output=output), molecule()
    for improper in (False, True):
        q = rotation(5, improper=improper)
        one, two = net(graph_of(data)), net(graph_of(turned(data, q)))
        assert one.shape == (7, *shape)
        assert float(one.detach().abs().max()) > 1e-3
        expected = one @ q.T if output == "vector" else q @ one @ q.T if output == "tensor" else one
        assert float((expected - two).abs().max()) < 1e-12
    if output == "tensor":
        assert float(one.diagonal(dim1=1, dim2=2).sum(1).abs().max()) < 1e-12
        assert torch.allclose(one, one.mT)


def test_forces_are_central_differences() -> None:
    potential, data = Potential(network(), species=[1, 6, 8], cutoff=CUTOFF).eval(), molecule()
    forces, step = potential(data)["forces"], 1e-5
    for node, axis in ((0, 0), (3, 1), (6, 2)):
        move = torch.zeros_like(data.positions)
        move[node, axis] = step
        high, low = (
            potential(data.replace(positions=data.positions + s * move), forces=False)["energy"] for s in (1, -1)
        )
        assert -float(high - low) / (2 * step) == pytest.approx(float(forces[node, axis]), abs=1e-6)


def test_atoms_leave_the_cutoff_smoothly() -> None:
    potential = Potential(network(), species=[1, 6, 8], cutoff=CUTOFF).eval()
    found = []
    for distance in (CUTOFF - 1e-6, CUTOFF + 1e-6):
        positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -distance]], dtype=torch.float64)
        found.append(potential(Structures.from_arrays(positions, [6, 1, 8, 1])))
    assert float((found[0]["energy"] - found[1]["energy"]).abs()) < 1e-9
    assert float((found[0]["forces"] - found[1]["forces"]).abs().max()) < 1e-5  # slope of the window: 1e-6 away


def test_order_of_atoms_and_choice_of_images_do_not_matter() -> None:
    potential = Potential(network(), species=[1, 6, 8], cutoff=CUTOFF).eval()
    cell = torch.tensor([[[4.0, 0.3, 0], [0.2, 4.1, 0.5], [-0.4, 0.1, 3.9]]], dtype=torch.float64)
    data = molecule().replace(cell=cell, periodic=torch.ones(1, 3, dtype=torch.bool))
    one = potential(data, stress=True)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    images = torch.tensor([[0, 0, 0], [1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 1, 1], [0, 0, 0], [0, 0, 5]]).double()
    moved = data.replace(positions=(data.positions + images @ cell[0])[order], species=data.species[order])
    two = potential(moved, stress=True)
    assert float((one["energy"] - two["energy"]).abs()) < 1e-10
    assert float((one["forces"][order] - two["forces"]).abs().max()) < 1e-10
    assert float((one["stress"] - two["stress"]).abs().max()) < 1e-10


def test_batches_and_seeds() -> None:
    potential = Potential(network(), species=[1, 6, 8], cutoff=CUTOFF).eval()
    parts = [molecule(seed, atoms) for seed, atoms in ((0, 7), (1, 1), (2, 5))]
    both = potential(Structures.concatenate(parts))
    assert torch.allclose(both["energy"], torch.cat([potential(part)["energy"] for part in parts]), atol=1e-12)
    assert torch.allclose(both["forces"], torch.cat([potential(part)["forces"] for part in parts]), atol=1e-12)
    same, other = network().state_dict(), network(seed=1).state_dict()
    assert all(torch.equal(same[key], network().state_dict()[key]) for key in same)
    assert not torch.equal(same["embedding.element.weight"], other["embedding.element.weight"])


def test_bad_options_are_refused() -> None:
    for options in ({"group": "U(1)"}, {"output": "spinor"}, {"channels": 0}, {"kinds": 0}, {"radial": 1}):
        with pytest.raises(InputError):
            network(**options)

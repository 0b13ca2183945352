"""The pieces under `homogenize`: frame assembly, elimination, the matrix-free operator, least squares."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from polyad.errors import ConvergenceError, InputError, NumericalWarning
from polyad.linalg.krylov import conjugate_gradients
from polyad.materials.lattice import LatticeBatch, StrutLattice, effective_stiffness
from polyad.materials.lattice.frames.dense import dense_energy, least_squares_energy
from polyad.materials.lattice.frames.elimination import eliminate, elimination_flops, in_threads
from polyad.materials.lattice.frames.energy import frame_energy
from polyad.materials.lattice.frames.frame import assemble
from polyad.materials.lattice.frames.iterative import FrameOperator
from polyad.materials.lattice.frames.sections import Circle, Square, strut_stiffness
from tests.materials.lattice.seeds import kelvin, octet, random_net, simple_cubic


def frame_of(*lattices):
    batch = LatticeBatch.from_lattices(lattices)
    vectors = batch.edge_vectors
    return assemble(batch, vectors, strut_stiffness(vectors.norm(dim=-1), batch.radius))


def stiffness_matrix(lattice):
    """Columns of K by applying the operator to unit vectors."""
    frame, _ = frame_of(lattice)
    operator = FrameOperator(frame.vectors, frame.coefficients, lattice.edge_index, lattice.num_nodes)
    size = 6 * lattice.num_nodes
    return operator, operator(torch.eye(size, dtype=torch.float64).reshape(-1, 6, size)).reshape(size, size)


def test_strut_stiffness_in_numbers():
    length, radius = torch.tensor([[2.0], [0.1]], dtype=torch.float64)
    a, b, t, g = strut_stiffness(length, radius, young_modulus=3.0, poisson_ratio=0.25, shear=False)[0].tolist()
    area, second = np.pi * 0.01, np.pi * 1e-4 / 4
    assert a == pytest.approx(3 * area / 2)
    assert b == pytest.approx(12 * 3 * second / 8)
    assert t == pytest.approx(3 / 2.5 * 2 * second / 2)
    assert g == pytest.approx(3 * second / 2)
    phi = 12 * 3 * second / (0.89 * 3 / 2.5 * area * 4)
    with_shear = strut_stiffness(length, radius, young_modulus=3.0, poisson_ratio=0.25)[0]
    assert float(with_shear[1]) == pytest.approx(b / (1 + phi), rel=1e-12)
    square = strut_stiffness(length, radius, section=Square(), shear=False)[0]
    assert float(square[0] / square[3]) == pytest.approx(0.04 / (0.2**4 / 12), rel=1e-12)
    assert float(Circle().area(radius)) == pytest.approx(area)


def test_operator_is_symmetric_and_rigid_translations_cost_nothing():
    net = random_net(3)
    operator, matrix = stiffness_matrix(net)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-12, atol=1e-16)
    shift = torch.zeros(net.num_nodes, 6, 3, dtype=torch.float64)
    shift[:, :3] = torch.eye(3)
    assert operator(shift).abs().max() < 1e-15
    assert float(torch.linalg.eigvalsh(matrix)[3]) > 0


def test_rigid_rotation_of_an_island_costs_nothing():
    positions = [[0.2, 0.2, 0.2], [0.5, 0.3, 0.3], [0.4, 0.6, 0.4]]
    island = StrutLattice(np.eye(3), positions, [[0, 1, 2], [1, 2, 0]], np.zeros((3, 3)), 0.02)
    operator, _ = stiffness_matrix(island)
    turns = torch.eye(3, dtype=torch.float64)
    motion = torch.stack(
        [torch.cat([torch.linalg.cross(t.expand(3, 3), island.positions), t.expand(3, 3)], dim=1) for t in turns],
        dim=-1,
    )
    assert operator(motion).abs().max() < 1e-15


def test_operator_condensed_by_dense_algebra_gives_the_effective_stiffness():
    net = random_net(4)
    operator, matrix = stiffness_matrix(net)
    load = operator.strain_load().reshape(-1, 6)
    moved = torch.linalg.lstsq(matrix[3:, 3:], -load[3:]).solution
    frame, _ = frame_of(net)
    energy, _ = dense_energy(frame)
    # V C = A'KA + load' moved, and A'KA is what is left when nothing moves
    affine = energy[0] - load[3:].T @ moved
    direct, kept = frame_energy(frame, torch.tensor([True]))
    torch.testing.assert_close(direct[0], affine + load[3:].T @ moved, rtol=1e-9, atol=1e-16)
    assert kept is not None


def test_preconditioner_inverts_the_node_blocks():
    net = random_net(5)
    operator, matrix = stiffness_matrix(net)
    r = torch.randn(net.num_nodes, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = operator.precondition(r)
    for node in range(net.num_nodes):
        block = slice(6 * node, 6 * node + 6)
        torch.testing.assert_close(matrix[block, block] @ z[node], r[node], rtol=1e-8, atol=1e-10)


def test_held_unknowns_stay_put_and_the_rest_balances():
    net = octet(0.03).tile(2)
    held = torch.zeros(net.num_nodes, 6, dtype=torch.bool)
    held[0] = True
    held[3, 1] = True
    frame, _ = frame_of(net)
    operator = FrameOperator(frame.vectors, frame.coefficients, net.edge_index, net.num_nodes, held)
    _, matrix = stiffness_matrix(net)
    free = ~held.reshape(-1)
    b = torch.randn(net.num_nodes, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    b = b * (~held)[:, :, None]
    answer = conjugate_gradients(operator, b, preconditioner=operator.precondition, tolerance=1e-12).solution
    expected = torch.linalg.solve(matrix[free][:, free], b.reshape(-1, 1)[free])
    torch.testing.assert_close(answer.reshape(-1, 1)[free], expected, rtol=1e-8, atol=1e-10)
    assert not bool(answer[held].any())


def test_least_squares_equals_elimination_where_both_apply():
    net = random_net(6)
    frame, _ = frame_of(net)
    energy, moved = least_squares_energy(frame.vectors, frame.coefficients, net.edge_index, net.num_nodes)
    expected, kept = dense_energy(frame)
    torch.testing.assert_close(energy, expected[0], rtol=1e-9, atol=1e-16)
    apart = (moved - kept)[:, :3]
    torch.testing.assert_close(apart, apart[:1].expand_as(apart), rtol=0, atol=1e-9)


def test_a_vanishing_pivot_falls_back_to_least_squares():
    frame, _ = frame_of(simple_cubic(0.05))
    soft = frame.coefficients.clone()
    soft[:, 1] = 0.0  # no bending at all: the node spins freely
    arrays = frame.arrays()._replace(coefficients=soft.numpy())
    energy, moved = np.empty((1, 6, 6)), np.empty((1, 6, 6))
    with pytest.warns(NumericalWarning, match="nearly a mechanism"):
        eliminate(arrays, 0, 1, energy, moved)
    expected = np.diag([float(soft[0, 0])] * 3 + [0.0] * 3)
    np.testing.assert_allclose(energy[0], expected, atol=1e-12)


def test_flops_of_a_closed_chain_are_counted_by_hand():
    # three nodes in a ring, each joined to both others: pivots meet 2, 1 and 0 later nodes, and the strain
    net = random_net(1, nodes=3, extra=0)
    expected = sum(91 + 216 * c + 216 * c * (c + 1) for c in (3, 2, 1))
    assert elimination_flops(LatticeBatch.from_lattices([net, net])).tolist() == [expected, expected]


@pytest.mark.parametrize("cells", [1, 3, 17, 100])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_cell_is_visited_once(cells, threads):
    seen = np.zeros(cells, np.int64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        starts = np.concatenate([[0], np.cumsum(np.random.default_rng(0).integers(1, 50, cells))])

        def work(first, last):
            seen[first:last] += 1

        in_threads(work, starts, 0, cells)
        assert (seen == 1).all()
        in_threads(work, starts, cells // 2, cells)
    finally:
        torch.set_num_threads(before)
    assert (seen[cells // 2 :] == 2).all()
    assert (seen[: cells // 2] == 1).all()


def test_large_and_small_cells_of_one_batch_take_their_own_way(monkeypatch):
    lattices = [random_net(0), octet().tile(3).perturb(0.02), random_net(2), kelvin()]
    expected = torch.stack([effective_stiffness(x) for x in lattices])
    module = sys.modules[effective_stiffness.__module__]
    monkeypatch.setattr(module, "LARGEST_DIRECT", 20)
    batch = LatticeBatch.from_lattices(lattices)
    radius = batch.radius.clone().requires_grad_()
    found = effective_stiffness(batch.replace(radius=radius))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-14)
    assert torch.equal(found[0], expected[0])
    found[1, 0, 0].backward()
    assert not bool(radius.grad[: lattices[0].num_edges].any())


def test_iterations_can_run_out(monkeypatch):
    def hopeless(*args, **options):
        return conjugate_gradients(*args, **(options | {"max_iterations": 3}))

    monkeypatch.setattr("polyad.materials.lattice.frames.iterative.conjugate_gradients", hopeless)
    with pytest.raises(ConvergenceError, match="3 iterations"):
        effective_stiffness(kelvin().tile(3).perturb(0.01), method="iterative")


def test_compiled_solvers_refuse_another_device():
    frame, _ = frame_of(octet())
    elsewhere = dataclasses.replace(frame, vectors=frame.vectors.to("meta"))
    with pytest.raises(InputError, match="dense"):
        frame_energy(elsewhere, torch.ones(1, dtype=torch.bool))


@pytest.mark.slow
def test_kernels_give_the_same_bits_compiled_and_from_the_cache(tmp_path):
    script = """
import hashlib, torch
from polyad.materials.lattice import LatticeBatch, effective_stiffness, named_cell
cells = [named_cell(n).perturb(0.02, seed=k) for k, n in enumerate(("octet", "kelvin", "srs", "diamond", "sodalite"))]
batch = LatticeBatch.from_lattices(cells)
radius = batch.radius.clone().requires_grad_()
stiffness = effective_stiffness(batch.replace(radius=radius))
gradient = torch.autograd.grad(stiffness[:, 2, 2].sum(), radius)[0]
relaxed = effective_stiffness(cells[1], method="iterative")
numbers = torch.cat([stiffness.detach().flatten(), gradient, relaxed.flatten()])
print(hashlib.sha256(numbers.numpy().tobytes()).hexdigest())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    results = [
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert results[0] == results[1]

"""Inputs of the correction: they turn with the lattice, and are of the material, not of its cell."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, StrutLattice, effective_stiffness, named_cell
from polyad.materials.lattice.solids.correction.features import (
    INVARIANTS,
    TENSORS,
    CorrectionInputs,
    correction_inputs,
)
from polyad.tensors.notation import rotation_mandel


def inputs_of(*lattices: StrutLattice) -> CorrectionInputs:
    batch = LatticeBatch.from_lattices(lattices)
    return correction_inputs(batch, effective_stiffness(batch))


def skew() -> StrutLattice:
    """Without any symmetry, struts of several radii."""
    lattice = named_cell("bcc_sc", density=0.1).perturb(0.08, seed=3)
    return lattice.replace(radius=lattice.radius * torch.linspace(0.8, 1.2, lattice.num_edges, dtype=torch.float64))


def test_tensors_turn_and_numbers_stay() -> None:
    lattice = skew()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.linalg.det(turn)
    before, after = inputs_of(lattice), inputs_of(lattice.rotate(turn))
    matrix = rotation_mandel(turn)
    assert before.invariants.shape == (1, INVARIANTS)
    assert before.tensors.shape == (1, TENSORS, 6, 6)
    torch.testing.assert_close(after.invariants, before.invariants, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(after.tensors, matrix @ before.tensors @ matrix.mT, rtol=1e-7, atol=1e-8)
    moving = torch.linalg.matrix_norm(after.tensors - before.tensors)[0]
    assert bool((moving[2:] > 1e-3).all())  # J and K alone are the same in every frame


def test_the_cell_is_a_choice_and_the_unit_too() -> None:
    lattice = skew()
    single, double = inputs_of(lattice), inputs_of(lattice.tile((2, 1, 1)))
    torch.testing.assert_close(double.invariants, single.invariants, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(double.tensors, single.tensors, rtol=1e-6, atol=1e-7)
    batch = LatticeBatch.from_lattices([lattice])
    metal = correction_inputs(batch, effective_stiffness(batch, young_modulus=110.0))
    torch.testing.assert_close(metal.tensors, single.tensors, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(metal.root, single.root * 110**0.5, rtol=1e-7, atol=1e-8)


def test_values_of_a_simple_cubic_net() -> None:
    """Three equal struts along the axes: shares 1/3, and stretching that is a third of the density along each."""
    lattice = named_cell("simple_cubic", density=0.1)
    found = inputs_of(lattice)
    even = torch.zeros(6, 6, dtype=torch.float64)
    even[[0, 1, 2], [0, 1, 2]] = 1 / 3
    torch.testing.assert_close(found.tensors[0, 3], even)
    torch.testing.assert_close(found.tensors[0, 4], even)
    assert float(found.size[0]) == pytest.approx(0.1**0.5)
    slender = float(lattice.radius[0] / lattice.edge_lengths[0])
    assert float(found.invariants[0, 1]) == pytest.approx(slender)
    assert float(found.invariants[0, 2]) == pytest.approx(0, abs=1e-6)
    joints = found.tensors[0, 5]
    along = torch.linalg.inv(found.root[0]) @ effective_stiffness(lattice, joint_length=0.5)
    wanted = (along @ torch.linalg.inv(found.root[0]))[0, 0].log()
    assert float(joints[0, 0]) == pytest.approx(float(wanted))
    assert float(joints[0, 0]) == pytest.approx(-torch.tensor(1 - slender).log().item(), rel=1e-6)  # a shorter bar


def test_joints_matter_less_in_thin_struts() -> None:
    """G falls as radius over length."""
    thick, thin = (inputs_of(named_cell("octet", density=d)).tensors[0, 5].norm() for d in (1e-2, 1e-4))
    assert float(thick / thin) == pytest.approx(10, rel=0.1)


def test_a_net_that_is_not_rigid_is_refused() -> None:
    batch = LatticeBatch.from_lattices([named_cell("octet", density=0.1)])
    beams = effective_stiffness(batch)
    beams[0, 5] = beams[0, :, 5] = 0
    with pytest.raises(InputError, match="not rigid"):
        correction_inputs(batch, beams)

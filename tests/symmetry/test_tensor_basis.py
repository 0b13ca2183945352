"""Harmonic bases of Cartesian tensors: irreps known to physics, orthogonality, and rotation as for the tensors."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_basis import ELASTICITY, TensorBasis, index_permutations, rotate_tensor
from polyad.tensors.notation import mandel_to_tensor, rotate_mandel, symmetrize, tensor_to_mandel
from polyad.tensors.rotations import random_rotations

KNOWN = [
    ("ijkl=jikl=klij", "", "2x0e+2x2e+1x4e"),  # elasticity
    ("ij=ji", "", "1x0e+1x2e"),  # dielectric
    ("ij", "", "1x0e+1x1e+1x2e"),
    ("ij=-ji", "", "1x1e"),
    ("ijk=ikj", "", "2x1o+1x2o+1x3o"),  # piezo-electric, electro-optic
    ("ijkl=jikl=ijlk", "", "2x0e+1x1e+3x2e+1x3e+1x4e"),  # piezo-optic
    ("ijk=jik=ikj", "", "1x1o+1x3o"),  # totally symmetric
    ("ijk=-jik=-ikj", "", "1x0o"),  # Levi-Civita
    ("ij", "j", "1x0o+1x1o+1x2o"),  # magneto-electric
    ("ij", "ij", "1x0e+1x1e+1x2e"),
    ("a", "", "1x1o"),
    ("a", "a", "1x1e"),
    ("ijklmn=jiklmn=ijlkmn=ijklnm=klijmn=mnklij", "", "3x0e+3x2e+1x3e+2x4e+1x6e"),  # third-order elasticity: 56
]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def project(tensor: torch.Tensor, formula: str) -> torch.Tensor:
    """The mean over the group of index permutations, written out."""
    group = index_permutations(formula)
    batch = tensor.ndim - len(next(iter(group)))
    moved = [
        sign * tensor.permute(*range(batch), *(batch + place for place in permutation))
        for permutation, sign in group.items()
    ]
    return torch.stack(moved).mean(0)


@pytest.mark.parametrize(("formula", "axial", "irreps"), KNOWN)
def test_irreps_and_orthogonal_change_of_basis(formula: str, axial: str, irreps: str) -> None:
    basis = TensorBasis(formula, axial=axial)
    assert str(basis.irreps) == irreps
    matrix = basis.matrix(torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64), rtol=0, atol=1e-12)
    tensor = normal(2, *[3] * basis.order)
    symmetric = project(tensor, formula)
    features = basis.to_irreps(tensor)
    assert features.shape == (2, basis.irreps.dim)
    torch.testing.assert_close(basis.to_tensor(features), symmetric, rtol=0, atol=1e-12)
    torch.testing.assert_close(features.norm(dim=-1), symmetric.flatten(1).norm(dim=-1))


@pytest.mark.parametrize(("formula", "axial", "irreps"), KNOWN)
def test_rotation_of_features_is_rotation_of_tensors(formula: str, axial: str, irreps: str) -> None:
    basis = TensorBasis(formula, axial=axial)
    turns = random_rotations(4, generator=torch.Generator().manual_seed(1), reflections=True)
    tensors = project(normal(4, *[3] * basis.order), formula)
    letters, turned = "abcdefg"[: basis.order], "tuvwxyz"[: basis.order]
    operands = ",".join(f"n{new}{old}" for old, new in zip(letters, turned, strict=True))
    expected = torch.einsum(f"n{letters},{operands}->n{turned}", tensors, *[turns] * basis.order)
    expected = expected * torch.linalg.det(turns).reshape(4, *[1] * basis.order) ** len(axial)
    torch.testing.assert_close(rotate_tensor(tensors, turns, order=basis.order, axial=len(axial)), expected)
    features = basis.irreps.rotate(basis.to_irreps(tensors), turns)
    torch.testing.assert_close(basis.to_tensor(features), expected, rtol=0, atol=1e-12)


def test_elasticity_beside_the_kelvin_mandel_rotation() -> None:
    basis = TensorBasis(ELASTICITY)
    stiffness = tensor_to_mandel(symmetrize(normal(5, 3, 3, 3, 3)))
    turns = random_rotations(5, generator=torch.Generator().manual_seed(2), reflections=True)
    features = basis.irreps.rotate(basis.to_irreps(mandel_to_tensor(stiffness)), turns)
    expected = rotate_mandel(stiffness, turns)
    torch.testing.assert_close(tensor_to_mandel(basis.to_tensor(features)), expected, rtol=0, atol=1e-12)


def test_spans_the_harmonic_pieces_of_elasticity() -> None:
    harmonic = pytest.importorskip("polyad.materials.elasticity.harmonic")
    basis = TensorBasis(ELASTICITY)
    tensors = mandel_to_tensor(harmonic.harmonic_to_stiffness(torch.eye(21, dtype=torch.float64)))
    change = basis.to_irreps(tensors)  # rows: that basis in ours
    torch.testing.assert_close(change @ change.T, torch.eye(21, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(change[12:, 12:], torch.eye(9, dtype=torch.float64), rtol=0, atol=1e-12)
    for start, other in ((2, 2), (2, 7), (7, 2), (7, 7)):  # each 2e is the same number times the identity
        block = change[start : start + 5, other : other + 5]
        torch.testing.assert_close(block, block[0, 0] * torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_symmetric_traceless_part_is_the_harmonic_of_a_direction() -> None:
    for order in (1, 2, 3, 4):
        letters = "ijkl"[:order]
        formula = "=".join("".join(p) for p in permutations(letters))
        basis = TensorBasis(formula, traceless=True)
        assert str(basis.irreps) == f"1x{order}{'eo'[order % 2]}"
        vectors = normal(6, 3)
        powers = torch.einsum(",".join(f"n{letter}" for letter in letters) + f"->n{letters}", *[vectors] * order)
        solid = spherical_harmonics(vectors, order, solid=True)[:, order**2 :]
        features = basis.to_irreps(powers)
        ratio = (features / solid).flatten()
        assert float(ratio[0]) > 0
        torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))


@pytest.mark.parametrize(
    ("formula", "irreps"),
    [("ij", "1x1e+1x2e"), ("ij=ji", "1x2e"), (ELASTICITY, "1x4e"), ("ijk=ikj", "1x2o+1x3o"), ("a", "1x1o")],
)
def test_traceless_tensors_have_no_trace_and_nothing_else_is_lost(formula: str, irreps: str) -> None:
    basis, whole = TensorBasis(formula, traceless=True), TensorBasis(formula)
    assert str(basis.irreps) == irreps
    order = basis.order

    def traces(tensors: torch.Tensor) -> torch.Tensor:
        pairs = [(a, b) for a in range(1, order + 1) for b in range(a + 1, order + 1)]
        return torch.cat(
            [torch.diagonal(tensors, dim1=a, dim2=b).sum(-1).reshape(len(tensors), -1) for a, b in pairs], 1
        )

    unit = torch.eye(basis.irreps.dim, dtype=torch.float64)
    if order > 1:
        assert float(traces(basis.to_tensor(unit)).abs().max()) < 1e-12
        everything = traces(whole.to_tensor(torch.eye(whole.irreps.dim, dtype=torch.float64)))
        assert whole.irreps.dim - int(torch.linalg.matrix_rank(everything, rtol=1e-8)) == basis.irreps.dim


def test_same_irreps_and_span_as_e3nn() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    for formula in ("ij=ji", "ijk=ikj", "ijk=-jik"):
        indices = formula.split("=")[0]
        peer = o3.ReducedTensorProducts(formula, **{letter: "1o" for letter in indices})
        basis = TensorBasis(formula)
        assert {str(e.ir): e.mul for e in peer.irreps_out.sort().irreps.simplify()} == {
            str(i): m for m, i in basis.irreps
        }
        rows = peer.change_of_basis.double().flatten(1)  # Cartesian e3nn indices are x, y, z: the same tensors
        ours = basis.matrix(rows)
        torch.testing.assert_close(rows.T @ rows, ours.T @ ours, rtol=0, atol=1e-5)


def test_single_precision_batches_and_gradients() -> None:
    basis = TensorBasis("ijk=ikj")
    features = normal(2, 5, basis.irreps.dim).float().requires_grad_()
    tensor = basis.to_tensor(features)
    assert tensor.shape == (2, 5, 3, 3, 3)
    assert tensor.dtype == torch.float32
    (gradient,) = torch.autograd.grad(tensor.square().sum() / 2, features)
    torch.testing.assert_close(gradient, features.detach())


@pytest.mark.parametrize(
    ("formula", "message"),
    [("ij=ik", "exactly once"), ("ii", "exactly once"), ("ij=ijk", "exactly once"), ("i j", "write indices"),
     ("", "write indices"), ("-ij=ji", "write indices"), ("ij=-ij", "negative"), ("ijkl=jikl=-jikl", "negative"),
     ("ijk=-jik=ikj", "negative")],
)  # fmt: skip
def test_bad_formulas_are_refused(formula: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TensorBasis(formula)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="axial"):
        TensorBasis("ij", axial="k")
    with pytest.raises(InputError, match="no tensor"):
        TensorBasis("ijkl=-jikl=-ikjl=-ijlk")
    with pytest.raises(InputError, match="last axes of 3"):
        TensorBasis("ij").to_irreps(torch.zeros(3, 4))
    with pytest.raises(InputError, match="components"):
        TensorBasis("ij").to_tensor(torch.zeros(3, 4))
    with pytest.raises(InputError, match="does not fit"):
        rotate_tensor(torch.zeros(2, 3, 3), torch.eye(3).expand(4, 3, 3), order=2)

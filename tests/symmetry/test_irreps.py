"""Irreps: the notation, sums and products against characters and e3nn, layouts, and rotation with parity."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.irreps import Irrep, Irreps, channels_to_flat, flat_to_channels
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations, rotation_from_vector


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_parse_and_print() -> None:
    irreps = Irreps("32x0e + 16x1o+2e")
    assert str(irreps) == "32x0e+16x1o+1x2e"
    assert Irreps(str(irreps)) == irreps
    assert repr(irreps) == "Irreps('32x0e+16x1o+1x2e')"
    assert (irreps.dim, irreps.count, irreps.lmax, len(irreps)) == (32 + 48 + 5, 49, 2, 3)
    assert irreps.slices() == [slice(0, 32), slice(32, 80), slice(80, 85)]
    assert Irreps("0x1o+2x1y+1x2y") == Irreps("2x1o+1x2e")
    assert (Irreps("").dim, Irreps("").lmax, Irreps("").slices(), str(Irreps())) == (0, -1, [], "")
    assert list(Irreps("2x1o")) == [(2, Irrep(1, -1))]
    assert "1o" in irreps
    assert Irrep.parse("1e") not in irreps
    assert hash(Irreps("1o")) == hash(Irreps([(1, "1o")]))


@pytest.mark.parametrize("text", ["1x", "1a", "x1o", "1o,2e", "-1x0e", "1.5x0e", "1o++2e"])
def test_bad_notation_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no term"):
        Irreps(text)
    with pytest.raises(InputError, match="irrep"):
        Irrep.parse(text)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="multiplicities"):
        Irreps([(-1, "0e")])
    with pytest.raises(InputError, match="degree -1"):
        Irrep(-1, 1)
    with pytest.raises(InputError, match="parity 0"):
        Irrep(1, 0)


def test_sort_simplify_regroup_filter() -> None:
    irreps = Irreps("2x1o+3x0e+1x1e+4x1o+1x0o+5x0o")
    ordered, origin = irreps.sort()
    assert str(ordered) == "1x0o+5x0o+3x0e+2x1o+4x1o+1x1e"
    assert [irreps.terms[position] for position in origin] == list(ordered.terms)
    assert str(irreps.regroup()) == "6x0o+3x0e+6x1o+1x1e"
    assert str(Irreps("1x0e+2x0e+1x1o+1x0e").simplify()) == "3x0e+1x1o+1x0e"
    assert str(irreps.filter("0e+1o")) == "2x1o+3x0e+4x1o"
    assert str(irreps.filter(0)) == "3x0e+1x0o+5x0o"
    assert str(irreps.filter(lambda irrep: irrep.parity == 1)) == "3x0e+1x1e"
    assert str(irreps.filter([Irrep(1, 1)])) == "1x1e"
    assert irreps.multiplicity("1o") == 6
    assert str(Irreps("1o") + Irreps("2x0e")) == "1x1o+2x0e"
    assert str(Irreps.spherical(3, multiplicity=2)) == "2x0e+2x1o+2x2e+2x3o"


def test_product_has_the_product_of_the_characters() -> None:
    first, second = Irreps("2x0e+1x1o+1x2e"), Irreps("1x1o+1x1e+1x3o")
    product = first.tensor_product(second)
    assert product.dim == first.dim * second.dim

    def character(irreps: Irreps, angle: float, inverted: bool) -> float:
        return sum(
            multiplicity
            * math.sin((irrep.degree + 0.5) * angle)
            / math.sin(angle / 2)
            * (irrep.parity if inverted else 1)
            for multiplicity, irrep in irreps
        )

    for angle in (0.3, 1.1, 2.9):
        for inverted in (False, True):
            expected = character(first, angle, inverted) * character(second, angle, inverted)
            assert character(product, angle, inverted) == pytest.approx(expected, abs=1e-12)
    matrix = Irrep(3, -1).matrices(rotation_from_vector(torch.tensor([0.3, 0.4, 1.2], dtype=torch.float64)))
    assert float(matrix.trace()) == pytest.approx(character(Irreps("3o"), 1.3, False), abs=1e-12)
    assert [str(irrep) for irrep in Irrep(1, -1) * Irrep(2, 1)] == ["1o", "2o", "3o"]


def test_same_text_as_e3nn() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    first, second = "2x0e+3x1o+1x2o", "1x0o+2x1e+1x2e"
    peer = o3.Irreps(o3.FullTensorProduct(first, second).irreps_out).sort().irreps.simplify()
    ours = Irreps(first).tensor_product(second)
    assert {str(irrep): mul for mul, irrep in ours} == {str(entry.ir): entry.mul for entry in peer}
    assert [sl for sl in Irreps(first).slices()] == o3.Irreps(first).slices()


def test_rotation_of_every_parity() -> None:
    irreps = Irreps("2x0e+1x0o+2x1o+1x1e+1x2e+1x2o")
    features = normal(4, irreps.dim)
    turns = random_rotations(4, generator=torch.Generator().manual_seed(0), reflections=True)
    signs = torch.linalg.det(turns)
    assert set(signs.round().tolist()) == {1.0, -1.0}
    turned = irreps.rotate(features, turns)
    torch.testing.assert_close(turned[:, :2], features[:, :2])
    torch.testing.assert_close(turned[:, 2], features[:, 2] * signs)
    order = [1, 2, 0]  # components of degree 1 are (y, z, x)
    polar = torch.einsum("eij,ecj->eci", turns, features[:, 3:9].view(4, 2, 3)[..., [2, 0, 1]])[..., order]
    torch.testing.assert_close(turned[:, 3:9].view(4, 2, 3), polar)
    axial = signs[:, None] * torch.einsum("eij,ej->ei", turns, features[:, 9:12][..., [2, 0, 1]])[..., order]
    torch.testing.assert_close(turned[:, 9:12], axial)
    proper = irreps.rotate(features, turns * signs[:, None, None])
    torch.testing.assert_close(turned[:, 12:17], proper[:, 12:17])
    torch.testing.assert_close(turned[:, 17:], proper[:, 17:] * signs[:, None])
    matrices = Irrep(2, -1).matrices(turns)
    torch.testing.assert_close(turned[:, 17:], torch.einsum("eij,ej->ei", matrices, features[:, 17:]))


def test_layouts() -> None:
    channels = normal(5, 3, 16)
    flat = channels_to_flat(channels)
    assert torch.equal(flat_to_channels(flat, 3), channels)
    irreps = Irreps.spherical(3, multiplicity=3)
    assert [tuple(piece.shape) for piece in irreps.split(flat)] == [(5, 3, 1), (5, 3, 3), (5, 3, 5), (5, 3, 7)]
    assert torch.equal(irreps.split(flat)[2], channels[..., 4:9])
    turns = random_rotations(5, generator=torch.Generator().manual_seed(0), reflections=True)
    torch.testing.assert_close(irreps.rotate(flat, turns), channels_to_flat(rotate(channels, turns)))


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="last axis has 4 components"):
        Irreps("1x1o").check(torch.zeros(2, 4))
    with pytest.raises(InputError, match="no multiple"):
        flat_to_channels(torch.zeros(2, 10), 1)
    turns = random_rotations(3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="does not begin"):
        Irreps("1o").rotate(normal(2, 3), turns)

"""Many records: solved in order whatever the batches, compared with what was published, warnings by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.materials.elasticity import isotropic
from polyad.materials.lattice import LatticeRecord, StrutLattice, effective_stiffness, homogenize
from polyad.materials.lattice.solving import Comparison, compare, isotropic_moduli, solve_records
from tests.materials.lattice.seeds import octet, random_net, simple_cubic


def records(count: int = 7) -> list[LatticeRecord]:
    lattices = [random_net(n, nodes=3 + n % 4, extra=4) for n in range(count)]
    return [LatticeRecord(f"net {n}", x, float(x.relative_density)) for n, x in enumerate(lattices)]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_record_once_in_order_for_any_batch(batch_size: int) -> None:
    seen: list[int] = []
    options = {"young_modulus": 2.0, "poisson_ratio": 0.2, "shear": False}
    solved = list(solve_records(records(), batch_size=batch_size, progress=seen.append, **options))
    assert [s.record.name for s in solved] == [f"net {n}" for n in range(7)]
    for s in solved:
        assert torch.equal(s.stiffness, effective_stiffness(s.record.lattice, **options))
        assert s.mechanisms == 0
        assert s.relative_error is None
        assert s.as_record().stiffness is s.stiffness
    assert seen[-1] == 7


def test_few_are_held_at_a_time() -> None:
    taken = 0

    def source() -> Iterator[LatticeRecord]:
        nonlocal taken
        for record in records(12):
            taken += 1
            yield record

    solved = solve_records(source(), batch_size=3)
    next(solved)
    assert taken == 3


def test_errors_are_relative_to_the_published_tensor_for_a_solid_of_modulus_one() -> None:
    stiffness = effective_stiffness(octet())
    published = [stiffness, 1.01 * stiffness, None, stiffness + 0.2 * torch.eye(6, dtype=torch.float64)]
    given = [LatticeRecord(f"octet {n}", octet(), 0.01, stiffness=c) for n, c in enumerate(published)]
    norm = math.sqrt(float((published[3] ** 2).sum()))  # type: ignore[operator]
    expected = [0.0, 0.01 / 1.01, 0.2 * math.sqrt(6) / norm]
    for modulus in (1.0, 70.0):
        found = compare(solve_records(given, young_modulus=modulus))
        assert found.names == ("octet 0", "octet 1", "octet 3")
        np.testing.assert_allclose(found.errors, expected, rtol=1e-9, atol=1e-14)
    assert found.outliers(0.005) == [(found.names[n], 0.01, found.errors[n]) for n in (2, 1)]
    kept = list(solve_records(given))[1].as_record().metadata
    assert kept["difference_from_published"] == pytest.approx(0.01 / 1.01)


def test_statistics_of_a_comparison() -> None:
    errors = np.linspace(0.0, 1.0, 101)
    found = Comparison([str(n) for n in range(101)], np.full(101, 0.01), np.random.default_rng(0).permutation(errors))
    assert found.median == 0.5
    assert found.percentile(90) == pytest.approx(0.9)
    assert found.share_below(0.25) == pytest.approx(25 / 101)
    assert [error for *_, error in found.outliers(0.98)] == pytest.approx([1.0, 0.99, 0.98])


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="no record has a published stiffness"):
        compare(solve_records(records(2)))


def test_warnings_name_the_record() -> None:
    chain = StrutLattice(np.eye(3), [[0, 0, 0]], [[0], [0]], [[1, 0, 0]], 0.1)
    given = [*records(2), LatticeRecord("lonely chain", chain, 0.03)]
    with pytest.warns(NumericalWarning, match="^lonely chain has 1 zero-energy"):
        solved = list(solve_records(given))
    with pytest.warns(NumericalWarning, match="^lattice 0 has 1"):
        alone = homogenize(chain)
    assert [s.mechanisms for s in solved] == [0, 0, int(alone.mechanisms)]


def test_float32_records_are_solved_in_double_precision() -> None:
    lattice = octet().to(dtype=torch.float32)
    (solved,) = solve_records([LatticeRecord("octet", lattice, 0.01)])
    assert torch.equal(solved.stiffness, effective_stiffness(lattice.to(dtype=torch.float64)))


def test_moduli_of_isotropic_tensors_and_none_of_singular_ones() -> None:
    singular = torch.diag(torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64))
    good = isotropic(torch.tensor([3.0, 5.0], dtype=torch.float64), torch.tensor([0.1, -0.4], dtype=torch.float64))
    found = isotropic_moduli(torch.stack([good[0], singular, good[1]]))
    np.testing.assert_allclose(found.young[[0, 2]], [3.0, 5.0])
    np.testing.assert_allclose(found.poisson[[0, 2]], [0.1, -0.4])
    np.testing.assert_allclose(found.bulk[[0, 2]], [3 / (3 * 0.8), 5 / (3 * 1.8)])
    np.testing.assert_allclose(found.shear[[0, 2]], [3 / 2.2, 5 / 1.2])
    np.testing.assert_allclose(found.anisotropy[[0, 2]], 0, atol=1e-12)
    assert np.isnan([getattr(found, name)[1] for name in ("young", "poisson", "bulk", "shear", "anisotropy")]).all()


def test_cubic_anisotropy_is_the_textbook_one() -> None:
    """A_U of a cubic tensor from its Zener ratio z: (6 / 5) (sqrt(z) - 1 / sqrt(z))^2."""
    stiffness = effective_stiffness(simple_cubic())
    zener = float(stiffness[3, 3] / (stiffness[0, 0] - stiffness[0, 1]))
    expected = 1.2 * (math.sqrt(zener) - 1 / math.sqrt(zener)) ** 2
    assert isotropic_moduli(stiffness[None]).anisotropy[0] == pytest.approx(expected, rel=1e-9)


def test_replaced_record_keeps_its_facts() -> None:
    (solved,) = solve_records([replace(records(1)[0], metadata={"source line": 3}, base_name="base")])
    kept = solved.as_record()
    assert kept.metadata == {"source line": 3, "mechanisms": 0}
    assert kept.base_name == "base"

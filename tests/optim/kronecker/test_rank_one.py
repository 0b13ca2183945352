"""Rank-one updates of inverse factors against inverses of the factors themselves, and what they cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from polyad.errors import InputError
from polyad.optim.kronecker import application_flops, communication_bytes, factor_update_flops, updated_inverse
from polyad.optim.kronecker.rank_one import exact_update, largest_entry, printed_update, published_update, stabilized


def vectors(count: int, order: int, seed: int = 0) -> Tensor:
    return torch.randn(count, order, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decay", [0.95, 0.9])
def test_exact_updates_are_the_inverse_of_the_running_mean(decay: float) -> None:
    factor = inverse = torch.eye(12, dtype=torch.float64)
    for vector in vectors(100, 12):
        factor = decay * factor + (1 - decay) * torch.outer(vector, vector)
        inverse = updated_inverse(inverse, vector, decay=decay, stabilizer=0.0)
    expected = torch.linalg.inv(factor)
    assert float((inverse - expected).norm() / expected.norm()) < 1e-6


def test_published_updates_are_the_inverse_of_the_blended_factor_with_the_vector_added() -> None:
    inverse = torch.linalg.inv(torch.eye(7, dtype=torch.float64) + vectors(9, 7).mT @ vectors(9, 7))
    (vector,) = vectors(1, 7, seed=1)
    blended = 0.9 * inverse + 0.1 * torch.eye(7, dtype=torch.float64)
    expected = torch.linalg.inv(torch.linalg.inv(blended) + torch.outer(vector, vector))
    found = updated_inverse(inverse, vector, mode="published", stabilizer=0.1)
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)


def test_printed_updates_are_what_is_printed_and_no_inverse() -> None:
    start = torch.linalg.inv(torch.eye(5, dtype=torch.float64) + vectors(3, 5).mT @ vectors(3, 5))
    (v,) = vectors(1, 5, seed=1)
    gamma, u = 0.95, start @ v
    term = (1 - gamma) / (gamma**2 * (1 + gamma * (1 - gamma) * v @ u)) * torch.outer(u, u)
    expected = gamma * start + term
    found = updated_inverse(start, v, mode="printed")
    torch.testing.assert_close(found, expected / expected.abs().max(), atol=1e-14, rtol=0)
    assert torch.equal(found, printed_update(start, v, decay=0.95))
    direction = v / v.norm()  # seen more often, an inverse shrinks along it; this does not
    assert direction @ expected @ direction > gamma * (direction @ start @ direction)
    assert direction @ exact_update(start, v) @ direction < direction @ start @ direction / gamma


@pytest.mark.parametrize(("mode", "least"), [("exact", 0.15), ("published", 0.007)])
def test_ten_thousand_updates_stay_positive_definite(mode: str, least: float) -> None:
    inverse = torch.eye(64)
    lowest = math.inf
    for number, vector in enumerate(vectors(10_000, 64).half()):
        inverse = updated_inverse(inverse, vector.float(), mode=mode)
        if number % 1000 == 999:
            lowest = min(lowest, float(torch.linalg.eigvalsh(inverse.double())[0]))
    assert inverse.dtype == torch.float32
    assert lowest > least  # measured 0.21 and 0.010: R reaches about (1 + sqrt(64 / 40))^2, and v'v is 64
    assert torch.equal(inverse, inverse.mT)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_vectors_of_any_size(size: float) -> None:
    vector = torch.full((4,), size)
    start = torch.eye(4)
    exact = exact_update(start, vector)
    published = published_update(start, vector)
    ones = torch.ones(4, 4)
    if size < 1:
        torch.testing.assert_close(exact, start / 0.95)
        torch.testing.assert_close(published, start)
    else:  # infinitely sure of the direction
        torch.testing.assert_close(exact, (start - ones / 4) / 0.95)
        torch.testing.assert_close(published, start - ones / 4)
    assert bool(printed_update(start, vector).isfinite().all())


def test_the_stabiliser_fires_above_the_threshold_only() -> None:
    calm = torch.diag(torch.tensor([1.9, 0.5]))
    assert torch.equal(stabilized(calm), calm)
    wild = torch.tensor([[1.0, -1.5], [-1.5, 9.0]])
    torch.testing.assert_close(stabilized(wild, stabilizer=0.1), 0.9 * wild + 0.1 * torch.eye(2))
    inverse = torch.eye(3)
    fired = 0
    for number in range(1, 15):
        plain = exact_update(inverse, torch.zeros(3))
        inverse = updated_inverse(inverse, torch.zeros(3))
        fired = fired or (number if not torch.equal(plain, inverse) else 0)
    assert fired == 14  # the first power of 1 / 0.95 above 2


def test_largest_entries_lie_on_the_diagonal() -> None:
    matrix = vectors(9, 7).mT @ vectors(9, 7)
    assert torch.equal(largest_entry(matrix), matrix.abs().amax())


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(InputError, match="mode"):
        updated_inverse(torch.eye(2), torch.ones(2), mode="paper")


class Flops(TorchDispatchMode):
    """Counts multiplications and additions of what is run: products, and one a number of everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket._qualified_op_name.split("::")[1]
        shapes = [tuple(x.shape) for x in args if isinstance(x, Tensor)]
        if name in ("mv", "dot"):
            self.count += 2 * math.prod(shapes[0])
        elif name == "addr":
            self.count += 3 * math.prod(shapes[0])
        elif name == "linalg_cholesky_ex":
            self.count += shapes[0][-1] ** 3 / 3
        elif name == "cholesky_inverse":
            self.count += 2 * shapes[0][-1] ** 3 / 3
        elif name not in ("diagonal", "view", "unsqueeze", "detach", "_to_copy", "alias", "as_strided"):
            numbers = [x for x in (*args, result) if isinstance(x, Tensor)]
            self.count += max(x.numel() for x in numbers)
        return result


def counted(work: Any) -> float:
    with Flops() as flops:
        work()
    return flops.count


def slope(sizes: list[int], values: list[float]) -> float:
    x, y = torch.tensor(sizes).double().log(), torch.tensor(values).double().log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def test_counted_operations_are_quadratic_where_an_inverse_is_cubic() -> None:
    sizes = [64, 128, 256, 512, 1024]
    ours = [counted(lambda n=n: updated_inverse(torch.eye(n), torch.ones(n))) for n in sizes]
    inverse = [counted(lambda n=n: torch.cholesky_inverse(torch.linalg.cholesky(torch.eye(n)))) for n in sizes]
    assert slope(sizes, ours) == pytest.approx(2.0, abs=0.1)
    assert slope(sizes, inverse) == pytest.approx(3.0, abs=0.1)
    for n, update, dense in zip(sizes[2:], ours[2:], inverse[2:], strict=True):
        assert 2 * update == pytest.approx(factor_update_flops("mkor", [(n, n)]), rel=0.2)
        assert 2 * dense == pytest.approx(factor_update_flops("kfac", [(n, n)], samples=1) - 10 * n * n, rel=0.01)


def test_costs() -> None:
    layers = [(10, 21), (5, 11)]
    assert communication_bytes("mkor", layers) == 4 * 47
    assert communication_bytes("mkor", layers, bytes_a_number=2) == 2 * 47
    assert communication_bytes("eva", layers) == 4 * 47
    assert communication_bytes("kfac", layers) == 4 * (100 + 441 + 25 + 121)
    assert communication_bytes("hylo", [(10, 21)], samples=3) == 4 * (3 * 31 + 9)
    assert communication_bytes("mkor", [(1024, 1024)]) <= 0.01 * communication_bytes("kfac", [(1024, 1024)])
    assert application_flops("mkor", [(10, 21)]) == 2 * 10 * 10 * 21 + 2 * 10 * 21 * 21
    assert application_flops("mkor", layers) == application_flops("kfac", layers)
    assert application_flops("eva", layers) < application_flops("hylo", layers, samples=8)
    assert factor_update_flops("eva", layers) < factor_update_flops("mkor", layers)
    with pytest.raises(InputError, match="method"):
        communication_bytes("adam", layers)
    with pytest.raises(InputError, match="layers"):
        factor_update_flops("mkor", [(0, 3)])

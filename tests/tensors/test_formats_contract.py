"""One contract for all tensor formats: every operation against the dense tensor, for every format and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import (
    CP,
    TensorFormat,
    TensorNetwork,
    TensorRing,
    TensorTrain,
    TreeTensorNetwork,
    Tucker,
)

SHAPE = (3, 4, 2, 5)
TREE = ((0, 2), (1, (3,)))
GRAPH = (("a", 0, "b"), ("b", 1, "c"), ("c", 2, "d"), ("d", 3, "a"))
HYPER = (("a", 0), ("a", 1, "c"), ("a", 2, "c"), ("c", 3))
DTYPES = (torch.float64, torch.float32, torch.complex128)
ACCURACY = {torch.float64: 1e-12, torch.float32: 1e-4, torch.complex128: 1e-12}


@dataclass(frozen=True)
class Member:
    """A format: how to draw one, how to build it from its arrays, and what it can do.

    Args:
        batched: takes leading batch dimensions; `truncates_batch`: truncates them too.
        differentiable: truncation has a gradient.
    """

    name: str
    draw: Callable[..., TensorFormat]
    build: Callable[[TensorFormat, Sequence[Tensor]], TensorFormat]
    batched: bool = True
    truncates_batch: bool = True
    differentiable: bool = True


def network(indices: tuple[tuple[Any, ...], ...]) -> Callable[..., TensorFormat]:
    def draw(ranks: int = 2, *, generator: torch.Generator, dtype: torch.dtype, batch_shape: Sequence[int] = ()) -> Any:
        labels = {label for names in indices for label in names}
        sizes = {label: SHAPE[label] if isinstance(label, int) else ranks for label in labels}
        return TensorNetwork.random(indices, sizes, output=range(4), generator=generator, dtype=dtype)

    return draw


def simple(kind: Any, **fixed: Any) -> Callable[..., TensorFormat]:
    return lambda ranks=2, **options: kind.random(SHAPE, ranks, **fixed, **options)


MEMBERS = [
    Member(
        "CP",
        simple(CP),
        lambda x, a: CP(a[0], tuple(a[1:])),
        truncates_batch=False,
        differentiable=False,
    ),
    Member("Tucker", simple(Tucker), lambda x, a: Tucker(a[0], tuple(a[1:]))),
    Member("TensorTrain", simple(TensorTrain), lambda x, a: TensorTrain(tuple(a))),
    Member(
        "TensorRing",
        simple(TensorRing),
        lambda x, a: TensorRing(tuple(a)),
        truncates_batch=False,
        differentiable=False,
    ),
    Member(
        "TreeTensorNetwork",
        simple(TreeTensorNetwork, tree=TREE),
        lambda x, a: TreeTensorNetwork(TREE, tuple(a[:4]), tuple(a[4:])),
    ),
    Member(
        "TensorNetwork",
        network(GRAPH),
        lambda x, a: TensorNetwork(tuple(a), GRAPH, tuple(range(4))),
        batched=False,
        differentiable=False,
    ),
    Member(
        "TensorNetwork with hyperedges",
        network(HYPER),
        lambda x, a: TensorNetwork(tuple(a), HYPER, tuple(range(4))),
        batched=False,
        differentiable=False,
    ),
]
every_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(member: Member, dtype: torch.dtype, *, batch: bool = False, count: int = 2) -> list[TensorFormat]:
    generator = seeded(3)
    batch_shape = (2,) if batch and member.batched else ()
    return [member.draw(generator=generator, dtype=dtype, batch_shape=batch_shape) for _ in range(count)]


def dense_norm(dense: Tensor, x: TensorFormat) -> Tensor:
    return torch.linalg.vector_norm(dense.flatten(len(x.batch_shape)), dim=-1)


def assert_close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    assert found.shape == wanted.shape
    scale = max(1.0, float(wanted.abs().max()))
    assert float((found - wanted).abs().max()) <= ACCURACY[dtype] * scale


# ---------------------------------------------------------------- values


@every_member
@every_dtype
@pytest.mark.parametrize("batch", [False, True], ids=["one", "batch"])
def test_operations_equal_dense_ones(member: Member, dtype: torch.dtype, batch: bool) -> None:
    x, y = draws(member, dtype, batch=batch)
    dense, other = x.to_dense(), y.to_dense()
    lead = len(x.batch_shape)
    assert dense.shape == (*x.batch_shape, *SHAPE)
    assert x.shape == SHAPE
    assert (x.dtype, dense.dtype, x.order) == (dtype, dtype, 4)

    indices = torch.stack([torch.randint(0, size, (9,), generator=seeded()) for size in SHAPE], dim=1)
    assert_close(x.entries(indices), dense[(..., *indices.T)], dtype)
    assert_close(x.inner(y), (dense.conj() * other).flatten(lead).sum(-1), dtype)
    assert_close(x.norm(), dense_norm(dense, x), dtype)
    assert_close((x + y).to_dense(), dense + other, dtype)
    assert_close((x - y).to_dense(), dense - other, dtype)
    assert_close((x * y).to_dense(), dense * other, dtype)
    assert_close((2.5 * x).to_dense(), 2.5 * dense, dtype)
    if lead:
        factor = torch.tensor([2.0, -3.0], dtype=dtype)
        assert_close(x.scale(factor).to_dense(), factor[:, None, None, None, None] * dense, dtype)


@every_member
@every_dtype
@pytest.mark.parametrize("mode", [0, 1, 2, -1])
def test_mode_product_and_contraction_with_vectors(member: Member, dtype: torch.dtype, mode: int) -> None:
    (x,) = draws(member, dtype, batch=True, count=1)
    dense, lead = x.to_dense(), len(x.batch_shape)
    place = lead + mode % 4
    matrix = torch.randn(6, SHAPE[mode], generator=seeded(), dtype=dtype)
    wanted = torch.tensordot(dense, matrix, dims=([place], [1])).movedim(-1, place)
    assert_close(x.mode_product(matrix, mode).to_dense(), wanted, dtype)
    vectors = {m: torch.randn(SHAPE[m], generator=seeded(m), dtype=dtype) for m in range(4)}
    kept = [m for m in range(4) if m != mode % 4]
    alone = torch.einsum("...abcd,a,b,c,d->...", dense, *vectors.values())
    one = x.contract({mode: vectors[mode % 4]})
    assert_close(one.to_dense(), torch.tensordot(dense, vectors[mode % 4], dims=([place], [0])), dtype)
    assert one.shape == tuple(SHAPE[m] for m in kept)
    rest = x.contract({m: vectors[m] for m in kept})
    letters = "abcd"
    equation = f"...abcd,{','.join(letters[m] for m in kept)}->...{letters[mode % 4]}"
    assert_close(rest.to_dense(), torch.einsum(equation, dense, *(vectors[m] for m in kept)), dtype)
    assert_close(x.contract(vectors), alone, dtype)


@every_member
def test_vectors_of_a_batch_may_differ(member: Member) -> None:
    if not member.batched:
        pytest.skip("this format takes no batch")
    (x,) = draws(member, torch.float64, batch=True, count=1)
    matrices = torch.randn(2, 6, 4, generator=seeded(), dtype=torch.float64)
    assert_close(
        x.mode_product(matrices, 1).to_dense(), torch.einsum("zabcd,zjb->zajcd", x.to_dense(), matrices), torch.float64
    )


@every_member
@every_dtype
def test_orthogonalise_keeps_the_tensor(member: Member, dtype: torch.dtype) -> None:
    (x,) = draws(member, dtype, batch=True, count=1)
    assert_close(x.orthogonalise().to_dense(), x.to_dense(), dtype)


@every_member
@every_dtype
@pytest.mark.parametrize("tolerance", [1e-2, 0.3])
def test_truncation_keeps_its_promise(member: Member, dtype: torch.dtype, tolerance: float) -> None:
    x, y = draws(member, dtype, batch=member.truncates_batch)
    tensor = x + y.scale(0.1) + x.scale(0.5)
    dense, found = tensor.to_dense(), tensor.truncate(tolerance=tolerance)
    error = dense_norm(found.value.to_dense() - dense, x)
    size = dense_norm(dense, x)
    assert bool((error <= tolerance * size * (1 + ACCURACY[dtype])).all())
    assert bool((error <= found.error + 10 * ACCURACY[dtype] * size).all()), "the bound must hold"
    assert all(after <= before for after, before in zip(found.value.ranks, tensor.ranks, strict=True))


@every_member
def test_truncation_to_ranks_bounds_its_error(member: Member) -> None:
    x, y = draws(member, torch.float64)
    tensor, rank = x + y, 2
    found = tensor.truncate(ranks=rank)
    assert max(found.value.ranks) <= rank
    error = dense_norm(found.value.to_dense() - tensor.to_dense(), x)
    assert float(error) <= float(found.error) * (1 + 1e-9) + 1e-12


@every_member
def test_rounding_recovers_a_doubled_tensor(member: Member) -> None:
    """x + x has twice the ranks of x, x + y - y thrice; all formats find the old ones again."""
    x, y = draws(member, torch.float64)
    rounded = (x + x).round(tolerance=1e-7)
    assert all(found <= rank for found, rank in zip(rounded.ranks, x.ranks, strict=True))
    assert_close(rounded.to_dense(), 2 * x.to_dense(), torch.float64 if member.name != "CP" else torch.float32)
    rounded = (x + y - y).round(tolerance=1e-6)
    assert all(found <= rank for found, rank in zip(rounded.ranks, x.ranks, strict=True))
    assert float((rounded - x).norm()) <= 2e-6 * float(x.norm())


@every_member
def test_norm_where_terms_cancel(member: Member) -> None:
    x, y = draws(member, torch.float64)
    close = x.add(y.scale(1e-7)).add(x.scale(-1.0))
    assert float(close.norm()) == pytest.approx(1e-7 * float(y.norm()), rel=1e-6)
    assert float((x - x).norm()) <= 1e-13 * float(x.norm())


@every_member
def test_norm_that_nearly_vanishes_has_its_gradient(member: Member) -> None:
    """|x - x'| with x' = x + 1e-6 y: its derivative is that of a distance, of size one."""
    x, y = draws(member, torch.float64)
    shift, fixed = y.scale(1e-6), x.scale(-1.0)
    arrays = [array.clone().requires_grad_() for array in x.arrays]
    (member.build(x, arrays) + fixed + shift).norm().backward()
    dense = x.to_dense().requires_grad_()
    gap = x.to_dense() + shift.to_dense()
    direction = (gap - dense.detach()) / (gap - dense.detach()).norm()
    held = [array.clone().requires_grad_() for array in x.arrays]
    (member.build(x, held).to_dense() * direction).sum().backward()
    for found, wanted in zip(arrays, held, strict=True):
        assert found.grad is not None
        assert torch.allclose(found.grad, wanted.grad, atol=1e-6 * float(wanted.grad.abs().max()))


FROM_DENSE: dict[str, Callable[..., TensorFormat]] = {
    "CP": CP.from_dense,
    "Tucker": Tucker.from_dense,
    "TensorTrain": TensorTrain.from_dense,
    "TensorRing": TensorRing.from_dense,
    "TreeTensorNetwork": partial(TreeTensorNetwork.from_dense, tree=TREE),
    "TensorNetwork": partial(TensorNetwork.from_dense, indices=GRAPH, output=range(4)),
    "TensorNetwork with hyperedges": partial(TensorNetwork.from_dense, indices=HYPER, output=range(4)),
}


@every_member
@every_dtype
def test_a_dense_tensor_of_the_format_is_found_again(member: Member, dtype: torch.dtype) -> None:
    """At its own ranks, and at a tolerance where the format decides by singular values."""
    (x,) = draws(member, dtype, count=1)
    dense, make = x.to_dense(), FROM_DENSE[member.name]
    found = make(dense, ranks=4 if isinstance(x, TensorRing) else 2)  # TR-SVD cannot choose the first bond's gauge
    assert type(found) is type(x)
    exact = isinstance(x, Tucker | TensorTrain | TreeTensorNetwork | TensorRing)
    allowed = ACCURACY[dtype] if exact else 1e-3
    assert float((found.to_dense() - dense).norm()) <= 10 * allowed * float(dense.norm())
    noise = torch.randn(SHAPE, generator=seeded(7), dtype=dtype)
    rounded = make(dense + 1e-3 * dense.norm() / noise.norm() * noise, tolerance=0.02)
    assert float((rounded.to_dense() - dense).norm()) <= 0.03 * float(dense.norm())
    assert isinstance(x, TensorRing | TensorNetwork) or max(rounded.ranks) <= max(x.ranks)
    with pytest.raises(InputError, match="tolerance"):
        make(dense, tolerance=0.0)
    for bad, word in ((dense * torch.nan, "NaN"), (dense * 0, "zero")):
        with pytest.raises(InputError, match=word):
            make(bad, ranks=2)


# ---------------------------------------------------------------- promises


@every_member
def test_seed_decides(member: Member) -> None:
    options = {"dtype": torch.float64}
    first = member.draw(generator=seeded(5), **options)
    again = member.draw(generator=seeded(5), **options)
    other = member.draw(generator=seeded(6), **options)
    assert all(torch.equal(a, b) for a, b in zip(first.arrays, again.arrays, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.arrays, other.arrays, strict=True))


@every_member
def test_operands_stay_as_they_are(member: Member) -> None:
    x, y = draws(member, torch.float64)
    before = [array.clone() for array in (*x.arrays, *y.arrays)]
    x.add(y), x.hadamard(y), x.inner(y), x.norm(), x.orthogonalise(), x.truncate(ranks=1), x.to_dense()
    x.entries(torch.zeros(1, 4, dtype=torch.long)), x.mode_product(torch.ones(2, 3, dtype=torch.float64), 0)
    assert all(torch.equal(a, b) for a, b in zip((*x.arrays, *y.arrays), before, strict=True))


@every_member
def test_storage_counts_numbers_and_bytes(member: Member) -> None:
    for dtype, size in ((torch.float64, 8), (torch.float32, 4), (torch.complex128, 16)):
        (x,) = draws(member, dtype, count=1)
        numbers = sum(array.numel() for array in x.arrays)
        assert x.storage == (numbers, size * numbers)
        assert type(x).__name__ in repr(x)


@every_member
def test_gradients_equal_differences(member: Member) -> None:
    x, y = draws(member, torch.float64)
    indices = torch.tensor([[0, 1, 1, 2], [2, 3, 0, 4]])

    def values(*arrays: Tensor) -> tuple[Tensor, ...]:
        z = member.build(x, arrays)
        return z.to_dense().sin().sum(), z.norm(), z.inner(y), z.entries(indices).sum(), (z * y + z * z).norm()

    assert torch.autograd.gradcheck(values, [array.clone().requires_grad_() for array in x.arrays], fast_mode=True)


@every_member
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_truncation_has_a_true_gradient_or_none(member: Member, dtype: torch.dtype) -> None:
    """Also where singular values vanish or repeat, as after adding a tensor to itself."""
    (x,) = draws(member, dtype, count=1)
    arrays = [array.clone().requires_grad_() for array in x.arrays]
    if not member.differentiable:
        with pytest.raises(InputError, match="no gradient"):
            member.build(x, arrays).round(ranks=1)
        return
    weight = torch.randn(SHAPE, generator=seeded(), dtype=dtype)

    def value(*given: Tensor) -> Tensor:
        z = member.build(x, given)
        return ((z + z).round(ranks=1).to_dense() * weight).sum().abs()

    assert torch.autograd.gradcheck(value, arrays, atol=1e-6, fast_mode=True)


# ---------------------------------------------------------------- bad input


@every_member
def test_bad_input_is_refused_in_one_line(member: Member) -> None:
    (x,) = draws(member, torch.float64, count=1)
    (single,) = draws(member, torch.float32, count=1)
    longer = x.mode_product(torch.ones(7, 3, dtype=torch.float64), 0)
    side = -1 if isinstance(x, CP | Tucker) else 0  # a dimension of the last array that must fit another
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("shape", lambda: x.add(longer)),
        ("shape", lambda: x.inner(longer)),
        ("columns", lambda: x.mode_product(torch.ones(2, 9, dtype=torch.float64), 0)),
        ("mode", lambda: x.mode_product(torch.ones(2, 3, dtype=torch.float64), 4)),
        ("indices", lambda: x.entries(torch.tensor([[0, 0, 0, 9]]))),
        ("indices", lambda: x.entries(torch.tensor([[0, 0, 0]]))),
        ("size 1", lambda: x.squeeze([0])),
        ("tolerance", lambda: x.truncate()),
        ("tolerance", lambda: x.round(tolerance=0.0)),
        ("tolerance", lambda: x.round(tolerance=1.5)),
        ("tolerance", lambda: x.round(tolerance=float("nan"))),
        ("ranks", lambda: x.round(ranks=0)),
        ("ranks", lambda: x.round(ranks=[99] * len(x.ranks))),
        ("ranks", lambda: x.round(ranks=[1] * (len(x.ranks) + 1))),
        ("dtype", lambda: member.build(x, [x.arrays[0], *single.arrays[1:]])),
        ("dtype", lambda: member.build(x, [array.long() for array in x.arrays])),
        ("rank|label|shape|core", lambda: member.build(x, [*x.arrays[:-1], torch.cat([x.arrays[-1]] * 2, dim=side)])),
    ]
    for word, call in calls:
        with pytest.raises(InputError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)


@every_member
def test_formats_do_not_mix(member: Member) -> None:
    (x,) = draws(member, torch.float64, count=1)
    other = next(m for m in MEMBERS if type(m.draw(generator=seeded(), dtype=torch.float64)) is not type(x))
    with pytest.raises(InputError, match="convert"):
        x.add(other.draw(generator=seeded(), dtype=torch.float64))

"""Meta-factorization: the projector and reconstruction equations, the network example, SciPy's factors, Penrose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from polyad.errors import InputError
from polyad.tensors import meta_factorization as mft
from polyad.tensors.meta_factorization.constructors import column_basis, column_pivots

DOUBLE = torch.float64


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def of_rank(m: int, n: int, rank: int, *, seed: int = 0, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    """Singular values from 1 to 1e-2, all others zero."""
    left = torch.linalg.qr(gaussian(m, rank, seed=seed, dtype=dtype)).Q
    right = torch.linalg.qr(gaussian(n, rank, seed=seed + 1, dtype=dtype)).Q
    values = torch.logspace(0, -2, rank, dtype=DOUBLE).to(dtype)
    return (left * values) @ right.mH


MATRICES = {
    "full, tall": gaussian(14, 9),
    "full, wide": gaussian(9, 14),
    "square": of_rank(10, 10, 10),
    "rank 4": of_rank(12, 11, 4),
    "circulant": torch.from_numpy(scipy.linalg.circulant(np.cos(np.arange(12) * np.pi / 3))),
    "complex": of_rank(9, 12, 5, dtype=torch.complex128),
    "batch": torch.stack([of_rank(9, 7, 3, seed=s) for s in (0, 5)]),
}
CONSTRUCTORS = {
    "svd": mft.singular_value_decomposition,
    "pivoted qr": mft.pivoted_qr,
    **{
        f"utv {sides} {core}": lambda a, sides=sides, core=core: mft.utv(a, sides=sides, core=core)
        for sides in ("one", "two")
        for core in ("svd", "qr", "lu")
    },
    "cur": mft.cur,
    "skeleton": lambda a: mft.cur(a, core="skeleton"),
    "full rank": mft.full_rank,
    "wedderburn": mft.wedderburn,
    "nystrom": lambda a: mft.generalized_nystrom(a, rank=min(a.shape[-2:])),
    "randomized svd": lambda a: mft.randomized_svd(a, rank=min(a.shape[-2:])),
}


# ---------------------------------------------------------------- the network example


def incidence(edges: list[tuple[int, int]]) -> torch.Tensor:
    matrix = torch.zeros(5, len(edges), dtype=DOUBLE)
    for column, (i, j) in enumerate(edges):
        matrix[i - 1, column], matrix[j - 1, column] = 1.0, -1.0
    return matrix


def network() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Laplacian A, the tree F and the core G = F^+ A F^+T."""
    edges = incidence([(1, 2), (2, 3), (1, 3), (3, 4), (4, 5), (3, 5)])
    laplacian = edges @ torch.diag(torch.tensor([2.0, 1.0, 3.0, 1.0, 4.0, 2.0], dtype=DOUBLE)) @ edges.T
    tree = incidence([(1, 2), (2, 3), (3, 4), (4, 5)])
    return laplacian, tree, mft.meta_factorization(laplacian, tree, tree).core


def test_swap_to_another_spanning_tree_is_admissible():
    laplacian, tree, core = network()
    inverse = torch.linalg.pinv(tree)
    torch.testing.assert_close(core, inverse @ laplacian @ inverse.T, rtol=0, atol=1e-12)
    swap = mft.replace_factor(laplacian, tree, core, tree, incidence([(1, 3), (2, 3), (3, 5), (4, 5)]))
    assert bool(swap.admissible)
    assert float(swap.criterion) < 1e-12
    assert float(swap.residual) < 1e-12
    assert float(torch.linalg.det(swap.interface)) == pytest.approx(1.0, abs=1e-12)


def test_swap_to_a_disconnected_set_is_refused_with_the_published_numbers():
    laplacian, tree, core = network()
    broken = incidence([(1, 2), (2, 3), (1, 3), (4, 5)])
    swap = mft.replace_factor(laplacian, tree, core, tree, broken)
    assert not bool(swap.admissible)
    assert float(swap.criterion) == pytest.approx(math.sqrt(390) / 6, abs=1e-8)
    assert float(swap.residual) == pytest.approx(math.sqrt(105) / 3, abs=1e-8)
    assert int(mft.oblique_projector(broken).rank) == 3
    missing = (tree - broken @ swap.interface) @ core
    assert float(torch.linalg.matrix_norm(missing, ord=2)) == pytest.approx(float(swap.criterion))


def test_any_inner_inverse_may_serve_as_interface():
    laplacian, tree, core = network()
    new = incidence([(1, 3), (2, 3), (3, 5), (4, 5)])
    swap = mft.replace_factor(laplacian, tree, core, tree, new, sketch=gaussian(5, 6))
    assert bool(swap.admissible)
    torch.testing.assert_close(new @ swap.core @ tree.T, laplacian, rtol=0, atol=1e-11)


# ---------------------------------------------------------------- the equations


@pytest.mark.parametrize("sketched", [False, True])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_projectors_are_idempotent_and_fix_the_columns(sketched, dtype):
    factor, other = of_rank(12, 5, 5, dtype=dtype), gaussian(12, 7, seed=3, dtype=dtype)
    projector = mft.oblique_projector(factor, sketch=other if sketched else None)
    matrix = factor @ projector.dual.mH
    torch.testing.assert_close(matrix @ matrix, matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix @ factor, factor, rtol=0, atol=1e-12)
    torch.testing.assert_close(projector.project(other), matrix @ other, rtol=0, atol=1e-11)
    expected = torch.linalg.pinv(other.mH @ factor) @ other.mH if sketched else torch.linalg.pinv(factor)
    torch.testing.assert_close(projector.dual.mH, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("p", [5, 8])
def test_norm_of_a_projector_is_that_of_the_largest_angle(p):
    factor, sketch = gaussian(12, 5), gaussian(12, p, seed=1)
    angle = scipy.linalg.subspace_angles(factor.numpy(), (sketch @ sketch.T @ factor).numpy()).max()
    to_sketch = scipy.linalg.subspace_angles(factor.numpy(), sketch.numpy()).max()
    norm = float(mft.oblique_projector(factor, sketch=sketch).norm)
    assert norm == pytest.approx(1 / math.cos(angle), rel=1e-10)
    assert (abs(norm - 1 / math.cos(to_sketch)) < 1e-8) == (p == 5)  # col(B B^T F) is col(B) only when p = k
    assert float(mft.oblique_projector(factor).norm) == pytest.approx(1.0, abs=1e-13)


def test_free_core_changes_the_core_only_where_columns_are_dependent():
    matrix = of_rank(12, 11, 4)
    columns, rows = column_basis(matrix), column_basis(matrix.T)
    plain = mft.meta_factorization(matrix, columns, rows, column_sketch=gaussian(12, 6), row_sketch=gaussian(11, 4))
    moved = mft.meta_factorization(
        matrix,
        columns,
        rows,
        column_sketch=gaussian(12, 6),
        row_sketch=gaussian(11, 4),
        free_core=gaussian(4, 4, seed=9),
    )
    torch.testing.assert_close(moved.core, plain.core, rtol=0, atol=1e-12)
    wide, tall = columns @ gaussian(4, 7), rows @ gaussian(4, 6)
    plain = mft.meta_factorization(matrix, wide, tall)
    moved = mft.meta_factorization(matrix, wide, tall, free_core=gaussian(7, 6, seed=9))
    assert float((moved.core - plain.core).norm()) > 1.0
    for found in (plain, moved):
        assert float(found.residual(matrix)) < 1e-12


def test_core_is_that_of_the_formula():
    matrix, f, h = gaussian(9, 8), gaussian(9, 3, seed=1), gaussian(8, 4, seed=2)
    b, d, w = gaussian(9, 5, seed=3), gaussian(8, 6, seed=4), gaussian(3, 4, seed=5)
    y, x = torch.linalg.pinv(b.T @ f) @ b.T, d @ torch.linalg.pinv(h.T @ d)
    expected = y @ matrix @ x + w - y @ f @ w @ h.T @ x
    found = mft.meta_factorization(matrix, f, h, column_sketch=b, row_sketch=d, free_core=w)
    torch.testing.assert_close(found.core, expected, rtol=0, atol=1e-11)


def test_sketch_that_loses_the_rank_is_refused():
    factor = gaussian(10, 3)
    blind = torch.linalg.qr(torch.cat([factor, gaussian(10, 3, seed=1)], dim=1)).Q[:, 2:6]  # sees one direction only
    with pytest.raises(InputError, match="lower rank"):
        mft.oblique_projector(factor, sketch=blind)
    with pytest.raises(InputError, match="lower rank"):
        mft.meta_factorization(gaussian(10, 10), factor, factor, row_sketch=gaussian(10, 2))


def test_stability_bound_holds_and_orthogonal_projectors_are_best():
    matrix = of_rank(20, 18, 12)
    columns, rows = column_basis(matrix, rank=5), column_basis(matrix.T, rank=5)
    best = mft.stability_report(matrix, mft.meta_factorization(matrix, columns, rows))
    reach = math.hypot(float(best.column_error), float(best.row_error))
    assert max(float(best.column_error), float(best.row_error)) <= float(best.error) <= reach
    for seed in range(5):
        sketches = {"column_sketch": gaussian(20, 5, seed=seed), "row_sketch": gaussian(18, 7, seed=seed + 50)}
        factorization = mft.meta_factorization(matrix, columns, rows, **sketches)
        report = mft.stability_report(matrix, factorization)
        direct = float((matrix - factorization.reconstruct()).norm())
        assert float(report.error) == pytest.approx(direct, rel=1e-9)
        assert float(best.error) <= direct <= float(report.bound)
        assert float(report.column_norm) > 1.5  # and so the bound says something
        assert float(report.amplification) == pytest.approx(
            direct / max(float(report.column_error), float(report.row_error))
        )


# ---------------------------------------------------------------- the constructors


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
@pytest.mark.parametrize("construct", CONSTRUCTORS.values(), ids=CONSTRUCTORS.keys())
def test_every_constructor_reconstructs(construct, matrix):
    found = construct(matrix)
    error = (matrix - found.left @ found.core @ found.right.mH).flatten(-2).norm(dim=-1)
    assert bool((error <= 1e-12 * matrix.flatten(-2).norm(dim=-1)).all())
    assert bool((found.residual <= 1e-12).all())


@pytest.mark.parametrize("matrix", [MATRICES["full, tall"], MATRICES["rank 4"], MATRICES["complex"]])
def test_singular_values_and_vectors_are_scipys(matrix):
    found = mft.singular_value_decomposition(matrix)
    left, values, right = scipy.linalg.svd(matrix.resolve_conj().numpy(), full_matrices=False)
    k = found.core.shape[-1]
    np.testing.assert_allclose(found.core.diagonal().real.numpy(), values[:k], rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.abs(left[:, :k].conj().T @ found.left.numpy()), np.eye(k), rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.abs(right[:k] @ found.right.resolve_conj().numpy()), np.eye(k), rtol=0, atol=1e-10)
    short = mft.singular_value_decomposition(matrix, rank=3)
    best = math.sqrt((values[3:] ** 2).sum() / (values**2).sum())
    assert float(short.residual) == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("matrix", [MATRICES["full, tall"], MATRICES["full, wide"], MATRICES["rank 4"]])
def test_pivoted_qr_is_scipys(matrix):
    found = mft.pivoted_qr(matrix)
    q, r, order = scipy.linalg.qr(matrix.numpy(), mode="economic", pivoting=True)
    k = found.core.shape[0]
    signs = np.sign(np.diagonal(r)[:k] * found.core.diagonal().numpy())
    np.testing.assert_allclose(found.left.numpy() * signs, q[:, :k], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.core.numpy() * signs[:, None], r[:k], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.right.numpy(), np.eye(matrix.shape[1])[:, order])


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("core", ["svd", "qr", "lu"])
def test_utv_has_the_shape_that_its_name_says(sides, core):
    matrix = of_rank(12, 11, 6)
    found = mft.utv(matrix, sides=sides, core=core)
    below, above = found.core.tril(-1), found.core.triu(1)
    if core != "lu":
        assert float(below.abs().max()) < 1e-13
    if core != "qr":
        assert float(above.abs().max()) < 1e-13
    identity = torch.eye(6, dtype=DOUBLE)
    torch.testing.assert_close(found.left.T @ found.left, identity, rtol=0, atol=1e-13)
    if core != "lu":
        torch.testing.assert_close(found.right.T @ found.right, identity, rtol=0, atol=1e-13)


def test_cur_factors_are_columns_and_rows_with_the_best_core():
    matrix = gaussian(12, 10)
    columns, rows = torch.tensor([1, 4, 7]), torch.tensor([0, 3, 5, 9])
    found = mft.cur(matrix, columns=columns, rows=rows)
    assert torch.equal(found.left, matrix[:, columns])
    assert torch.equal(found.right, matrix[rows].T)
    best = torch.linalg.pinv(matrix[:, columns]) @ matrix @ torch.linalg.pinv(matrix[rows])
    torch.testing.assert_close(found.core, best, rtol=0, atol=1e-12)
    skeleton = mft.cur(matrix, columns=columns, rows=rows, core="skeleton")
    torch.testing.assert_close(skeleton.core, torch.linalg.pinv(matrix[rows][:, columns]), rtol=0, atol=1e-12)


def test_wedderburn_is_successive_rank_reduction():
    matrix, b, d = of_rank(9, 8, 4), gaussian(9, 4, seed=7), gaussian(8, 4, seed=8)
    found = mft.wedderburn(matrix, left_probes=b, right_probes=d)
    order = scipy.linalg.lu((b.T @ matrix @ d).numpy(), p_indices=True)[0]
    order = np.argsort(order)  # A[order] = L U
    rest = matrix.clone()
    for i in range(4):
        column, row = rest @ d[:, i], rest.T @ b[:, order[i]]
        weight = torch.dot(b[:, order[i]], column)
        torch.testing.assert_close(found.left[:, i], column, rtol=0, atol=1e-11)
        torch.testing.assert_close(found.right[:, i], row, rtol=0, atol=1e-11)
        assert float(found.core[i, i]) == pytest.approx(1 / float(weight), rel=1e-9)
        rest = rest - torch.outer(column, row) / weight
        assert int(torch.linalg.matrix_rank(rest, atol=1e-10, rtol=0)) == 3 - i


def test_nystrom_is_its_formula_and_exact_from_the_rank_on():
    matrix = of_rank(40, 30, 6)
    assert float(mft.generalized_nystrom(matrix, rank=6, seed=3).residual) < 1e-12
    assert float(mft.generalized_nystrom(matrix, rank=9, seed=3).residual) < 1e-12
    found = mft.generalized_nystrom(matrix, rank=4, seed=3)
    assert 1e-3 < float(found.residual) < 1.0
    generator = torch.Generator().manual_seed(3)
    d = torch.randn(30, 4, dtype=DOUBLE, generator=generator)
    b = torch.randn(40, 6, dtype=DOUBLE, generator=generator)
    expected = matrix @ d @ torch.linalg.pinv(b.T @ matrix @ d) @ b.T @ matrix
    torch.testing.assert_close(found.reconstruct(), expected, rtol=0, atol=1e-11)


def test_wide_nystrom_is_the_best_truncation_of_itself():
    matrix = gaussian(30, 24) @ torch.diag(torch.arange(1, 25, dtype=DOUBLE) ** -1.5)
    wide = mft.generalized_nystrom(matrix, rank=12, seed=1).reconstruct()
    found = mft.generalized_nystrom(matrix, rank=7, width=12, seed=1)
    expected = mft.singular_value_decomposition(wide, rank=7).reconstruct()
    torch.testing.assert_close(found.reconstruct(), expected, rtol=0, atol=1e-11)
    assert float(found.residual) < float(mft.generalized_nystrom(matrix, rank=7, seed=1).residual)


def test_randomized_svd_is_near_the_best():
    left, right = (torch.linalg.qr(gaussian(80, 60, seed=s)).Q for s in (1, 2))
    values = torch.arange(1, 61, dtype=DOUBLE) ** -2
    matrix = (left * values) @ right.T
    found = mft.randomized_svd(matrix, rank=8, power=2)
    best = math.sqrt(float((values[8:] ** 2).sum() / (values**2).sum()))
    assert best <= float(found.residual) < 1.01 * best
    np.testing.assert_allclose(found.core.diagonal().numpy(), values[:8].numpy(), rtol=1e-3)


def test_truncated_constructors_keep_the_rank_asked_for():
    matrix = gaussian(15, 12)
    best = float(mft.singular_value_decomposition(matrix, rank=5).residual)
    for construct in (mft.pivoted_qr, mft.utv, mft.cur, mft.full_rank):
        found = construct(matrix, rank=5)
        assert int(torch.linalg.matrix_rank(found.reconstruct())) == 5
        assert best < float(found.residual) < 1.0


def test_factors_are_differentiable():
    matrix = of_rank(6, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: mft.full_rank(a, rank=2).reconstruct(), (matrix,))


# ---------------------------------------------------------------- inverses


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_pseudoinverse_is_scipys_and_obeys_penrose(matrix):
    inverse = mft.pseudoinverse(matrix)
    for single, found in zip(
        matrix.reshape(-1, *matrix.shape[-2:]), inverse.reshape(-1, *inverse.shape[-2:]), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), scipy.linalg.pinv(single.numpy(), rtol=1e-10), rtol=0, atol=1e-10)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(matrix @ inverse @ matrix, matrix, **close)
    torch.testing.assert_close(inverse @ matrix @ inverse, inverse, **close)
    torch.testing.assert_close((matrix @ inverse).mH, matrix @ inverse, **close)
    torch.testing.assert_close((inverse @ matrix).mH, inverse @ matrix, **close)


def test_pseudoinverse_does_not_depend_on_the_factors():
    matrix = of_rank(14, 11, 5)
    factors = mft.full_rank(matrix)
    expected = mft.pseudoinverse(matrix)
    literal = factors.right @ torch.linalg.inv(factors.left.T @ matrix @ factors.right) @ factors.left.T
    torch.testing.assert_close(literal, expected, rtol=0, atol=1e-9)
    for columns, rows in [(factors.left, factors.right), (matrix @ gaussian(11, 5), matrix.T @ gaussian(14, 5))]:
        found = mft.pseudoinverse(matrix, column_factor=columns, row_factor=rows)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_generalized_inverse_has_the_range_and_null_space_asked_for():
    matrix, onto, along = of_rank(9, 8, 3), gaussian(8, 3, seed=1), gaussian(9, 3, seed=2)
    found = mft.generalized_inverse(matrix, range_factor=onto, null_factor=along)
    torch.testing.assert_close(matrix @ found @ matrix, matrix, rtol=0, atol=1e-10)
    torch.testing.assert_close(found @ matrix @ found, found, rtol=0, atol=1e-8)
    torch.testing.assert_close(found, onto @ torch.linalg.pinv(onto) @ found, rtol=0, atol=1e-10)
    outside = along @ torch.linalg.pinv(along)
    torch.testing.assert_close(found, found @ outside, rtol=0, atol=1e-10)
    assert float((found - mft.pseudoinverse(matrix)).norm()) > 1.0


def test_group_inverse_commutes_and_is_refused_for_a_nilpotent_part():
    matrix = gaussian(8, 3, seed=1) @ gaussian(3, 8, seed=2)
    found = mft.group_inverse(matrix)
    torch.testing.assert_close(matrix @ found, found @ matrix, rtol=0, atol=1e-10)
    torch.testing.assert_close(matrix @ found @ matrix, matrix, rtol=0, atol=1e-10)
    with pytest.raises(InputError, match="rank"):
        mft.group_inverse(torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=DOUBLE))


def test_weighted_pseudoinverse_solves_the_weighted_least_squares():
    matrix = of_rank(9, 7, 4)
    m, n = (gaussian(k, k, seed=k) @ gaussian(k, k, seed=k).T + torch.eye(k, dtype=DOUBLE) for k in (9, 7))
    found = mft.weighted_pseudoinverse(matrix, row_weight=m, column_weight=n)
    root_m, root_n = torch.linalg.cholesky(m).T, torch.linalg.cholesky(n).T
    expected = torch.linalg.solve(
        root_n, torch.linalg.pinv(root_m @ matrix @ torch.linalg.inv(root_n), rtol=1e-10) @ root_m
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


# ---------------------------------------------------------------- bad input


def test_bad_input_is_refused():
    matrix = gaussian(6, 5)
    matrix_with_nan = matrix.clone()
    matrix_with_nan[0, 0] = math.nan
    refused = [
        (lambda: mft.pivoted_qr(matrix_with_nan), "NaN"),
        (lambda: mft.oblique_projector(matrix_with_nan), "NaN"),
        (lambda: mft.pivoted_qr(torch.zeros(3, 3, dtype=DOUBLE)), "zero"),
        (lambda: mft.full_rank(matrix, rank=0), "rank: 0"),
        (lambda: mft.cur(matrix, columns=torch.tensor([7])), "columns"),
        (lambda: mft.generalized_nystrom(matrix, rank=2, oversampling=0.5), "oversampling"),
        (lambda: mft.randomized_svd(matrix, rank=2, power=-1), "power"),
        (
            lambda: mft.generalized_inverse(matrix, range_factor=gaussian(5, 2), null_factor=gaussian(6, 3)),
            "ranks 2 and 3",
        ),
        (lambda: mft.generalized_inverse(matrix, range_factor=gaussian(5, 2), null_factor=gaussian(6, 2)), "part of"),
    ]
    for call, message in refused:
        with pytest.raises(InputError, match=message):
            call()


def test_rank_is_found_from_the_pivots():
    assert column_pivots(of_rank(30, 20, 7))[1] == 7
    assert column_pivots(torch.stack([of_rank(9, 9, 2), of_rank(9, 9, 4)]))[1] == 4

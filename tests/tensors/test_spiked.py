"""The nested matrix-tensor model: published and simulated values, laws of the limits, thresholds, clustering."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.tensors import spiked
from polyad.tensors.spiked.unfolding import algorithmic_threshold, second_unfolding_zeta

DOUBLE = torch.float64
VIEWS = (150, 300, 60)


def squared(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first @ second) ** 2)


def draws(model: spiked.NestedMatrixTensor, count: int):
    return (model.draw(seed=seed) for seed in range(count))


# ---------------------------------------------------------------- the model


def test_noise_is_scaled_by_the_sizes():
    sample = spiked.NestedMatrixTensor((60, 50, 40), 0.0, 0.0).draw(seed=0)
    assert float(sample.matrix.var()) == pytest.approx(1 / 110, rel=0.06)
    assert float(sample.tensor.var()) == pytest.approx(1 / 150, rel=0.02)
    assert abs(float(sample.tensor.mean())) < 1e-3


def test_draw_is_the_nested_sum():
    model = spiked.NestedMatrixTensor((12, 9, 7), 2.0, 3.0)
    sample, silent = model.draw(seed=4), spiked.NestedMatrixTensor((12, 9, 7), 0.0, 0.0).draw(seed=4)
    matrix = 2.0 * torch.outer(sample.x, sample.y) + silent.matrix
    torch.testing.assert_close(sample.matrix, matrix)
    torch.testing.assert_close(sample.tensor, 3.0 * torch.einsum("ij,k->ijk", matrix, sample.z) + silent.tensor)
    for vector in (sample.x, sample.y, sample.z):
        assert float(vector.norm()) == pytest.approx(1.0)
    assert torch.equal(model.draw(seed=4).tensor, sample.tensor)


def test_labels_become_the_direction():
    labels = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=DOUBLE)
    sample = spiked.NestedMatrixTensor((5, 4, 3), 1.0, 1.0).draw(seed=0, labels=labels)
    torch.testing.assert_close(sample.y, labels / 2)


def test_rho_and_beta_are_two_names_of_one_strength():
    model = spiked.NestedMatrixTensor.from_rho((30, 20, 10), beta_matrix=1.5, rho=2.0)
    assert model.rho == pytest.approx(2.0)
    assert model.beta_tensor == pytest.approx(math.sqrt(2 * math.sqrt(6000) / 60))


# ---------------------------------------------------------------- second unfolding


@pytest.mark.parametrize(
    ("beta_matrix", "rho", "spike", "alignment", "seen_spike", "seen_alignment"),
    [(1.5, 2.0, 6.902, 0.779, 6.70, 0.774), (2.0, 0.5, 2.985, 0.708, 3.07, 0.676)],
)
def test_second_unfolding_in_theory_and_simulation(beta_matrix, rho, spike, alignment, seen_spike, seen_alignment):
    model = spiked.NestedMatrixTensor.from_rho((300, 200, 100), beta_matrix=beta_matrix, rho=rho)
    limit = spiked.second_unfolding_limit(model.shares, beta_matrix=beta_matrix, rho=rho)
    assert limit.spike == pytest.approx(spike, abs=1e-3)
    assert limit.alignment == pytest.approx(alignment, abs=1e-3)
    sample = model.draw(seed=0)
    values, vectors = torch.linalg.eigh(spiked.centred_gram(sample.tensor, 2))
    assert float(values[-1]) == pytest.approx(seen_spike, rel=0.08)
    assert squared(vectors[:, -1], sample.y) == pytest.approx(seen_alignment, abs=0.07)
    found = spiked.unfolding_direction(sample.tensor, 2)
    assert squared(found, vectors[:, -1]) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("beta_matrix", "rho"), [(1.5, 2.0), (2.0, 0.5)])
def test_second_unfolding_alignment_averaged_over_ten_draws(beta_matrix, rho):
    model = spiked.NestedMatrixTensor.from_rho((600, 400, 200), beta_matrix=beta_matrix, rho=rho)
    limit = spiked.second_unfolding_limit(model.shares, beta_matrix=beta_matrix, rho=rho)
    found = [
        squared(spiked.unfolding_direction(sample.tensor, 2), sample.y)
        for sample in (model.draw(seed=seed, dtype=torch.float32) for seed in range(10))
    ]
    assert abs(float(np.mean(found)) - limit.alignment) <= 0.03


def test_spectrum_follows_the_density():
    model = spiked.NestedMatrixTensor.from_rho((600, 400, 200), beta_matrix=2.0, rho=2.0)
    gram = spiked.centred_gram(model.draw(seed=1, dtype=torch.float32).tensor, 2)
    values = torch.linalg.eigvalsh(gram).double()[:-1]  # without the spike
    points = torch.linspace(-6, 10, 4001, dtype=DOUBLE)
    density = spiked.second_unfolding_density(points, model.shares, rho=2.0)
    step = float(points[1] - points[0])
    cumulative = torch.cumsum(density, 0) * step
    assert float(cumulative[-1]) == pytest.approx(1.0, abs=1e-3)
    at = torch.searchsorted(points, values).clamp(max=4000)
    ranks = torch.arange(1, len(values) + 1, dtype=DOUBLE) / len(values)
    distance = torch.maximum((cumulative[at] - ranks).abs(), (cumulative[at] - ranks + 1 / len(values)).abs()).max()
    assert float(distance) <= 0.02


def test_stieltjes_transform_solves_the_cubic_and_is_the_integral_of_the_density():
    c, rho = (0.5, 0.3, 0.2), 1.3
    points = torch.linspace(-8, 12, 200001, dtype=DOUBLE)
    density = spiked.second_unfolding_density(points, c, rho=rho)
    z = torch.tensor([0.5 + 0.7j, -1.0 + 0.4j, 3.0 - 1.0j, 9.0 + 0.1j], dtype=torch.complex128)
    m = spiked.stieltjes_transform(z, c, rho=rho)
    a1, a2 = rho * c[0] / 0.8, rho * c[1] / 0.8
    cubic = a2 * m**3 + (1 + z * a2) * m**2 + (z + a2 - a1) * m + 1
    assert float(cubic.abs().max()) < 1e-12
    assert bool((m.imag * z.imag > 0).all())
    integral = torch.stack([(density / (points - one)).sum() for one in z]) * float(points[1] - points[0])
    torch.testing.assert_close(m, integral, rtol=0, atol=2e-4)


def test_without_signal_the_spectrum_is_a_semicircle():
    points = torch.linspace(-2.5, 2.5, 11, dtype=DOUBLE)
    found = spiked.second_unfolding_density(points, (0.5, 0.3, 0.2), rho=0.0)
    torch.testing.assert_close(found, torch.sqrt((4 - points**2).clamp(min=0)) / (2 * math.pi), rtol=0, atol=1e-7)


def test_alignment_vanishes_on_the_threshold():
    for c in [(0.5, 0.3, 0.2), (0.2, 0.2, 0.6), (1 / 3, 1 / 3, 1 / 3)]:
        vertical = (c[0] * c[1]) ** 0.25 / math.sqrt(1 - c[2])
        assert algorithmic_threshold(c, beta_matrix=vertical * (1 - 1e-9)) == math.inf
        for beta in np.linspace(1.05 * vertical, 4, 9):
            rho = algorithmic_threshold(c, beta_matrix=beta)
            assert abs(second_unfolding_zeta(c, beta_matrix=beta, rho=rho)) < 1e-12
            assert spiked.second_unfolding_limit(c, beta_matrix=beta, rho=0.99 * rho) == spiked.SpikeLimit(None, 0.0)
            above = spiked.second_unfolding_limit(c, beta_matrix=beta, rho=1.01 * rho)
            assert 0 < above.alignment < 0.1
            edge = torch.linspace(above.spike - 1e-3, above.spike + 3, 50, dtype=DOUBLE)
            assert float(spiked.second_unfolding_density(edge, c, rho=1.01 * rho)[1:].max()) < 1e-6  # outside the bulk


# ---------------------------------------------------------------- third unfolding


def test_third_unfolding_in_theory_and_simulation():
    n, beta_matrix = (150, 120, 80), 3.0
    scale = math.sqrt(math.prod(n)) / sum(n)
    beta_tensor = math.sqrt(3.0 * scale / (150 * 120 / 270 + beta_matrix**2))
    model = spiked.NestedMatrixTensor(n, beta_matrix, beta_tensor)
    limit = spiked.third_unfolding_limit(model)
    assert limit.spike == pytest.approx(3 + 1 / 3, rel=1e-12)
    assert limit.alignment == pytest.approx(1 - 1 / 9, rel=1e-12)
    spikes, alignments = [], []
    for sample in draws(model, 4):
        values, vectors = torch.linalg.eigh(spiked.centred_gram(sample.tensor, 3))
        spikes.append(float(values[-1]))
        alignments.append(squared(vectors[:, -1], sample.z))
        assert float(values[-2]) < 2.3
        assert -2.3 < float(values[0]) < -1.7
    assert float(np.mean(spikes)) == pytest.approx(limit.spike, rel=0.05)
    assert float(np.mean(alignments)) == pytest.approx(limit.alignment, abs=0.03)
    weak = spiked.NestedMatrixTensor(n, beta_matrix, beta_tensor / 2)
    assert spiked.third_unfolding_limit(weak) == spiked.SpikeLimit(None, 0.0)


# ---------------------------------------------------------------- best rank one


def test_power_method_is_stationary_and_finds_a_rank_one_tensor():
    sample = spiked.NestedMatrixTensor((20, 15, 10), 3.0, 3.0).draw(seed=0)
    found = spiked.best_rank_one(sample.tensor, random_starts=3)
    x, y, z, t = found.x, found.y, found.z, sample.tensor
    torch.testing.assert_close(torch.einsum("ijk,j,k->i", t, y, z), found.value * x, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.einsum("ijk,i,k->j", t, x, z), found.value * y, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.einsum("ijk,i,j->k", t, x, y), found.value * z, rtol=0, atol=1e-4)
    exact = torch.einsum("i,j,k->ijk", sample.x, sample.y, sample.z)
    batch = spiked.best_rank_one(torch.stack([4 * exact, t]))
    torch.testing.assert_close(batch.value[0], torch.tensor(4.0, dtype=DOUBLE))
    assert squared(batch.y[0], sample.y) == pytest.approx(1.0)
    assert squared(batch.y[1], y) == pytest.approx(1.0, abs=1e-6)


def test_spectral_starts_reach_what_the_start_at_the_truth_reaches():
    sample = spiked.NestedMatrixTensor((60, 80, 30), 2.5, 1.0).draw(seed=1)
    found = spiked.best_rank_one(sample.tensor)
    truth = spiked.best_rank_one(sample.tensor, start=(sample.x, sample.y, sample.z))
    assert float(found.value) >= float(truth.value) * (1 - 1e-7)


@pytest.mark.parametrize(("beta_matrix", "beta_tensor"), [(2.0, 1.5), (3.0, 0.5)])
def test_rank_one_limit_against_simulation(beta_matrix, beta_tensor):
    model = spiked.NestedMatrixTensor(VIEWS, beta_matrix, beta_tensor)
    limit = spiked.rank_one_limit(model.shares, beta_matrix=beta_matrix, beta_tensor=beta_tensor)
    sample = model.draw(seed=3)
    found = spiked.best_rank_one(sample.tensor)
    assert float(found.value) == pytest.approx(limit.value, rel=0.05)
    for name, expected in zip("xyz", limit.alignments, strict=True):
        assert abs(float(getattr(found, name) @ getattr(sample, name))) == pytest.approx(expected, abs=0.05)


def test_many_views_leave_the_spiked_matrix():
    c, beta = (0.3, 0.45, 0.25), 1.7
    p, n = c[0] / (1 - c[2]), c[1] / (1 - c[2])
    expected = {
        "x": (beta**4 - p * n) / (beta**2 * (beta**2 + p)),
        "y": (beta**4 - p * n) / (beta**2 * (beta**2 + n)),
    }
    limit = spiked.rank_one_limit(c, beta_matrix=beta, beta_tensor=300.0)
    assert limit.alignments[0] ** 2 == pytest.approx(expected["x"], abs=1e-3)
    assert limit.alignments[1] ** 2 == pytest.approx(expected["y"], abs=1e-3)
    unfolded = spiked.second_unfolding_limit(c, beta_matrix=beta, rho=1e8).alignment
    assert unfolded == pytest.approx(expected["y"], abs=1e-10)


def test_rank_one_limit_solves_its_equations():
    c, beta_matrix, beta_tensor = (0.3, 0.5, 0.2), 2.0, 1.2
    limit = spiked.rank_one_limit(c, beta_matrix=beta_matrix, beta_tensor=beta_tensor)
    g, xi = [-share / limit.value for share in c], limit.value
    for _ in range(3000):
        gamma = beta_tensor**2 * (1 - g[2] ** 2 / c[2]) / (c[0] + c[1])
        g = [
            c[0] / (-g[1] - g[2] - gamma * g[1] - xi),
            c[1] / (-g[0] - g[2] - gamma * g[0] - xi),
            c[2] / (-g[0] - g[1] - xi),
        ]
    squares = [1 - (1 + gamma) * g[0] ** 2 / c[0], 1 - (1 + gamma) * g[1] ** 2 / c[1], 1 - g[2] ** 2 / c[2]]
    np.testing.assert_allclose(limit.alignments, np.sqrt(squares), atol=1e-8)
    left = xi + (1 + gamma) * sum(g) - gamma * g[2] - beta_tensor * beta_matrix * math.sqrt(math.prod(squares))
    assert abs(left) < 1e-8


@pytest.mark.parametrize(("h", "mu"), [(0.5, 0.2), (0.5, 1.0), (0.5, 1.9), (1.5, 0.8)])
def test_false_roots_are_not_taken(h, mu):
    model = spiked.NestedMatrixTensor(VIEWS, mu, h)
    limit = spiked.rank_one_limit(model.shares, beta_matrix=mu, beta_tensor=h)
    assert limit == spiked.RankOneLimit(None, (0.0, 0.0, 0.0))
    assert spiked.predicted_accuracy(model, method="tensor") == 0.5


# ---------------------------------------------------------------- clustering


@pytest.mark.parametrize(
    ("h", "mu", "unfolding", "tensor"),
    [(1.5, 1.0, 0.562, 0.739), (1.5, 1.5, 0.866, 0.912), (1.5, 2.0, 0.964, 0.974), (0.5, 3.0, 0.5, 0.933),
     (0.5, 4.0, 0.786, 0.984)],
)  # fmt: skip
def test_predicted_accuracies(h, mu, unfolding, tensor):
    model = spiked.NestedMatrixTensor(VIEWS, mu, h)
    assert spiked.predicted_accuracy(model, method="unfolding") == pytest.approx(unfolding, abs=2e-3)
    assert spiked.predicted_accuracy(model, method="tensor") == pytest.approx(tensor, abs=2e-3)
    oracle = spiked.predicted_accuracy(model, method="oracle")
    assert oracle >= max(unfolding, tensor) - 2e-3


def test_last_root_above_the_threshold_is_found_and_right():
    # near the bulk, where plain iteration stalls
    model = spiked.NestedMatrixTensor(VIEWS, 2.2, 0.5)
    predicted = spiked.predicted_accuracy(model, method="tensor")
    assert predicted > 0.7
    labels = torch.ones(300, dtype=DOUBLE)
    labels[::2] = -1
    found = []
    for seed in range(3):
        y = spiked.best_rank_one(model.draw(seed=seed, labels=labels, dtype=torch.float32).tensor, tolerance=1e-6).y
        found.append(float(spiked.clustering_accuracy(y.double(), labels)))
    assert float(np.mean(found)) == pytest.approx(predicted, abs=0.05)


def test_thresholds_split_seen_from_unseen():
    tensor, unfolding = (
        spiked.tensor_threshold(VIEWS, beta_tensor=0.5),
        spiked.unfolding_threshold(VIEWS, beta_tensor=0.5),
    )
    assert tensor == pytest.approx(1.984, abs=2e-3)
    assert tensor < unfolding
    for mu, seen in ((0.999 * unfolding, False), (1.001 * unfolding, True)):
        model = spiked.NestedMatrixTensor(VIEWS, mu, 0.5)
        assert (spiked.predicted_accuracy(model, method="unfolding") > 0.5) == seen


def test_phase_diagram():
    c = (0.3, 0.5, 0.2)
    beta = torch.tensor([0.6, 1.0, 2.5], dtype=DOUBLE)
    diagram = spiked.phase_diagram(c, beta_matrix=beta, tolerance=1e-2)
    assert diagram.vertical == pytest.approx((0.15**0.25) / math.sqrt(0.8))
    assert float(diagram.unfolding[0]) == math.inf
    for value, rho, strength in zip(beta[1:], diagram.unfolding[1:], diagram.tensor[1:], strict=True):
        assert abs(second_unfolding_zeta(c, beta_matrix=float(value), rho=float(rho))) < 1e-12
        for factor, seen in ((0.97, False), (1.03, True)):
            limit = spiked.rank_one_limit(c, beta_matrix=float(value), beta_tensor=factor * float(strength))
            assert (limit.value is not None) == seen
    assert bool((diagram.tensor[1:].diff() < 0).all())


@pytest.mark.parametrize(("mu", "h"), [(1.6, 1.5), (3.0, 0.6)])
def test_oracle_alignment_against_simulation(mu, h):
    model = spiked.NestedMatrixTensor((200, 300, 40), mu, h)
    found = [squared(spiked.oracle_direction(sample.tensor, sample.z), sample.y) for sample in draws(model, 3)]
    assert 0.3 < spiked.oracle_alignment(model) < 0.95
    assert float(np.mean(found)) == pytest.approx(spiked.oracle_alignment(model), abs=0.03)
    assert spiked.oracle_alignment(spiked.NestedMatrixTensor((200, 300, 40), 0.1, h)) == 0.0


def test_accuracy_does_not_care_for_names():
    labels = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0], dtype=DOUBLE)
    estimate = torch.tensor([-0.2, -0.9, 0.1, -0.3, -0.4], dtype=DOUBLE)
    assert float(spiked.clustering_accuracy(estimate, labels)) == pytest.approx(0.8)
    assert float(spiked.clustering_accuracy(-estimate, labels)) == pytest.approx(0.8)


def test_bad_input_is_refused():
    model = spiked.NestedMatrixTensor((5, 4, 3), 1.0, 1.0)
    tensor = model.draw(seed=0).tensor
    refused = [
        (lambda: spiked.NestedMatrixTensor((5, 4, 1), 1.0, 1.0), "n: "),
        (lambda: spiked.NestedMatrixTensor((5, 4, 3), -1.0, 1.0), "beta_matrix"),
        (lambda: spiked.NestedMatrixTensor((5, 4, 3), 1.0, math.nan), "beta_tensor"),
        (lambda: spiked.NestedMatrixTensor.from_rho((5, 4, 3), beta_matrix=1.0, rho=-1.0), "rho"),
        (lambda: model.draw(seed=0, labels=torch.ones(3, dtype=DOUBLE)), "labels"),
        (lambda: model.draw(seed=0, labels=torch.full((4,), 0.5, dtype=DOUBLE)), "labels"),
        (lambda: spiked.unfolding_direction(tensor, 0), "mode"),
        (lambda: spiked.centred_gram(tensor, 4), "mode"),
        (lambda: spiked.best_rank_one(tensor * math.nan), "NaN"),
        (lambda: spiked.best_rank_one(tensor, random_starts=-1), "random_starts"),
        (lambda: spiked.second_unfolding_limit((0.5, 0.5, 0.5), beta_matrix=1.0, rho=1.0), "add up to one"),
        (lambda: spiked.rank_one_limit((0.5, 0.5, 0.0), beta_matrix=1.0, beta_tensor=1.0), "positive"),
        (lambda: spiked.stieltjes_transform(torch.zeros(1, dtype=torch.complex128), (0.5, 0.3, 0.2), rho=1.0), "real"),
        (lambda: spiked.predicted_accuracy(model, method="magic"), "method"),
        (lambda: spiked.phase_diagram((0.5, 0.3, 0.2), beta_matrix=torch.zeros(2, dtype=DOUBLE)), "positive"),
    ]
    for call, message in refused:
        with pytest.raises((InputError, TypeError) if message == "method" else InputError, match=message):
            call()

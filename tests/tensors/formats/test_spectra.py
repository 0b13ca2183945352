"""Spectra of unfoldings: against NumPy, against what truncation reaches, and what the picture shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import TensorTrain, Tucker, plot_spectra, st_hosvd, tt_svd, unfolding_spectra


def sample(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_singular_values_are_those_of_the_unfoldings() -> None:
    tensor = sample(3, 4, 5, 2)
    array = tensor.numpy()
    spectra = unfolding_spectra(tensor)
    assert [s.rows for s in spectra] == [(0,), (1,), (2,), (3,), (0, 1)]
    for spectrum in spectra:
        moved = np.moveaxis(array, spectrum.rows, range(len(spectrum.rows)))
        size = int(np.prod(moved.shape[: len(spectrum.rows)]))
        expected = np.linalg.svd(moved.reshape(size, -1), compute_uv=False)
        np.testing.assert_allclose(spectrum.values.numpy(), expected, rtol=1e-12)


def test_errors_are_those_of_truncation() -> None:
    tensor = sample(6, 5, 7)
    size = tensor.norm()
    for mode, spectrum in enumerate(unfolding_spectra(tensor)):
        for rank in (1, 3):
            ranks = list(tensor.shape)
            ranks[mode] = rank
            gap = (st_hosvd(tensor, ranks=ranks).value.to_dense() - tensor).norm() / size
            assert float(spectrum.errors[rank - 1]) == pytest.approx(float(gap), rel=1e-10)
    matrix = sample(6, 9)
    (spectrum,) = unfolding_spectra(matrix)
    gap = (tt_svd(matrix, ranks=2).value.to_dense() - matrix).norm() / matrix.norm()
    assert float(spectrum.errors[1]) == pytest.approx(float(gap), rel=1e-10)
    assert float(spectrum.errors[-1]) == 0


def test_ranks_are_those_that_were_planted() -> None:
    planted = Tucker.random((8, 9, 7), (3, 2, 4), generator=torch.Generator().manual_seed(2)).to_dense()
    assert tuple(s.rank(1e-10) for s in unfolding_spectra(planted)) == (3, 2, 4)
    train = TensorTrain.random((4, 5, 4, 5), (2, 5, 3), generator=torch.Generator().manual_seed(2)).to_dense()
    ranks = {s.rows: s.rank(1e-10) for s in unfolding_spectra(train)}
    assert (ranks[(0,)], ranks[(0, 1)], ranks[(3,)]) == (2, 5, 3)


def test_large_cuts_are_left_out() -> None:
    tensor = sample(4, 5, 3, 6)
    assert [s.rows for s in unfolding_spectra(tensor, largest_cut=17)] == [(0,), (1,), (2,), (3,)]
    assert (0, 1) in [s.rows for s in unfolding_spectra(tensor, largest_cut=18)]


def test_the_picture_shows_errors_and_ranks_with_units() -> None:
    tensor = sample(4, 5, 3)
    spectra = unfolding_spectra(tensor)
    left, right = plot_spectra(spectra, tolerance=0.3).axes
    assert "no unit" in left.get_ylabel()
    assert "no unit" in right.get_ylabel()
    lines = {line.get_label(): line for line in right.lines}
    drawn = np.asarray(lines["mode 1 | rest"].get_ydata())
    np.testing.assert_allclose(drawn, spectra[1].errors[:4].numpy())
    dots = [tuple(np.ravel(line.get_xydata())) for line in right.lines if line.get_marker() == "o"]
    reached = [s.rank(0.3) for s in spectra]
    expected = [(r, float(s.errors[r - 1])) for r, s in zip(reached, spectra, strict=True) if r < len(s.values)]
    assert dots == expected


def test_wrong_input_is_said() -> None:
    with pytest.raises(InputError, match="at least 2 modes"):
        unfolding_spectra(sample(5))
    with pytest.raises(InputError, match="NaN"):
        unfolding_spectra(torch.full((2, 2), float("nan")))
    with pytest.raises(InputError, match="none was given"):
        plot_spectra([])

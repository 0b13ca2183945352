"""Every sample once an epoch, whatever the batch size and the number of processes."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.training.batches import TensorData, batches_per_epoch, epoch_order, own_share, training_batch


@pytest.mark.parametrize(("samples", "batch_size"), [(10, 3), (12, 4), (5, 9), (1, 1)])
def test_epoch_sees_every_sample_once(samples: int, batch_size: int) -> None:
    count = batches_per_epoch(samples, batch_size)
    for epoch in range(3):
        steps = range(epoch * count, (epoch + 1) * count)
        seen = torch.cat([training_batch(samples, batch_size, step, seed=4) for step in steps])
        assert sorted(seen.tolist()) == list(range(samples))


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = [epoch_order(50, epoch, seed=seed).tolist() for epoch in range(3) for seed in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(50, 1, seed=2).tolist() == orders[5]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_make_the_mean_of_the_batch(size: int, processes: int) -> None:
    values = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = torch.arange(size) + 3
    shares = [own_share(batch, rank, processes) for rank in range(processes)]
    mean = sum(weight * values[share].mean() for share, weight in shares) / processes
    assert float(mean) == pytest.approx(float(values[batch].mean()))
    assert sorted(torch.cat([share for share, weight in shares if weight]).tolist()) == batch.tolist()


def test_tensor_data() -> None:
    data = TensorData(torch.arange(6.0), torch.arange(12).reshape(6, 2))
    assert len(data) == 6
    x, y = data[torch.tensor([4, 1])]
    assert x.tolist() == [4, 1]
    assert y.tolist() == [[8, 9], [2, 3]]
    with pytest.raises(InputError, match="one number of rows"):
        TensorData(torch.zeros(3), torch.zeros(4))

"""A group of one costs nothing; several are tested by the loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.training.processes import Processes, distribute, own_device, process_group


def test_group_of_one() -> None:
    cpu = torch.device("cpu")
    with process_group(cpu) as processes:
        assert processes == Processes(0, 1)
        assert processes.leads
        assert processes.sum([1.5, 2.0], cpu) == [1.5, 2.0]
        assert processes.lead([3.0], cpu) == [3.0]
        processes.wait()
        model = nn.Linear(1, 1)
        assert distribute(model, processes, "fsdp") is model
    assert not torch.distributed.is_initialized()


def test_devices() -> None:
    assert own_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'nowhere' is none"):
        own_device("nowhere")
